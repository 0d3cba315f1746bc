import pytest

from gnomon.agent import check_config
from gnomon.config.document import ConfigError
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("alerting: {alertmanagers: [{static_configs: []}, {scheme: https}]}", "alerting"),
        ("rule_files: [a.yml]", "rule_files"),
        ("remote_read: [{url: 'http://a'}]", "remote_read"),
    ],
)
def test_what_an_agent_has_not_is_refused(tmp_path, text, field):
    file = tmp_path / "agent.yml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"field {field} is not allowed in agent mode"):
        check_config(file)


def test_an_agent_may_forward(tmp_path):
    file = tmp_path / "agent.yml"
    file.write_text("remote_write: [{url: 'http://a'}]\nrule_files: []\n")
    assert check_config(file) is None


def test_an_agents_storage_keeps_no_blocks(tmp_path):
    options = DatabaseOptions(background=False, keep_blocks=False, retention_ms=None)
    database = Database.open(tmp_path, options)
    refs = database.resolve(LabelSpans.from_labels([{"__name__": "m"}]))
    for time in (1000, 2000):
        database.append(refs, refs * 0 + time, refs * 0.0)
    database.flush()
    stats = database.stats()
    assert (stats.blocks, stats.cuts) == (0, 1)
    assert [path.name for path in (tmp_path / "wal").glob("checkpoint*")]
    database.close()
    again = Database.open(tmp_path, options)
    assert again.stats().blocks == 0
    again.close()
