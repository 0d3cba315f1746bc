"""Quantiles and fractions of classic histograms, against one histogram at a time in Python."""

import bisect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.errors import ExecutionError
from promql.histogram import FUNCTIONS
from promql.matrix import StringValue
from promql.syntax import Call
from tests.promql.matrices import ANY, assert_same, by_labels, context, key, matrix, scalar

NAN, INF = math.nan, math.inf


def table(buckets, **labels):
    """Rows of one histogram at one step from (bound text, count) pairs."""
    return [({"__name__": "h_bucket", **labels, "le": le}, [count]) for le, count in buckets]


def call(func, ctx, *operands):
    return FUNCTIONS[func](Call(func, (ANY,) * len(operands)), list(operands), ctx)


def quantile(q, buckets):
    ctx = context(1)
    result = by_labels(call("histogram_quantile", ctx, scalar(q), matrix(table(buckets), ctx)))
    return result.get((), [None])[0], ctx.annotations


EVEN = [("1", 10), ("2", 20), ("4", 40), ("+Inf", 40)]


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        pytest.param(0.5, EVEN, 2, id="at a bound"),
        pytest.param(0.125, EVEN, 0.5, id="linear inside a bucket, the first from zero"),
        pytest.param(0.75, EVEN, 3, id="linear in a later one"),
        pytest.param(0.0, EVEN, 0, id="zero"),
        pytest.param(1.0, EVEN, 4, id="one"),
        pytest.param(0.9, [("1", 1), ("2", 2), ("+Inf", 40)], 2, id="in the last the bound below"),
        pytest.param(0.1, [("-1", 10), ("0", 20), ("+Inf", 20)], -1, id="a first bound below zero"),
        pytest.param(0.75, [("-1", 10), ("0", 20), ("+Inf", 20)], -0.5, id="and a bucket after it"),
        pytest.param(0.5, [("1", 10), ("2", 20)], NAN, id="without +Inf there is no answer"),
        pytest.param(0.5, [("+Inf", 10)], NAN, id="nor with nothing but it"),
        pytest.param(0.5, [("1", 0), ("+Inf", 0)], NAN, id="nor without observations"),
        pytest.param(
            0.5, [("1", NAN), ("+Inf", NAN)], 1, id="NaN counts reach no rank: last bucket"
        ),
        pytest.param(-0.1, EVEN, -INF, id="below zero"),
        pytest.param(1.1, EVEN, INF, id="above one"),
        pytest.param(NAN, EVEN, NAN, id="no number at all"),
        pytest.param(
            0.5, [("1", 5), ("1.0", 5), ("+Inf", 20)], 1, id="buckets of one bound are added up"
        ),
        pytest.param(
            0.5, [("1", 0), ("2", 0), ("+Inf", 10)], 2, id="empty buckets are passed over"
        ),
        pytest.param(0.0, [("1", 0), ("2", 5), ("+Inf", 5)], NAN, id="zero by zero"),
        pytest.param(0.5, [], None, id="nothing"),
    ],
)
def test_quantile(q, buckets, expected):
    result, annotations = quantile(q, buckets)
    np.testing.assert_equal(result, expected)
    assert bool(annotations.warnings) == (not 0 <= q <= 1)
    assert annotations.infos == []


@pytest.mark.parametrize(
    ("counts", "expected", "fixed"),
    [
        pytest.param([10, 5, 20], 1.0, True, id="a fall is undone with an info"),
        pytest.param([10, 10 * (1 - 1e-13), 20], 1.0, False, id="rounding is undone in silence"),
        pytest.param([10, 10 * (1 + 1e-13), 20], 1.0, False, id="also upwards"),
    ],
)
def test_counts_are_made_to_rise(counts, expected, fixed):
    buckets = list(zip(("1", "2", "+Inf"), counts, strict=True))
    result, annotations = quantile(0.5, buckets)
    assert result == pytest.approx(expected)
    expected_infos = [
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see"
        " https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
        ' for metric name "h_bucket" (1:1)'
    ]
    assert annotations.infos == (expected_infos if fixed else [])


def test_a_bucket_that_is_missing_at_a_step_is_not_part_of_it():
    ctx = context(2)
    rows = [({"le": "1"}, [10, None]), ({"le": "2"}, [20, 20]), ({"le": "+Inf"}, [20, 20])]
    result = call("histogram_quantile", ctx, scalar(0.25, 0.25), matrix(rows, ctx))
    assert by_labels(result) == {(): [0.5, 0.5]}
    result = call("histogram_quantile", ctx, scalar(0.75, 0.75), matrix(rows, ctx))
    assert by_labels(result) == {(): [1.5, 1.5]}


def test_histograms_are_told_apart_by_their_other_labels_and_lose_their_name():
    ctx = context(1)
    rows = table(EVEN, job="a") + table([("1", 1), ("+Inf", 1)], job="b")
    result = call("histogram_quantile", ctx, scalar(0.5), matrix(rows, ctx))
    assert by_labels(result) == {key(job="a"): [2], key(job="b"): [0.5]}


def test_two_histograms_that_differ_in_name_only_are_an_error():
    ctx = context(1)
    rows = table(EVEN) + [({**labels, "__name__": "other"}, row) for labels, row in table(EVEN)]
    with pytest.raises(ExecutionError, match="same labelset"):
        call("histogram_quantile", ctx, scalar(0.5), matrix(rows, ctx))


class TestQuantiles:
    def test_a_label_holds_the_quantile(self):
        ctx = context(1)
        result = call(
            "histogram_quantiles",
            ctx,
            matrix(table(EVEN), ctx),
            StringValue("q"),
            scalar(0.5),
            scalar(1.0),
        )
        assert by_labels(result) == {key(q="0.5"): [2], key(q="1.0"): [4]}

    def test_a_quantile_that_changes_makes_a_series_of_its_own(self):
        ctx = context(2)
        rows = [(labels, row * 2) for labels, row in table(EVEN)]
        operands = [matrix(rows, ctx), StringValue("q"), scalar(0.5, 0.75)]
        result = call("histogram_quantiles", ctx, *operands)
        assert by_labels(result) == {key(q="0.5"): [2, None], key(q="0.75"): [None, 3]}

    def test_a_label_that_told_histograms_apart_must_not_be_overwritten(self):
        ctx = context(1)
        rows = table(EVEN, job="a") + table(EVEN, job="b")
        operands = [matrix(rows, ctx), StringValue("job"), scalar(0.5)]
        with pytest.raises(ExecutionError, match="same labelset"):
            call("histogram_quantiles", ctx, *operands)

    def test_nothing_has_no_quantiles_but_warnings(self):
        ctx = context(1)
        operands = [matrix([], ctx), StringValue("q"), scalar(NAN)]
        assert by_labels(call("histogram_quantiles", ctx, *operands)) == {}
        assert len(ctx.annotations.warnings) == 1


@pytest.mark.parametrize(
    ("low", "high", "buckets", "expected"),
    [
        pytest.param(0, 2, EVEN, 0.5, id="whole buckets"),
        pytest.param(0.5, 1.5, EVEN, 0.25, id="parts of buckets"),
        pytest.param(-INF, INF, EVEN, 1, id="everything"),
        pytest.param(-5, -1, EVEN, 0, id="below the first bucket, which begins at zero"),
        pytest.param(2, 2, EVEN, 0, id="nothing between a value and itself"),
        pytest.param(3, 1, EVEN, 0, id="nor backwards"),
        pytest.param(NAN, 1, EVEN, NAN, id="no answer for NaN"),
        pytest.param(4, 9, [("4", 10), ("+Inf", 20)], 0, id="no interpolation towards infinity"),
        pytest.param(4, INF, [("4", 10), ("+Inf", 20)], 0.5, id="but all of it when asked for"),
        pytest.param(
            -4, -2, [("-3", 10), ("-2", 12), ("+Inf", 20)], 0.1, id="nor from minus infinity"
        ),
        pytest.param(0, 1, [("+Inf", 10)], 0, id="one bucket has no inside"),
        pytest.param(0, 1, [("1", 10)], NAN, id="without +Inf there is no answer"),
        pytest.param(0, 1, [("1", 0), ("+Inf", 0)], NAN, id="nor without observations"),
    ],
)
def test_fraction(low, high, buckets, expected):
    ctx = context(1)
    operands = [scalar(low), scalar(high), matrix(table(buckets), ctx)]
    result = by_labels(call("histogram_fraction", ctx, *operands))
    np.testing.assert_allclose(result[()][0], expected)


@pytest.mark.parametrize("func", [name for name in sorted(FUNCTIONS) if "_quantile" not in name])
def test_floats_are_no_native_histograms(func):
    if func == "histogram_fraction":
        return  # reads classic ones too: see above
    ctx = context(2)
    assert by_labels(call(func, ctx, matrix([({"a": "1"}, [1, 2])], ctx))) == {}


def plain_quantile(q, buckets):
    """One histogram: {bound: count}, q in 0..1."""
    bounds = sorted(buckets)
    if bounds[-1] != INF or len(bounds) < 2:
        return NAN
    counts = list(np.maximum.accumulate([buckets[bound] for bound in bounds]))
    if counts[-1] == 0:
        return NAN
    rank = q * counts[-1]
    at = bisect.bisect_left(counts[:-1], rank)
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    low, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    with np.errstate(all="ignore"):
        return low + (bounds[at] - low) * (np.float64(rank - below) / (counts[at] - below))


BUCKETS = st.dictionaries(
    st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 5.0, INF]),
    st.one_of(st.none(), st.integers(0, 20)),
    min_size=1,
)


@settings(deadline=None)
@given(st.lists(BUCKETS, min_size=2, max_size=2), st.floats(0, 1))
def test_every_histogram_and_step_alone(per_step, q):
    ctx = context(2)
    rows, expected = [], {}
    for job in "ab":
        steps = per_step if job == "a" else per_step[::-1]
        for bound in {bound for buckets in steps for bound in buckets}:
            row = [buckets.get(bound) for buckets in steps]
            rows.append(({"job": job, "le": str(bound)}, row))
        held = [{b: c for b, c in buckets.items() if c is not None} for buckets in steps]
        if any(held):
            answers = [plain_quantile(q, buckets) if buckets else None for buckets in held]
            expected[key(job=job)] = answers
    result = call("histogram_quantile", ctx, scalar(q, q), matrix(rows, ctx))
    assert_same(by_labels(result), expected, rtol=1e-9)
