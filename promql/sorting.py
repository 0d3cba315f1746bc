"""sort(), sort_desc(), sort_by_label(), sort_by_label_desc(): rows in an order that is kept.

From: `functions.py`.   Only an instant query shows the order; over a range the answer is sorted
by labels whatever is done here, so a warning says that sorting is in vain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from promql.matrix import Matrix, StringValue

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.labels import QuerySymbols
    from promql.matrix import Operand
    from promql.syntax import Call

    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]

_CHUNKS = re.compile(r"[0-9]+|[^0-9]+")
_INT64_MAX = 2**63 - 1


def _vain(node: Call, ctx: EvalContext) -> bool:
    if ctx.step_count == 1:
        return False
    ctx.annotations.warn(
        "sort is ineffective for range queries since results are always ordered by labels",
        node.span,
    )
    return True


def _sort(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _by_value(node, args, ctx, descending=False)


def _sort_desc(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _by_value(node, args, ctx, descending=True)


def _by_value(node: Call, args: list[Operand], ctx: EvalContext, *, descending: bool) -> Matrix:
    """Order by value; NaN comes last either way. Histograms have no order and are left out."""
    vector = args[0]
    assert isinstance(vector, Matrix)
    vector = vector.only_floats()
    if _vain(node, ctx):
        return vector
    rows = np.flatnonzero(vector.present[:, 0])
    values = vector.values[rows, 0]
    return vector.take(rows[np.argsort(-values if descending else values, kind="stable")])


def _sort_by_label(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _by_label(node, args, ctx, descending=False)


def _sort_by_label_desc(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    return _by_label(node, args, ctx, descending=True)


def _by_label(node: Call, args: list[Operand], ctx: EvalContext, *, descending: bool) -> Matrix:
    """Order by the named labels in natural order, then by all labels."""
    vector = args[0]
    assert isinstance(vector, Matrix)
    if _vain(node, ctx):
        return vector
    labels = vector.labels
    place = np.empty(vector.series_count, dtype=np.int64)
    place[labels.sort_order()] = np.arange(vector.series_count)
    keys = [place]  # np.lexsort takes its main key last
    for name in reversed(args[1:]):
        assert isinstance(name, StringValue)
        keys.append(natural_ranks(labels.column(name.text), labels.symbols))
    order = np.lexsort(keys)
    return vector.take(order[::-1] if descending else order)


def natural_ranks(column: Ids, symbols: QuerySymbols) -> Ints:
    """Return the place of each id's text among those of the column, int64[S], in natural order."""
    distinct, inverse = np.unique(column, return_inverse=True)
    texts = symbols.texts(distinct)
    ranks = np.empty(distinct.size, dtype=np.int64)
    order = sorted(range(len(texts)), key=lambda at: NaturalOrder(texts[at]))
    ranks[order] = np.arange(distinct.size)
    placed: Ints = ranks[inverse]
    return placed


class NaturalOrder:
    """A sort key under which "a2" comes before "a10".

    >>> sorted(["a10", "a2", "", "b", "a"], key=NaturalOrder)
    ['', 'a', 'a2', 'a10', 'b']
    """

    __slots__ = ("_chunks",)

    def __init__(self, text: str) -> None:
        self._chunks = _CHUNKS.findall(text)

    def __lt__(self, other: NaturalOrder) -> bool:
        """Compare runs of digits as numbers, all else as text; who runs out first comes first.

        Numbers that do not fit int64 are text.
        """
        for left, right in zip(self._chunks, other._chunks, strict=False):
            if left == right:
                continue
            if left.isdigit() and right.isdigit():
                x, y = int(left), int(right)
                if x == y:
                    continue
                if max(x, y) <= _INT64_MAX:
                    return x < y
            return bool(left < right)
        return len(self._chunks) < len(other._chunks)


FUNCTIONS: dict[str, Implementation] = {
    "sort": _sort,
    "sort_desc": _sort_desc,
    "sort_by_label": _sort_by_label,
    "sort_by_label_desc": _sort_by_label_desc,
}
"""Implementation by function name."""
