"""What storage did behind: cuts, compactions, checkpoints, deletions, under Prometheus' names.

From: `tsdb.maintenance_counts`.   To: `storage_telemetry.py`.
A cut of the head is what Prometheus calls a compaction of the head, a truncation of it, and its
garbage collection; a page is its chunk; the saved head is its snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.metrics_text import MetricsText
    from tsdb.maintenance_counts import Distribution, MaintenanceCounts

_PREFIX = "prometheus_tsdb_"


def write_maintenance(out: MetricsText, counts: MaintenanceCounts) -> None:
    """Add all of it."""
    _compactions(out, counts)
    for name, help_text, value in (
        ("checkpoint_creations", "Total number of checkpoint creations.", counts.checkpoints),
        (
            "checkpoint_creations_failed",
            "Total number of checkpoint creations that failed.",
            counts.checkpoints_failed,
        ),
        ("head_truncations", "Total number of cuts of the head.", counts.cuts + counts.cuts_failed),
        ("head_truncations_failed", "Total number of them that failed.", counts.cuts_failed),
        (
            "snapshot_replay_error",
            "Total number of saves of the head that failed.",
            counts.head_saves_failed,
        ),
    ):
        out.counter(f"{_PREFIX}{name}_total", help_text, value)
    for name, help_text, part in (
        ("head_gc_duration", "Runtime of garbage collection in the head.", counts.collections),
        ("wal_truncate_duration", "Duration of WAL truncation.", counts.log_truncations),
    ):
        out.summary(f"{_PREFIX}{name}_seconds", help_text, [({}, {}, part.total, part.count)])


def _compactions(out: MetricsText, counts: MaintenanceCounts) -> None:
    for name, help_text, value in (
        (
            "compactions",
            "Total number of compactions that were executed for the partition.",
            counts.compactions + counts.cuts,
        ),
        (
            "compactions_failed",
            "Total number of compactions that failed for the partition.",
            counts.compactions_failed,
        ),
        (
            "compactions_triggered",
            "Total number of times it was looked whether something is to be compacted.",
            counts.rounds,
        ),
        (
            "compactions_skipped",
            "Total number of skipped compactions: compaction cannot be switched off.",
            0,
        ),
        (
            "vertical_compactions",
            "Total number of compactions done on overlapping blocks.",
            counts.compactions_overlapping,
        ),
    ):
        out.counter(f"{_PREFIX}{name}_total", help_text, value)
    out.gauge(
        f"{_PREFIX}compaction_populating_block",
        "Set to 1 when a block is currently being written to the disk.",
        counts.writing,
    )
    for name, help_text, part in (
        ("compaction_duration_seconds", "Duration of compaction runs", counts.compaction_runs),
        (
            "compaction_chunk_samples",
            "Number of samples of pages of floats when the head was cut.",
            counts.page_samples,
        ),
        (
            "compaction_chunk_size_bytes",
            "Size of pages of floats when the head was cut, as shares of their frame.",
            counts.page_bytes,
        ),
        (
            # In milliseconds, whatever the name says, in Prometheus as here.
            "compaction_chunk_range_seconds",
            "Range of time of pages of floats when the head was cut, in milliseconds.",
            counts.page_range_ms,
        ),
        (
            "tombstone_cleanup_seconds",
            "The time taken to rewrite blocks without what was deleted.",
            counts.tombstone_cleanups,
        ),
    ):
        _histogram(out, name, help_text, part)


def _histogram(out: MetricsText, name: str, help_text: str, part: Distribution) -> None:
    out.histogram(_PREFIX + name, help_text, [({}, part.bounds, part.counts, part.total)])
