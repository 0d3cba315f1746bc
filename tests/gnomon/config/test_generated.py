"""Configurations as prometheus-operator generates them: they load, or name what is missing."""

import pytest

from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_file, load_text
from tests.conftest import corpora_root
from tests.gnomon.config.test_corpus import NOT_YET

ROOT = corpora_root() / "operator" / "generated-config"
BUILT = ("kubernetes", "static", "file", "http", "dns", "consul")
FILES = sorted(ROOT.glob("*.yml")) if ROOT.is_dir() else []


def loaded(path):
    """Return the configuration, or None and the lines that refuse it."""
    try:
        return load_file(path, {}), []
    except ConfigError as error:
        return None, str(error).split("unmarshal errors:")[-1].strip().splitlines()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_generated_configuration(corpora, path):
    config, refused = loaded(path)
    assert all(NOT_YET in line for line in refused)
    assert not any(f"{kind}_sd_configs is known" in line for kind in BUILT for line in refused)
    if config is None:
        assert refused
        return
    shown = effective_yaml(config)
    assert effective_yaml(load_text(shown, path.parent, {})) == shown
