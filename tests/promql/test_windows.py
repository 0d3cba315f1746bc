import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.errors import TooManySamplesError
from promql.labels import SeriesLabels
from promql.matrix import Matrix
from promql.windows import Samples, newest_samples, samples_per_step, windows
from tests.promql.window_cases import RANGE_MS, STEPS, numbers, series_lists
from tests.promql.windows_builder import context, plain_window, samples, view
from tsdb.staleness import NORMAL_NAN, STALE_NAN

STALE = float(STALE_NAN)
with_stale = st.one_of(numbers, st.just(STALE))


def bits(value):
    return struct.pack("<d", value)


@given(series=series_lists())
@settings(deadline=None, max_examples=60)
def test_windows_are_left_open(series):
    ctx = context(STEPS)
    got = view(series, ctx, RANGE_MS)
    per_step = samples_per_step(got)
    for step, end in enumerate(STEPS):
        expected = [plain_window(times, values, end, RANGE_MS) for times, values in series]
        assert per_step[step] == sum(map(len, expected))
        for row, window in enumerate(expected):
            w = got.window_of[row]
            first, stop = got.first[w, step], got.stop[w, step]
            start = got.time_start[row]
            assert got.times[start + first : start + stop].tolist() == [t for t, _ in window]


@given(series=series_lists(with_stale), lookback=st.sampled_from([1000, 30_000, 300_000]))
@settings(deadline=None, max_examples=60)
def test_the_newest_sample_within_the_lookback(series, lookback):
    ctx = context(STEPS, lookback_ms=lookback)
    got = newest_samples(samples(series, ctx.symbols), ctx.steps_ms, ctx, keep_time=True)
    for row, (times, values) in enumerate(series):
        for step, at in enumerate(STEPS):
            window = plain_window(times, values, at, lookback)
            present = bool(window) and bits(window[-1][1]) != bits(STALE)
            assert got.present[row, step] == present
            if present:
                assert bits(got.values[row, step]) == bits(window[-1][1])
                assert got.float_time[row, step] == window[-1][0] / 1000


@given(
    values=st.lists(st.lists(with_stale, min_size=40, max_size=40), min_size=1, max_size=3),
    missing=st.sets(st.integers(0, 39), max_size=3),
    step_ms=st.sampled_from([7_500, 15_000, 30_000]),
)
@settings(deadline=None, max_examples=40)
def test_samples_that_steps_name_in_a_row_are_those_they_name_one_by_one(values, missing, step_ms):
    kept = [at for at in range(40) if at not in missing]
    series = [([15_000 * at for at in kept], [own[at] for at in kept]) for own in values]
    ctx = context(range(0, 700_000, step_ms), lookback_ms=20_000)
    got = newest_samples(samples(series, ctx.symbols), ctx.steps_ms, ctx)
    for row, (times, own) in enumerate(series):
        for step, at in enumerate(ctx.steps_ms.tolist()):
            window = plain_window(times, own, at, 20_000)
            assert got.present[row, step] == (bool(window) and bits(window[-1][1]) != bits(STALE))
            if got.present[row, step]:
                assert bits(got.values[row, step]) == bits(window[-1][1])


def test_an_ordinary_nan_is_a_value():
    ctx = context([1000])
    series = [([1000], [float(NORMAL_NAN)]), ([1000], [STALE])]
    got = newest_samples(samples(series, ctx.symbols), ctx.steps_ms, ctx)
    assert got.present[:, 0].tolist() == [True, False]


@given(series=series_lists(with_stale))
@settings(deadline=None, max_examples=60)
def test_stale_markers_are_taken_out_and_nothing_else(series):
    ctx = context(STEPS)
    clean = samples(series, ctx.symbols).without_stale(ctx)
    for row, (times, values) in enumerate(series):
        kept = [(t, v) for t, v in zip(times, values, strict=True) if bits(v) != bits(STALE)]
        time, value, count = clean.time_start[row], clean.value_start[row], clean.count[row]
        assert clean.times[time : time + count].tolist() == [t for t, _ in kept]
        got = clean.values[value : value + count].tolist()
        assert [bits(v) for v in got] == [bits(v) for _, v in kept]
        run = clean.run_of[row]
        assert (clean.run_start[run], clean.run_count[run]) == (time, count)


def test_series_that_end_together_share_their_times_still():
    series = [([1, 2, 3], [1, STALE, 3]), ([1, 2, 3], [4, STALE, 6]), ([1, 2, 3], [1, 2, 3])]
    ctx = context([0])
    clean = samples(series, ctx.symbols).without_stale(ctx)
    assert clean.time_start[0] == clean.time_start[1]
    assert clean.run_start.size == 2


def test_without_stale_markers_nothing_is_copied():
    ctx = context([0])
    ours = samples([([1, 2], [1, 2])], ctx.symbols)
    assert ours.without_stale(ctx) is ours


def test_a_matrix_becomes_samples_where_it_is_present():
    ctx = context([10, 20, 30])
    matrix = Matrix(
        labels=SeriesLabels.from_dicts([{"a": "1"}, {"a": "2"}], ctx.symbols),
        values=np.array([[1.0, 2.0, 3.0], [np.nan, 5.0, 6.0]]),
        present=np.array([[True, True, True], [True, False, True]]),
        drop_name=np.zeros(2, dtype=np.bool_),
    )
    got = Samples.from_matrix(matrix, ctx.steps_ms).without_stale(ctx)
    assert got.count.tolist() == [3, 2]
    start = got.time_start[1]
    assert got.times[start : start + 2].tolist() == [10, 30]


def test_a_matrix_far_over_the_limit_is_refused_before_it_is_made():
    ctx = context(range(2_000_001), samples_max=10)
    columns = samples([([1], [1])], ctx.symbols)
    with pytest.raises(TooManySamplesError):
        newest_samples(columns, ctx.steps_ms, ctx)
    with pytest.raises(TooManySamplesError):
        windows(columns, ctx.steps_ms, 5, np.zeros(1, dtype=np.bool_), ctx)
