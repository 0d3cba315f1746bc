"""The logs of queries and of failed scrapes, beside those of a Prometheus 3.5."""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.end_to_end.processes import PATIENCE_S, free_port, prometheus_3, until

pytestmark = pytest.mark.timeout(240)

CONFIG = """
global: {scrape_interval: 500ms, query_log_file: q.log, scrape_failure_log_file: f.log}
scrape_configs:
- job_name: everywhere
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: its own
  scrape_failure_log_file: g.log
  static_configs: [{targets: ["127.0.0.1:1"]}]
"""
TWICE = "vector(1) * on() (vector(1) or label_replace(vector(2), 'a', 'b', '', ''))"
REQUESTS = (
    ("query", {"query": "vector(1)", "time": "1700000000.5"}),
    ("query", {"query": 'label_replace(vector(1), "a", "<é>", "", "")', "time": "5"}),
    ("query", {"query": "vector(1)\n+ 1", "time": "1700000000", "stats": "all"}),
    ("query_range", {"query": "vector(1)", "start": "1e9", "end": "1000000060", "step": "7.5"}),
    ("query", {"query": "1 +", "time": "1"}),
    ("query", {"query": TWICE, "time": "1"}),
)


def entries(folder, name):
    """Return the whole lines of a log; the last may be half written."""
    if not (folder / name).exists():
        return []
    return [json.loads(line) for line in (folder / name).read_text().split("\n")[:-1]]


def told(folder):
    """Return what the query log says, but for how long it took."""
    for entry in entries(folder, "q.log"):
        assert entry.pop("time").endswith("Z")
        assert entry.pop("source")
        timings = entry["stats"].pop("timings")
        assert all(seconds >= 0 for seconds in timings.values())
        yield {**entry, "timings": sorted(timings)}


def ask(url, path, parameters):
    encoded = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{encoded}", timeout=PATIENCE_S) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.fixture
def reference(tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "prometheus.yml").write_text(CONFIG)
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(prometheus_3(), f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _is_up(url), "Prometheus")
        yield folder, url
    finally:
        process.kill()
        process.wait()


def _is_up(url):
    try:
        return ask(url, "query", {"query": "1 +"}) == 400
    except OSError:
        return False


def test_both_logs_say_what_those_of_prometheus_say(server, reference):
    running = server()
    running.config_file.write_text(CONFIG)
    running.start()
    mine, (folder, url) = running.config_file.parent, reference
    for path, parameters in REQUESTS:
        assert ask(running.url, path, parameters) == ask(url, path, parameters)
    ours, theirs = list(told(mine)), list(told(folder))
    assert [entry["params"] for entry in ours] == [entry["params"] for entry in theirs]
    assert len(ours) == len(REQUESTS) - 1
    assert ours == theirs
    assert [list(entry) for entry in ours] == [list(entry) for entry in theirs]

    def failures(where):
        until(lambda: entries(where, "f.log") and entries(where, "g.log"), "scrapes to fail")
        for name in ("f.log", "g.log"):
            entry = entries(where, name)[0]
            del entry["time"], entry["source"]
            yield entry

    assert list(failures(mine)) == list(failures(folder))


def test_a_reload_opens_the_logs_anew_and_refuses_what_cannot_be_opened(server):
    running = server("--web.enable-lifecycle")
    running.config_file.write_text(CONFIG)
    running.start()
    folder = running.config_file.parent
    ask(running.url, "query", {"query": "1"})
    os.rename(folder / "q.log", folder / "q.log.1")  # noqa: PTH104 - as log rotation does it
    ask(running.url, "query", {"query": "2"})
    assert running.get("/-/reload", b"")[0] == 200
    ask(running.url, "query", {"query": "3"})
    asked = [[e["params"]["query"] for e in entries(folder, n)] for n in ("q.log.1", "q.log")]
    assert asked == [["1", "2"], ["3"]]

    running.config_file.write_text(CONFIG.replace("q.log", "missing/q.log"))
    status, body = running.get("/-/reload", b"")
    assert status == 500
    assert b"missing/q.log" in body
    ask(running.url, "query", {"query": "4"})
    assert [e["params"]["query"] for e in entries(folder, "q.log")] == ["3", "4"]
    metrics = running.get("/metrics")[1]
    assert b"prometheus_engine_query_log_enabled 1\n" in metrics
    assert b"prometheus_engine_query_log_failures_total 0\n" in metrics

    running.config_file.write_text("global: {scrape_interval: 1s}\n")
    assert running.get("/-/reload", b"")[0] == 200
    ask(running.url, "query", {"query": "5"})
    assert [e["params"]["query"] for e in entries(folder, "q.log")] == ["3", "4"]
    assert b"prometheus_engine_query_log_enabled 0\n" in running.get("/metrics")[1]


def test_a_start_with_a_log_that_cannot_be_opened_says_which(server):
    running = server()
    running.config_file.write_text(CONFIG.replace("q.log", "missing/q.log"))
    running.launch()
    assert running.process.wait(PATIENCE_S) == 1
    assert "missing/q.log" in running.log
