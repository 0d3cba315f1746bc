"""Simple regular expressions against RE2 itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tsdb.database import Database
from tsdb.errors import BadMatcherError
from tsdb.interface import LabelSpans, Matcher, MatchOp, Selection
from tsdb.matching import RegexMemory, compile_regex
from tsdb.patterns import literal_start, plain_pattern
from tsdb.symbols import SymbolTable

pieces = st.sampled_from(
    ["a", "b", "ab", "é", "\\.", ".*", ".+", ".*?", "|", "(", ")", ".", "a?", "b*", "[ab]", "\\d"]
)
texts = st.lists(st.text("abé.1\n|", max_size=6), min_size=1, max_size=20, unique=True)


@given(st.lists(pieces, max_size=7).map("".join), texts)
@example("(a|b)", ["a", "b", "ab"])
@example("a.*a", ["a", "aa", "aba"])
@example("a.+é.*", ["aé", "abé", "aéé"])
@example("(a)|(b)", ["a", "b"])
@settings(deadline=None, max_examples=300)
def test_what_is_found_is_what_re2_finds(pattern, found):
    try:
        test = compile_regex(pattern)
    except BadMatcherError:
        return
    symbols = SymbolTable()
    ids = np.unique(symbols.intern_many([*found, ""]))
    answers = RegexMemory(symbols).mask(pattern, ids)
    assert answers.tolist() == [test(text) for text in symbols.texts(ids)]


@pytest.mark.parametrize(
    "pattern",
    ["a|b", "(a|b)", "a.*", ".*", ".+", "", "a\\.b:9100", "(a\\.b|c.*)", "x-.*-y", ".*a.*|b"],
)
def test_these_need_no_automaton(pattern):
    assert plain_pattern(pattern) is not None


@pytest.mark.parametrize("pattern", ["a.b", "[ab]", "a?", "(a|b)c", "(?i)a", "\\d+", "^a", ".+.+"])
def test_these_do(pattern):
    assert plain_pattern(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "start"),
    [("abc[0-9]", "abc"), ("ab*c", "a"), ("ab+", "ab"), ("[a]b", None), ("a[b]|c", None)],
)
def test_literal_starts(pattern, start):
    found = literal_start(pattern)
    assert (None if found is None else found.literals.tobytes().decode()) == start


def test_long_tables_remember_and_see_new_rows():
    database = Database.in_memory()

    def add(first: int, stop: int) -> None:
        labels = [{"__name__": "m", "n": str(n), "job": f"j{n % 3}"} for n in range(first, stop)]
        refs = database.resolve(LabelSpans.from_labels(labels))
        assert not database.append(refs, np.full(refs.size, 1), np.ones(refs.size)).any()

    def count(*matchers: Matcher) -> int:
        (batch,) = database.select([Selection(matchers, 0, 10)])
        return batch.series_count

    total = 0
    for stop in (5000, 5001, 9000):
        add(total, stop)
        total = stop
        for _ in range(2):
            assert count(Matcher("n", MatchOp.MATCHES, "1.*")) == sum(
                str(n).startswith("1") for n in range(total)
            )
            assert count(Matcher("n", MatchOp.EQUAL, "4999")) == 1
            assert count(Matcher("n", MatchOp.NOT_EQUAL, "4999")) == total - 1
            assert count(Matcher("job", MatchOp.EQUAL, "j1")) == len(range(1, total, 3))
            assert (
                count(Matcher("n", MatchOp.MATCHES, "7|8"), Matcher("job", MatchOp.EQUAL, "j1"))
                == 1
            )
    database.close()
