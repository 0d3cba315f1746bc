"""Metadata of metric families: the latest counts, and it survives what the series survive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.errors import WriteFailedError
from tsdb.interface import LabelSpans, MetricMetadata
from tsdb.metadata import read_metadata
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=None, background=False)
REQUESTS = MetricMetadata("requests", "counter", "", "All requests.")
LATENCY = MetricMetadata("latency_seconds", "histogram", "seconds", "How long it took; ü.")


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path, OPTIONS)
    yield opened
    opened.close()


def write(database: Database, *names: str) -> None:
    refs = database.resolve(LabelSpans.from_labels({"__name__": name} for name in names))
    database.append(refs, np.full(refs.size, 1000), np.ones(refs.size))


def test_the_latest_counts_and_repetitions_are_not_logged(database):
    assert database.append_metadata([REQUESTS, LATENCY]) == 2
    records = database.stats().wal.records
    assert database.append_metadata([LATENCY, REQUESTS]) == 0
    assert database.stats().wal.records == records
    other = replace(REQUESTS, help="Other words.")
    assert database.append_metadata([REQUESTS, other]) == 1
    assert database.metadata() == [LATENCY, other]
    assert database.metadata("requests") == [other]
    assert database.metadata("nobody") == []
    assert database.stats().metadata_families == 2


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "crashed"])
@pytest.mark.parametrize("flush", [True, False], ids=["after a cut", "before any cut"])
def test_restarts(tmp_path, clean, flush):
    database = Database.open(tmp_path / "a", OPTIONS)
    write(database, "requests_total", "latency_seconds_bucket")
    database.append_metadata([REQUESTS, LATENCY])
    if flush:
        database.flush()
        write(database, "requests_total")
    if clean:
        database.close()
        again = Database.open(tmp_path / "a", OPTIONS)
    else:
        (tmp_path / "b" / "wal").mkdir(parents=True)
        for source in (tmp_path / "a" / "wal").iterdir():
            (tmp_path / "b" / "wal" / source.name).write_bytes(source.read_bytes())
        database.close()
        again = Database.open(tmp_path / "b", OPTIONS)
    assert again.metadata() == [LATENCY, REQUESTS]
    again.close()


def test_families_without_series_are_forgotten_when_the_head_is_cut(database):
    write(database, "requests_total")
    database.append_metadata([REQUESTS, LATENCY])
    database.flush()
    assert database.metadata() == [REQUESTS]


def test_what_cannot_be_logged_is_not_kept(database, monkeypatch):
    def fail(*_):
        raise WriteFailedError("no space")

    monkeypatch.setattr(database._wal, "write_metadata", fail)
    with pytest.raises(WriteFailedError):
        database.append_metadata([REQUESTS])
    assert database.metadata() == []


@pytest.mark.parametrize("payload", [b"", b"{", b"[1]", b"[[]]", b"3"])
def test_damaged_content_is_a_value_error(payload):
    with pytest.raises(ValueError, match=r"metadata|JSON|Expecting"):
        read_metadata(payload)
