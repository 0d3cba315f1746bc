"""Histograms of a selection before they meet steps: against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.histograms.columns import HistogramRow, from_rows, row_of
from promql.histograms.matrix import HistogramMatrix
from promql.histograms.runs import (
    histogram_windows,
    newest_histograms,
    ragged,
    runs_of_matrix,
    runs_with_resets,
    runs_without_stale,
    sample_sizes,
    shown_per_step,
    window_sizes,
)
from promql.matrix import Matrix
from tests.promql.matrices import context, matrix
from tsdb.interface import HistogramRuns, ResetHint
from tsdb.staleness import STALE_NAN

STALE = HistogramRow(sum=float(STALE_NAN))
OLDEST = np.iinfo(np.int64).min


def runs(*series):
    """Build from lists of (time, histogram)."""
    count = np.array([len(samples) for samples in series], dtype=np.int64)
    return HistogramRuns(
        np.array([time for samples in series for time, _ in samples], dtype=np.int64),
        np.cumsum(count) - count,
        count,
        from_rows([histogram for samples in series for _, histogram in samples]),
    )


def plain(found):
    """The opposite, with counts for histograms."""
    out = []
    for start, count in zip(found.start.tolist(), found.count.tolist(), strict=True):
        rows = range(start, start + count)
        out.append([(int(found.times[r]), float(found.columns.count[r])) for r in rows])
    return out


def h(count, **more):
    return HistogramRow(count=float(count), positive=((0, float(count)),), **more)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=6))
def test_ragged(slices):
    start = np.array([low for low, _ in slices], dtype=np.int64)
    count = np.array([size for _, size in slices], dtype=np.int64)
    expected = [at for low, size in slices for at in range(low, low + size)]
    assert ragged(start, count).tolist() == expected


def test_stale_markers_are_taken_out():
    found = runs_without_stale(runs([(1, h(1)), (2, STALE), (3, h(3))], [], [(1, STALE)]))
    assert plain(found) == [[(1, 1.0), (3, 3.0)], [], []]


def test_nothing_to_take_out_is_no_copy():
    given_runs = runs([(1, h(1))])
    assert runs_without_stale(given_runs) is given_runs


def test_only_stale_markers_are_nothing():
    assert runs_without_stale(runs([(1, STALE)])) is None


@pytest.mark.parametrize(
    ("samples", "newest_float", "expected"),
    [
        pytest.param([(0, h(1)), (60_000, h(2))], OLDEST, ("shown", 2.0), id="the newest"),
        pytest.param([(0, h(1)), (60_001, h(2))], OLDEST, ("shown", 1.0), id="not from the future"),
        pytest.param([(-240_000, h(1))], OLDEST, None, id="the lookback is left open"),
        pytest.param([(-239_999, h(1))], OLDEST, ("shown", 1.0), id="just within the lookback"),
        pytest.param([(0, h(1))], 1, None, id="a float is newer"),
        pytest.param([(5, h(1))], 1, ("shown", 1.0), id="a float is older"),
        pytest.param([(0, h(1)), (5, STALE)], 1, "stale", id="a marker hides the float, too"),
        pytest.param([(0, STALE)], 1, None, id="a marker before a float hides nothing"),
    ],
)
def test_newest(samples, newest_float, expected):
    ctx = context()
    found, wins, times = newest_histograms(
        runs([], samples),
        np.array([1]),
        np.array([[newest_float]]),
        np.array([60_000]),
        ctx,
    )
    assert bool(wins[0, 0]) == (expected is not None)
    if isinstance(expected, tuple):
        assert found.row.shape == (2, 1)
        assert row_of(found.columns, int(found.row[1, 0])).count == expected[1]
        assert found.row[0, 0] < 0
        assert times[0, 0] in [time for time, _ in samples]
    else:
        assert found is None


def test_windows_are_left_open():
    view = histogram_windows(
        runs([(t, h(t)) for t in range(0, 50, 10)], []), np.array([20, 45]), 20
    )
    assert view.first.tolist() == [[1, 3], [0, 0]]
    assert view.stop.tolist() == [[3, 5], [0, 0]]


def test_a_subquery_forgets_resets_but_not_gauges():
    ctx = context(3)
    hints = [ResetHint.NOT_RESET, ResetHint.RESET, ResetHint.GAUGE]
    columns = from_rows([h(n, hint=hint) for n, hint in enumerate(hints)])
    base = matrix([({"a": "1"}, [None] * 3), ({"a": "2"}, [None] * 3)], ctx)
    row = np.array([[0, -1, 1], [2, 2, -1]], dtype=np.int32)
    vector = Matrix(
        base.labels, base.values, base.present, base.drop_name,
        histograms=HistogramMatrix(columns, row),
    )  # fmt: skip
    found = runs_of_matrix(vector, ctx.steps_ms)
    assert plain(found) == [[(0, 0.0), (120_000, 1.0)], [(0, 2.0), (60_000, 2.0)]]
    unknown, gauge = int(ResetHint.UNKNOWN), int(ResetHint.GAUGE)
    assert found.columns.hint.tolist() == [unknown, unknown, gauge, gauge]


def test_unknown_hints_are_found_out_from_the_histogram_before():
    series = [
        (1, h(5)),
        (2, h(6)),
        (3, h(1)),
        (4, h(9, hint=ResetHint.GAUGE)),
        (5, STALE),
        (6, h(10)),
        (7, h(11)),
    ]
    found = runs_with_resets(runs(series, [(1, h(0))]))
    names = [ResetHint(int(hint)).name for hint in found.columns.hint]
    assert names == [
        "UNKNOWN", "NOT_RESET", "RESET", "GAUGE", "UNKNOWN", "UNKNOWN", "NOT_RESET", "UNKNOWN",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("histogram", "size"),
    [
        pytest.param(HistogramRow(), 11, id="a bare one: 168 bytes and the time"),
        pytest.param(HistogramRow(positive=((0, 1.0),)), 12, id="a bucket and its span: 16 bytes"),
        pytest.param(HistogramRow(positive=((0, 1.0), (1, 1.0))), 12, id="two in one span"),
        pytest.param(HistogramRow(positive=((0, 1.0), (2, 1.0))), 13, id="two spans"),
        pytest.param(HistogramRow(positive=((0, 1.0),), negative=((0, 1.0),)), 13, id="both sides"),
        pytest.param(
            HistogramRow(schema=-53, positive=((0, 1.0),), bounds=(1.0, 2.0)), 13, id="bounds"
        ),
    ],
)
def test_sizes(histogram, size):
    columns = from_rows([HistogramRow(), histogram, HistogramRow(negative=((3, 1.0),))])
    assert sample_sizes(columns).tolist() == [11, size, 12]


def test_sizes_of_points_and_windows():
    given_runs = runs([(0, h(1)), (10, h(2)), (20, h(3))], [(10, HistogramRow())])
    view = histogram_windows(given_runs, np.array([10, 20]), 20)
    assert window_sizes(view).tolist() == [[24, 24], [11, 11]]
    row = np.array([[0, -1], [3, 3]], dtype=np.int32)
    assert shown_per_step(HistogramMatrix(given_runs.columns, row)).tolist() == [23, 11]
