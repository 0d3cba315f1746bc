"""Runs folded in chunks, against all of them at once."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql import rows
from promql.histograms.algebra import average_runs, sum_runs
from promql.histograms.chunks import in_chunks
from promql.histograms.columns import from_rows, row_of
from promql.histograms.windows import change_over_runs
from promql.rows import RowRunner
from tests.promql.plain_histograms import any_histogram


def summed(columns, start, stop, _known):
    return sum_runs(columns, start, stop)


def averaged(columns, start, stop, _known):
    return average_runs(columns, start, stop)


def changed(columns, start, stop, known):
    return change_over_runs(columns, start, stop, is_counter=True, known_resets=known)


@st.composite
def runs(draw):
    """Histograms, which of them follow a reset, and runs of them in any order."""
    history = draw(st.lists(any_histogram(), min_size=1, max_size=12))
    known = draw(st.lists(st.booleans(), min_size=len(history), max_size=len(history)))
    edges = st.integers(0, len(history))
    pairs = draw(st.lists(st.tuples(edges, edges).map(sorted), min_size=1, max_size=12))
    start, stop = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in range(2))
    return from_rows(history), start, stop, np.array(known)


@pytest.mark.parametrize("fold", [summed, averaged, changed])
@pytest.mark.parametrize("helpers", [0, 2])
def test_chunks_make_what_all_make(monkeypatch, fold, helpers):
    monkeypatch.setattr(rows, "CHUNK_COST", 40)
    monkeypatch.setattr(rows, "PARALLEL_COST", 40)
    looks, most = [], []

    @settings(deadline=None, max_examples=60)
    @given(runs())
    def check(drawn):
        columns, start, stop, known = drawn
        looks.clear()
        found, flags = in_chunks(fold, columns, start, stop, context, known)
        most.append(len(looks))
        wanted, wanted_flags = fold(columns, start, stop, known)
        assert flags.tolist() == wanted_flags.tolist()
        assert found.histogram_count == wanted.histogram_count == start.size
        for at in range(start.size):
            assert repr(row_of(found, at)) == repr(row_of(wanted, at))

    with ThreadPoolExecutor(2) as executor:
        runner = RowRunner(executor, helpers) if helpers else RowRunner()
        budget = SimpleNamespace(check=lambda: looks.append(1))
        context = SimpleNamespace(rows=runner, budget=budget)
        check()
    assert max(most) > 1
