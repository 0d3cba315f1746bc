"""A real Prometheus scrapes /federate, in each form, and then holds what Gnomon holds."""

from __future__ import annotations

import contextlib
import subprocess
import time

import pytest

from tests.end_to_end.processes import free_port, prometheus_3, until
from tests.end_to_end.test_remote_read import ask, body, by_labels, ready

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]


@contextlib.contextmanager
def prometheus_with(folder, program, configuration):
    config = folder / "prometheus.yml"
    config.write_text(configuration)
    port = free_port()
    words = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=native-histograms",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def filled(server):
    running = server("--web.enable-remote-write-receiver")
    running.config_file.write_text("global: {external_labels: {cluster: c}}\n")
    running.start()
    now_ms = int(time.time() * 1000)
    headers = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
    }
    assert running.get("/api/v1/write", body(now_ms), **headers) == (204, b"")
    return running, now_ms / 1000


@pytest.fixture
def program():
    return prometheus_3()


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        pytest.param("PrometheusText0.0.4", ["counter"], id="text"),
        pytest.param("OpenMetricsText1.0.0", ["counter"], id="OpenMetrics"),
        pytest.param("PrometheusProto", ["counter", "native"], id="protobuf, histograms too"),
    ],
)
def test_prometheus_scrapes_what_is_held(program, filled, tmp_path, protocol, names):
    running, at_s = filled
    address = running.url.removeprefix("http://")
    scrape = (
        "scrape_configs:\n- job_name: federation\n  honor_labels: true\n  scrape_interval: 1s\n"
        f"  scrape_protocols: [{protocol}]\n  metrics_path: /federate\n"
        "  params: {'match[]': ['{__name__=~\"counter|native\"}']}\n"
        f"  static_configs: [{{targets: ['{address}']}}]\n"
    )
    with prometheus_with(tmp_path, program, scrape) as url:
        until(lambda: ready(url), "Prometheus to be ready")
        for name in names:
            theirs = until(lambda name=name: ask(url, name, at_s + 5), f"{name} to be scraped")
            ours = ask(running.url, name, at_s + 5)
            for series in ours:
                series["metric"] |= {"cluster": "c"}
            assert by_labels(theirs) == by_labels(ours)
        assert ask(url, "up", time.time())[0]["value"][1] == "1"
