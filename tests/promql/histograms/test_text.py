"""Buckets as the HTTP API lists them, and histograms as text."""

import math

import pytest
from hypothesis import given, settings

from promql.histograms.columns import HistogramRow, from_rows
from promql.histograms.text import bucket_list, histogram_text
from tests.promql import plain_histograms as plain

INF = math.inf


def listed(row):
    found = bucket_list(from_rows([HistogramRow(count=1), row]))
    assert found.start.tolist() == [0, 0, found.count.size]
    return list(
        zip(
            found.rule.tolist(),
            found.lower.tolist(),
            found.upper.tolist(),
            found.count.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            HistogramRow(
                zero_count=3, zero_threshold=0.25, positive=((1, 2),), negative=((0, 1), (2, 4))
            ),
            [(1, -4, -2, 4), (1, -1, -0.5, 1), (3, -0.25, 0.25, 3), (0, 1, 2, 2)],
            id="negative from the lowest, zero, positive",
        ),
        pytest.param(
            HistogramRow(zero_count=1, zero_threshold=0.75, positive=((0, 2),), negative=((0, 2),)),
            [(1, -1, -0.75, 2), (3, -0.75, 0.75, 1), (0, 0.75, 1, 2)],
            id="cut at the zero bucket",
        ),
        pytest.param(
            HistogramRow(positive=((0, 0), (1, 1)), zero_threshold=0.1),
            [(0, 1, 2, 1)],
            id="no empty ones",
        ),
        pytest.param(
            HistogramRow(zero_count=-1, positive=((1, -2),)),
            [(0, 1, 2, -2)],
            id="negative counts show, but not that of the zero bucket",
        ),
        pytest.param(
            HistogramRow(schema=-53, bounds=(-1.0, 5.0), positive=((0, 1), (1, 2), (2, 3))),
            [(3, -INF, -1, 1), (0, -1, 5, 2), (0, 5, INF, 3)],
            id="custom ones, from infinity to infinity",
        ),
        pytest.param(
            HistogramRow(schema=-53, positive=((0, 1),)),
            [(3, -INF, INF, 1)],
            id="custom without bounds",
        ),
        pytest.param(HistogramRow(), [], id="nothing"),
    ],
)
def test_bucket_list(row, expected):
    assert listed(row) == expected


@settings(deadline=None)
@given(plain.any_histogram())
def test_lists_equal_the_definition(row):
    expected = [bucket[:3] for bucket in plain.buckets(row) if bucket[2] != 0]
    assert [bucket[1:] for bucket in listed(row)] == [
        pytest.approx(bucket, rel=1e-14) for bucket in expected
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(HistogramRow(), "{count:0, sum:0}", id="nothing"),
        pytest.param(
            HistogramRow(
                count=1e6,
                sum=math.nan,
                zero_count=3,
                zero_threshold=0.001,
                positive=((0, 1), (2, 0)),
                negative=((0, 1.5), (2, 4)),
            ),
            "{count:1e+06, sum:NaN, [-4,-2):4, [-1,-0.5):1.5, [-0.001,0.001]:3, (0.5,1]:1}",
            id="in the order of values, without empty buckets",
        ),
        pytest.param(
            HistogramRow(schema=-53, count=3, bounds=(5.0,), positive=((0, 1), (1, 2))),
            "{count:3, sum:0, [-Inf,5]:1, (5,+Inf]:2}",
            id="custom bounds",
        ),
        pytest.param(
            HistogramRow(zero_count=-1, zero_threshold=0.75, positive=((0, 2),)),
            "{count:0, sum:0, [-0.75,0.75]:-1, (0.5,1]:2}",
            id="text cuts nothing at the zero bucket",
        ),
    ],
)
def test_text(row, expected):
    assert histogram_text(from_rows([row]), 0) == expected
