"""Arithmetic of histograms over columns, against one histogram at a time in Python."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from promql.histograms import algebra
from promql.histograms.algebra import Flag
from promql.histograms.columns import HistogramRow, from_rows, row_of
from tests.promql import plain_histograms as plain
from tests.promql.plain_histograms import GAUGE, NOT_RESET, RESET, UNKNOWN, assert_same_row

INF, NAN = math.inf, math.nan
EMPTY = HistogramRow()


def expected_flags(result, reconciled, hints):
    flags = Flag(0) if result else Flag.INCOMPATIBLE
    if reconciled:
        flags |= Flag.RECONCILED
    if result and {RESET, NOT_RESET} <= set(hints):
        flags |= Flag.COLLISION
    return flags


@settings(deadline=None)
@given(st.lists(st.tuples(plain.any_histogram(), plain.any_histogram()), min_size=1, max_size=4))
def test_add_and_subtract(pairs):
    a, b = (from_rows([pair[side] for pair in pairs]) for side in range(2))
    for operation, sign in ((algebra.add, 1.0), (algebra.subtract, -1.0)):
        found, flags = operation(a, b)
        for row, (one, other) in enumerate(pairs):
            result, reconciled = plain.added(one, other, sign)
            assert flags[row] == expected_flags(result, reconciled, (one.hint, other.hint))
            if result is not None:
                hint = result.hint if sign > 0 else GAUGE
                assert_same_row(row_of(found, row), replace(result, hint=hint))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param(
            HistogramRow(zero_threshold=0.5, zero_count=1, positive=((0, 2), (1, 3))),
            HistogramRow(zero_threshold=0.75, zero_count=1, positive=((1, 3),)),
            HistogramRow(zero_threshold=1.0, zero_count=4, positive=((1, 6),)),
            id="a zero bucket that would cut a populated bucket swallows it",
        ),
        pytest.param(
            HistogramRow(zero_threshold=0.5, zero_count=1, positive=((0, 0), (1, 3))),
            HistogramRow(zero_threshold=0.75, zero_count=1, positive=((1, 3),)),
            HistogramRow(zero_threshold=0.75, zero_count=2, positive=((1, 6),)),
            id="an empty bucket may be cut",
        ),
        pytest.param(
            HistogramRow(schema=0, zero_threshold=plain.bound(1, 1), positive=((2, 1),)),
            HistogramRow(schema=1, positive=((1, 2), (2, 3))),
            HistogramRow(zero_threshold=plain.bound(1, 1), zero_count=2, positive=((1, 3), (2, 1))),
            id="no observation counts twice where a coarser bucket overlaps the zero bucket",
        ),
        pytest.param(
            HistogramRow(schema=-53, bounds=(5.0, 10.0), positive=((0, 1), (1, 2), (2, 4))),
            HistogramRow(schema=-53, bounds=(1.0, 10.0), positive=((0, 8), (1, 16), (2, 32))),
            HistogramRow(schema=-53, bounds=(10.0,), positive=((0, 27), (1, 36))),
            id="different custom bounds meet at those of both",
        ),
    ],
)
def test_one_sum(a, b, expected):
    found, _ = algebra.add(from_rows([a]), from_rows([b]))
    assert_same_row(row_of(found, 0), expected)


@pytest.mark.parametrize(
    ("a", "b", "expected", "collides"),
    [
        (UNKNOWN, NOT_RESET, UNKNOWN, False),
        (NOT_RESET, NOT_RESET, NOT_RESET, False),
        (NOT_RESET, UNKNOWN, UNKNOWN, False),
        (RESET, NOT_RESET, UNKNOWN, True),
        (RESET, GAUGE, GAUGE, False),
        (GAUGE, RESET, GAUGE, False),
    ],
)
def test_hints_of_a_sum(a, b, expected, collides):
    found, flags = algebra.add(from_rows([HistogramRow(hint=a)]), from_rows([HistogramRow(hint=b)]))
    assert row_of(found, 0).hint == expected
    assert bool(flags[0] & Flag.COLLISION) == collides


@settings(deadline=None)
@given(st.lists(plain.any_histogram(), max_size=4), st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]))
def test_multiply_and_divide(rows, factor):
    columns = from_rows(rows)
    product = algebra.multiply(columns, factor)
    for row, before in enumerate(rows):
        hint = GAUGE if factor < 0 else before.hint
        assert row_of(product, row) == replace(plain.scaled(before, factor), hint=hint)
    if factor:
        quotient = algebra.divide(columns, np.full(len(rows), 1 / factor))
        for row in range(len(rows)):
            assert row_of(quotient, row) == row_of(product, row)


def test_by_zero_only_the_sums_remain():
    one = HistogramRow(count=3, sum=-1, zero_count=0, positive=((1, 3),), negative=((0, 1),))
    found = row_of(algebra.divide(from_rows([one]), 0.0), 0)
    assert (found.count, found.sum, found.positive, found.negative) == (INF, -INF, (), ())
    assert math.isnan(found.zero_count)


def test_times_infinity_no_empty_bucket_becomes_nan_silently():
    one = HistogramRow(count=1, positive=((0, 0), (1, 1)))
    found = row_of(algebra.multiply(from_rows([one]), INF), 0)
    assert found.positive[-1] == (1, INF)


def test_negated_is_a_gauge_with_all_its_buckets():
    one = HistogramRow(count=1, positive=((0, 1), (4, 0)))
    assert row_of(algebra.negate(from_rows([one])), 0) == HistogramRow(
        count=-1, sum=-0.0, zero_count=-0.0, positive=((0, -1), (4, -0.0)), hint=GAUGE
    )


def expected_fold(rows):
    total, reconciled = rows[0], False
    for row in rows[1:]:
        total, differed = plain.added(total, row)
        reconciled |= differed
    return total, reconciled


@settings(deadline=None)
@given(st.lists(plain.same_kind(), min_size=1, max_size=4), st.booleans())
def test_sums_and_averages_of_groups(groups, shuffled):
    rows = [(number, row) for number, group in enumerate(groups) for row in group]
    if shuffled:  # members of groups interleave; inside a group they keep their order
        rows.sort(key=lambda pair: groups[pair[0]].index(pair[1]))
    group_of = np.array([number for number, _ in rows], dtype=np.int64)
    columns = from_rows([row for _, row in rows])
    for operation in (algebra.sum_groups, algebra.average_groups):
        found, flags = operation(columns, group_of, len(groups) + 1)
        assert row_of(found, len(groups)) == EMPTY
        for number in range(len(groups)):
            members = [row for at, row in rows if at == number]
            result, reconciled = expected_fold(members)
            assert flags[number] == expected_flags(result, reconciled, [r.hint for r in members])
            expected = plain.scaled(result, 1.0)
            one = row_of(found, number)
            if operation is algebra.average_groups:
                expected = plain.scaled(result, 1 / len(members))
                assert [i for i, _ in one.positive] == [i for i, _ in expected.positive]
                for name in ("count", "sum", "zero_count"):
                    assert getattr(one, name) == pytest.approx(getattr(expected, name))
                np.testing.assert_allclose(
                    [c for _, c in (*one.positive, *one.negative)],
                    [c for _, c in (*expected.positive, *expected.negative)],
                )
                assert (one.hint, one.bounds) == (expected.hint, expected.bounds)
            else:
                assert_same_row(one, expected)


@settings(deadline=None)
@given(plain.same_kind(), st.data())
def test_runs_may_overlap(rows, data):
    edges = st.integers(0, len(rows))
    runs = data.draw(st.lists(st.tuples(edges, edges).map(sorted), max_size=5))
    start, stop = (np.array([run[i] for run in runs], dtype=np.int64) for i in range(2))
    columns = from_rows(rows)
    found, _ = algebra.sum_runs(columns, start, stop)
    means, _ = algebra.average_runs(columns, start, stop)
    for number, (low, high) in enumerate(runs):
        if low == high:
            assert row_of(found, number) == row_of(means, number) == EMPTY
            continue
        total = expected_fold(rows[low:high])[0]
        assert_same_row(row_of(found, number), plain.scaled(total, 1.0))
        assert row_of(means, number).sum == pytest.approx(total.sum / (high - low))


def test_exponential_and_custom_have_no_sum():
    rows = [HistogramRow(count=1), HistogramRow(count=2), HistogramRow(schema=-53, count=1)]
    for operation in (algebra.sum_groups, algebra.average_groups):
        found, flags = operation(from_rows(rows), np.zeros(3, dtype=np.int64), 1)
        assert flags.tolist() == [Flag.INCOMPATIBLE]
        assert row_of(found, 0) == EMPTY


def test_small_counts_survive_large_ones():
    values = [5.3, 1e100, 1.0, -1e100, 2.0]
    rows = [
        HistogramRow(sum=v, count=v, zero_count=v, positive=((0, v),), negative=((3, v),))
        for v in values
    ]
    found, _ = algebra.sum_runs(from_rows(rows), np.array([0]), np.array([5]))
    one = row_of(found, 0)
    total = pytest.approx(8.3, rel=1e-15)
    assert (one.sum, one.count, one.zero_count) == (total, total, total)
    assert (one.positive, one.negative) == (((0, total),), ((3, total),))


def test_small_counts_survive_a_change_of_resolution():
    rows = [
        HistogramRow(schema=1, positive=((1, 1e100), (2, 1.0))),
        HistogramRow(schema=0, positive=((1, -1e100),)),
        HistogramRow(schema=2, positive=((1, 1.0), (2, 1.0), (5, 1.0))),
    ]
    found, _ = algebra.sum_runs(from_rows(rows), np.array([0]), np.array([3]))
    assert row_of(found, 0).positive == ((1, 3.0), (2, 1.0))


def test_an_average_goes_on_where_its_sum_overflows():
    values = [1.7e308, 1.7e308, -1.7e308, 0.0]
    rows = [HistogramRow(count=v, sum=1.0, positive=((0, v),)) for v in values]
    found, _ = algebra.average_runs(from_rows(rows), np.array([0]), np.array([4]))
    one = row_of(found, 0)
    assert (one.count, one.sum) == (pytest.approx(1.7e308 / 4), 1.0)
    assert one.positive == ((0, pytest.approx(1.7e308 / 4)),)


def test_an_average_that_starts_infinite_stays_so():
    rows = [HistogramRow(sum=INF, count=1), HistogramRow(sum=1.0, count=3)]
    found, _ = algebra.average_runs(from_rows(rows), np.array([0]), np.array([2]))
    assert (row_of(found, 0).sum, row_of(found, 0).count) == (INF, 2)


@settings(deadline=None)
@given(plain.any_histogram(), plain.any_histogram())
def test_equality(a, b):
    same = replace(a, hint=GAUGE, positive=(*a.positive, (77, 0.0)))
    assert algebra.equal(from_rows([a, a, a]), from_rows([a, b, same])).tolist() == [
        True,
        plain.scaled(a, 1.0) == replace(plain.scaled(b, 1.0), hint=a.hint),
        True,
    ]


def test_nan_equals_nan():
    one = from_rows([HistogramRow(sum=NAN, positive=((0, NAN),))])
    assert algebra.equal(one, one).tolist() == [True]


@settings(deadline=None)
@given(plain.any_histogram(), plain.any_histogram())
def test_resets(previous, current):
    found = algebra.was_reset(from_rows([previous] * 2), from_rows([current, previous]))
    assert found.tolist() == [
        plain.was_reset(previous, current),
        previous.hint == RESET,
    ]


@settings(deadline=None)
@given(plain.exponential(hints=[UNKNOWN]), plain.exponential(hints=[UNKNOWN]))
def test_what_only_grows_is_no_reset(previous, growth):
    """Also where the zero bucket widens or the resolution falls on the way."""
    current, _ = plain.added(previous, growth)
    assert algebra.was_reset(from_rows([previous]), from_rows([current])).tolist() == [False]


@settings(deadline=None)
@given(plain.any_histogram(), st.floats(-40, 40))
def test_trimming_splits_a_histogram(row, cut):
    columns = from_rows([row])
    low, high = (row_of(algebra.trim(columns, cut, upper=upper), 0) for upper in (True, False))
    parts = [dict(side) for side in (low.positive, high.positive, low.negative, high.negative)]
    for index, count in row.positive:
        lower, upper = plain.bounds_of(row, index)
        kept = parts[0].get(index, 0) + parts[1].get(index, 0)
        if math.isfinite(lower) and math.isfinite(upper):
            assert kept == pytest.approx(count)
    for index, count in row.negative:
        assert parts[2].get(index, 0) + parts[3].get(index, 0) == pytest.approx(count)
    assert low.zero_count + high.zero_count == pytest.approx(row.zero_count)


@settings(deadline=None)
@given(plain.exponential(), st.floats(-40, 40))
def test_what_trimming_keeps_is_the_fraction(row, cut):
    # Trimming heeds no empty buckets, and does not cut buckets at the edge of the zero bucket.
    row = plain.scaled(row, 1.0)
    inner = min((i for i, _ in (*row.positive, *row.negative)), default=None)
    assume(inner is None or plain.bound(inner - 1, row.schema) >= row.zero_threshold)
    kept = row_of(algebra.trim(from_rows([row]), cut, upper=True), 0)
    expected = plain.fraction(row, -INF, cut) * row.count if row.count else 0.0
    assert kept.count == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(plain.any_histogram())
def test_trimming_at_infinity_leaves_all(row):
    columns = from_rows([row])
    for cut, upper in ((INF, True), (-INF, False)):
        assert row_of(algebra.trim(columns, cut, upper=upper), 0) == plain.scaled(row, 1.0)
