"""The native histograms of one scrape: parted from its floats, and the markers of what ended.

From: `ingest.py`.   To: `tsdb.interface.HistogramAppender`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scraper.protobuf_kernels import NATIVE
from tsdb.histograms.columns import take
from tsdb.interface import HistogramColumns
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.classic import ConvertedExposition
    from scraper.columns import Columns
    from scraper.protobuf import ProtobufExposition

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NativeSamples:
    """Native histograms to store. Shapes: [H]; `samples` are their numbers in the exposition."""

    samples: Ints
    refs: Ints
    times_ms: Ints
    histograms: HistogramColumns

    def rows(self, rows: Ints) -> NativeSamples:
        """Return some of them."""
        return NativeSamples(
            self.samples[rows], self.refs[rows], self.times_ms[rows], take(self.histograms, rows)
        )


def part_native(
    exposition: ProtobufExposition | ConvertedExposition, columns: Columns, size: int
) -> tuple[NativeSamples | None, int]:
    """Take the histograms from the first `size` samples to append; return them and what is left.

    What is left are floats, close together at the front of `columns.out_*`.
    """
    if exposition.histograms is None:
        return None, size
    outs = (columns.out_samples, columns.out_refs, columns.out_times, columns.out_values)
    is_native = exposition.flags[columns.out_samples[:size]] & NATIVE != 0
    samples, refs, times = (out[:size][is_native] for out in outs[:3])
    rows = np.searchsorted(exposition.native_samples, samples)
    histograms = exposition.histograms
    if rows.size != histograms.histogram_count:
        histograms = take(histograms, rows)
    left = size - rows.size
    for out in outs:
        out[:left] = out[:size][~is_native]
    return NativeSamples(samples, refs, times, histograms), left


def stale_histograms(count: int) -> HistogramColumns:
    """Return so many stale markers."""
    zeros, start = np.zeros(count), np.zeros(count + 1, np.int64)
    none, no_index = np.empty(0), np.empty(0, np.int32)
    return HistogramColumns(
        schema=np.zeros(count, np.int8),
        hint=np.zeros(count, np.int8),
        is_float=np.zeros(count, np.bool_),
        count=zeros,
        sum=np.full(count, STALE_NAN),
        zero_threshold=zeros,
        zero_count=zeros,
        positive_start=start,
        positive_index=no_index,
        positive_count=none,
        negative_start=start,
        negative_index=no_index,
        negative_count=none,
        bounds_start=start[:-1],
        bounds_count=start[:-1],
        bounds=none,
    )
