"""Storage's metrics after real work, and the names that dashboards and alerts ask for."""

import contextlib
import re

import numpy as np
import pytest

from gnomon.metrics_text import MetricsText
from gnomon.storage_telemetry import storage_metrics
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.maintenance_counts import Distribution
from tsdb.options import DatabaseOptions

HOUR_MS = 3_600_000


def samples_of(database):
    out = MetricsText()
    storage_metrics(out, database.stats())
    lines = [line for line in out.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def fill(database, hours):
    refs = database.resolve(
        LabelSpans.from_labels([{"__name__": "m", "x": str(n)} for n in range(5)])
    )
    for time_ms in range(0, hours * HOUR_MS, 60_000):
        database.append(refs, np.full(5, time_ms), np.full(5, time_ms * 0.37))


@pytest.fixture
def database(tmp_path):
    with contextlib.closing(Database.open(tmp_path, DatabaseOptions(background=False))) as database:
        yield database


def test_a_cut_is_counted_as_compaction_truncation_and_collection(database):
    fill(database, 8)
    before = samples_of(database)
    assert before["prometheus_tsdb_compaction_duration_seconds_count"] == 0
    assert before["prometheus_tsdb_head_chunks"] > 5
    database.flush()
    after = samples_of(database)
    for name in (
        "prometheus_tsdb_compaction_duration_seconds_count",
        'prometheus_tsdb_compaction_duration_seconds_bucket{le="8192"}',
        "prometheus_tsdb_compactions_total",
        "prometheus_tsdb_head_truncations_total",
        "prometheus_tsdb_head_gc_duration_seconds_count",
        "prometheus_tsdb_checkpoint_creations_total",
        "prometheus_tsdb_wal_truncate_duration_seconds_count",
    ):
        assert after[name] == 1, name
    assert after["prometheus_tsdb_head_truncations_failed_total"] == 0
    assert after["prometheus_tsdb_compaction_populating_block"] == 0
    assert after["prometheus_tsdb_compaction_chunk_samples_sum"] == 5 * 8 * 60
    pages = after["prometheus_tsdb_compaction_chunk_samples_count"]
    assert pages >= 5 * 4
    assert after["prometheus_tsdb_compaction_chunk_size_bytes_count"] == pages
    assert after["prometheus_tsdb_compaction_chunk_range_seconds_count"] == pages
    assert 0 < after["prometheus_tsdb_compaction_chunk_size_bytes_sum"] < 16 * 5 * 8 * 60
    assert 0 < after["prometheus_tsdb_compaction_chunk_range_seconds_sum"] <= 5 * 8 * HOUR_MS


def test_pages_that_blocks_took_over_are_no_chunks_of_the_head(database):
    fill(database, 8)
    database.flush()
    counts = samples_of(database)
    created = counts["prometheus_tsdb_head_chunks_created_total"]
    assert 0 <= counts["prometheus_tsdb_head_chunks_removed_total"] <= created
    assert counts["prometheus_tsdb_head_chunks"] >= counts["prometheus_tsdb_head_series"]


def test_rewriting_without_what_was_deleted_is_timed(database):
    fill(database, 4)
    database.flush()
    database.delete([()], 0, HOUR_MS)
    database.clean_tombstones()
    assert samples_of(database)["prometheus_tsdb_tombstone_cleanup_seconds_count"] > 0


def test_syncs_have_quantiles(database):
    fill(database, 1)
    database.sync()
    found = samples_of(database)
    assert found['prometheus_tsdb_wal_fsync_duration_seconds{quantile="0.99"}'] > 0


def test_a_distribution_counts_as_its_definition_says():
    found = Distribution([1.0, 2.0])
    found.add(1.0)
    found.add_all(np.array([1.5, 9.0]), np.array([3, 2]))
    assert found.counts == [1, 3, 2]
    assert (found.count, found.total) == (6, 1.0 + 4.5 + 18.0)


def test_every_name_of_storage_is_one_that_the_format_allows(database):
    assert all(re.match(r"[a-z_]+(\{|$)", name) for name in samples_of(database))
