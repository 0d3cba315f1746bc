"""Texts sorted as bytes, against Python's strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.symbols import SymbolTable
from tsdb.text_order import joined, order_of, ranges_of, ranges_of_texts

plain = st.characters(exclude_categories=["Cs"])
texts = st.one_of(
    st.text("ab\0é€😀", max_size=6),
    st.text(plain, max_size=12),
    st.sampled_from(["", "a", "ab", "a\0"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=60))
def test_order_is_that_of_strings_and_stable(words):
    order, repeats = order_of(*ranges_of_texts(words))
    assert order.tolist() == sorted(range(len(words)), key=words.__getitem__)
    ordered = sorted(words)
    assert repeats.tolist() == [n > 0 and ordered[n - 1] == ordered[n] for n in range(len(words))]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16, 17, 1000, 4097])
def test_runs_of_all_sizes_are_merged(count):
    words = [f"pod-{n * 7919 % 977:05d}" for n in range(count)]
    order, repeats = order_of(*ranges_of_texts(words))
    assert order.tolist() == sorted(range(count), key=words.__getitem__)
    assert count - np.count_nonzero(repeats) == len(set(words))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(plain, max_size=9), max_size=30))
def test_chosen_texts_are_joined(words):
    table = SymbolTable()
    ids = table.intern_many(words)
    assert joined(*ranges_of(table, ids)).tobytes().decode() == "".join(words)
