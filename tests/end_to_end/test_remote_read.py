"""A real Prometheus that keeps nothing answers queries over what Gnomon holds."""

import contextlib
import json
import struct
import subprocess
import time
import urllib.parse
import urllib.request

import cramjam
import pytest

from tests.end_to_end.processes import Server, free_port, peer, until
from tests.protobuf import f64, ld, varint, vi

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]


def histogram(time_ms, count, *, custom=False):
    """Return a histogram whose two buckets share the count, and whose sum is the count."""
    schema = vi(4, 105) + ld(16, struct.pack("<2d", 0.5, 2.5)) if custom else vi(4, 0)
    spans = ld(11, vi(1, 0) + vi(2, 2))
    deltas = ld(12, varint(2 * (count // 2)) + varint(0))
    return ld(3, vi(1, count) + f64(3, float(count)) + schema + spans + deltas + vi(15, time_ms))


SYMBOLS = (b"", b"__name__", b"counter", b"native", b"custom", b"job", b"a")


QUERIES = (
    "counter",
    "native",
    "rate(counter[5m])",
    "count_over_time(counter[9m])",
    "histogram_quantile(0.7, rate(native[5m]))",
    "histogram_count(increase(native[5m]))",
    "count_over_time(native[9m])",
    "custom",
    "histogram_quantile(0.7, rate(custom[5m]))",
    '{job="a"}',
)


def body(now_ms):
    """Return ten minutes of a float counter, a native and a custom-bucket histogram, by 2.0."""
    times = [now_ms - 600_000 + 1000 * n for n in range(600)]
    floats = b"".join(ld(2, f64(1, n * 0.1) + vi(2, time)) for n, time in enumerate(times))
    native = b"".join(histogram(t, 2 * n) for n, t in enumerate(times))
    custom = b"".join(histogram(t, 2 * n, custom=True) for n, t in enumerate(times))

    def series(name, rest):
        return ld(5, ld(1, bytes([1, name, 5, 6])) + rest)

    message = b"".join(ld(4, symbol) for symbol in SYMBOLS)
    message += series(2, floats) + series(3, native) + series(4, custom)
    return bytes(cramjam.snappy.compress_raw(message))


@contextlib.contextmanager
def reading_prometheus(folder, url):
    config = folder / "prometheus.yml"
    config.write_text(f"remote_read: [{{url: '{url}/api/v1/read', read_recent: true}}]\n")
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                peer("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=native-histograms",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(url, query, at_s):
    words = urllib.parse.urlencode({"query": query, "time": at_s})
    with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=30) as response:
        return json.loads(response.read())["data"]["result"]


def ready(url):
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def test_prometheus_answers_as_gnomon_does(server, tmp_path):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    running.start()
    now_ms = int(time.time() * 1000)
    headers = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
    }
    assert running.get("/api/v1/write", body(now_ms), **headers) == (204, b"")
    at_s = now_ms / 1000 - 1
    with reading_prometheus(tmp_path, running.url) as url:
        until(lambda: ready(url), "Prometheus to be ready")
        with urllib.request.urlopen(f"{url}/api/v1/status/buildinfo", timeout=30) as response:
            version = json.loads(response.read())["data"]["version"]
        # Before 3.0 ranges held the sample at their left end; 2.42 reads no histograms.
        new = int(version.split(".")[0]) >= 3
        for query in QUERIES if new else QUERIES[:1]:
            theirs = ask(url, query, at_s)
            assert theirs, query
            ours = ask(running.url, query, at_s)
            assert by_labels(theirs) == by_labels(ours), query


def by_labels(result):
    return sorted(result, key=lambda series: sorted(series["metric"].items()))


def test_gnomon_reads_what_a_prometheus_and_another_gnomon_hold(server, tmp_path):
    """A Gnomon without data of its own asks one that has some, a Prometheus, and nobody."""
    holder = server("--web.enable-remote-write-receiver")
    holder.configure({})
    holder.start()
    now_ms = int(time.time() * 1000)
    headers = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
    }
    assert holder.get("/api/v1/write", body(now_ms), **headers) == (204, b"")
    at_s = now_ms / 1000 - 1
    (tmp_path / "second").mkdir()
    reader = Server(tmp_path / "second")
    try:
        with writable_prometheus(tmp_path) as url:
            until(lambda: ready(url), "Prometheus to be ready")
            samples = [(now_ms - 60_000 + 1000 * n, float(n)) for n in range(50)]
            write(url, "of_prometheus", samples)
            (tmp_path / "second" / "gnomon.yml").write_text(
                "remote_read:\n"
                f"  - {{url: '{holder.url}/api/v1/read', read_recent: true}}\n"
                f"  - {{url: '{url}/api/v1/read', read_recent: true, name: prometheus}}\n"
                "  - {url: 'http://127.0.0.1:1/', read_recent: true, name: gone}\n"
            )
            reader.start()
            for query in QUERIES:
                ours, theirs = ask(reader.url, query, at_s), ask(holder.url, query, at_s)
                assert theirs, query
                assert by_labels(ours) == by_labels(theirs), query
            at_s = samples[-1][0] / 1000
            for query in ("of_prometheus", "rate(of_prometheus[20s])"):
                ours, theirs = ask(reader.url, query, at_s), ask(url, query, at_s)
                assert theirs, query
                assert by_labels(ours) == by_labels(theirs), query
            words = urllib.parse.urlencode({"query": "counter", "time": at_s})
            with urllib.request.urlopen(f"{reader.url}/api/v1/query?{words}", timeout=30) as reply:
                (warning,) = json.loads(reply.read())["warnings"]
            assert warning.startswith("remote_read gone: ")
    finally:
        reader.end()


def write(url, name, samples):
    """Send one series of floats to a Prometheus, by remote write 1.0."""
    label = ld(1, ld(1, b"__name__") + ld(2, name.encode()))
    floats = b"".join(ld(2, f64(1, value) + vi(2, time_ms)) for time_ms, value in samples)
    request = urllib.request.Request(
        f"{url}/api/v1/write",
        bytes(cramjam.snappy.compress_raw(ld(1, label + floats))),
        {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 204


@contextlib.contextmanager
def writable_prometheus(folder):
    """Run a Prometheus without targets that takes remote write."""
    config = folder / "writable.yml"
    config.write_text("global: {external_labels: {}}\n")
    port = free_port()
    with (folder / "writable.log").open("w") as log:
        process = subprocess.Popen(
            [
                peer("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'writable'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--web.enable-remote-write-receiver",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
