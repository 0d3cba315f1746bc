"""Real servers at both ends of remote write, and a sender that is killed."""

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

from tests.conftest import ROOT
from tests.end_to_end.processes import Server, until
from tests.end_to_end.receiving import forwarding, receiving_prometheus, receiving_victoria
from tests.end_to_end.test_remote_read import body

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]

V1, V2 = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"


def ask(url, expr, **parameters):
    """Return an instant vector as {labels: value}."""
    query = urllib.parse.urlencode({"query": expr, **parameters})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=30) as reply:
        result = json.loads(reply.read())["data"]["result"]
    return {
        json.dumps(series["metric"], sort_keys=True): float(series["value"][1])
        for series in result
        if "value" in series
    }


@pytest.fixture
def server(tmp_path):
    made = []

    def make(name, *flags):
        (tmp_path / name).mkdir()
        made.append(Server(tmp_path / name, *flags))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.mark.parametrize("message", [V1, V2], ids=["1.0", "2.0"])
def test_to_prometheus(tmp_path, server, message):
    with receiving_prometheus(tmp_path) as url:
        own = server("sender")
        forwarding(own, url, protobuf_message=message, send_exemplars=True)
        own.start()
        until(lambda: ask(url, 'count_over_time(up{cluster="one"}[5m]) > 3'), "samples to arrive")
        own.stop()
        at = str(time.time())
        theirs = ask(url, 'count({cluster="one"})', time=at)
        assert next(iter(theirs.values())) > 100


def test_to_victoria_metrics(tmp_path, server):
    with receiving_victoria(tmp_path) as url:
        own = server("sender")
        forwarding(own, url)
        own.start()
        until(lambda: ask(url, 'count_over_time(up{cluster="one"}[5m]) > 3'), "samples to arrive")
        own.stop()


def samples_of(own):
    """Return all samples of the scraped series that a server holds."""
    result = own.api("query", query='{job="self"}[10m]')["result"]
    return {
        (json.dumps({n: v for n, v in series["metric"].items() if n != "cluster"}), time, text)
        for series in result
        for time, text in series["values"]
    }


@pytest.mark.parametrize("message", [V1, V2], ids=["1.0", "2.0"])
def test_nothing_is_missing_after_kills_and_an_outage(server, message):
    other = server("receiver", "--web.enable-remote-write-receiver")
    other.config_file.write_text("global: {}\n")
    other.start()
    own = server("sender")
    forwarding(own, other.url, protobuf_message=message)
    own.start()
    until(lambda: ask(other.url, "count_over_time(up[10m]) > 3"), "samples to arrive")
    own.kill()
    own.start()
    until(lambda: ask(other.url, "count_over_time(up[10m]) > 6"), "samples after a kill")
    other.stop()
    time.sleep(2)
    own.kill()
    own.start()
    other.start()
    until(lambda: ask(other.url, "count_over_time(up[10m]) > 12"), "samples after an outage")
    forwarding(own, other.url, scrapes=False, protobuf_message=message)
    own.process.send_signal(1)
    until(lambda: "Completed loading" in own.log, "the reload")
    until(lambda: samples_of(own) == samples_of(other), "both to hold the same")
    assert len(samples_of(own)) > 1000


def test_native_histograms_from_one_to_the_other(server):
    other = server("receiver", "--web.enable-remote-write-receiver")
    other.config_file.write_text("global: {}\n")
    other.start()
    own = server("sender", "--web.enable-remote-write-receiver")
    forwarding(own, other.url, scrapes=False, protobuf_message=V2, send_native_histograms=True)
    own.start()
    now_ms = int(time.time() * 1000)
    headers = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    }
    assert own.get("/api/v1/write", body(now_ms), **headers)[0] == 204
    at = str(now_ms / 1000)
    wanted = (
        "count_over_time(native[9m])",
        "count_over_time(custom[9m])",
        "sum_over_time(counter[9m])",
        "histogram_quantile(0.7, rate(custom[5m]))",
        "histogram_sum(native)",
    )

    def answers(server):
        return {expr: [*ask(server.url, expr, time=at).values()] for expr in wanted}

    expected = answers(own)
    assert all(expected.values())
    until(lambda: answers(other) == expected, "the same answers")


def test_an_agent_forwards_and_answers_no_queries(server):
    other = server("receiver", "--web.enable-remote-write-receiver")
    other.config_file.write_text("global: {}\n")
    other.start()
    own = server("sender")
    forwarding(own, other.url)
    own.launch = lambda: None
    with (own.folder / "log.txt").open("w") as log:
        own.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gnomon", "serve", "--agent"),
                f"--config.file={own.config_file}",
                f"--storage.agent.path={own.folder / 'agent'}",
                f"--web.listen-address=127.0.0.1:{own.port}",
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    own.start()
    until(lambda: ask(other.url, "count_over_time(up[10m]) > 3"), "samples to arrive")
    for path in (
        "query?query=up",
        "labels",
        "label/job/values",
        "series?match[]=up",
        "status/tsdb",
    ):
        status, answer = own.get(f"/api/v1/{path}")
        assert status == 422
        assert json.loads(answer) == {
            "status": "error",
            "errorType": "execution",
            "error": "unavailable with Prometheus Agent",
        }
    assert own.get("/federate?match[]=up")[0] == 500
    assert len(own.api("targets")["activeTargets"]) == 1
    assert own.stop() == 0
    assert (own.folder / "agent" / "wal").is_dir()
