import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.tsdb_tools.series_table import SeriesTable, join_tables
from tsdb.interface import LabelSpans
from tsdb.symbols import SymbolTable

label_sets = st.lists(
    st.dictionaries(
        st.sampled_from(["__name__", "A", "a", "b"]), st.sampled_from(["x", "y", "é"]), max_size=4
    ),
    max_size=20,
)


def table_of(sets, symbols):
    spans = LabelSpans.from_labels(sets)
    return SeriesTable(spans.first, *symbols.intern_spans(spans), symbols)


def order_key(labels):
    """By metric, then by the first label in which two differ, absent before present."""
    return (labels.get("__name__", ""), *(labels.get(name, "") for name in ("A", "a", "b")))


@settings(max_examples=80, deadline=None)
@given(label_sets, label_sets, st.integers(1, 9))
def test_pieces_have_every_series_once_and_in_order(first, second, limit):
    symbols = SymbolTable()
    table, became = join_tables(
        [table_of(first, symbols), table_of(second, symbols)], symbols
    ).distinct()
    everything = table.labels(np.arange(table.series_count))
    sets = [everything.row(n) for n in range(table.series_count)]
    assert [sets[n] for n in became] == first + second
    assert len({tuple(sorted(each.items())) for each in sets}) == len(sets)
    weight = np.arange(table.series_count) % 3
    pieces = table.pieces(weight, limit=limit)
    read = []
    for rows in pieces:
        labels = table.labels(rows)
        piece = [labels.row(n) for n in range(rows.size)]
        # Within a piece only a metric's rows may be in any order: the writer sorts them.
        read += sorted(piece, key=order_key)
        assert rows.size == 1 or weight[rows].sum() <= limit
    kept = [each for each, heavy in zip(sets, weight, strict=True) if heavy]
    assert read == sorted(kept, key=order_key)


def test_no_series_at_all():
    assert join_tables([], SymbolTable()).pieces(np.empty(0, np.int64)) == []


@pytest.mark.parametrize("count", [0, 1, 5])
def test_count(count):
    table = table_of([{"a": str(n)} for n in range(count)], SymbolTable())
    assert table.series_count == count
