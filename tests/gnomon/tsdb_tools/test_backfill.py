import gzip
import io

import pytest

from gnomon.tsdb_tools import backfill as module
from gnomon.tsdb_tools.backfill import BackfillError, backfill
from tests.gnomon.tsdb_tools.digests import expected_rows, key, rows_of

HOUR_MS = 3_600_000


def write(text, directory, **options):
    body = text if isinstance(text, bytes) else text.encode()
    source = io.BufferedReader(io.BytesIO(body))
    return backfill(source, directory, **{"window_ms": 2 * HOUR_MS} | options)


@pytest.mark.parametrize("part_bytes", [16 << 20, 70_001], ids=["in one part", "in many parts"])
def test_the_corpus(corpora, tmp_path, monkeypatch, part_bytes):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    packed = (corpora / "tsdb" / "blocks-input.om.gz").read_bytes()
    report = write(packed, tmp_path)
    expected = expected_rows(corpora / "tsdb" / "expected.json")
    wanted = {k: row for k, row in expected.items() if row.get("last_ms", 2**62) < 1795154400000}
    assert rows_of(tmp_path) == wanted
    assert (len(report.blocks), report.series, report.samples) == (3, 282, 100_254)


def test_samples_in_any_order_and_far_apart(tmp_path):
    text = "b 1 900000\na 2 5.5\na 1 0.25\nb 3 100\n# EOF\n"
    report = write(text, tmp_path)
    assert [meta.min_time_ms for meta in report.blocks] == [250, 900_000_000]
    rows = rows_of(tmp_path)
    assert rows[key({"__name__": "a"})]["samples"] == 2
    assert rows[key({"__name__": "a"})]["first_ms"] == 250
    assert rows[key({"__name__": "b"})]["last_ms"] == 900_000_000
    assert not list(tmp_path.glob("*.tmp"))


def test_of_one_time_the_first_sample_stays(tmp_path):
    report = write("a 7 1\na 8 1\na 7 1\n# EOF\n", tmp_path)
    assert (report.samples, report.repeated) == (1, 2)


def test_other_spellings_of_a_series_are_one(tmp_path):
    report = write(
        'a{x="1",y="2"} 7 1\na{y="2",x="1"} 8 2\na{x="1",y="2",z=""} 9 3\n# EOF\n', tmp_path
    )
    assert (report.series, report.samples) == (1, 3)


def test_added_labels(tmp_path):
    write('a{job="x"} 7 1\n# EOF\n', tmp_path, labels={"job": "y", "site": "z"})
    assert list(rows_of(tmp_path)) == [key({"__name__": "a", "job": "y", "site": "z"})]


def test_longer_blocks(tmp_path):
    text = "".join(f"a {n} {n * 3600}\n" for n in range(48)) + "# EOF\n"
    assert len(write(text, tmp_path, window_ms=24 * HOUR_MS).blocks) == 2


def test_gzip_is_told_by_its_first_bytes(tmp_path):
    assert write(gzip.compress(b"a 1 1\n# EOF\n"), tmp_path).samples == 1


def test_nothing_at_all(tmp_path):
    assert write("# EOF\n", tmp_path).blocks == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a 1 1\n", "data does not end with # EOF", id="no end"),
        pytest.param("a 1 1\n# EOF\na 1 2\n", "data does not end|after # EOF", id="more behind it"),
        pytest.param("a 1\n# EOF\n", "expected timestamp for series a", id="no time"),
        pytest.param("a 1 1\na b 2\n# EOF\n", "in lines 1 to 3: ", id="not a number"),
        pytest.param('{x="1"} 1 1\n# EOF\n', "metric name", id="no name"),
        pytest.param("a 1 1\n\n# EOF\n", "in lines", id="an empty line"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, text, message):
    with pytest.raises(BackfillError, match=message):
        write(text, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_nonsense_times_does_not_make_a_million_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("gnomon.tsdb_tools.spool.WINDOWS_MAX", 3)
    text = "".join(f"a 1 {n * 10_000_000}\n" for n in range(5)) + "# EOF\n"
    with pytest.raises(Exception, match="in more than 3 windows"):
        write(text, tmp_path)
    assert list(tmp_path.iterdir()) == []
