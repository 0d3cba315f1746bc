"""topk, bottomk, limitk, limit_ratio: which series stay."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.aggregate import aggregate
from promql.errors import ExecutionError
from promql.rank_kernels import quantile_rows, select_top
from promql.syntax import Aggregation
from tests.promql.matrices import ANY, by_labels, context, key, matrix, rows, scalar

NAN, INF = math.nan, math.inf


def chosen(op, values, k, groups=None):
    """The names of the series that stay of one step, in order."""
    ctx = context(1)
    groups = groups or ["g"] * len(values)
    table = [
        ({"i": str(i), "g": g}, [value])
        for i, (value, g) in enumerate(zip(values, groups, strict=True))
    ]
    node = Aggregation(op, ANY, ANY, ("g",))
    return [labels["i"] for labels, _ in rows(aggregate(node, matrix(table, ctx), scalar(k), ctx))]


@pytest.mark.parametrize(
    ("op", "values", "k", "expected"),
    [
        pytest.param("topk", [1, 3, 2], 2, ["1", "2"], id="the largest, largest first"),
        pytest.param("bottomk", [1, 3, 2], 2, ["0", "2"], id="the smallest, smallest first"),
        pytest.param("topk", [NAN, 1], 1, ["1"], id="a number before NaN"),
        pytest.param("bottomk", [NAN, 1], 1, ["1"], id="in either direction"),
        pytest.param("topk", [NAN, 1, INF], 3, ["2", "1", "0"], id="NaN comes last"),
        pytest.param("bottomk", [NAN, 1, -INF], 3, ["2", "1", "0"], id="here too"),
        pytest.param("topk", [5, 5, 5], 2, ["0", "1"], id="of equals the first stay"),
        pytest.param("topk", [1, 2], 1.9, ["1"], id="k is cut to an integer"),
        pytest.param("topk", [1, 2], 0.9, [], id="less than one keeps nothing"),
        pytest.param("topk", [1, 2], -1e300, [], id="nor does a negative k, however large"),
        pytest.param("topk", [1, 2], 1e15, ["1", "0"], id="a large k keeps all"),
        pytest.param("limitk", [3, None, 1, 2], 2, ["0", "2"], id="the first that are there"),
    ],
)
def test_one_group(op, values, k, expected):
    assert chosen(op, values, k) == expected


def test_instant_results_come_group_after_group():
    assert chosen("topk", [1, 10, 2, 20], 2, ["a", "b", "a", "b"]) == ["2", "0", "3", "1"]


def test_k_may_change_from_step_to_step():
    ctx = context(3)
    vector = matrix([({"i": "1"}, [1, 9, 1]), ({"i": "2"}, [2, 2, 2])], ctx)
    for op, expected in (
        ("topk", {key(i="1"): [None, 9, 1], key(i="2"): [2, None, 2]}),
        ("limitk", {key(i="1"): [1, 9, 1], key(i="2"): [None, None, 2]}),
    ):
        result = aggregate(Aggregation(op, ANY, ANY), vector, scalar(1, 1, 2), ctx)
        assert by_labels(result) == expected


def test_names_and_marks_stay():
    ctx = context(1, delayed_name_removal=True)
    vector = matrix([({"__name__": "m"}, [1]), ({"__name__": "n"}, [2])], ctx, [1])
    result = aggregate(Aggregation("topk", ANY, ANY), vector, scalar(5), ctx)
    assert by_labels(result) == {key(__name__="n"): [2], key(__name__="m"): [1]}
    assert result.drop_name.tolist() == [True, False]


@pytest.mark.parametrize(
    ("op", "k", "message"),
    [
        pytest.param("topk", NAN, "Parameter value is NaN", id="k is not a number"),
        pytest.param("bottomk", 1e20, "Scalar value 1e+20 overflows int64", id="k is too large"),
        pytest.param(
            "limitk", 2.0**63, "Scalar value 9.223372036854776e+18 overflows int64", id="just so"
        ),
        pytest.param("limit_ratio", NAN, "Ratio value is NaN", id="a ratio is not a number"),
    ],
)
def test_parameters_that_make_no_sense(op, k, message):
    with pytest.raises(ExecutionError) as raised:
        chosen(op, [1], k)
    assert str(raised.value) == message


def test_a_k_too_small_at_one_step_is_an_error_if_another_step_keeps_something():
    ctx = context(2)
    with pytest.raises(ExecutionError, match="underflows int64"):
        aggregate(Aggregation("topk", ANY, ANY), matrix([], ctx), scalar(1, -1e20), ctx)


class TestLimitRatio:
    NAMES = frozenset(str(i) for i in range(200))

    def kept(self, ratio):
        return set(chosen("limit_ratio", [1.0] * 200, ratio))

    @pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9, 1.0])
    def test_a_ratio_and_its_complement_are_all_and_share_nothing(self, ratio):
        kept, rest = self.kept(ratio), self.kept(ratio - 1.0)
        assert kept | rest == self.NAMES
        assert not kept & rest

    def test_a_larger_ratio_keeps_what_a_smaller_one_kept(self):
        assert self.kept(0.2) < self.kept(0.6)

    def test_the_share_is_about_the_ratio(self):
        assert 70 < len(self.kept(0.5)) < 130

    @pytest.mark.parametrize(("ratio", "bound"), [(1.5, "1"), (-2.0, "-1")])
    def test_beyond_one_it_is_capped_and_warned_of(self, ratio, bound):
        ctx = context(1)
        vector = matrix([({"i": "1"}, [1])], ctx)
        result = aggregate(Aggregation("limit_ratio", ANY, ANY), vector, scalar(ratio), ctx)
        assert by_labels(result) == {key(i="1"): [1]}
        assert ctx.annotations.warnings == [
            f"PromQL warning: ratio value should be between -1 and 1, got {ratio:g},"
            f" capping to {bound} (1:1)"
        ]


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0, NAN, INF, -INF])), max_size=9),
    st.integers(1, 5),
    st.sampled_from(["topk", "bottomk"]),
)
def test_the_kept_values_are_the_front_of_the_sorted_ones(values, k, op):
    kept = [values[int(i)] for i in chosen(op, values, k)]
    there = [value for value in values if value is not None]
    numbers = sorted((v for v in there if not math.isnan(v)), reverse=op == "topk")
    nans = [v for v in there if math.isnan(v)]
    np.testing.assert_array_equal(kept, (numbers + nans)[:k])


@given(
    values=st.lists(st.sampled_from([NAN, -INF, -1.0, 0.0, 1.0, 2.0, INF]), min_size=1, max_size=9),
    k=st.integers(1, 5),
    smallest=st.booleans(),
    cut=st.integers(0, 150),
)
@settings(deadline=None, max_examples=40)
def test_many_steps_keep_what_each_keeps_alone(values, k, smallest, cut):
    # Each step has the values in another order, and another one is missing.
    steps = 150
    table = np.array([np.roll(values, -step) for step in range(steps)]).T.copy()
    present = np.array([np.arange(len(values)) != step % 10 for step in range(steps)]).T.copy()
    order, start = np.arange(len(values)), np.array([0, len(values) // 2, len(values)])
    keep, place = np.zeros_like(present), np.zeros(len(values), dtype=np.int64)
    for low, high in ((0, cut), (cut, steps)):
        counts = np.full(steps, k)
        select_top(table, present, order, start, counts, smallest, low, high, keep, place)
    for step in range(steps):
        one = np.zeros((len(values), 1), dtype=np.bool_)
        select_top(
            table[:, step : step + 1].copy(),
            present[:, step : step + 1].copy(),
            order,
            start,
            np.array([k]),
            smallest,
            0,
            1,
            one,
            place,
        )
        assert keep[:, step].tolist() == one[:, 0].tolist()
        for rows_of in (range(start[1]), range(start[1], start[2])):
            there = [table[row, step] for row in rows_of if present[row, step]]
            kept = [table[row, step] for row in rows_of if keep[row, step]]
            by_rank = sorted(
                there, key=lambda each: (math.isnan(each), each if smallest else -each)
            )
            np.testing.assert_array_equal(np.sort(kept), np.sort(by_rank[:k]))


@given(
    values=st.lists(st.one_of(st.floats(-9, 9), st.just(NAN)), min_size=1, max_size=60),
    q=st.sampled_from([0.0, 0.01, 0.5, 0.9, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_quantiles_are_those_of_sorted_values(values, q):
    steps = 20
    table = np.array([np.roll(values, step) for step in range(steps)]).T.copy()
    present = np.ones(table.shape, dtype=np.bool_)
    out, counts = np.zeros((1, steps)), np.zeros((1, steps), dtype=np.int64)
    order, start = np.arange(len(values)), np.array([0, len(values)])
    for low, high in ((0, 7), (7, steps)):
        quantile_rows(table, present, order, start, np.full(steps, q), low, high, out, counts)
    ranked = sorted(values, key=lambda each: (not math.isnan(each), each))
    rank = q * (len(values) - 1)
    low = int(rank)
    high = min(low + 1, len(values) - 1)
    weight = rank - low
    expected = ranked[low] * (1 - weight) + ranked[high] * weight
    np.testing.assert_array_equal(out[0], np.full(steps, expected))
    assert (counts == len(values)).all()
