"""Native histograms as columns, the same for writing and for reading.

From: scrapers and receivers (`HistogramColumns`); `tsdb/select.py` (`HistogramRuns`).
To:   `tsdb/append.py`; `promql/histograms/`, `api/`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tsdb.interface.arrays import Floats, Ints


class ResetHint(enum.IntEnum):
    """What the writer of a native histogram knew of counter resets; numbers as on the wire."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


CUSTOM_BUCKETS_SCHEMA = -53
"""The schema of histograms whose bounds are listed (NHCB) rather than computed."""


@dataclass(frozen=True, slots=True)
class HistogramColumns:
    """H native histograms as columns, with ragged buckets in pools.

    Shapes: `schema`, `hint` int8[H]; `is_float` bool[H] (counts were floats, not integers);
    `count`, `sum`, `zero_threshold`, `zero_count` float64[H]. Histogram h has its positive
    buckets at `positive_index[positive_start[h] : positive_start[h + 1]]` (int32, strictly
    rising) with the absolute (not cumulative, not delta) `positive_count` float64 beside; negative
    ones likewise. Bucket i of schema s covers (2^((i-1) * 2^-s), 2^(i * 2^-s)]. With the schema
    `CUSTOM_BUCKETS_SCHEMA` its upper bounds are `bounds[bounds_start[h] : bounds_start[h] +
    bounds_count[h]]` (rising, without +Inf; runs may be shared), index 0 is the first of them, and
    there are no negative buckets. A stale marker is a histogram whose `sum` is the stale NaN.
    Buckets may be listed with a count of 0; none comes twice.
    Source: Prometheus' native histogram specification.
    """

    schema: npt.NDArray[np.int8]
    hint: npt.NDArray[np.int8]
    is_float: npt.NDArray[np.bool_]
    count: Floats
    sum: Floats
    zero_threshold: Floats
    zero_count: Floats
    positive_start: Ints
    positive_index: npt.NDArray[np.int32]
    positive_count: Floats
    negative_start: Ints
    negative_index: npt.NDArray[np.int32]
    negative_count: Floats
    bounds_start: Ints
    bounds_count: Ints
    bounds: Floats

    @property
    def histogram_count(self) -> int:
        """H."""
        return int(self.schema.size)


@dataclass(frozen=True, slots=True)
class HistogramRuns:
    """The native histogram samples of a batch's S series.

    Series s has the histograms `start[s]` to `start[s] + count[s]` of `columns`, at the times
    `times` (int64[H], aligned with `columns`) of the same positions, strictly increasing within a
    series. A time holds a float or a histogram of a series, never both.
    Shapes: `start`, `count` int64[S].
    """

    times: Ints
    start: Ints
    count: Ints
    columns: HistogramColumns
