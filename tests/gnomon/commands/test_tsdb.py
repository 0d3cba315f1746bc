import contextlib
import shutil
import subprocess

import numpy as np
import pytest

from gnomon.cli import main
from tests.gnomon.tsdb_tools.digests import rows_of
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions

TEXT = """\
# TYPE requests counter
requests_total{job="a",path="/x\\"y\\\\z\\n"} 1 1000.5
requests_total{job="a",path="/x\\"y\\\\z\\n"} 1.5e-7 1001
odd NaN 5
odd +Inf 6
odd -0 7
{"utf.8","la.bel"="é"} 123456789 8
# EOF
"""


@pytest.fixture
def tsdb(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["tsdb", *map(str, words)])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def _as_written(text):
    """Floats as Go writes them, milliseconds in full."""
    return text.replace("1.5e-7", "1.5e-07").replace("1000.5", "1000.500")


@pytest.fixture
def filled(tsdb, tmp_path):
    (tmp_path / "in.om").write_text(TEXT)
    assert tsdb("backfill", "in.om", "data", "-q") == (0, "", "")
    return tsdb


def test_backfill_and_dump_are_each_others_inverse(filled, tmp_path):
    code, out, err = filled("dump", "data")
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == sorted(
        line for line in _as_written(TEXT).splitlines() if "TYPE" not in line
    )
    (tmp_path / "again.om").write_text(out)
    assert filled("backfill", "again.om", "again", "-q")[0] == 0
    assert rows_of(tmp_path / "again") == rows_of(tmp_path / "data")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        pytest.param(["--match", "odd"], 3, id="by selector"),
        pytest.param(["--match", "odd", "--match", '{__name__=~"o.*"}'], 3, id="two that overlap"),
        pytest.param(["--min-time", "6000", "--max-time", "8000"], 3, id="by time"),
        pytest.param([], 6, id="all"),
    ],
)
def test_dump_in_promtools_form(filled, words, lines):
    code, out, _ = filled("dump", "--format=promtool", *words)
    assert (code, len(out.splitlines())) == (0, lines)
    if not words:
        assert '{__name__="odd"} -0 7000' in out.splitlines()


def test_dump_to_columns(filled, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert filled("dump", "--format=parquet", "-o", "out.parquet")[0] == 0
    rows = parquet.read_table("out.parquet").to_pylist()
    assert len(rows) == 6
    (utf8,) = [row for row in rows if row["la.bel"] == "é"]
    assert (utf8["value"], utf8["job"], utf8["timestamp"].timestamp()) == (123456789.0, None, 8.0)


@pytest.fixture
def started(tsdb, tmp_path):
    """A store whose counters have start timestamps, of which one is reset."""
    labels = [
        {"__name__": "a_total", "n": "1"},
        {"__name__": "b_bucket", "le": "1"},
        {"__name__": "b_count"},
        {"__name__": "gauge"},
    ]
    options = DatabaseOptions(background=False, retention_ms=None)
    with contextlib.closing(Database.open(tmp_path / "data", options)) as database:
        refs = database.resolve(LabelSpans.from_labels(labels))
        for at, starts in enumerate(([500, 500, 500, 0], [500, 500, 500, 0], [2750, 500, 500, 0])):
            times = np.full(4, 1000 * (at + 1))
            database.append(refs, times, np.full(4, 7.0), start_times_ms=np.array(starts))
        database.flush()
        database.flush()
        stats = database.stats()
    assert (stats.series_created, stats.series_removed) == (4, 4)
    return tsdb


def test_start_timestamps_are_nobodys_series(started):
    cells = started("list", "data")[1].splitlines()[1].split()
    assert (cells[4], cells[6]) == ("12", "4")
    assert "Series: 4\nSamples: 12\n" in started("analyze", "data")[1]


def test_start_timestamps_are_dumped_as_created(started, tmp_path):
    code, out, err = started("dump", "data")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if "_created" in line] == [
        'a_created{n="1"} 0.500 1',
        'a_created{n="1"} 2.750 3',
        "b_created 0.500 1",
    ]
    (tmp_path / "again.om").write_text(out)
    assert started("backfill", "again.om", "again", "-q")[0] == 0
    assert len(rows_of(tmp_path / "again")) == 6


def test_start_timestamps_are_a_column(started):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert started("dump", "data", "--format=parquet", "-o", "out.parquet")[0] == 0
    rows = parquet.read_table("out.parquet").to_pylist()
    starts = {
        name: [
            row["start_timestamp"] and row["start_timestamp"].timestamp()
            for row in rows
            if row["__name__"] == name
        ]
        for name in ("a_total", "gauge")
    }
    assert starts == {"a_total": [0.5, 0.5, 2.75], "gauge": [None] * 3}


def test_snapshot_verify_and_analyze(filled, tmp_path):
    code, out, _ = filled("snapshot", "data", "copy")
    assert (code, len(out.splitlines())) == (0, 2)
    assert rows_of(tmp_path / "copy") == rows_of(tmp_path / "data")
    assert filled("snapshot", "data", "copy")[0] == 1
    code, out, _ = filled("verify", "copy")
    assert code == 0
    assert "all right" in out
    code, out, _ = filled("analyze", "copy", "--limit", "1")
    assert code == 0
    assert "Series: 3\nSamples: 6\n" in out
    (pages,) = (tmp_path / "copy").glob("*/pages")
    content = bytearray(pages.read_bytes())
    content[30] ^= 255
    pages.unlink()
    pages.write_bytes(content)
    code, out, err = filled("verify", "copy")
    assert (code, "1 problems" in out, "damaged: " in err) == (1, True, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["import", "nowhere"], "neither blocks nor a log", id="nothing to import"),
        pytest.param(["backfill", "nowhere"], "no such file", id="no text"),
        pytest.param(["dump", "nowhere"], "no data directory at nowhere", id="no directory"),
        pytest.param(["verify", "nowhere"], "no such file", id="nothing to verify"),
        pytest.param(["list", "nowhere"], "no such file", id="nothing to list"),
        pytest.param(["dump", "data", "--match", "{"], "parse error", id="a bad selector"),
        pytest.param(["dump", "data", "--format=parquet"], "--output is needed", id="no output"),
        pytest.param(["analyze", "data", "X"], "no block X in data", id="no such block"),
    ],
)
def test_refusals_are_one_line(filled, words, message):
    code, _, err = filled(*words)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


def test_a_running_server_keeps_writers_out(filled, tmp_path):
    from tsdb.directory_lock import DirectoryLock

    lock = DirectoryLock(tmp_path / "data")
    try:
        code, _, err = filled("backfill", "in.om", "data")
    finally:
        lock.release()
    assert (code, "lock DB directory" in err) == (1, True)


def test_import(tsdb, corpora):
    code, out, err = tsdb("import", corpora / "tsdb" / "data", "data", "-r")
    assert (code, len(out.splitlines())) == (0, 5)
    assert "2026-11-20 00:00:00 +0000 UTC" in out
    assert "exemplars" in err


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_list_is_promtools(tsdb, corpora):
    source = corpora / "tsdb" / "data"
    ran = subprocess.run(
        ["promtool", "tsdb", "list", source], capture_output=True, text=True, check=True
    )
    _, out, _ = tsdb("list", source)
    theirs = [line.split() for line in ran.stdout.splitlines()]
    assert [line.split() for line in out.splitlines()] == theirs
