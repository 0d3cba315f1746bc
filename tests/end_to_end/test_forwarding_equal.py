"""All kinds of what can be sent on: the next one holds the same, be it Prometheus or Gnomon."""

import json
import struct
import time
import urllib.parse
import urllib.request

import cramjam
import pytest

from tests.end_to_end.processes import until
from tests.end_to_end.receiving import forwarding, receiving_prometheus
from tests.end_to_end.test_forwarding import V1, V2
from tests.end_to_end.test_forwarding import server as server
from tests.end_to_end.test_remote_read import histogram
from tests.protobuf import f64, ld, vi

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]

SYMBOLS = (
    "", "__name__", "counter_total", "native", "custom", "job", "a", "of_floats", "trace_id", "t1",
    "Counted.", "bytes",
)  # fmt: skip
FEATURES = "--enable-feature=st-storage,use-start-timestamps,promql-experimental-functions"


def of_floats(time_ms, count):
    """Return a histogram of floats with two buckets, a zero bucket, and a reset hint of gauges."""
    sides = ld(11, vi(1, 0) + vi(2, 2)) + ld(13, struct.pack("<2d", count * 0.25, count * 0.5))
    zero = f64(5, 0.001) + f64(7, count * 0.25)
    return ld(
        3, f64(2, float(count)) + f64(3, count * 1.5) + zero + sides + vi(14, 3) + vi(15, time_ms)
    )


def body(now_ms):
    """Return a minute of each kind, by 2.0; the counter began anew in the middle."""
    times = [now_ms - 60_000 + 1000 * n for n in range(60)]
    begun = [now_ms - 70_000 if n < 30 else times[30] - 500 for n in range(60)]
    floats = b"".join(
        ld(2, f64(1, n % 30 * 0.1) + vi(2, at) + vi(3, start))
        for n, (at, start) in enumerate(zip(times, begun, strict=True))
    )
    exemplar = ld(4, ld(1, bytes([8, 9])) + f64(2, 0.25) + vi(3, times[-1]))
    metadata = ld(5, vi(1, 1) + vi(3, 10) + vi(4, 11))

    def series(name, rest):
        return ld(5, ld(1, bytes([1, name, 5, 6])) + rest)

    message = b"".join(ld(4, symbol.encode()) for symbol in SYMBOLS)
    message += series(2, floats + exemplar + metadata)
    message += series(3, b"".join(histogram(t, 2 * n) for n, t in enumerate(times)))
    message += series(4, b"".join(histogram(t, 2 * n, custom=True) for n, t in enumerate(times)))
    message += series(7, b"".join(of_floats(t, 2 * n + 1) for n, t in enumerate(times)))
    return bytes(cramjam.snappy.compress_raw(message))


def get(url, path, **parameters):
    words = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{words}", timeout=60) as reply:
        return json.loads(reply.read())["data"]


def held(url, at_s, without=()):
    """Return all samples, and the exemplars; series that are not compared left out."""
    result = get(url, "query", query='{job="a"}[5m]', time=at_s)["result"]
    samples = {
        series["metric"]["__name__"]: (series.get("values", []), series.get("histograms", []))
        for series in result
    }
    words = {"query": "counter_total", "start": at_s - 100, "end": at_s}
    exemplars = get(url, "query_exemplars", **words)
    return {n: s for n, s in samples.items() if n not in without}, exemplars


def sender_to(server, url, message):
    """Return a server that forwards all there is to `url`, and the time of what it was given."""
    own = server("sender", "--web.enable-remote-write-receiver", FEATURES)
    forwarding(
        own,
        url,
        scrapes=False,
        protobuf_message=message,
        send_native_histograms=True,
        send_exemplars=True,
        metadata_config={"send_interval": "1s"},
    )
    own.config_file.write_text(own.config_file.read_text().replace('"cluster": "one"', ""))
    own.start()
    now_ms = int(time.time() * 1000)
    headers = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    }
    assert own.get("/api/v1/write", body(now_ms), **headers) == (204, b"")
    return own, now_ms / 1000


@pytest.mark.parametrize(
    ("message", "without"),
    [
        pytest.param(V2, (), id="by 2.0"),
        pytest.param(V1, ("custom",), id="by 1.0, which has no place for listed bounds"),
    ],
)
def test_prometheus_holds_what_was_forwarded(server, tmp_path, message, without):
    with receiving_prometheus(tmp_path) as url:
        own, at_s = sender_to(server, url, message)
        expected, exemplars = held(own.url, at_s, without)
        assert len(expected) == 4 - len(without)
        assert all(len(values) + len(several) == 60 for values, several in expected.values())
        assert len(exemplars[0]["exemplars"]) == 1
        until(lambda: held(url, at_s, without) == (expected, exemplars), "both to hold the same")


@pytest.mark.parametrize("message", [V1, V2], ids=["1.0", "2.0"])
def test_another_gnomon_holds_what_was_forwarded(server, message):
    other = server("receiver", "--web.enable-remote-write-receiver", FEATURES)
    other.config_file.write_text("global: {}\n")
    other.start()
    own, at_s = sender_to(server, other.url, message)
    without = () if message == V2 else ("custom",)
    expected = held(own.url, at_s, without)
    until(lambda: held(other.url, at_s, without) == expected, "both to hold the same")
    described = get(own.url, "metadata")["counter_total"]
    assert described == [{"type": "counter", "help": "Counted.", "unit": "bytes"}]
    until(
        lambda: get(other.url, "metadata").get("counter_total") == described, "what the metric is"
    )
    if message == V2:
        starts = "start_timestamp(counter_total)[59s:1s]"
        words = {"query": starts, "time": at_s - 1}
        expected = get(own.url, "query", **words)["result"]
        assert len({text for _, text in expected[0]["values"]}) == 2
        until(lambda: get(other.url, "query", **words)["result"] == expected, "the same starts")
