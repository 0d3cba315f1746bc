"""What the app is and does: shapes as in Prometheus 3.5.3."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from api.views import ApiOptions
from tsdb.interface import MetricMetadata as PushedMetadata


def data(api, path):
    reply = api.ask("GET", f"/api/v1/{path}")
    assert reply.status == 200
    assert reply.json["status"] == "success"
    return reply.json["data"]


def test_targets(api):
    got = data(api, "targets")
    assert got["activeTargets"] == [
        {
            "discoveredLabels": {"__address__": "a:9100"},
            "labels": {"instance": "a:9100", "job": "node"},
            "scrapePool": "node",
            "scrapeUrl": "http://a:9100/metrics",
            "globalUrl": "http://a:9100/metrics",
            "lastError": "",
            "lastScrape": "2026-11-23T21:40:00.5Z",
            "lastScrapeDuration": 0.01,
            "health": "up",
            "scrapeInterval": "1m",
            "scrapeTimeout": "10s",
        }
    ]
    assert got["droppedTargets"] == [
        {"discoveredLabels": {"__address__": "b:9100"}, "scrapePool": "node"}
    ]
    assert got["droppedTargetCounts"] == {"node": 1, "other": 0}


@pytest.mark.parametrize(
    ("query", "active", "dropped", "counts"),
    [
        ("state=active", 1, 0, None),
        ("state=dropped", 0, 1, {"node": 1, "other": 0}),
        ("state=ANY", 1, 1, {"node": 1, "other": 0}),
        ("state=foo", 0, 0, None),
        ("scrapePool=other", 0, 0, {"node": 1, "other": 0}),
    ],
)
def test_targets_can_be_narrowed(api, query, active, dropped, counts):
    got = data(api, f"targets?{query}")
    assert len(got["activeTargets"]) == active
    assert len(got["droppedTargets"]) == dropped
    assert got["droppedTargetCounts"] == counts


def test_targets_are_shown_under_the_name_that_others_know(api):
    api.options = ApiOptions(external_url="https://mon.example", listen_port=9090)
    targets = api.view.targets
    local = replace(targets().active[0], global_url="http://localhost:9100/metrics")
    api.view.targets = lambda: replace(targets(), active=[local])
    assert (
        data(api, "targets")["activeTargets"][0]["globalUrl"] == "http://mon.example:9100/metrics"
    )


UP = {"type": "counter", "unit": "", "help": "How <often>."}
HEAT = {"type": "gauge", "unit": "celsius", "help": "Heat."}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"up_total": [UP], "heat": [HEAT]}),
        ("?metric=heat", {"heat": [HEAT]}),
        ("?metric=nope", {}),
        ("?limit=1", {"up_total": [UP]}),
        ("?limit=-1&limit_per_metric=1", {"up_total": [UP], "heat": [HEAT]}),
    ],
)
def test_metadata(api, query, expected):
    assert data(api, f"metadata{query}") == expected


@pytest.mark.parametrize(
    ("query", "count", "first"),
    [
        ("", 3, {"metric": "up_total"}),
        ("?metric=heat", 1, {"type": "gauge"}),
        ("?match_target={job=%22other%22}", 1, {"target": {"instance": "b:9100", "job": "other"}}),
        ("?match_target={job!~%22o.*%22}&limit=1", 1, {"metric": "up_total"}),
    ],
)
def test_targets_metadata(api, query, count, first):
    got = data(api, f"targets/metadata{query}")
    assert len(got) == count
    assert got[0].items() >= first.items()
    assert ("metric" in got[0]) == ("metric=" not in query)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("scrape_pools", {"scrapePools": ["node", "other"]}),
        ("rules?type=ALERT&group_limit=5&exclude_alerts=true&match[]=up", {"groups": []}),
        ("alerts", {"alerts": []}),
        ("alertmanagers", {"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        ("status/tsdb/blocks", {"blocks": [{"ulid": "01J", "minTime": 1}]}),
        ("scrape_pools/config?scrapePool=node", {"yaml": "job_name: node\n"}),
        (
            "notifications",
            [
                {
                    "text": "Configuration reload has failed.",
                    "date": "2026-11-23T21:40:00Z",
                    "active": True,
                }
            ],
        ),
        ("status/config", {"yaml": "global:\n  scrape_interval: 1m\n"}),
        ("status/flags", {"config.file": "gnomon.yml", "web.enable-lifecycle": "false"}),
        ("status/walreplay", {"min": 0, "max": 0, "current": 0}),
    ],
)
def test_small_answers(api, path, expected):
    assert data(api, path) == expected


def test_buildinfo_is_all_text_and_without_features(api):
    got = data(api, "status/buildinfo")
    assert got["version"] == "3.5.0"
    assert got["gnomonVersion"] == "0.1.0"
    assert all(isinstance(value, str) for value in got.values())
    assert "features" not in got


def test_runtimeinfo(api):
    got = data(api, "status/runtimeinfo")
    assert list(got) == [
        "startTime", "CWD", "hostname", "serverTime", "reloadConfigSuccess", "lastConfigTime",
        "corruptionCount", "goroutineCount", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG",
        "storageRetention",
    ]  # fmt: skip
    assert got["lastConfigTime"] == "2026-11-23T21:40:00Z"


def test_tsdb_status_and_its_limit(api):
    got = data(api, "status/tsdb")
    assert got["headStats"] == {
        "numSeries": 20, "numLabelPairs": 40, "chunkCount": 5, "minTime": 1000, "maxTime": 2000,
    }  # fmt: skip
    for name in (
        "seriesCountByMetricName", "labelValueCountByLabelName", "memoryInBytesByLabelName",
        "seriesCountByLabelValuePair",
    ):  # fmt: skip
        assert len(got[name]) == 10
        assert got[name][0] == {"name": "m0", "value": 100}
    assert len(data(api, "status/tsdb?limit=3")["seriesCountByMetricName"]) == 3
    assert len(data(api, "status/tsdb?limit=10001")["seriesCountByMetricName"]) == 20


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("metadata?limit=abc", "limit must be a number"),
        ("metadata?limit_per_metric=x", "limit_per_metric must be a number"),
        ("targets/metadata?limit=x", "limit must be a number"),
        ("targets/metadata?match_target=sum(",
         'invalid parameter "match_target": 1:4: parse error: unexpected "("'),
        ("rules?type=x", 'invalid parameter "type": not supported value "x"'),
        ("rules?group_limit=0",
         'invalid parameter "group_limit": group_limit needs to be greater than 0'),
        ("rules?group_next_token=x", 'invalid parameter "group_next_token": group_limit needs to '
         "be present in order to paginate over the groups"),
        ("rules?group_limit=1&group_next_token=x", 'invalid parameter "group_next_token": invalid '
         "group_next_token 'x'. were rule groups changed?"),
        ("rules?exclude_alerts=x", 'invalid parameter "exclude_alerts": error converting '
         'exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax'),
        ("rules?match[]=sum(", '1:4: parse error: unexpected "("'),
        ("status/tsdb?limit=0", "limit must be a positive number"),
        ("status/tsdb?limit=x", "limit must be a positive number"),
    ],
)  # fmt: skip
def test_bad_requests_get_prometheus_words(api, path, error):
    reply = api.ask("GET", f"/api/v1/{path}")
    assert reply.status == 400
    assert reply.json == {"status": "error", "errorType": "bad_data", "error": error}


def test_features_tell_what_flags_switch_on(api):
    api.options = ApiOptions(enable_admin_api=True)
    found = data(api, "features")
    assert found["api"]["admin"] is True
    assert found["api"]["lifecycle"] is False
    assert found["promql_functions"]["rate"] is True
    assert found["promql_functions"]["mad_over_time"] is False
    assert all(isinstance(v, bool) for group in found.values() for v in group.values())


FIRST = {
    "sourceLabels": ["a", "b"],
    "separator": ";",
    "regex": "(.*)",
    "targetLabel": "c",
    "replacement": "$1",
    "action": "replace",
}


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        pytest.param('{"a":"1","b":"2"}', [{"a": "1", "b": "2", "c": "1;2"}] * 2, id="kept"),
        pytest.param('{"a":"1","z":""}', [{"a": "1", "c": "1;"}] * 2, id="empty is absent"),
        pytest.param('{"a":"x","b":"y"}', [{"a": "x", "b": "y", "c": "x;y"}, None], id="dropped"),
    ],
)
def test_relabel_steps_show_each_outcome(api, labels, outputs):
    steps = data(api, f"targets/relabel_steps?scrapePool=node&labels={quote(labels)}")["steps"]
    last = None if outputs[-1] is None else {**outputs[-1], "d": "e"}
    assert [step["rule"]["action"] for step in steps] == ["replace", "drop", "replace"]
    assert steps[0]["rule"] == FIRST
    assert [step["keep"] for step in steps] == [o is not None for o in (*outputs, last)]
    assert [step["output"] for step in steps] == [o or {} for o in (*outputs, last)]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("targets/relabel_steps", "no scrapePool parameter provided"),
        ("targets/relabel_steps?scrapePool=node", "no labels parameter provided"),
        ("targets/relabel_steps?scrapePool=node&labels=[]",
         "error parsing labels: an object of strings is expected"),
        ("targets/relabel_steps?scrapePool=node&labels={\"a\":1}",
         "error parsing labels: an object of strings is expected"),
        ("targets/relabel_steps?scrapePool=x&labels={}",
         'error retrieving scrape config: scrape pool "x" not found'),
        ("scrape_pools/config", "no scrapePool parameter provided"),
        ("scrape_pools/config?scrapePool=x",
         'error retrieving scrape config: scrape pool "x" not found'),
    ],
)  # fmt: skip
def test_what_they_refuse(api, path, error):
    reply = api.ask("GET", f"/api/v1/{path}")
    assert (reply.status, reply.json["error"]) == (400, error)


def test_labels_that_are_no_json(api):
    reply = api.ask("GET", "/api/v1/targets/relabel_steps?scrapePool=node&labels=%ff{")
    assert reply.status == 400
    assert reply.json["error"].startswith("error parsing labels: ")


def test_metadata_of_what_was_pushed_is_told_of_other_metrics(api):
    api.storage.append_metadata(
        [
            PushedMetadata("pushed", "counter", "seconds", "Sent here."),
            PushedMetadata("heat", "counter", "", "Not what the target says."),
        ]
    )
    found = data(api, "metadata")
    assert found["pushed"] == [{"type": "counter", "unit": "seconds", "help": "Sent here."}]
    assert found["heat"] == [{"type": "gauge", "unit": "celsius", "help": "Heat."}]
    assert list(data(api, "metadata?metric=pushed")) == ["pushed"]
