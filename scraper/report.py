"""The series that the scraper itself writes about a target: `up` and its kin.

From: `ingest.py`, with each scrape.   To: the same, which appends them behind the samples.
Source: Prometheus documentation, "Automatically generated labels and time series".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.job import ScrapeJob
    from scraper.labelling import Labelling
    from tsdb.interface import Appender

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

_REPORT = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)
_EXTRA_REPORT = ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")


class ReportSeries:
    """The refs of one target's report series, None until they are asked for."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self.refs: Ints | None = None

    def resolve(self, labelling: Labelling, count: int) -> Ints:
        """Return the refs of the first `count` series, in the order of `report_values`."""
        if self.refs is None or self.refs.size != count:
            names = (_REPORT + _EXTRA_REPORT)[:count]
            labels = [labelling.report_labels(name) for name in names]
            self.refs = self._appender.resolve(LabelSpans.from_labels(labels))
        return self.refs


def report_values(
    job: ScrapeJob,
    timeout_ms: int,
    error: str,
    duration_s: float,
    counts: tuple[int, int, int],
    body_bytes: int,
) -> Floats:
    """Return the values of the report series; `counts` are scraped, left, and series added."""
    values = [0.0 if error else 1.0, duration_s, *counts]
    if job.extra_scrape_metrics:
        values += [timeout_ms / 1000, job.limits.sample_limit, body_bytes]
    return np.array(values, np.float64)
