"""What matchers found is remembered for exactly as long as it is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb import match_memory
from tsdb.errors import BadMatcherError
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.match_memory import MatchMemory
from tsdb.matching import RegexMemory, match_series
from tsdb.metric_table import SeriesRows
from tsdb.symbols import SymbolTable

UP = Matcher("__name__", MatchOp.EQUAL, "up")
matchers = st.lists(
    st.builds(
        Matcher,
        st.sampled_from(["__name__", "a", "b"]),
        st.sampled_from(list(MatchOp)),
        st.sampled_from(["", "x", "y", "up", "x|y"]),
    ),
    max_size=3,
)
label_sets = st.dictionaries(
    st.sampled_from(["__name__", "a", "b"]), st.sampled_from(["x", "y", "up"])
)


def add(rows: SeriesRows, first_slot: int, labels: list[dict[str, str]]) -> None:
    spans = LabelSpans.from_labels(labels)
    names, values = rows.symbols.intern_spans(spans)
    slots = np.arange(first_slot, first_slot + len(labels), dtype=np.int32)
    rows.add(slots, names, values, spans.first)


@settings(deadline=None)  # the first call loads a kernel
@given(st.lists(st.lists(label_sets, max_size=4), max_size=4), st.lists(matchers, max_size=4))
def test_says_what_looking_says_whatever_comes_between(batches, asked):
    rows = SeriesRows(SymbolTable())
    memory, regex = MatchMemory(rows), RegexMemory(rows.symbols)
    slot = 0
    for batch in [[], *batches]:
        add(rows, slot, batch)
        slot += len(batch)
        for each in asked:
            found = memory.find(regex, each)
            expected = match_series(rows, regex, each)
            assert found.slots.tolist() == expected.tolist()
            labels = found.labels()
            assert [labels.row(at) for at in range(expected.size)] == [
                rows.labels(expected).row(at) for at in range(expected.size)
            ]
            assert labels.names == rows.labels(expected).names


def test_is_asked_again_without_looking():
    rows = SeriesRows(SymbolTable())
    add(rows, 0, [{"__name__": "up", "a": "x"}])
    memory, regex = MatchMemory(rows), RegexMemory(rows.symbols)
    found = memory.find(regex, [UP])
    add(rows, 1, [{"__name__": "down"}])
    assert memory.find(regex, [UP]) is found, "a row of another metric changes nothing"
    assert found.labels() is found.labels()
    add(rows, 2, [{"__name__": "up", "a": "y"}])
    assert memory.find(regex, [UP]).slots.tolist() == [0, 2]


def test_a_metric_that_was_not_there_is_found_when_it_comes():
    rows = SeriesRows(SymbolTable())
    memory, regex = MatchMemory(rows), RegexMemory(rows.symbols)
    assert memory.find(regex, [UP]).slots.tolist() == []
    add(rows, 0, [{"__name__": "up"}])
    assert memory.find(regex, [UP]).slots.tolist() == [0]


def test_what_it_holds_is_bounded(monkeypatch):
    monkeypatch.setattr(match_memory, "_ROWS_KEPT_MAX", 40)
    rows = SeriesRows(SymbolTable())
    add(rows, 0, [{"__name__": "up", "a": str(n)} for n in range(10)])
    memory, regex = MatchMemory(rows), RegexMemory(rows.symbols)
    for n in range(100):
        memory.find(regex, [UP, Matcher("a", MatchOp.NOT_EQUAL, str(n))])
        assert sum(1 + len(found.slots) for _, _, found in memory._found.values()) <= 40


def test_a_bad_pattern_is_refused_every_time():
    rows = SeriesRows(SymbolTable())
    memory, regex = MatchMemory(rows), RegexMemory(rows.symbols)
    for _ in range(2):
        with pytest.raises(BadMatcherError):
            memory.find(regex, [UP, Matcher("a", MatchOp.MATCHES, "(")])
