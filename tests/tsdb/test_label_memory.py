"""What is known of all rows is what looking at them again would say."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb import label_memory
from tsdb.interface import LabelSpans, Matcher, MatchOp
from tsdb.kernels import NO_TIME
from tsdb.label_memory import Answers, LabelMemory, Texts, all_of
from tsdb.matching import RegexMemory
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


matchers = st.tuples(
    st.sampled_from(["__name__", "a", "b", "nobody"]),
    st.sampled_from(list(MatchOp)),
    st.sampled_from(["", "x", "up", "other", "x|y", ".+", "u.*"]),
)

EVERYTHING = ()


def satisfies(labels, matcher):
    value = labels.get(matcher.name, "")
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        return (value == matcher.value) == (matcher.op is MatchOp.EQUAL)
    return (re.fullmatch(matcher.value, value) is not None) == (matcher.op is MatchOp.MATCHES)


def ask(memory, label, where, *, unsampled=()):
    newest = np.zeros(64, np.int64)
    newest[list(unsampled)] = NO_TIME
    found = memory.texts((label, where), RegexMemory(memory.rows.symbols), newest)
    return None if found is None else found.ordered


@settings(deadline=None)  # the first call loads a kernel
@given(
    st.lists(st.lists(label_sets, max_size=4), max_size=5),
    st.lists(st.booleans()),
    st.lists(matchers, max_size=2),
)
def test_names_and_values_are_those_of_the_rows_that_match(batches, asked, where):
    where = tuple(Matcher(*each) for each in where)
    rows = SeriesRows(SymbolTable())
    memory, model = LabelMemory(rows), []
    for at, batch in enumerate([[], *batches]):
        add(rows, batch)
        model += [each for each in batch if all(satisfies(each, matcher) for matcher in where)]
        if asked[at : at + 1] == [False]:
            continue  # what is asked next has more than one batch to look at
        assert ask(memory, None, where) == sorted({name for each in model for name in each})
        for label in ("__name__", "a", "nobody"):
            expected = {each[label] for each in model if label in each}
            assert ask(memory, label, where) == sorted(expected)


def test_only_new_rows_are_looked_at(monkeypatch):
    looked = []
    real = SeriesRows.values
    monkeypatch.setattr(
        SeriesRows, "values", lambda *args: looked.append(args[2].tolist()) or real(*args)
    )
    rows = SeriesRows(SymbolTable())
    memory = LabelMemory(rows)
    named_x = (Matcher("__name__", MatchOp.EQUAL, "x"),)
    add(rows, [{"__name__": "x", "a": "1"}, {"__name__": "y", "a": "2"}])
    assert ask(memory, "a", named_x) == ["1"]
    add(rows, [{"__name__": "y", "a": "3"}])
    assert ask(memory, "a", named_x) == ["1"]
    add(rows, [{"__name__": "x", "a": "4"}, {"__name__": "x"}])
    assert ask(memory, "a", named_x) == ["1", "4"]
    assert ask(memory, "a", EVERYTHING) == ["1", "2", "3", "4"]
    assert looked == [[0], [3, 4], [0, 1, 2, 3, 4]]


def test_series_count_once_they_have_a_sample():
    rows = SeriesRows(SymbolTable())
    memory = LabelMemory(rows)
    assert ask(memory, "a", EVERYTHING) == []
    add(rows, [{"a": "x"}, {"a": "y", "b": "z"}])
    with_b = (Matcher("b", MatchOp.EQUAL, "z"),)
    assert ask(memory, "a", EVERYTHING, unsampled=[0]) is None
    assert ask(memory, "a", with_b, unsampled=[0]) == ["y"]
    assert ask(memory, "a", EVERYTHING) == ["x", "y"]


def test_a_label_of_very_many_values_is_not_kept(monkeypatch):
    monkeypatch.setattr(label_memory, "_TEXTS_MAX", 2)
    rows = SeriesRows(SymbolTable())
    memory = LabelMemory(rows)
    add(rows, [{"a": str(n), "b": "x"} for n in range(3)])
    assert ask(memory, "a", EVERYTHING) == ["0", "1", "2"]
    assert ask(memory, "b", EVERYTHING) == ["x"]
    assert memory._answers.get(("a", EVERYTHING)).count == 0
    assert memory._answers.get(("b", EVERYTHING)).count == 3


def test_all_answers_together_are_bounded(monkeypatch):
    monkeypatch.setattr(label_memory, "_TEXTS_KEPT_MAX", 10)
    answers = Answers()
    for n in range(20):
        answers.keep((str(n), ()), Texts([f"{n}a", f"{n}b"]))
        assert answers.get((str(n), ())).ordered == [f"{n}a", f"{n}b"]
        assert sum(len(answers.get((str(k), ())).found) for k in range(20)) <= 8


def test_an_answer_that_is_given_away_is_not_the_one_that_is_kept():
    kept = Texts(["b", "a"])
    all_of([kept]).append("c")
    assert all_of([kept]) == ["a", "b"]
