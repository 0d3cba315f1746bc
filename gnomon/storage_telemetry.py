"""Storage's stats as metrics, under Prometheus' names where it has one.

From: `tsdb.database.DatabaseStats`.   To: `telemetry.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gnomon.maintenance_telemetry import write_maintenance
from tsdb.interface import AppendStatus, ExemplarStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.metrics_text import MetricsText
    from tsdb.database import DatabaseStats

NO_HEAD_MIN_MS = 2**63 - 1
NO_HEAD_MAX_MS = -(2**63)
"""What Prometheus shows for the times of an empty head."""
_QUANTILES = (0.5, 0.9, 0.99)


def storage_metrics(out: MetricsText, stats: DatabaseStats) -> None:
    """Add all metrics of storage."""
    _head(out, stats)
    _samples(out, stats)
    _exemplars(out, stats)
    _log(out, stats)
    _blocks(out, stats)
    write_maintenance(out, stats.maintenance)


def _head(out: MetricsText, stats: DatabaseStats) -> None:
    low, high = stats.head_min_time_ms, stats.head_max_time_ms
    low = NO_HEAD_MIN_MS if low is None else low
    high = NO_HEAD_MAX_MS if high is None else high
    for name, help_text, value in (
        ("head_series", "Total number of series in the head block.", stats.series),
        (
            "head_chunks",
            "Total number of pages and open slabs in the head block.",
            stats.head_pages - stats.pages_dropped + stats.series,
        ),
        ("head_min_time", "Minimum time bound of the head block, in milliseconds.", low),
        ("head_max_time", "Maximum timestamp of the head block, in milliseconds.", high),
        ("head_min_time_seconds", "Minimum time bound of the head block.", low // 1000),
        ("head_max_time_seconds", "Maximum timestamp of the head block.", high // 1000),
        ("symbol_table_size_bytes", "Size of symbol table in memory.", stats.symbol_bytes),
        (
            "data_replay_duration_seconds",
            "Time taken to replay the data on disk.",
            stats.replay_duration_s,
        ),
        (
            "head_chunks_storage_size_bytes",
            "Size of the files of sealed pages.",
            stats.head_page_bytes,
        ),
        (
            "clean_start",
            "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced."
            " 1: lockfile creation was clean",
            stats.clean_start,
        ),
    ):
        out.gauge(f"prometheus_tsdb_{name}", help_text, value)
    out.counter(
        "prometheus_tsdb_head_series_created_total",
        "Total number of series created in the head",
        stats.series_created,
    )
    out.counter(
        "prometheus_tsdb_head_series_removed_total",
        "Total number of series removed in the head",
        stats.series_removed,
    )
    for name, help_text, total in (
        (
            "head_chunks_created_total",
            "Total number of chunks created in the head: pages that were sealed, and open slabs.",
            stats.head_pages + stats.series_created,
        ),
        (
            "head_chunks_removed_total",
            "Total number of chunks that blocks took over from the head, about.",
            stats.pages_dropped + stats.series_removed,
        ),
        (
            "mmap_chunks_total",
            "Total number of pages that were sealed into memory-mapped files.",
            stats.head_pages,
        ),
        (
            "head_series_not_found_total",
            "Total number of samples of series that were collected meanwhile.",
            stats.appended[AppendStatus.UNKNOWN_SERIES]
            + stats.histograms_appended[AppendStatus.UNKNOWN_SERIES],
        ),
    ):
        out.counter(f"prometheus_tsdb_{name}", help_text, total)
    for name, help_text, value in (
        (
            "head_memory_bytes",
            "Memory of the head: slabs, indexes, columns.",
            stats.head_memory_bytes,
        ),
        ("head_page_bytes", "Sealed pages of the head, in files.", stats.head_page_bytes),
        ("late_samples_waiting", "Late samples that wait for the next cut.", stats.late_waiting),
        ("symbols", "Distinct label texts.", stats.symbol_count),
        ("histograms_waiting", "Native histograms in the head.", stats.histograms_waiting),
        ("metadata_families", "Metric families with metadata.", stats.metadata_families),
    ):
        out.gauge(f"gnomon_tsdb_{name}", help_text, value)


def _samples(out: MetricsText, stats: DatabaseStats) -> None:
    kinds = (
        ({"type": "float"}, stats.appended, stats.late_appended),
        ({"type": "histogram"}, stats.histograms_appended, stats.histograms_late),
    )
    out.family(
        "prometheus_tsdb_head_samples_appended_total",
        "counter",
        "Total number of appended samples.",
        [(kind, appended[AppendStatus.STORED]) for kind, appended, _ in kinds],
    )
    out.family(
        "prometheus_tsdb_head_out_of_order_samples_appended_total",
        "counter",
        "Total number of appended out of order samples.",
        [(kind, late) for kind, _, late in kinds],
    )
    for name, help_text, status in (
        (
            "out_of_order",
            "Total number of out of order samples ingestion failed attempts"
            " due to out of order being disabled.",
            AppendStatus.OUT_OF_ORDER,
        ),
        (
            "too_old",
            "Total number of out of order samples ingestion failed attempts with"
            " out of support enabled, but sample outside of time window.",
            AppendStatus.TOO_OLD,
        ),
    ):
        out.family(
            f"prometheus_tsdb_{name}_samples_total",
            "counter",
            help_text,
            [(kind, appended[status]) for kind, appended, _ in kinds],
        )
    out.family(
        "prometheus_tsdb_out_of_bound_samples_total",
        "counter",
        "Total number of out of bound samples ingestion failed attempts.",
        [
            (kind, appended[AppendStatus.OUT_OF_BOUNDS] + appended[AppendStatus.TOO_FAR_AHEAD])
            for kind, appended, _ in kinds
        ],
    )
    out.family(
        "gnomon_tsdb_samples_total",
        "counter",
        "Samples offered to storage, by what became of them.",
        [
            ({**kind, "status": status.name.lower()}, appended[status])
            for kind, appended, _ in kinds
            for status in AppendStatus
        ],
    )


def _exemplars(out: MetricsText, stats: DatabaseStats) -> None:
    appended = stats.exemplars_appended
    out.counter(
        "prometheus_tsdb_exemplar_exemplars_appended_total",
        "Total number of appended exemplars.",
        appended[ExemplarStatus.STORED],
    )
    out.counter(
        "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
        "Total number of out of order exemplar ingestion failed attempts.",
        appended[ExemplarStatus.OUT_OF_ORDER],
    )
    out.gauge(
        "prometheus_tsdb_exemplar_exemplars_in_storage",
        "Number of exemplars currently in circular storage.",
        stats.exemplars,
    )
    out.gauge(
        "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
        "Number of series with exemplars currently in circular storage.",
        stats.exemplar_series,
    )
    out.gauge(
        "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
        "The timestamp of the oldest exemplar stored in circular storage.",
        (stats.exemplar_oldest_ms or 0) / 1000,
    )
    out.gauge(
        "prometheus_tsdb_exemplar_max_exemplars",
        "Total number of exemplars the exemplar storage can store, resizeable.",
        stats.exemplars_max,
    )


def _log(out: MetricsText, stats: DatabaseStats) -> None:
    wal = stats.wal
    out.gauge(
        "prometheus_tsdb_wal_storage_size_bytes",
        "Size of the write log directory.",
        wal.size_bytes,
    )
    out.gauge(
        "prometheus_tsdb_wal_segment_current",
        "Write log segment index that TSDB is currently writing to.",
        wal.segment,
    )
    out.summary(
        "prometheus_tsdb_wal_fsync_duration_seconds",
        "Duration of write log fsync.",
        [({}, _quantiles(wal.sync_recent_s), wal.fsync_seconds, wal.fsyncs)],
    )
    for name, help_text, value in (
        ("wal_corruptions_total", "Total number of WAL corruptions.", stats.wal_corruptions),
        (
            "wal_writes_failed_total",
            "Total number of write log writes that failed.",
            wal.writes_failed,
        ),
        (
            "wal_truncations_total",
            "Total number of write log truncations that were attempted.",
            wal.truncations,
        ),
        (
            "wal_truncations_failed_total",
            "Total number of write log truncations that failed.",
            wal.truncations_failed,
        ),
    ):
        out.counter(f"prometheus_tsdb_{name}", help_text, value)
    out.counter("gnomon_tsdb_wal_records_total", "Records written to the log.", wal.records)
    out.counter(
        "gnomon_tsdb_wal_written_bytes_total", "Bytes written to the log.", wal.written_bytes
    )


def _quantiles(recent_s: Sequence[float]) -> dict[float, float]:
    ordered = sorted(recent_s)
    last = len(ordered) - 1
    return {q: ordered[round(q * last)] if ordered else math.nan for q in _QUANTILES}


def _blocks(out: MetricsText, stats: DatabaseStats) -> None:
    lowest = stats.lowest_time_ms
    lowest = NO_HEAD_MIN_MS if lowest is None else lowest
    for name, help_text, value in (
        ("blocks_loaded", "Number of currently loaded data blocks", stats.blocks),
        (
            "storage_blocks_bytes",
            "The number of bytes that are currently used for local storage by all blocks.",
            stats.block_bytes,
        ),
        (
            "lowest_timestamp",
            "Lowest timestamp value stored in the database, in milliseconds.",
            lowest,
        ),
        (
            "lowest_timestamp_seconds",
            "Lowest timestamp value stored in the database.",
            lowest // 1000,
        ),
        (
            "retention_limit_bytes",
            "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
            stats.retention_bytes or 0,
        ),
        (
            "retention_limit_seconds",
            "How long to retain samples in storage.",
            (stats.retention_ms or 0) / 1000,
        ),
    ):
        out.gauge(f"prometheus_tsdb_{name}", help_text, value)
    for name, help_text, total in (
        (
            "reloads_total",
            "Number of times the database reloaded block data from disk.",
            stats.reloads,
        ),
        (
            "reloads_failures_total",
            "Number of times the database failed to reload block data from disk.",
            stats.reloads_failed,
        ),
        (
            "time_retentions_total",
            "The number of times that blocks were deleted because the"
            " maximum time limit was exceeded.",
            stats.time_retentions,
        ),
        (
            "size_retentions_total",
            "The number of times that blocks were deleted because the"
            " maximum number of bytes was exceeded.",
            stats.size_retentions,
        ),
    ):
        out.counter(f"prometheus_tsdb_{name}", help_text, total)
    out.summary(
        "gnomon_tsdb_head_save_duration_seconds",
        "Duration of saving the head, so that a start after a crash replays less",
        [({}, {}, stats.head_save_s, stats.head_saves)],
    )
    out.counter(
        "gnomon_tsdb_block_corruptions_total",
        "Damaged places met while blocks were read.",
        stats.block_corruptions,
    )
