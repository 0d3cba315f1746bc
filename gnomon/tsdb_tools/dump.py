"""A store as text: OpenMetrics, which `backfill.py` reads again, or lines as promtool's.

From: `stored_batches.py`. To: a file or a pipe.
OpenMetrics cannot say two things, and their number is told: stale markers, and native histograms.
Start timestamps become samples of `_created`, at the time of the first sample that has them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from api.float_kernels import SLACK_BYTES
from gnomon.tsdb_tools.line_kernels import LINE_BYTES_MAX, STALE, write_lines
from gnomon.tsdb_tools.sample_starts import changes_of
from promql.histograms.text import histogram_text
from promql.quoting import quote
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tsdb.interface import HistogramRuns, SeriesBatch

_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_LINES = 1 << 14


class Style(enum.Enum):
    """How samples are written."""

    OPENMETRICS = "openmetrics"
    PROMTOOL = "promtool"


@dataclass(slots=True)
class DumpCounts:
    """What was written, and what the format has no word for."""

    series: int = 0
    samples: int = 0
    stale: int = 0
    histograms: int = 0


def dump(batches: Iterable[SeriesBatch], style: Style, counts: DumpCounts) -> Iterator[bytes]:
    """Yield the text of all samples, series by series; `counts` is brought up to date."""
    is_openmetrics = style is Style.OPENMETRICS
    for batch in batches:
        for s in range(batch.series_count):
            labels = batch.labels.row(s)
            text = openmetrics_series(labels) if is_openmetrics else promtool_series(labels)
            counts.series += 1
            yield from _floats(batch, s, text.encode(), counts, is_openmetrics)
            if is_openmetrics and batch.start_times is not None:
                yield from _created(batch, s, labels)
            if batch.histograms is not None and batch.histograms.count[s]:
                counts.histograms += int(batch.histograms.count[s])
                if not is_openmetrics:
                    yield from _histograms(batch.histograms, s, text)
    if is_openmetrics:
        yield b"# EOF\n"


def _floats(
    batch: SeriesBatch,
    s: int,
    text: bytes,
    counts: DumpCounts,
    is_openmetrics: bool,  # private, and named in the caller
) -> Iterator[bytes]:
    first_time, first_value = int(batch.time_start[s]), int(batch.value_start[s])
    padded = np.frombuffer(text + bytes(SLACK_BYTES), np.uint8)
    count = int(batch.count[s])
    for at in range(0, count, _LINES):
        stop = min(count, at + _LINES)
        times = batch.times[first_time + at : first_time + stop]
        bits = batch.values[first_value + at : first_value + stop].view(np.uint64)
        stale = int(np.count_nonzero(bits == STALE)) if is_openmetrics else 0
        counts.stale += stale
        counts.samples += times.size - stale
        out = np.empty(times.size * (len(text) + LINE_BYTES_MAX) + LINE_BYTES_MAX, np.uint8)
        size = write_lines(
            padded, 0, len(text), times, bits, is_openmetrics, not is_openmetrics, out
        )
        yield out[:size].tobytes()


def _created(batch: SeriesBatch, s: int, labels: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the samples of the `_created` series: since when the series counts, at each change.

    Of the series of a classic histogram or summary that is said once, with its count.
    """
    metric = labels.get(METRIC_NAME, "")
    if metric.endswith(("_bucket", "_sum")):
        return
    family = metric.removesuffix("_total").removesuffix("_count")
    text = openmetrics_series({**labels, METRIC_NAME: family + "_created"})
    for time_ms, start_ms in changes_of(batch, s):
        yield f"{text} {_seconds(start_ms)} {_seconds(time_ms)}\n".encode()


def _seconds(time_ms: int) -> str:
    """Return milliseconds as seconds, exactly.

    >>> _seconds(1500), _seconds(-20), _seconds(3000)
    ('1.500', '-0.020', '3')
    """
    whole, rest = divmod(abs(time_ms), 1000)
    return ("-" if time_ms < 0 else "") + (f"{whole}.{rest:03}" if rest else str(whole))


def _histograms(runs: HistogramRuns, s: int, text: str) -> Iterator[bytes]:
    for row in range(int(runs.start[s]), int(runs.start[s] + runs.count[s])):
        yield f"{text} {histogram_text(runs.columns, row)} {runs.times[row]}\n".encode()


def openmetrics_series(labels: Mapping[str, str]) -> str:
    r"""Return a series as OpenMetrics writes it, names that need it in quotes.

    >>> openmetrics_series({"__name__": "up", "job": 'a"b'})
    'up{job="a\\"b"}'
    >>> openmetrics_series({"__name__": "http.requests", "a.b": "c"})
    '{"http.requests","a.b"="c"}'
    """
    metric = labels.get(METRIC_NAME, "")
    pairs = [
        f"{_label(name)}={_quoted(value)}"
        for name, value in sorted(labels.items())
        if name != METRIC_NAME
    ]
    if _LEGACY_METRIC.fullmatch(metric):
        return f"{metric}{{{','.join(pairs)}}}" if pairs else metric
    return f"{{{','.join(([_quoted(metric)] if metric else []) + pairs)}}}"


def _label(name: str) -> str:
    return name if _LEGACY_LABEL.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def promtool_series(labels: Mapping[str, str]) -> str:
    """Return a series as promtool and Prometheus' messages write it.

    >>> promtool_series({"job": "a", "__name__": "up"})
    '{__name__="up", job="a"}'
    """
    pairs = (f"{_label(name)}={quote(value)}" for name, value in sorted(labels.items()))
    return "{" + ", ".join(pairs) + "}"
