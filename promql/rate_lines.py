"""Rate, increase and delta where many series share their times.

From: `rate.py`.   To: `rate_line_kernels.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promql.rate_line_kernels import change_along_lines, draw_lines

if TYPE_CHECKING:
    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Windows
    from promql.windows import Fill

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]


def along_lines(view: Windows, ctx: EvalContext, *, is_counter: bool, per_second: bool) -> Fill:
    """Work out what depends on times alone; return what makes changes of values by it."""
    shape = view.first.shape
    factor, reach = np.empty(shape), np.empty(shape)
    held, steady = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int32)
    run_start = np.zeros(shape[0], dtype=np.int64)
    run_start[view.window_of] = view.time_start

    def draw(low: int, high: int) -> None:
        some = slice(low, high)
        draw_lines(
            view.times,
            run_start[some],
            view.first[some],
            view.stop[some],
            view.end_ms,
            view.range_ms,
            per_second,
            factor[some],
            reach[some],
            held[some],
            steady[some],
        )

    ctx.rows.run(shape[0], shape[0] * shape[1], draw, ctx.budget.check)

    def work(rows: slice, out: Floats, present: Mask) -> None:
        change_along_lines(
            view.times,
            view.time_start[rows],
            view.values,
            view.value_start[rows],
            view.window_of[rows],
            view.first,
            view.stop,
            view.end_ms,
            view.range_ms,
            is_counter,
            per_second,
            factor,
            reach,
            held,
            steady,
            out,
            present,
        )

    return work
