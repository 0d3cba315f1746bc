"""Metrics of what is pushed to us, and of what queries read from other servers.

From: `stats()` of the receivers and of `remote_read/reader.py`.   To: `telemetry.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.receivers.import_receiver import ImportStats
    from api.receivers.otlp import OtlpStats
    from api.receivers.remote_write import WriteStats
    from gnomon.metrics_text import MetricsText
    from gnomon.remote_read.reader import RemoteReadStats


@dataclass(frozen=True, slots=True)
class Receivers:
    """Counts of the receivers; None for those that are not switched on."""

    writes: WriteStats | None
    otlp: OtlpStats | None
    imports: Mapping[str, ImportStats] | None
    sent_away: int
    """Pushes that came while too many waited."""
    remote_reads: Mapping[str, RemoteReadStats] = field(default_factory=dict)


def write_receivers(out: MetricsText, stats: Receivers) -> None:
    """Add all of them."""
    if stats.writes is not None:
        _writes(out, stats.writes)
    if stats.otlp is not None:
        _otlp(out, stats.otlp)
    if stats.imports is not None:
        _imports(out, stats.imports)
    if any(each is not None for each in (stats.writes, stats.otlp, stats.imports)):
        out.counter(
            "gnomon_pushes_sent_away_total",
            "Pushes answered 503 because too many were waiting.",
            stats.sent_away,
        )
    for name, help_text in (
        ("queries", "Selections that other servers were asked for."),
        ("failed_queries", "Selections that other servers did not answer."),
        ("samples", "Samples that other servers answered with."),
    ):
        out.family(
            f"gnomon_remote_read_{name}_total",
            "counter",
            help_text,
            [({"remote": n}, getattr(s, name)) for n, s in sorted(stats.remote_reads.items())],
        )


def _otlp(out: MetricsText, stats: OtlpStats) -> None:
    for name, help_text, value in (
        ("requests", "OTLP requests received.", stats.requests),
        ("failed_requests", "OTLP requests of which nothing was stored.", stats.failed_requests),
        ("points", "Data points of OTLP that were stored.", stats.points),
        ("refused_points", "Data points of OTLP that were not stored.", stats.refused_points),
    ):
        out.counter(f"gnomon_otlp_{name}_total", help_text, value)


def _imports(out: MetricsText, stats: Mapping[str, ImportStats]) -> None:
    for name, help_text in (
        ("requests", "Bodies of other systems' formats received."),
        ("samples", "Samples of them that were stored."),
        ("refused_samples", "Samples of them that storage refused."),
        ("bad_lines", "Lines of them that could not be read."),
        ("ignored_values", "Values of them that are no numbers."),
    ):
        out.family(
            f"gnomon_import_{name}_total",
            "counter",
            help_text,
            [({"format": n}, getattr(s, name)) for n, s in sorted(stats.items())],
        )


def _writes(out: MetricsText, stats: WriteStats) -> None:
    for name, help_text, value in (
        ("gnomon_remote_write_requests_total", "Remote write requests received.", stats.requests),
        (
            "gnomon_remote_write_failed_requests_total",
            "Remote write requests of which something was refused.",
            stats.failed_requests,
        ),
        (
            "gnomon_remote_write_samples_total",
            "Samples stored from remote write.",
            stats.samples,
        ),
        (
            "gnomon_remote_write_refused_samples_total",
            "Samples of remote write that storage refused.",
            stats.refused_samples,
        ),
        (
            "prometheus_api_remote_write_invalid_labels_samples_total",
            "The total number of received remote write samples and histogram samples which were"
            " rejected due to invalid labels.",
            stats.invalid_labels_samples,
        ),
        (
            "gnomon_remote_write_exemplars_total",
            "Exemplars stored from remote write.",
            stats.exemplars,
        ),
        (
            "gnomon_remote_write_histograms_total",
            "Native histograms stored from remote write.",
            stats.histograms,
        ),
        (
            "gnomon_remote_write_ignored_exemplars_total",
            "Exemplars of remote write that storage did not keep.",
            stats.exemplars_ignored,
        ),
        (
            "gnomon_remote_write_refused_histograms_total",
            "Native histograms of remote write that were refused.",
            stats.histograms_refused,
        ),
    ):
        out.counter(name, help_text, value)
