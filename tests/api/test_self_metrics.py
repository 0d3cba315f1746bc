from __future__ import annotations

import pytest

EXPOSITION = r"""# HELP up_total How \\ often.\nTruly.
# TYPE up_total counter
up_total 2
# HELP heat Heat.
# TYPE heat gauge
heat{room="a\"b\\c\nd",side="x"} NaN
heat{room="e"} +Inf
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{handler="/",le="0.1"} 3
wait_seconds_bucket{handler="/",le="+Inf"} 4
wait_seconds_sum{handler="/"} 1.5
wait_seconds_count{handler="/"} 4
# HELP size_bytes Sizes.
# TYPE size_bytes summary
size_bytes{quantile="0.5"} 7
size_bytes_sum 21
size_bytes_count 3
"""

EXPECTED = [
    {
        "name": "up_total",
        "help": "How \\ often.\nTruly.",
        "type": "COUNTER",
        "metric": [{"counter": {"value": 2}}],
    },
    {
        "name": "heat",
        "help": "Heat.",
        "type": "GAUGE",
        "metric": [
            {
                "label": [
                    {"name": "room", "value": 'a"b\\c\nd'},
                    {"name": "side", "value": "x"},
                ],
                "gauge": {"value": "NaN"},
            },
            {"label": [{"name": "room", "value": "e"}], "gauge": {"value": "Infinity"}},
        ],
    },
    {
        "name": "wait_seconds",
        "help": "Waits.",
        "type": "HISTOGRAM",
        "metric": [
            {
                "label": [{"name": "handler", "value": "/"}],
                "histogram": {
                    "bucket": [
                        {"cumulativeCount": "3", "upperBound": 0.1},
                        {"cumulativeCount": "4", "upperBound": "Infinity"},
                    ],
                    "sampleSum": 1.5,
                    "sampleCount": "4",
                },
            }
        ],
    },
    {
        "name": "size_bytes",
        "help": "Sizes.",
        "type": "SUMMARY",
        "metric": [
            {
                "summary": {
                    "quantile": [{"quantile": 0.5, "value": 7}],
                    "sampleSum": 21,
                    "sampleCount": "3",
                }
            }
        ],
    },
]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        pytest.param("", ["up_total", "heat", "wait_seconds", "size_bytes"], id="all"),
        pytest.param("?metric_name_pattern=heat", ["heat"], id="one by its name"),
        pytest.param("?metric_name_pattern=eat", [], id="a pattern is of the whole name"),
        pytest.param(
            "?metric_name_pattern=.*_seconds|up.*", ["up_total", "wait_seconds"], id="a pattern"
        ),
    ],
)
def test_families_are_protojson(api, query, names):
    api.view.metrics_text = lambda: EXPOSITION.encode()
    reply = api.ask("GET", f"/api/v1/status/self_metrics{query}")
    assert reply.json["data"] == [each for each in EXPECTED if each["name"] in names]


def test_a_bad_pattern_is_refused(api):
    reply = api.ask("GET", "/api/v1/status/self_metrics?metric_name_pattern=(")
    assert (reply.status, reply.json["errorType"]) == (400, "bad_data")


def test_a_pattern_that_is_no_utf_8_is_refused(api):
    reply = api.ask("GET", "/api/v1/status/self_metrics?metric_name_pattern=%93")
    assert (reply.status, reply.json["errorType"]) == (400, "bad_data")
