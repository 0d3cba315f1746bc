"""What forwarding counts as metrics, under Prometheus' names.

From: `forwarding/stats.py`, gathered by `view.py`.   To: `telemetry.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.forwarding.stats import DURATION_BOUNDS_S, KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gnomon.forwarding.stats import QueueCounts
    from gnomon.metrics_text import Labels, MetricsText
    from tsdb.database import DatabaseStats

_PREFIX = "prometheus_remote_storage_"
_OUTCOMES = (
    ("total", "sent", "counter", "Total number of {} sent to remote storage."),
    ("failed_total", "failed", "counter", "Total number of {} which remote storage refused."),
    ("retried_total", "retried", "counter", "Total number of {} which were sent once more."),
    ("pending", "pending", "gauge", "The number of {} read and not delivered yet."),
)
_GAUGES = (
    ("shards", "shards", "The number of shards that send beside each other."),
    ("shards_max", "shards_max", "The maximum number of shards."),
    ("shards_min", "shards_min", "The minimum number of shards."),
    ("shards_desired", "shards_desired", "The number of shards that the queue would like."),
    ("shard_capacity", "shard_capacity", "Samples that are read at once for each shard."),
    ("max_samples_per_send", "samples_per_send_max", "Samples of a request at most."),
)


def write_forwarding(
    out: MetricsText, queues: Sequence[QueueCounts], storage: DatabaseStats | None
) -> None:
    """Add the metrics of all queues; nothing where there is none."""
    if not queues:
        return
    labels: list[Labels] = [{"remote_name": each.name, "url": each.url} for each in queues]

    def rows(value: Callable[[QueueCounts], float]) -> list[tuple[Labels, float]]:
        return [(own, value(each)) for own, each in zip(labels, queues, strict=True)]

    for kind in KINDS:
        for suffix, member, family, help_text in _OUTCOMES:
            if (kind, member) == ("metadata", "pending"):
                continue
            found = [
                (own, float(getattr(each.kinds[kind], member)))
                for own, each in zip(labels, queues, strict=True)
            ]
            out.family(f"{_PREFIX}{kind}_{suffix}", family, help_text.format(kind), found)
    for kind in KINDS[:-1]:
        dropped = [
            (own | {"reason": reason}, float(count))
            for own, each in zip(labels, queues, strict=True)
            for reason, count in sorted(each.kinds[kind].dropped.items())
        ]
        text = f"Total number of {kind} which were read from the log and not sent, by reason."
        out.family(f"{_PREFIX}{kind}_dropped_total", "counter", text, dropped)
    for suffix, member, help_text in _GAUGES:
        found = [
            (own, float(getattr(each, member))) for own, each in zip(labels, queues, strict=True)
        ]
        out.family(_PREFIX + suffix, "gauge", help_text, found)
    text = "Bytes of requests with samples, compressed, that were sent."
    out.family(f"{_PREFIX}bytes_total", "counter", text, rows(lambda q: q.sent_bytes))
    text = "Bytes of requests with metadata, compressed, that were sent."
    out.family(f"{_PREFIX}metadata_bytes_total", "counter", text, rows(lambda q: q.metadata_bytes))
    text = "Highest timestamp successfully sent, in seconds since the epoch."
    name = f"{_PREFIX}queue_highest_sent_timestamp_seconds"
    out.family(name, "gauge", text, rows(lambda q: q.highest_sent_ms / 1000))
    out.histogram(
        f"{_PREFIX}sent_batch_duration_seconds",
        "Duration of send calls to the remote storage.",
        [
            (own, DURATION_BOUNDS_S, each.duration_counts, each.duration_total_s)
            for own, each in zip(labels, queues, strict=True)
        ],
    )
    text = "Times that a queue was full: none, the log is read when there is room."
    out.family(f"{_PREFIX}enqueue_retries_total", "counter", text, rows(lambda _: 0))
    text = "Bytes of the log that a queue has still to read."
    out.family("gnomon_forwarding_bytes_behind", "gauge", text, rows(lambda q: q.bytes_behind))
    consumers: list[Labels] = [{"consumer": each.name} for each in queues]
    for name, kind, text, member in (
        ("current_segment", "gauge", "Segment of the log that a queue reads.", "segment"),
        (
            "record_decode_failures_total",
            "counter",
            "Records of the log that could not be read.",
            "records_damaged",
        ),
    ):
        found = [
            (own, float(getattr(each, member))) for own, each in zip(consumers, queues, strict=True)
        ]
        out.family(f"prometheus_wal_watcher_{name}", kind, text, found)
    if storage is not None:
        _incoming(out, storage)


def _incoming(out: MetricsText, storage: DatabaseStats) -> None:
    highest_ms = storage.head_max_time_ms or 0
    text = "Highest timestamp that came into storage, in seconds since the epoch."
    out.gauge(f"{_PREFIX}highest_timestamp_in_seconds", text, highest_ms / 1000)
    for kind, count in (
        ("samples", storage.appended[0] - storage.replay_samples),
        ("histograms", storage.histograms_appended[0]),
        ("exemplars", storage.exemplars_appended[0]),
    ):
        text = f"{kind.capitalize()} that came into storage, of which queues are fed."
        out.counter(f"{_PREFIX}{kind}_in_total", text, max(0, count))
