from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.interface import LabelSpans
from tsdb.symbols import SymbolTable


@given(st.lists(st.lists(st.text(max_size=30), max_size=60), max_size=6))
def test_interning_is_a_dict_from_text_to_number(batches):
    table, model = SymbolTable(), {"": 0}
    for batch in batches:
        for text in batch:
            model.setdefault(text, len(model))
        assert table.intern_many(batch).tolist() == [model[text] for text in batch]
        assert len(table) == len(model)
    ids = np.arange(len(table), dtype=np.uint32)
    assert table.texts(ids) == list(model)
    assert [table.text(symbol) for symbol in ids.tolist()] == list(model)
    assert [table.find(text) for text in model] == list(range(len(model)))
    assert table.lengths(ids).tolist() == [len(text.encode()) for text in model]
    assert table.text_bytes == sum(len(text.encode()) for text in model)


@pytest.mark.parametrize("reserve", [0, 1 << 16])
def test_many_symbols_grow_every_array(reserve):
    table = SymbolTable(reserve=reserve)
    texts = [f"value-{number}" for number in range(50_000)]
    ids = table.intern_many(texts)
    assert ids.tolist() == list(range(1, 50_001))
    assert table.intern_many(texts).tolist() == ids.tolist()
    assert table.texts(ids[::777]) == texts[::777]


def test_unknown_texts_and_ids():
    table = SymbolTable()
    assert table.find("nobody") is None
    for symbol in (-1, 1, 1 << 40):
        with pytest.raises(IndexError):
            table.text(symbol)


def test_spans_are_interned_without_decoding():
    table = SymbolTable()
    names, values = table.intern_spans(
        LabelSpans.from_labels([{"job": "a", "mode": "job"}, {"job": "b"}])
    )
    assert table.texts(names) == ["job", "mode", "job"]
    assert table.texts(values) == ["a", "job", "b"]
    assert names[0] == names[2] == values[1]
