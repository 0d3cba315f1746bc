import math

import pytest

from gnomon.metrics_text import MetricsText


def test_counters_and_gauges():
    out = MetricsText()
    out.counter("a_total", "Counts a.", 3)
    out.gauge("b", "Back\\slash and\nnewline.", 0.5)
    out.family("c", "gauge", "C.", [({"x": 'a"b\\c\nd'}, math.inf), ({}, math.nan)])
    out.family("d", "gauge", "Nothing to say.", [])
    assert out.text().decode() == (
        "# HELP a_total Counts a.\n# TYPE a_total counter\na_total 3\n"
        "# HELP b Back\\\\slash and\\nnewline.\n# TYPE b gauge\nb 0.5\n"
        '# HELP c C.\n# TYPE c gauge\nc{x="a\\"b\\\\c\\nd"} +Inf\nc NaN\n'
    )


def test_histograms_become_cumulative():
    out = MetricsText()
    out.histogram("h", "H.", [({"x": "1"}, (0.1, 1.0), (2, 0, 3), 7.5)])
    assert out.text().decode().splitlines()[2:] == [
        'h_bucket{x="1",le="0.1"} 2',
        'h_bucket{x="1",le="1"} 2',
        'h_bucket{x="1",le="+Inf"} 5',
        'h_sum{x="1"} 7.5',
        'h_count{x="1"} 5',
    ]


def test_summaries():
    out = MetricsText()
    out.summary("s", "S.", [({}, {0.5: 1.5}, 3.0, 2)])
    assert out.text().decode().splitlines()[2:] == ['s{quantile="0.5"} 1.5', "s_sum 3", "s_count 2"]


def test_a_family_comes_once():
    out = MetricsText()
    out.gauge("a", "A.", 1)
    with pytest.raises(AssertionError):
        out.gauge("a", "A.", 2)
