"""Prometheus' own test configurations: what is built loads as there, what is bad says so."""

import json
from pathlib import Path

import pytest
import yaml

from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_file, load_text
from tests.conftest import corpora_root

ROOT = corpora_root() / "config" / "prometheus"
NOT_YET = "known to Prometheus but not supported by Gnomon yet"
ENTRIES = json.loads((ROOT / "expected.json").read_text()) if ROOT.is_dir() else []
ENVIRONMENT = {"TEST": "TestValue"}

UNBUILT = {
    "alerting",
    "rule_files",
    "tracing",
    "_sd_configs",
    "stale_series_compaction_threshold",
}


def params(*, valid):
    return [pytest.param(e, id=e["file"]) for e in ENTRIES if e["valid"] is valid]


@pytest.fixture
def load(monkeypatch, corpora):
    monkeypatch.chdir(ROOT)
    return lambda name: load_file(Path(name), ENVIRONMENT)


def loaded(load, entry):
    """Load a valid file; None (and a good reason) where it uses what is not built."""
    try:
        return load(entry["file"])
    except ConfigError as error:
        reason = str(error)
    refused = [line for line in reason.splitlines() if NOT_YET in line]
    assert refused, f"refused for another reason: {reason}"
    assert all(any(name in line for name in UNBUILT) for line in refused)
    return None


@pytest.mark.parametrize("entry", params(valid=True))
def test_a_valid_file_loads_or_names_what_is_missing(load, entry):
    config = loaded(load, entry)
    if config is not None and "$" not in effective_yaml(config):
        again = load_text(effective_yaml(config), Path(), ENVIRONMENT)
        assert effective_yaml(again) == effective_yaml(config)


@pytest.mark.parametrize("entry", params(valid=True))
def test_the_filled_in_values_are_those_of_prometheus(load, entry):
    config = loaded(load, entry)
    reference = ROOT / "effective-3.5.3" / entry["file"]
    if config is not None and reference.exists():
        theirs = yaml.safe_load(reference.read_text())
        assert list(differences(yaml.safe_load(effective_yaml(config)), theirs, "")) == []


def differences(ours, theirs, path):
    """Yield every place where a value of Prometheus' is missing or another with us."""
    if isinstance(theirs, dict):
        for name, value in theirs.items():
            if not isinstance(ours, dict) or name not in ours:
                yield f"{path}.{name} is missing"
            else:
                yield from differences(ours[name], value, f"{path}.{name}")
    elif isinstance(theirs, list):
        if not isinstance(ours, list) or len(ours) != len(theirs):
            yield f"{path} has another length"
        else:
            for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                yield from differences(a, b, f"{path}[{number}]")
    elif ours != theirs:
        yield f"{path} is {ours!r}, not {theirs!r}"


@pytest.mark.parametrize("entry", params(valid=False))
def test_a_bad_file_is_refused_in_the_same_words(load, entry):
    with pytest.raises(ConfigError) as caught:
        load(entry["file"])
    text = str(caught.value)
    assert ".yml" in text
    missing = [part for part in entry.get("error_contains", []) if part not in text]
    # Where the fault lies within a section that is not built, the section is refused as a whole.
    unbuilt = NOT_YET in text
    assert not missing or unbuilt, f"{text}\nlacks {missing}"


def test_an_empty_file_is_valid(tmp_path):
    (tmp_path / "empty.yml").write_text("")
    assert load_file(tmp_path / "empty.yml").jobs == ()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"bar": "foo", "baz": "foobar", "foo": "", "qux": "foo${TEST}", "xyz": "foo$bar"}),
        (
            ENVIRONMENT,
            {
                "bar": "foo",
                "baz": "fooTestValuebar",
                "foo": "TestValue",
                "qux": "foo${TEST}",
                "xyz": "foo$bar",
            },
        ),
    ],
    ids=["variable unset", "variable set"],
)
def test_external_labels_are_expanded(corpora, environment, expected):
    config = load_file(ROOT / "external_labels.good.yml", environment)
    assert config.global_config.external_labels == expected
    assert bool(config.warnings) is (environment == {})
