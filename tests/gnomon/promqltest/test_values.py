import math

import pytest

from gnomon.promqltest.values import (
    Histogram,
    HistogramPoint,
    NotationError,
    histogram,
    points,
    quoted,
    series,
    start_offsets,
)
from tsdb.staleness import STALE_NAN

HISTOGRAM = histogram("{{schema:1 sum:2}}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="nothing is no point"),
        pytest.param("1 -2.5 +3e2", [1.0, -2.5, 300.0], id="numbers with sign and exponent"),
        pytest.param("Inf -inf", [math.inf, -math.inf], id="infinities in any case"),
        pytest.param("7x2", [7.0, 7.0, 7.0], id="x2 repeats twice more"),
        pytest.param("1+2x3", [1.0, 3.0, 5.0, 7.0], id="a step is added up"),
        pytest.param("1-2x2", [1.0, -1.0, -3.0], id="a step is taken away"),
        pytest.param("-1+0.5x1", [-1.0, -0.5], id="the sign of the first is not the step's"),
        pytest.param("_ 1 _x2", [None, 1.0, None, None], id="blanks repeat exactly"),
        pytest.param("5m 1h30m", [300.0, 5400.0], id="durations are seconds"),
        pytest.param("0x10", [0.0] * 11, id="hexadecimal is zero repeated"),
        pytest.param("1\t\t2", [1.0, 2.0], id="tabs separate too"),
        pytest.param("{{schema:1 sum:2}}", [HistogramPoint(HISTOGRAM)], id="a histogram"),
        pytest.param(
            "{{schema:1 sum:2}}x1", [HistogramPoint(HISTOGRAM)] * 2, id="a histogram repeated"
        ),
        pytest.param(
            "{{schema:1 sum:2}}-{{schema:1 sum:2}}x1",
            [
                HistogramPoint(HISTOGRAM, HISTOGRAM, -1, 0),
                HistogramPoint(HISTOGRAM, HISTOGRAM, -1, 1),
            ],
            id="a histogram with a step",
        ),
    ],
)
def test_points(text, expected):
    assert points(text) == expected


def test_nan_and_stale_are_two_things():
    nan, stale = points("NaN stale")
    assert math.isnan(nan)
    assert math.isnan(stale)
    assert type(STALE_NAN)(stale).tobytes() == STALE_NAN.tobytes()
    assert type(STALE_NAN)(nan).tobytes() != STALE_NAN.tobytes()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("abc", id="a word"),
        pytest.param("1+2", id="a step without repetition"),
        pytest.param("1 {{schema:1", id="a histogram not closed"),
        pytest.param("{{what:1}}", id="an unknown key"),
        pytest.param("{{sum:1 sum:2}}", id="a key twice"),
        pytest.param("{{counter_reset_hint:maybe}}", id="an unknown hint"),
        pytest.param("1_", id="two items without space"),
    ],
)
def test_points_that_are_none(text):
    with pytest.raises(NotationError):
        points(text)


def test_histogram_with_every_key():
    text = (
        "{{schema:-53 sum:1.5 count:-3 z_bucket:1 z_bucket_w:0.1 buckets:[1 2] offset:-1"
        " n_buckets:[3] n_offset:2 custom_values:[5 10] counter_reset_hint:gauge}}"
    )
    found = histogram(text)
    assert found == Histogram(
        text=text,
        schema=-53,
        sum=1.5,
        count=-3.0,
        zero_count=1.0,
        zero_threshold=0.1,
        offset=-1,
        buckets=(1.0, 2.0),
        negative_offset=2,
        negative_buckets=(3.0,),
        custom_values=(5.0, 10.0),
        counter_reset_hint="gauge",
        written=found.written,
    )
    assert len(found.written) == 11


@pytest.mark.parametrize(
    ("text", "labels", "rest"),
    [
        pytest.param("up 1", {"__name__": "up"}, " 1", id="a bare name"),
        pytest.param("{} 4", {}, " 4", id="no label at all"),
        pytest.param('{a="b"}', {"a": "b"}, "", id="labels without name"),
        pytest.param('m{a="",b="c",} 1', {"__name__": "m", "b": "c"}, " 1", id="empty is absent"),
        pytest.param("m {{sum:1}}", {"__name__": "m"}, " {{sum:1}}", id="values may be histograms"),
        pytest.param(
            '{"my.name", "a b"="c"} 1',
            {"__name__": "my.name", "a b": "c"},
            " 1",
            id="quoted name and label",
        ),
        pytest.param("m { a = 'x' } 1", {"__name__": "m", "a": "x"}, " 1", id="spaces inside"),
        pytest.param("a:b_c 1", {"__name__": "a:b_c"}, " 1", id="colons in a name"),
    ],
)
def test_series(text, labels, rest):
    assert series(text) == (labels, rest)


@pytest.mark.parametrize("text", ["1 2", "m{a} 1", 'm{a="b" c="d"} 1', "m{a=b}", '{a="b'])
def test_series_that_are_none(text):
    with pytest.raises(NotationError):
        series(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(r'"a\nb"', "a\nb", id="newline"),
        pytest.param(r'"\x41\u00e9\101"', "AéA", id="hex, unicode and octal"),
        pytest.param(r"'it\'s'", "it's", id="single quotes"),
        pytest.param("`a\\n`", "a\\n", id="back quotes keep everything"),
    ],
)
def test_quoted(text, expected):
    assert quoted(text, 0) == (expected, len(text))


def test_start_offsets():
    assert start_offsets("_x2 -30s-1mx1 0 5s+1sx1") == [
        None,
        None,
        -30_000,
        -90_000,
        0,
        5_000,
        6_000,
    ]
