import pytest

from gnomon.promqltest.variants import other_times, pinned, time_dependent
from promql.format import format_expr
from promql.parse import FEATURES, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a @ 60.000"),
        ("a @ 5", "a @ 5.000"),
        ("rate(a[5m]) + b", "rate(a[5m] @ 60.000) + b @ 60.000"),
        ("sum_over_time(a[5m:1m])", "sum_over_time(a[5m:1m] @ 60.000)"),
        ("topk(scalar(n), a)", "topk(scalar(n @ 60.000), a @ 60.000)"),
        ("1 + 2", "1 + 2"),
    ],
)
def test_pinned(text, expected):
    assert format_expr(pinned(parse(text), 60_000)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time()", True),
        ("sum(timestamp(a))", True),
        ("a @ start()", True),
        ("a[1m:1m] @ end()", True),
        ("a[step()]", True),
        ("rate(a[5m])", False),
    ],
)
def test_time_dependent(text, expected):
    assert time_dependent(parse(text, FEATURES)) is expected


def test_other_times():
    assert other_times(0) == [-1000, 0, 1000]
    assert other_times(100) == [0, 20, 100, 1000, -1000]
