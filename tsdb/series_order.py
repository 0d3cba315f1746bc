"""The one order of series: by metric name, then label by label.

From: label columns of the head, a block or a merge.
To:   `block_writer.py`, `block.py`, `merge.py`, `compaction.py`, which all rely on it.

Two series compare by the first label name, in code point order, in which they differ; a series that
lacks the label comes first. `__name__` is compared before all others. The order depends on the text
alone, never on ids or on which columns a table happens to have, so blocks can be merged in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdb.interface import METRIC_NAME
from tsdb.text_order import order_of, ranges_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tsdb.interface import Ids, Ints, LabelColumns, SymbolSource

_COMPARED_AT_ONCE = 1 << 14


def text_ranks(ids: Ids, symbols: SymbolSource) -> tuple[Ids, Ints]:
    """Return the distinct ids in the order of their texts, and each id's place among them.

    Shapes: `ids` uint32[any shape]; the second result int64 of that shape.
    """
    distinct, inverse = np.unique(ids, return_inverse=True)
    order, _ = order_of(*ranges_of(symbols, distinct))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return distinct[order], rank[inverse].reshape(ids.shape)


def column_order(names: tuple[str, ...]) -> list[int]:
    """Return the places of the columns in the order in which they are compared."""
    return sorted(range(len(names)), key=lambda at: (names[at] != METRIC_NAME, names[at]))


def series_order(labels: LabelColumns) -> Ints:
    """Return the permutation int64[S] that brings the series into order."""
    series = labels.series_count
    if not labels.names or not series:
        return np.arange(series, dtype=np.int64)
    # Most labels of neighbours are the same: what they are is nothing that has to be sorted.
    varies = (labels.ids != labels.ids[:, :1]).any(axis=1)
    columns = [at for at in column_order(labels.names) if varies[at]]
    if not columns:
        return np.arange(series, dtype=np.int64)
    _, keys = text_ranks(labels.ids[columns], labels.symbols)
    if is_strictly_ordered(keys):
        return np.arange(series, dtype=np.int64)
    # np.lexsort takes the most significant key last.
    return np.lexsort(keys[::-1]).astype(np.int64)


def comes_before(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Say whether one series of a metric comes before another one of it, for looking up a few.

    >>> comes_before({"b": "1"}, {"a": "1", "b": "0"})
    True
    """
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name, ""), other.get(name, "")
        if mine != theirs:
            return mine < theirs
    return False


def is_strictly_ordered(keys: Ints) -> bool:
    """Return whether columns int64[columns, S] (most significant first) rise from row to row."""
    # Some thousand rows at a time: other threads run in between.
    for at in range(0, keys.shape[1] - 1, _COMPARED_AT_ONCE):
        some = keys[:, at : at + _COMPARED_AT_ONCE + 1]
        before, after = some[:, :-1], some[:, 1:]
        differs = before != after
        if not differs.size or not differs.any(axis=0).all():
            return False
        first = differs.argmax(axis=0)
        row = np.arange(first.size)
        if not (before[first, row] < after[first, row]).all():
            return False
    return True
