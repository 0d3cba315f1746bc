"""What the app is and does: shapes as in Prometheus 3.5.3."""

from __future__ import annotations

import pytest

from api.views import ApiOptions


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
        ("scrapePool=other", 0, 0, {"other": 0}),
    ],
)
def test_targets_can_be_narrowed(api, query, active, dropped, counts):
    got = data(api, f"targets?{query}")
    assert len(got["activeTargets"]) == active
    assert len(got["droppedTargets"]) == dropped
    assert got["droppedTargetCounts"] == counts


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
        ("rules?type=alert&group_limit=5&exclude_alerts=true&match[]=up", {"groups": []}),
        ("alerts", {"alerts": []}),
        ("alertmanagers", {"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        ("notifications", []),
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


@pytest.mark.parametrize(
    ("enabled", "error"),
    [
        (False, "admin APIs disabled"),
        (True, "the admin API snapshot is not supported yet"),
    ],
)
def test_the_admin_api_says_what_is_missing(api, enabled, error):
    api.options = ApiOptions(enable_admin_api=enabled)
    reply = api.ask("POST", "/api/v1/admin/tsdb/snapshot")
    assert reply.status == 500
    assert reply.json == {"status": "error", "errorType": "unavailable", "error": error}
