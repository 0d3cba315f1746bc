import math

import pytest

from promql.matrix import StringValue
from promql.sorting import FUNCTIONS, NaturalOrder
from promql.syntax import Call
from tests.promql.matrices import context, matrix, rows

NAN = math.nan


def order(func, table, *names):
    ctx = context(1)
    operands = [matrix(table, ctx), *(StringValue(name) for name in names)]
    return [labels for labels, _ in rows(FUNCTIONS[func](Call(func, ()), operands, ctx))]


@pytest.mark.parametrize(
    ("func", "values", "expected"),
    [
        pytest.param("sort", [3, 1, 2], [1, 2, 0], id="smallest first"),
        pytest.param("sort_desc", [3, 1, 2], [0, 2, 1], id="largest first"),
        pytest.param("sort", [NAN, 1], [1, 0], id="NaN last"),
        pytest.param("sort_desc", [NAN, 1], [1, 0], id="NaN last here too"),
        pytest.param("sort", [2, None, 1], [2, 0], id="who is not there is left out"),
    ],
)
def test_by_value(func, values, expected):
    table = [({"i": str(i)}, [value]) for i, value in enumerate(values)]
    assert [int(labels["i"]) for labels in order(func, table)] == expected


TABLE = [({"cpu": cpu, "m": m}, [1]) for cpu, m in (("10", "a"), ("2", "b"), ("2", "a"), ("", "z"))]


@pytest.mark.parametrize(
    ("func", "names", "expected"),
    [
        pytest.param("sort_by_label", ("cpu",), ["z", "2a", "2b", "10a"], id="numbers as numbers"),
        pytest.param(
            "sort_by_label", ("m", "cpu"), ["2a", "10a", "2b", "z"], id="first label first"
        ),
        pytest.param(
            "sort_by_label_desc", ("cpu",), ["10a", "2b", "2a", "z"], id="the other way round"
        ),
        pytest.param(
            "sort_by_label", (), ["10a", "2a", "2b", "z"], id="without labels by all of them"
        ),
        pytest.param(
            "sort_by_label", ("zzz",), ["10a", "2a", "2b", "z"], id="nor by one nobody has"
        ),
    ],
)
def test_by_label(func, names, expected):
    ordered = order(func, TABLE, *names)
    assert [labels.get("cpu", "") + labels["m"] for labels in ordered] == expected


@pytest.mark.parametrize("func", sorted(FUNCTIONS))
def test_over_a_range_it_is_in_vain_and_says_so(func):
    ctx = context(2)
    vector = matrix([({"a": "1"}, [2, 2]), ({"a": "2"}, [1, 1])], ctx)
    assert FUNCTIONS[func](Call(func, ()), [vector], ctx) is vector
    assert ctx.annotations.warnings == [
        "PromQL warning: sort is ineffective for range queries since results are always ordered"
        " by labels (1:1)"
    ]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["1", "2", "10"], id="numbers"),
        pytest.param(["", "1", "a"], id="nothing, digits, letters"),
        pytest.param(["a", "a1", "a2", "a2b", "a10", "b"], id="runs in turn"),
        pytest.param(["1.5", "1.10"], id="no fractions, but runs"),
        pytest.param(["10", "99999999999999999999"], id="what is no int64 is text"),
    ],
)
def test_natural_order(texts):
    assert sorted(reversed(texts), key=NaturalOrder) == texts
