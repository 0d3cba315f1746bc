"""A whole server as a user runs it: real targets, real signals, real crashes."""

import json
import math
import signal
import subprocess
import time

import cramjam
import pytest

from tests.end_to_end.processes import free_port, gnomon, peer, until
from tests.protobuf import ld as field
from tests.protobuf import varint

pytestmark = pytest.mark.timeout(240)


def write_request(name, samples):
    """Return a remote write body of one series."""
    import struct

    label = field(1, b"__name__") + field(2, name.encode())
    series = field(1, label)
    for time_ms, value in samples:
        series += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))
    return bytes(cramjam.snappy.compress_raw(field(1, series)))


@pytest.mark.peer
def test_real_targets_are_scraped_and_asked(server, exporter):
    running = server()
    running.configure({"node": exporter, "self": f"127.0.0.1:{running.port}"})
    running.start()
    until(
        lambda: (
            running.query("count_over_time(up[1m]) >= 4").keys()
            >= {f"{exporter},node", f"127.0.0.1:{running.port},self"}
        ),
        "four scrapes of both targets",
    )
    assert set(running.query("up").values()) == {1.0}
    rates = running.query("sum by (mode) (rate(node_cpu_seconds_total[1m]))")
    assert {"idle", "user", "system"} <= rates.keys()
    # Not of one mode alone: a busy machine has no idle second to count.
    assert sum(rates.values()) > 0
    quantile = "histogram_quantile(0.9, sum by (le)(rate({}[1m])))"
    own = running.query(quantile.format("prometheus_http_request_duration_seconds_bucket"))
    assert 0 < own[""] <= 120
    assert "node_load1" in running.api("label/__name__/values")
    targets = running.api("targets")["activeTargets"]
    assert {target["health"] for target in targets} == {"up"}
    assert running.api("status/tsdb")["headStats"]["numSeries"] > 500
    assert running.api("metadata", metric="node_load1")["node_load1"][0]["type"] == "gauge"


@pytest.mark.peer
def test_what_was_acknowledged_survives_a_kill(server, exporter):
    running = server("--web.enable-remote-write-receiver")
    running.configure({"node": exporter})
    running.start()
    now_ms = int(time.time() * 1000)
    acknowledged = [(now_ms - 1000 + n, float(n)) for n in range(50)]
    for start in range(0, 50, 10):
        body = write_request("written", acknowledged[start : start + 10])
        assert running.write(body) == 204
    scraped = until(lambda: running.query("count_over_time(node_load1[1m]) > 2"), "scrapes")
    running.kill()
    running.start()
    at = str(now_ms / 1000 + 1)
    assert running.query("count_over_time(written[1m])", time=at) == {"": 50.0}
    assert running.query("sum_over_time(written[1m])", time=at) == {"": float(sum(range(50)))}
    (before,), (after,) = (
        scraped.values(),
        running.query("count_over_time(node_load1[1m])").values(),
    )
    assert after >= before
    # A kill leaves the lock file behind, and Prometheus' metric says so.
    until(lambda: running.get("/metrics")[1].find(b"prometheus_tsdb_clean_start 0") > 0, "clean=0")


def test_sighup_applies_a_new_file_and_refuses_a_bad_one(server):
    running = server("--web.enable-lifecycle")
    own = f"127.0.0.1:{running.port}"
    running.configure({"one": own})
    running.start()
    running.configure({"one": own, "two": own})
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.api("scrape_pools")["scrapePools"] == ["one", "two"], "the new job")
    loaded = running.api("status/config")["yaml"]
    running.config_file.write_text("global:\n  nonsense: 1\n")
    status, body = running.get("/-/reload", b"")
    assert status == 500
    assert b"failed to reload config: couldn't load configuration" in body
    assert b"field nonsense not found in type config.plain" in body
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.log.count("Error reloading config") == 2, "the second refusal")
    assert running.api("status/config")["yaml"] == loaded
    metrics = running.get("/metrics")[1].decode()
    assert "prometheus_config_last_reload_successful 0" in metrics
    running.configure({"three": own})
    assert running.get("/-/reload", b"")[0] == 200
    assert running.api("scrape_pools")["scrapePools"] == ["three"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_polite_signal_ends_it_with_zero(server, number):
    running = server()
    running.configure({})
    running.start()
    assert running.stop(number) == 0
    assert "See you next time!" in running.log
    assert "Traceback" not in running.log


def test_quit_over_http_ends_it_with_zero(server):
    running = server("--web.enable-lifecycle")
    running.configure({})
    running.start()
    assert running.get("/-/quit", b"") == (200, b"Requesting termination... Goodbye!")
    assert running.process.wait(30) == 0


def test_a_clean_stop_is_remembered(server):
    running = server()
    running.configure({})
    running.start()
    running.stop()
    running.start()
    assert b"prometheus_tsdb_clean_start 1" in running.get("/metrics")[1]


def test_a_second_server_on_the_same_data_is_refused(server, tmp_path):
    running = server()
    running.configure({})
    running.start()
    other = gnomon(
        "serve",
        f"--config.file={running.config_file}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{free_port()}",
    )
    assert other.returncode == 1
    assert "opening storage failed: lock DB directory" in other.stderr


def test_a_port_in_use_is_refused(server, tmp_path):
    running = server()
    running.configure({})
    running.start()
    other = gnomon(
        "serve",
        f"--config.file={running.config_file}",
        f"--storage.tsdb.path={tmp_path / 'other'}",
        f"--web.listen-address=127.0.0.1:{running.port}",
    )
    assert other.returncode == 1
    assert "Unable to start web listener" in other.stderr


NAMED_BY_PROMETHEUS = (
    b"prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total "
    b"metric name should not include type 'histogram'\n"
)
"""What promtool says of Prometheus' own metrics, too: the name is to be the same."""


@pytest.mark.peer
def test_own_metrics_satisfy_promtool(server):
    running = server("--web.enable-remote-write-receiver")
    running.configure({"self": f"127.0.0.1:{running.port}"})
    running.start()
    until(lambda: running.query("up"), "a scrape")
    metrics = running.get("/metrics")[1]
    checked = subprocess.run(
        [peer("promtool"), "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert checked.stdout + checked.stderr == NAMED_BY_PROMETHEUS


def test_the_command_line_asks_a_server_and_its_data(server, tmp_path):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    running.start()
    at_s = int(time.time()) - 10
    body = write_request("written", [(at_s * 1000, 1.5), (at_s * 1000 + 5000, math.inf)])
    assert running.write(body) == 204
    for where in (["--url", running.url], ["--data", tmp_path / "data"]):
        instant = gnomon("query", "instant", "written", "--time", at_s, "-o", "json", *where)
        assert json.loads(instant.stdout) == [
            {"metric": {"__name__": "written"}, "value": [at_s, "1.5"]}
        ]
        span = ["--start", at_s, "--end", at_s + 5, "--step", "5"]
        ranged = gnomon("query", "range", "written", *span, "-o", "csv", *where)
        assert ranged.stdout.splitlines() == [
            "__name__,timestamp,value",
            f"written,{at_s},1.5",
            f"written,{at_s + 5},+Inf",
        ]
        plan = gnomon("query", "explain", "sum(written)", *span, *where).stdout
        assert plan.startswith("steps  2 of 5s, ")
        assert plan.endswith("\n\nsum\n  written  [of read #0]\n")
        wanted = ("sum(written)", "--time", at_s, "--analyze", "-o", "json")
        plan = json.loads(gnomon("query", "explain", *wanted, *where).stdout)
        assert plan["reads"][0]["read"] == {"series": 1, "samples": 1}
        assert gnomon("query", "series", "written", *where).stdout == "written\n"
        assert gnomon("query", "labels", *where).stdout == "__name__\n"
        assert gnomon("query", "labels", "__name__", *where).stdout == "written\n"
        bad = gnomon("query", "instant", "written{", *where)
        assert (bad.returncode, bad.stdout) == (1, "")
        assert bad.stderr.startswith('query error: bad_data: invalid parameter "query": 1:9:')


def test_flags_are_shown_and_prefixes_hold(server):
    running = server("--web.external-url=http://example.org/gnomon/", "--no-web.enable-lifecycle")
    running.configure({})
    running._ready_or_dead = lambda: "ready to receive" in running.log
    running.start()
    flags = json.loads(running.get("/gnomon/api/v1/status/flags")[1])["data"]
    assert flags["web.external-url"] == "http://example.org/gnomon/"
    assert flags["storage.tsdb.path"] == str(running.folder / "data")
    assert flags["web.enable-lifecycle"] == "false"
    assert running.get("/gnomon/-/reload", b"")[0] == 403
    assert running.get("/api/v1/status/flags")[0] == 404
