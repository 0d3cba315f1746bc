import json
import logging

import pytest

from gnomon import logs


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def test_logfmt_names_time_level_source_and_members(root_logger, capsys):
    logs.set_up("info", "logfmt")
    logging.getLogger("tsdb.wal").warning("torn %s", "tail", extra={"fields": {"segment": 3}})
    line = capsys.readouterr().err
    assert line.startswith("time=20")
    assert "level=WARN source=tsdb/wal.py:" in line
    assert line.endswith('msg="torn tail" segment=3\n')


def test_json_is_one_object_a_line(root_logger, capsys):
    logs.set_up("debug", "json")
    logging.getLogger("x").debug("hello")
    assert json.loads(capsys.readouterr().err)["msg"] == "hello"


def test_levels_below_are_silent(root_logger, capsys):
    logs.set_up("error", "logfmt")
    logging.getLogger("x").warning("hush")
    assert capsys.readouterr().err == ""


def test_an_exception_stays_on_one_line(root_logger, capsys):
    logs.set_up("info", "logfmt")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "RuntimeError: boom" in err
