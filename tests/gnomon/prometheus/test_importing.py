import json
import os
import re
import shutil
import struct
import subprocess
import urllib.parse
import urllib.request

import numpy as np
import pytest

from gnomon.prometheus.exemplars import ExemplarLog
from gnomon.prometheus.importing import import_directory, is_prometheus_directory
from tests.end_to_end.processes import free_port, prometheus_3, until
from tests.gnomon.prometheus.test_wal import write_segment
from tests.gnomon.tsdb_tools.digests import expected_rows, key, rows_of
from tests.protobuf import varint, zigzag
from tsdb.database import Database
from tsdb.options import DatabaseOptions

ULIDS = ["01M8542K5XN7Q2PE912GF04E6K", "01M8542K7ZV9T90G92QY1CCK44", "01M8542K9Y0MK3RJDJZEMF7AS0"]


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        pytest.param("data", "expected.json", id="blocks, log, native histograms"),
        pytest.param("data-with-tombstones", "expected-with-tombstones.json", id="deleted in both"),
    ],
)
def test_every_sample_is_there(corpora, tmp_path, directory, expected):
    root = corpora / "tsdb"
    report = import_directory(root / directory, tmp_path)
    assert report.damaged == report.head.damaged == []
    assert rows_of(tmp_path) == expected_rows(root / expected)
    assert report.head.exemplars > 0
    assert [meta.ulid for meta in report.written[:3]] == ULIDS


def exemplars_of(directory):
    """All exemplars of a directory of ours, as Prometheus tells them."""
    database = Database.open(directory, DatabaseOptions(background=False, retention_ms=None))
    found = database.select_exemplars([()], -(1 << 60), 1 << 60)
    told = []
    for series in range(found.series.series_count):
        of_series = [
            (int(found.times[at]), float(found.values[at]), found.labels.row(at))
            for at in range(found.first[series], found.first[series + 1])
        ]
        told.append((found.series.row(series), of_series))
    database.close()
    return sorted(told, key=str)


@pytest.mark.peer
@pytest.mark.timeout(120)
def test_exemplars_are_those_that_prometheus_finds(source, tmp_path):
    program = prometheus_3()
    report = import_directory(source, tmp_path / "ours")
    assert report.head.exemplars_refused == 0
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    port = free_port()
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={source}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.retention.time=100y",
                "--enable-feature=native-histograms,exemplar-storage",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}/api/v1/query_exemplars"
    query = urllib.parse.urlencode({"query": '{__name__=~".+"}', "start": 0, "end": 1 << 32})

    def answer():
        try:
            with urllib.request.urlopen(f"{url}?{query}", timeout=30) as response:
                return json.loads(response.read())["data"]
        except OSError:
            return None

    try:
        told = until(answer, "Prometheus to answer")
    finally:
        process.kill()
        process.wait()
    theirs = [
        (
            each["seriesLabels"],
            [
                (round(1000 * one["timestamp"]), float(one["value"]), one["labels"])
                for one in each["exemplars"]
            ],
        )
        for each in told
    ]
    assert report.head.exemplars == sum(len(of_series) for _, of_series in theirs) > 0
    assert exemplars_of(tmp_path / "ours") == sorted(
        ((dict(sorted(s.items())), rest) for s, rest in theirs), key=str
    )


def test_as_many_exemplars_are_held_as_are_kept():
    log = ExemplarLog(exemplars_max=3)
    for time in range(5):
        record = b"\4" + bytes(8) + time.to_bytes(8, "big")
        record += 2 * (b"\0\0" + bytes(8) + b"\1\1n\1v")
        assert log.take(np.frombuffer(record + bytes(16), np.uint8), len(record)) == 2
    assert [times.tolist() for _, times, _, _ in log.batches] == [[3, 3], [4, 4]]
    assert log.take(np.frombuffer(record[:-1] + bytes(16), np.uint8), len(record) - 1) == -1


def test_a_repeated_import_adds_nothing(corpora, tmp_path):
    first = import_directory(corpora / "tsdb" / "data", tmp_path)
    exemplars = exemplars_of(tmp_path)
    second = import_directory(corpora / "tsdb" / "data", tmp_path)
    assert second.written == []
    assert (second.head.exemplars, exemplars_of(tmp_path)) == (0, exemplars)
    assert sorted(second.skipped) == sorted(meta.ulid for meta in first.written)


def test_a_snapshot_has_no_log(corpora, tmp_path):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for ulid in ULIDS[:2]:
        shutil.copytree(corpora / "tsdb" / "data" / ulid, snapshot / ulid)
    assert is_prometheus_directory(snapshot)
    report = import_directory(snapshot, tmp_path / "ours")
    assert [meta.ulid for meta in report.written] == ULIDS[:2]


def test_without_the_log(corpora, tmp_path):
    report = import_directory(corpora / "tsdb" / "data", tmp_path, blocks_only=True)
    assert (len(report.written), report.head.records) == (3, 0)


@pytest.fixture
def source(corpora, tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(corpora / "tsdb" / "data", copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
    return copy


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "at", "message"),
    [
        pytest.param("chunks/000001", 0, "not a chunk file", id="the magic of the chunks"),
        pytest.param("index", 40, "checksum mismatch in the symbols", id="a symbol"),
        pytest.param("index", 5000, "damaged entry", id="a series"),
        pytest.param("index", -10, "table of contents", id="the index' end"),
        pytest.param("tombstones", 4, "not tombstones", id="tombstones"),
        pytest.param("meta.json", 0, "not a block's meta", id="the meta"),
    ],
)
def test_a_damaged_block_is_told_and_the_others_are_taken(source, tmp_path, name, at, message):
    flip(source / ULIDS[0] / name, at)
    report = import_directory(source, tmp_path / "ours", blocks_only=True)
    assert [meta.ulid for meta in report.written] == ULIDS[1:]
    (error,) = report.damaged
    assert message in str(error)
    assert not list((tmp_path / "ours").glob("*.tmp"))


def lost_rows(directory, corpora):
    """Return how many series have another number of samples than they should, in the blocks."""
    mine = rows_of(directory)
    return sum(
        mine.get(name, {}).get("samples", 0) != row["samples"]
        for name, row in expected_rows(corpora / "tsdb" / "expected.json").items()
        if row.get("samples") and row["last_ms"] < 1795154400000
    )


def test_a_damaged_chunk_costs_its_samples_alone(source, tmp_path, corpora):
    flip(source / ULIDS[0] / "chunks" / "000001", 5000)
    report = import_directory(source, tmp_path / "ours", blocks_only=True)
    assert [meta.ulid for meta in report.written] == ULIDS
    (error,) = report.damaged
    assert re.search(r"chunks/000001 at byte 48\d\d: damaged chunk$", str(error))
    assert lost_rows(tmp_path / "ours", corpora) == 1


def test_a_chunk_file_that_is_cut_off_costs_what_was_behind(source, tmp_path, corpora):
    path = source / ULIDS[1] / "chunks" / "000001"
    os.truncate(path, path.stat().st_size // 2)
    report = import_directory(source, tmp_path / "ours", blocks_only=True)
    assert [meta.ulid for meta in report.written] == ULIDS
    (error,) = report.damaged
    assert error.path == path
    assert 0 < error.offset_bytes < path.stat().st_size
    assert re.search(r": damaged chunk, and \d+ more like it behind it$", str(error))
    assert 50 < lost_rows(tmp_path / "ours", corpora) < 250


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("chunks/000001", "names chunk file 1, which cannot be read", id="chunks"),
        pytest.param("index", "the block cannot be read", id="the index"),
        pytest.param("meta.json", "the meta cannot be read", id="the meta"),
    ],
)
def test_a_missing_file_is_told_and_the_other_blocks_are_taken(source, tmp_path, name, message):
    (source / ULIDS[1] / name).unlink()
    report = import_directory(source, tmp_path / "ours", blocks_only=True)
    (error,) = report.damaged
    assert message in str(error)
    assert ULIDS[1] in str(error)
    assert [meta.ulid for meta in report.written] == [ULIDS[0], ULIDS[2]]


def test_a_damaged_log_gives_what_comes_before(source, tmp_path):
    flip(source / "wal" / "00000000", 90_000)
    report = import_directory(source, tmp_path / "ours")
    (error,) = report.head.damaged
    assert "checksum mismatch" in str(error)
    assert 0 < report.head.floats < 10_072
    assert len(report.written) == 4


def signed(number):
    """A number as Go writes a varint."""
    return varint(zigzag(number))


def test_a_deletion_from_before_the_blocks_spares_late_samples(source, tmp_path):
    blocks_end = 1795154340527
    times = [blocks_end - 5000, blocks_end - 4000, blocks_end + 1000]
    series = b"\1" + (1 << 40).to_bytes(8, "big") + b"\1\1a\1b"
    begin = (1 << 40).to_bytes(8, "big") + times[0].to_bytes(8, "big")
    late = b"\2" + begin
    for time in times:
        late += signed(0) + signed(time - times[0]) + struct.pack(">d", 7.0)
    deleted = [
        b"\3" + (1 << 40).to_bytes(8, "big") + signed(low) + signed(high)
        for low, high in ((0, blocks_end - 1), (times[2], times[2]))
    ]
    (source / "wal" / "00000001").write_bytes(write_segment([series, *deleted]))
    (source / "wbl").mkdir()
    (source / "wbl" / "00000000").write_bytes(write_segment([late]))
    report = import_directory(source, tmp_path / "ours")
    assert report.damaged == report.head.damaged == []
    row = rows_of(tmp_path / "ours")[key({"a": "b"})]
    assert (row["samples"], row["first_ms"], row["last_ms"]) == (2, times[0], times[1])


@pytest.mark.parametrize(
    ("number", "message"),
    [
        pytest.param(1, None, id="none"),
        pytest.param(3, "lacks segment 00000001 and 1 more, has later ones", id="two between"),
    ],
)
def test_segments_of_the_log_that_are_missing_are_told(source, tmp_path, number, message):
    (source / "wal" / f"{number:08}").write_bytes(b"")
    report = import_directory(source, tmp_path / "ours")
    assert report.head.floats == 10_072
    assert [message in str(error) for error in report.head.damaged] == [True] * bool(message)
