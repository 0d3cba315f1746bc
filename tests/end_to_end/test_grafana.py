"""What Grafana's Prometheus data source sends, in its order, and what it must get back."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

import pytest

from tests.end_to_end.processes import Server, until

pytestmark = pytest.mark.timeout(240)

GRAFANA = {
    "User-Agent": "Grafana/13.1.0",
    "X-Grafana-Org-Id": "1",
    "X-Dashboard-Uid": "abc",
    "Accept-Encoding": "identity",
}


@pytest.fixture(scope="module")
def grafana(tmp_path_factory):
    """Ask as Grafana does, of a server that scrapes itself."""
    running = Server(tmp_path_factory.mktemp("server"))
    running.configure({"self": f"127.0.0.1:{running.port}"})

    def ask(path, form=None, *, raw=None, **url):
        query = f"?{urlencode(url, doseq=True)}" if url else ""
        body = raw if form is None else urlencode(form, doseq=True).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
        status, text = running.get(f"/api/v1/{path}{query}", body, **GRAFANA, **kind)
        return status, json.loads(text)

    try:
        running.start()
        until(lambda: running.query('up{job="self"} == 1'), "the first scrape")
        yield ask
    finally:
        running.end()


def test_save_and_test(grafana):
    status, health = grafana("query", {"query": "1+1", "time": "4"})
    assert (status, health["data"]) == (200, {"resultType": "scalar", "result": [4, "2"]})
    status, build = grafana("status/buildinfo")
    assert status == 200
    assert all(isinstance(member, str) for member in build["data"].values())
    assert tuple(map(int, build["data"]["version"].split("."))) >= (2, 24)
    assert not build["data"].get("features")


def test_the_data_source_is_loaded(grafana):
    assert grafana("rules")[1]["data"] == {"groups": []}
    # In milliseconds, which is the year 50000; an error would switch exemplars off.
    now_ms = int(time.time() * 1000)
    times = {"start": now_ms - 3_600_000, "end": now_ms}
    assert grafana("query_exemplars", {"query": "test", **times}) == (
        200,
        {"status": "success", "data": []},
    )


def test_the_label_browser_and_the_builder(grafana):
    now = int(time.time())
    times = {"start": now - 3600, "end": now + 60}
    names = grafana("label/__name__/values", limit=40_000, **times)[1]["data"]
    assert {"up", "prometheus_http_request_duration_seconds_bucket"} <= set(names)
    assert set(grafana("labels", {"limit": 40_000, **times})[1]["data"]) >= {"job", "le"}
    metadata = grafana("metadata", limit=40_000)[1]["data"]
    assert metadata["process_cpu_seconds_total"][0]["type"] == "counter"
    assert all(entries for entries in metadata.values())
    some = grafana("label/__name__/values", **{"match[]": '{__name__=~".*cpu.*"}', "limit": 1000})
    assert "process_cpu_seconds_total" in some[1]["data"]
    labels = grafana("labels", {"match[]": 'up{job="self"}', **times})[1]["data"]
    assert labels == ["__name__", "instance", "job"]
    values = grafana("label/job/values", **{"match[]": "up", **times})[1]["data"]
    assert values == ["self"]
    assert grafana("label/U__http_2e_status/values", **times)[1]["data"] == []
    found = grafana("series", {"match[]": '{__name__!=""}', "limit": 40_000, **times})[1]["data"]
    assert {"__name__": "up", "job": "self"}.items() <= found[-1].items() or len(found) > 50


def test_panels_annotations_and_variables(grafana):
    now = int(time.time()) + 5
    times = {"start": now - 300, "end": now, "step": "15"}
    # Its $__rate_interval is in Go's form; what a user adds to all queries stands in the URL.
    query = 'sum by (job) (rate(process_cpu_seconds_total{job=~"self|x.*"}[1m0s]))'
    status, panel = grafana("query_range", {"query": query, **times}, timeout="", stats="all")
    assert (status, panel["data"]["resultType"]) == (200, "matrix")
    assert list(panel["data"]) == ["resultType", "result", "stats"]
    assert panel["data"]["stats"]["samples"]["totalQueryableSamples"] > 0
    table = grafana("query", {"query": "up", "time": f"{time.time():.3f}"})[1]["data"]
    assert table["result"][0]["value"][1] == "1"
    empty = grafana("query", {"query": "nope", "time": str(now)})[1]["data"]
    assert empty == {"resultType": "vector", "result": []}
    annotation = grafana("query_range", {"query": "up == 1", **times, "step": "60"})[1]["data"]
    assert annotation["resultType"] == "matrix"
    variable = grafana("series", {"match[]": 'up{job=~"self"}', "start": now - 300, "end": now})
    assert variable[1]["data"][0]["job"] == "self"
    exemplars = grafana("query_exemplars", {"query": query, "start": now - 300, "end": now})
    assert exemplars == (200, {"status": "success", "data": []})


def test_parameters_in_the_url_of_a_post_without_a_body(grafana):
    status, labels = grafana("labels", raw=b"", **{"match[]": "up"})
    assert (status, labels["data"]) == (200, ["__name__", "instance", "job"])


def test_errors_are_told_as_it_shows_them(grafana):
    status, bad = grafana("query_range", {"query": "sum(", "start": "1", "end": "2", "step": "1"})
    assert (status, bad["status"], bad["errorType"]) == (400, "error", "bad_data")
    assert 'invalid parameter "query": 1:5: parse error' in bad["error"]
    status, many = grafana("query", {"query": "up * on(job) group_left() {job='self'}"})
    assert (status, many["errorType"]) == (422, "execution")
