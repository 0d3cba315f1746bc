"""Clients that people use, against a running server: what they print is what is held."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time

import pytest
from prometheus_api_client import PrometheusConnect

from tests.end_to_end.processes import PATIENCE_S, free_port, peer, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]


@pytest.fixture
def running(server):
    """A server that scrapes itself."""
    found = server("--web.enable-remote-write-receiver")
    found.configure({"self": f"127.0.0.1:{found.port}"})
    found.start()
    until(lambda: found.query('up{job="self"} == 1'), "the first scrape")
    return found


def promtool(*words):
    done = subprocess.run(
        [peer("promtool"), *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_promtool_queries(running):
    instance = f"127.0.0.1:{running.port}"
    labels = f'{{__name__="up", instance="{instance}", job="self"}}'
    url, now = running.url, time.time()

    code, out, _ = promtool("query", "instant", url, "up")
    assert code == 0
    assert out.startswith(f'up{{instance="{instance}", job="self"}} => 1 @[')

    code, out, _ = promtool("query", "instant", "-o", "json", url, "vector(1) + 1.5")
    assert (code, json.loads(out)[0]["value"][1]) == (0, "2.5")

    code, _, err = promtool("query", "instant", url, "sum(")
    assert code == 1
    assert "bad_data" in err

    words = [f"--start={now - 60:.0f}", f"--end={now + 5:.0f}", "--step=1s"]
    code, out, _ = promtool("query", "range", *words, url, "up")
    assert code == 0
    assert "1 @[" in out

    code, out, _ = promtool("query", "series", "--match=up", url)
    assert (code, out.strip()) == (0, labels)

    code, out, _ = promtool("query", "labels", url, "job")
    assert (code, out.strip()) == (0, "self")


def test_prometheus_api_client(running):
    client = PrometheusConnect(url=running.url)
    assert client.check_prometheus_connection()
    assert "up" in client.all_metrics()
    assert client.get_label_values("job") == ["self"]
    assert {"__name__", "job"} <= set(client.get_label_names())
    (now,) = client.get_current_metric_value("up", {"job": "self"})
    assert now["value"][1] == "1"
    end = dt.datetime.now() + dt.timedelta(seconds=5)
    found = client.custom_query_range("up", end - dt.timedelta(minutes=5), end, "1s")
    assert {value for _, value in found[0]["values"]} == {"1"}
    (held,) = client.get_metric_range_data("up", None, end - dt.timedelta(minutes=5), end)
    assert held["values"]
    assert client.custom_query("count(up)")[0]["value"][1] == "1"
    assert client.get_scrape_pools() == ["self"]
    assert [target["health"] for target in client.get_targets()["activeTargets"]] == ["up"]


RULES = """
groups:
- name: both
  interval: 1s
  rules:
  - {record: "self:up:double", expr: up * 2, labels: {by: vmalert}}
  - {alert: Running, expr: up == 1, labels: {severity: page}}
"""


def test_vmalert_evaluates_rules_over_us_and_writes_back(running, tmp_path):
    program = peer("vmalert")
    rules, log_file = tmp_path / "rules.yml", tmp_path / "vmalert.log"
    rules.write_text(RULES)
    words = [
        program,
        f"-rule={rules}",
        f"-datasource.url={running.url}",
        f"-remoteWrite.url={running.url}",
        f"-remoteRead.url={running.url}",
        "-remoteWrite.flushInterval=1s",
        "-notifier.blackhole",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
    ]
    with log_file.open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            found = until(lambda: running.query("self:up:double"), "the recorded series")
            assert set(found.values()) == {2.0}
            firing = 'ALERTS{alertname="Running",alertstate="firing",severity="page"}'
            assert set(until(lambda: running.query(firing), "the alert").values()) == {1.0}
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert "error" not in log_file.read_text().lower()
