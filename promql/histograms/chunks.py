"""Runs of native histograms in chunks, on the cores that are free.

From: `rate.py`, `over_time.py`.   To: `windows.py` and
`algebra.py`, whose kernels release the GIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from promql.histograms.columns import concat, take

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from tsdb.interface import HistogramColumns

    Flags = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_COST = 16
"""What one histogram of a run costs, in samples of `rows.py`."""


class Fold(Protocol):
    """Makes one histogram and its flags of each run; `known_resets` bool[H] as for rates."""

    def __call__(
        self, columns: HistogramColumns, start: Ints, stop: Ints, known_resets: Mask | None, /
    ) -> tuple[HistogramColumns, Flags]:
        """Fold rows [start, stop) of each run."""
        ...


def in_chunks(
    fold: Fold,
    columns: HistogramColumns,
    start: Ints,
    stop: Ints,
    ctx: EvalContext,
    known_resets: Mask | None = None,
) -> tuple[HistogramColumns, Flags]:
    """Return what `fold` makes of all runs [start, stop), int64[R], in their order.

    A chunk has only the histograms that its runs span: they are copied once, if runs are in the
    order of series. Raises as `ctx.budget.check` does.
    """
    parts: dict[int, tuple[HistogramColumns, Flags]] = {}

    def work(low: int, high: int) -> None:
        if high - low == start.size:
            parts[low] = fold(columns, start, stop, known_resets)
            return
        begin, end = start[low:high], stop[low:high]
        first, last = int(begin.min()), int(end.max())
        some = take(columns, np.arange(first, last))
        known = None if known_resets is None else known_resets[first:last]
        parts[low] = fold(some, begin - first, end - first, known)

    ctx.rows.run(start.size, _COST * int((stop - start).sum()), work, ctx.budget.check)
    found = [parts[low] for low in sorted(parts)]
    if len(found) == 1:
        return found[0]
    return concat([part for part, _ in found]), np.concatenate([flags for _, flags in found])
