"""Exemplars, in and out.

From: scrapers and receivers.   To: `tsdb/exemplars.py`; from there `api/query.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from tsdb.interface.arrays import Floats, Ints
    from tsdb.interface.labels import LabelColumns, LabelSpans
    from tsdb.interface.reading import Matcher

EXEMPLAR_LABEL_CHARS_MAX = 128
"""OpenMetrics' limit on the label set of an exemplar, in characters of UTF-8."""


class ExemplarStatus(enum.IntEnum):
    """What became of one exemplar. The first two are success."""

    STORED = 0
    DUPLICATE = 1
    """The newest of its series, again: nothing to do."""
    OUT_OF_ORDER = 2
    """Older than the newest of its series; of one time, of a smaller value."""
    LABELS_TOO_LONG = 3
    """Its label names and values are more than `EXEMPLAR_LABEL_CHARS_MAX` characters together."""
    UNKNOWN_SERIES = 4
    """The ref is of a series that is gone; resolve again and append again."""
    DISABLED = 5
    """None are kept: `storage.exemplars.max_exemplars` is 0."""


@dataclass(frozen=True, slots=True)
class ExemplarColumns:
    """E exemplars of S series, by series and time.

    Series s, with the labels `series`, has the exemplars `first[s]` to `first[s + 1]`; `labels`
    has the labels of each of the E, in a symbol space of their own.
    Shapes: `first` int64[S + 1]; `times` int64[E], milliseconds; `values` float64[E].
    """

    series: LabelColumns
    first: Ints
    times: Ints
    values: Floats
    labels: LabelColumns


class ExemplarStorage(Protocol):
    """Exemplars: the newest few of all series, in a ring. Thread-safe."""

    def append_exemplars(
        self, refs: Ints, times_ms: Ints, values: Floats, labels: LabelSpans
    ) -> npt.NDArray[np.uint8]:
        """Log and keep one batch; return the `ExemplarStatus` of each, in the given order.

        Shapes: [N] each; `labels` are those of the exemplars, of their series there are the refs.
        Raises `WriteFailedError`; then nothing was stored.
        """
        ...

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """Return the exemplars in [start_ms, end_ms] of series that satisfy any of the sets.

        An empty sequence of sets means all series. Raises `BadMatcherError`.
        """
        ...
