import math

import numpy as np
import pytest

from promql.buckets import bucket_groups, parse_bound
from promql.syntax import Span
from tests.promql.matrices import context, matrix


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        pytest.param("0.5", 0.5, id="a decimal"),
        pytest.param("1e3", 1000.0, id="an exponent"),
        pytest.param("+Inf", math.inf, id="infinity"),
        pytest.param("inf", math.inf, id="in any case"),
        pytest.param("-infinity", -math.inf, id="spelt out"),
        pytest.param("1_0", 10.0, id="underscores between digits"),
        pytest.param("0x1p4", 16.0, id="hexadecimal with an exponent"),
        pytest.param("0x10", None, id="but not without"),
        pytest.param(".5", 0.5, id="no digit before the point"),
        pytest.param("", None, id="nothing"),
        pytest.param(" 1", None, id="space around it"),
        pytest.param("1e400", None, id="too large"),
        pytest.param("abc", None, id="no number"),
        pytest.param("+nan", None, id="NaN has no sign"),
        pytest.param("\u0661", None, id="digits of other scripts"),
    ],
)
def test_bounds_are_read_as_go_reads_them(text, bound):
    assert parse_bound(text) == bound


def test_not_a_number_is_a_number_to_go():
    assert math.isnan(parse_bound("NaN"))


def test_rows_are_gathered_by_their_other_labels_and_sorted_by_bound():
    ctx = context(1)
    les = [("a", "+Inf"), ("b", "1"), ("a", "0.5"), ("a", "NaN"), ("b", "0.5"), ("a", "10")]
    vector = matrix([({"job": job, "le": le}, [1]) for job, le in les], ctx)
    groups = bucket_groups(vector, Span(0, 0), ctx)
    assert [groups.labels.row(g) for g in range(2)] == [{"job": "a"}, {"job": "b"}]
    assert [les[row][1] for row in groups.order] == ["0.5", "10", "+Inf", "NaN", "0.5", "1"]
    assert groups.start.tolist() == [0, 4, 6]
    np.testing.assert_array_equal(groups.bounds[groups.order[:3]], [0.5, 10, math.inf])


def test_a_bound_that_is_none_is_left_out_and_named():
    ctx = context(1)
    rows = [
        ({"__name__": "m", "le": "abc"}, [1]),
        ({"__name__": "m"}, [1]),
        ({"le": "abc"}, [None]),
        ({"le": "1"}, [1]),
    ]
    groups = bucket_groups(matrix(rows, ctx), Span(0, 0), ctx)
    assert groups.order.tolist() == [3]
    assert ctx.annotations.warnings == [
        f'PromQL warning: bucket label "le" is missing or has a malformed value of "{le}" for'
        ' metric name "m" (1:1)'
        for le in ("abc", "")
    ]
