"""What is known of all rows is what looking at them again would say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb import label_memory
from tsdb.interface import LabelSpans
from tsdb.kernels import NO_TIME
from tsdb.label_memory import LabelMemory
from tsdb.metric_table import SeriesRows
from tsdb.symbols import SymbolTable

label_sets = st.dictionaries(
    st.sampled_from(["__name__", "a", "b"]), st.sampled_from(["x", "y", "up"])
)


def add(rows: SeriesRows, labels: list[dict[str, str]]) -> None:
    spans = LabelSpans.from_labels(labels)
    names, values = rows.symbols.intern_spans(spans)
    slots = np.arange(len(rows), len(rows) + len(labels), dtype=np.int32)
    rows.add(slots, names, values, spans.first)


@settings(deadline=None)  # the first call loads a kernel
@given(st.lists(st.lists(label_sets, max_size=4), max_size=5), st.lists(st.booleans()))
def test_names_and_values_are_those_of_all_rows(batches, asked):
    rows = SeriesRows(SymbolTable())
    memory, model = LabelMemory(rows), []
    for at, batch in enumerate([[], *batches]):
        add(rows, batch)
        model += batch
        if asked[at : at + 1] == [False]:
            continue  # what is asked next has more than one batch to look at
        assert memory.names(len(rows)) == {name for each in model for name in each}
        for label in ("__name__", "a", "nobody"):
            expected = {each[label] for each in model if label in each}
            assert memory.values(label, len(rows)) == expected


def test_rows_count_when_all_have_a_sample():
    rows = SeriesRows(SymbolTable())
    memory = LabelMemory(rows)
    newest = np.full(8, NO_TIME, np.int64)
    assert memory.sampled(newest) == 0
    add(rows, [{"a": "x"}, {"a": "y"}])
    assert memory.sampled(newest) is None
    newest[0] = 5
    assert memory.sampled(newest) is None
    newest[1] = 5
    assert memory.sampled(newest) == 2
    add(rows, [{"a": "z"}])
    assert memory.sampled(newest) is None


def test_a_label_of_very_many_values_is_not_kept(monkeypatch):
    monkeypatch.setattr(label_memory, "_TEXTS_MAX", 2)
    rows = SeriesRows(SymbolTable())
    memory = LabelMemory(rows)
    add(rows, [{"a": str(n), "b": "x"} for n in range(3)])
    assert memory.values("a", 3) == {"0", "1", "2"}
    assert memory.values("b", 3) == {"x"}
    assert list(memory._values) == ["b"]
