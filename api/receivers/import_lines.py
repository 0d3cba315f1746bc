"""Lines of text, or items of a list, to series with samples; what is wrong with one is its own.

From: `import_text.py`, `influx.py`, `graphite.py`, `falcon.py`.   To: `import_receiver.py`.

A line that cannot be read is noted with its number and costs the others nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from api.receivers.body_decoding import LINES_MAX, TooManyPartsError
from api.receivers.label_pool import pooled_spans
from api.receivers.pushing import PROBLEMS_MAX, Pushed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tsdb.interface import MetricMetadata

TIME_MS_MAX = 1 << 53
"""Times are far below; beyond this they are no times."""


class LineError(ValueError):
    """A line that cannot be read; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples, and the line that each of them came from."""

    samples: Pushed
    line_of: Callable[[int], int]


@dataclass(slots=True)
class Faults:
    """What could not be read: how many lines, and of the first few why. `unit` names a line."""

    unit: str = "line"
    count: int = 0
    texts: list[str] = field(default_factory=list)

    def add(self, line: int, problem: str) -> None:
        """Note one line."""
        self.count += 1
        if len(self.texts) < PROBLEMS_MAX:
            self.texts.append(f"{self.unit} {line}: {problem}")


@dataclass(slots=True)
class Import:
    """All that a body says."""

    batches: list[Batch] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    metadata: dict[str, MetricMetadata] = field(default_factory=dict)
    ignored: int = 0
    """What a protocol carries and time series cannot hold: strings."""


class Samples:
    """Samples while they are read. Equal keys are one series."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._labels: list[dict[str, str]] = []
        self._series: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []
        self._lines: list[int] = []

    def find(self, key: object) -> int:
        """Return the number of a series, -1 if it is new."""
        return self._numbers.get(key, -1)

    def add_series(self, key: object, labels: Mapping[str, str]) -> int:
        """Return the number of a new series. Raises LineError for labels that cannot be stored."""
        if not labels.get("__name__"):
            raise LineError("a metric needs a name")
        for name, value in labels.items():
            if not name:
                raise LineError("a label needs a name")
            for text in (name, value):
                if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
                    raise LineError("invalid UTF-8")
        number = self._numbers[key] = len(self._labels)
        self._labels.append(dict(labels))
        return number

    def add(self, series: int, time_ms: int, value: float, line: int) -> None:
        """Add one sample. Raises LineError for a time that is none."""
        if not -TIME_MS_MAX < time_ms < TIME_MS_MAX:
            raise LineError("timestamp is out of range")
        self._series.append(series)
        self._times.append(time_ms)
        self._values.append(value)
        self._lines.append(line)

    def batch(self) -> Batch:
        """Return what was added, as columns."""
        return Batch(
            Pushed(
                labels=pooled_spans(self._labels),
                times_ms=np.array(self._times, dtype=np.int64),
                values=np.array(self._values, dtype=np.float64),
                series_of=np.array(self._series, dtype=np.int64),
            ),
            self._lines.__getitem__,
        )


def read_float(text: str) -> float:
    """Return a number. Raises LineError.

    >>> read_float("1e3"), read_float("+Inf")
    (1000.0, inf)
    """
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise LineError(f"cannot parse {text!r} as a number") from None


def plain_text(body: bytes) -> str:
    """Return a body as text; bytes that are no UTF-8 as surrogates, which labels refuse.

    Raises TooManyPartsError for one of very many lines.
    """
    if body.count(b"\n") > LINES_MAX:
        raise TooManyPartsError(LINES_MAX, "lines")
    return body.decode("utf-8", "surrogateescape")
