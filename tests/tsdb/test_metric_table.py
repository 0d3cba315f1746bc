from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsdb.interface import LabelSpans
from tsdb.metric_table import SeriesRows
from tsdb.symbols import SymbolTable

sets = st.lists(
    st.dictionaries(
        st.sampled_from(["__name__", "a", "b", "job", "z"]),
        st.sampled_from(["x", "y", "up"]),
    ),
    max_size=30,
)


def add(rows: SeriesRows, slots: list[int], labels: list[dict[str, str]]) -> None:
    spans = LabelSpans.from_labels(labels)
    names, values = rows.symbols.intern_spans(spans)
    rows.add(np.array(slots, np.int32), names, values, spans.first)


def check(rows: SeriesRows, model: dict[int, dict[str, str]]) -> None:
    assert rows.slots.tolist() == list(model)
    labels = rows.labels(rows.slots)
    assert [labels.row(at) for at in range(len(model))] == list(model.values())
    assert list(labels.names) == sorted({name for each in model.values() for name in each})
    metrics, sizes = rows.metrics()
    assert int(sizes.sum()) == len(model)
    for metric in metrics.tolist():
        table, count = rows.table(metric)
        text = rows.symbols.text(metric)
        expected = [slot for slot, each in model.items() if each.get("__name__", "") == text]
        assert table.slots[:count].tolist() == expected
        for label in ("__name__", "a", "job"):
            symbol = rows.symbols.find(label)
            if symbol is not None:
                column = rows.column(table, symbol, count)
                got = rows.symbols.texts(column)
                assert got == [model[slot].get(label, "") for slot in expected]


@given(st.lists(sets, max_size=5), st.data())
def test_rows_and_columns_are_the_labels_that_went_in(batches, data):
    rows, model = SeriesRows(SymbolTable()), {}
    for batch in batches:
        # Slots come in no particular order: collected ones are used again.
        slots = [len(model) * 2 + at * 2 + 1 for at in range(len(batch))][::-1]
        add(rows, slots, batch)
        model.update(zip(slots, batch, strict=True))
        check(rows, model)
    kept = [slot for slot in model if data.draw(st.booleans())]
    fewer = rows.without(np.array(kept, np.int32))
    check(fewer, {slot: model[slot] for slot in kept})
    check(rows, model)


@given(sets)
def test_label_pairs_are_counted(batch):
    rows = SeriesRows(SymbolTable())
    add(rows, list(range(len(batch))), batch)
    names, values, series = rows.label_pairs(rows.slots)
    got = {
        (rows.symbols.text(name), rows.symbols.text(value)): count
        for name, value, count in zip(names.tolist(), values.tolist(), series.tolist(), strict=True)
    }
    expected: dict[tuple[str, str], int] = {}
    for labels in batch:
        for pair in labels.items():
            expected[pair] = expected.get(pair, 0) + 1
    assert got == expected
    assert names.tolist() == sorted(names.tolist())


def test_many_shapes_and_rows_grow_every_array():
    rows = SeriesRows(SymbolTable())
    labels = [{"__name__": f"m{n % 50}", f"label_{n % 300}": str(n)} for n in range(3000)]
    add(rows, list(range(3000)), labels)
    found = rows.labels(np.array([0, 299, 300, 2999], np.int32))
    assert [found.row(at) for at in range(4)] == [labels[n] for n in (0, 299, 300, 2999)]
