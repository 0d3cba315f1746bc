"""Every function by its name: which module's code runs for a call.

From: `evaluate.py`.   To: `rate.py`, `over_time.py`, `elementwise.py`, `histogram.py`.

An implementation is `(node, args, ctx) -> Operand`: the call as written, its evaluated arguments,
all steps at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from promql import (
    calendar,
    conversions,
    elementwise,
    histogram,
    label_functions,
    over_time,
    rate,
    sorting,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]

FUNCTIONS: dict[str, Implementation] = {
    **rate.FUNCTIONS,
    **over_time.FUNCTIONS,
    **elementwise.FUNCTIONS,
    **conversions.FUNCTIONS,
    **calendar.FUNCTIONS,
    **label_functions.FUNCTIONS,
    **sorting.FUNCTIONS,
    **histogram.FUNCTIONS,
}


def implementation(name: str) -> Implementation:
    """Return the code of a function that the parser knows."""
    return FUNCTIONS[name]
