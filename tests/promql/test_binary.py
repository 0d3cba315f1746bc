import math

import numpy as np
import pytest

from promql.binary import evaluate_binary, negate
from promql.errors import ExecutionError
from promql.syntax import Binary, Cardinality, Unary, VectorMatching
from tests.promql.matrices import ANY, assert_same, by_labels, context, key, matrix, scalar

NAN, INF = math.nan, math.inf


def scalars(op, left, right):
    ctx = context(1)
    result = evaluate_binary(Binary(op, ANY, ANY, True), scalar(left), scalar(right), ctx)
    return float(result.values[0])


@pytest.mark.parametrize(
    ("op", "left", "right", "expected"),
    [
        pytest.param("/", 1, 0, INF, id="division by zero is infinite"),
        pytest.param("/", -1, 0, -INF, id="with the sign of the dividend"),
        pytest.param("/", 0, 0, NAN, id="zero by zero is not a number"),
        pytest.param("%", -5, 3, -2, id="the remainder has the sign of the dividend"),
        pytest.param("%", 5, -3, 2, id="not that of the divisor"),
        pytest.param("%", 5.5, 2, 1.5, id="remainders may be fractions"),
        pytest.param("%", 5, 0, NAN, id="a remainder by zero is not a number"),
        pytest.param("%", 5, INF, 5, id="a remainder by infinity is the dividend"),
        pytest.param("%", INF, 5, NAN, id="infinity has no remainder"),
        pytest.param("^", 2, 10, 1024, id="power"),
        pytest.param("^", 1, NAN, 1, id="one to any power is one"),
        pytest.param("^", NAN, 0, 1, id="anything to the power of zero is one"),
        pytest.param("^", -8, 1 / 3, NAN, id="no roots of negative numbers"),
        pytest.param("^", -1, INF, 1, id="minus one to an infinite power is one"),
        pytest.param("^", 0, -1, INF, id="zero to a negative power is infinite"),
        pytest.param("atan2", 1, 0, math.pi / 2, id="straight up"),
        pytest.param("atan2", -0.0, -1, -math.pi, id="the sign of zero counts"),
        pytest.param("==", NAN, NAN, 0, id="not a number equals nothing"),
        pytest.param("!=", NAN, NAN, 1, id="and differs from itself"),
        pytest.param("<=", 2, 2, 1, id="comparisons of scalars give 0 or 1"),
    ],
)
def test_scalars(op, left, right, expected):
    np.testing.assert_equal(scalars(op, left, right), float(expected))


@pytest.mark.parametrize(
    ("op", "scalar_left", "return_bool", "expected"),
    [
        pytest.param(
            "-", False, False, {key(a="1"): [-1, None, 1]}, id="arithmetic drops the name"
        ),
        pytest.param(
            "-", True, False, {key(a="1"): [1, None, -1]}, id="the scalar may stand on the left"
        ),
        pytest.param(
            ">",
            False,
            False,
            {key(__name__="m", a="1"): [None, None, 3]},
            id="a filter keeps value and name",
        ),
        pytest.param(
            ">",
            True,
            False,
            {key(__name__="m", a="1"): [1, None, None]},
            id="also the vector's value when the scalar stands on the left",
        ),
        pytest.param(
            ">", False, True, {key(a="1"): [0, None, 1]}, id="bool gives 0 or 1 and drops the name"
        ),
    ],
)
def test_vector_and_scalar(op, scalar_left, return_bool, expected):
    ctx = context(3)
    vector = matrix([({"__name__": "m", "a": "1"}, [1, None, 3])], ctx)
    operands = [vector, scalar(2, 2, 2)]
    if scalar_left:
        operands.reverse()
    result = evaluate_binary(Binary(op, ANY, ANY, return_bool), *operands, ctx)
    assert_same(by_labels(result), expected)


def test_the_scalar_has_a_value_of_its_own_at_every_step():
    ctx = context(3)
    vector = matrix([({"a": "1"}, [1, 1, 1])], ctx)
    result = evaluate_binary(Binary("*", ANY, ANY), vector, scalar(1, 2, 3), ctx)
    assert by_labels(result) == {key(a="1"): [1, 2, 3]}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda v, ctx: evaluate_binary(Binary("+", ANY, ANY), v, scalar(1, 1), ctx),
            id="plus a scalar",
        ),
        pytest.param(lambda v, ctx: negate(Unary("-", ANY), v, ctx), id="minus"),
        pytest.param(
            lambda v, ctx: evaluate_binary(Binary("<", ANY, ANY, True), v, scalar(1, 1), ctx),
            id="compared with bool",
        ),
    ],
)
def test_without_names_two_series_may_be_one(make):
    ctx = context(2)
    apart = matrix([({"__name__": "m"}, [1, None]), ({"__name__": "n"}, [None, 2])], ctx)
    assert list(by_labels(make(apart, ctx))) == [()]
    together = matrix([({"__name__": "m"}, [1, 1]), ({"__name__": "n"}, [None, 2])], ctx)
    with pytest.raises(ExecutionError, match="vector cannot contain metrics with the same label"):
        make(together, ctx)


def test_a_delayed_name_stays_and_is_marked():
    ctx = context(1, delayed_name_removal=True)
    vector = matrix([({"__name__": "m"}, [1]), ({"__name__": "n"}, [2])], ctx)
    result = negate(Unary("-", ANY), vector, ctx)
    assert by_labels(result) == {key(__name__="m"): [-1], key(__name__="n"): [-2]}
    assert result.drop_name.all()


def test_a_filter_keeps_the_mark_of_the_left_side():
    ctx = context(1, delayed_name_removal=True)
    left = matrix([({"__name__": "m", "a": "1"}, [1]), ({"__name__": "m"}, [1])], ctx, [0])
    right = matrix([({"__name__": "n", "a": "1"}, [1]), ({"__name__": "n"}, [1])], ctx)
    result = evaluate_binary(Binary("==", ANY, ANY, False, VectorMatching()), left, right, ctx)
    assert dict(zip(by_labels(result), result.drop_name.tolist(), strict=True)) == {
        key(__name__="m", a="1"): True,
        key(__name__="m"): False,
    }


def test_a_plus_leaves_the_vector_alone():
    ctx = context(1)
    vector = matrix([({"__name__": "m"}, [1])], ctx)
    assert negate(Unary("+", ANY), vector, ctx) is vector


def test_group_right_compares_left_with_right_and_keeps_the_labels_of_the_right():
    ctx = context(1)
    one = matrix([({"__name__": "m", "a": "1"}, [5])], ctx)
    many = matrix(
        [({"__name__": "n", "a": "1", "b": b}, [v]) for b, v in (("x", 4), ("y", 6))], ctx
    )
    matching = VectorMatching(Cardinality.ONE_TO_MANY, ("a",), True)
    result = evaluate_binary(Binary("<", ANY, ANY, False, matching), one, many, ctx)
    assert by_labels(result) == {key(__name__="n", a="1", b="y"): [5]}


@pytest.mark.parametrize("op", ["</", ">/"])
def test_trimming_drops_floats_and_says_so(op):
    ctx = context(1)
    vector = matrix([({"a": "1"}, [1])], ctx)
    result = evaluate_binary(Binary(op, ANY, ANY), vector, scalar(1), ctx)
    assert by_labels(result) == {}
    assert ctx.annotations.infos == [
        "PromQL info: incompatible sample types encountered for binary operator"
        f' "{op}": float {op} float (1:1)'
    ]


def test_scalars_cannot_be_trimmed():
    with pytest.raises(ExecutionError, match="not allowed for Scalar operations"):
        scalars("</", 1, 2)
