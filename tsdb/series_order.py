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
    from tsdb.interface import Ids, Ints, LabelColumns, SymbolSource


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
    if not labels.names:
        return np.arange(labels.series_count, dtype=np.int64)
    _, ranks = text_ranks(labels.ids, labels.symbols)
    keys = ranks[column_order(labels.names)]
    # np.lexsort takes the most significant key last.
    return np.lexsort(keys[::-1]).astype(np.int64)


def is_strictly_ordered(keys: Ints) -> bool:
    """Return whether columns int64[columns, S] (most significant first) rise from row to row."""
    if keys.shape[1] < 2:
        return True
    before, after = keys[:, :-1], keys[:, 1:]
    differs = before != after
    if not differs.size or not differs.any(axis=0).all():
        return False
    first = differs.argmax(axis=0)
    row = np.arange(first.size)
    return bool((before[first, row] < after[first, row]).all())
