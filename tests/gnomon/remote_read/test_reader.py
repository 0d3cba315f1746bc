"""Queries over two databases, one of them behind a server: asked as configured, merged, excused."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cramjam
import numpy as np
import pytest

from api.remote_read import (
    STREAM_TYPE,
    chunks_response,
    decode_read_request,
    samples_response,
)
from discovery.http_client import BasicAuth, HttpClientConfig
from gnomon.remote_read.fan_out import FanOut
from gnomon.remote_read.reader import RECENT_MARGIN_MS, RemoteReads, RemoteReadStats
from gnomon.remote_read.settings import RemoteReadSettings
from promql.engine import Engine
from tsdb.database import Database
from tsdb.errors import TooManySamplesError
from tsdb.interface import ALL_TIMES_MS, LabelSpans, Matcher, MatchOp, Selection

T0 = 1_795_470_000_000
EXTERNAL = {"cluster": "far", "replica": "a"}


class Remote:
    """A server over a database; `form` is "chunks", "samples", or what it does instead."""

    def __init__(self, database):
        self.database, self.form = database, "chunks"
        self.asked, self.headers = [], []

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.headers.append(dict(handler.headers))
        request = decode_read_request(bytes(cramjam.snappy.decompress_raw(body)), EXTERNAL)
        self.asked += request.selections
        if self.form == "chunks":
            return 200, STREAM_TYPE, chunks_response(self.database, request, EXTERNAL)
        if self.form == "samples":
            message = samples_response(self.database, request, EXTERNAL)
            return 200, "application/x-protobuf", bytes(cramjam.snappy.compress_raw(message))
        if self.form == "cut":
            return 200, STREAM_TYPE, chunks_response(self.database, request, EXTERNAL)[:-3]
        if self.form == "nonsense":
            return 200, "application/x-protobuf", b"\xff\xff\xff"
        return 500, "text/plain", b"it is broken\n"


@contextmanager
def serving(remote):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            status, media, body = remote.answer(self)
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who asked has given up
                self.wfile.write(body)

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/read"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def pair():
    """Yield (remote, local database, reader, list of endpoints)."""
    far, near = Database.in_memory(), Database.in_memory()
    remote, endpoints, labels = Remote(far), [], {}
    with serving(remote) as url:
        endpoints.append(RemoteReadSettings(url, read_recent=True))
        reader = RemoteReads(near, lambda: endpoints, labels, lambda: remote.near_start_ms)
        remote.near_start_ms, remote.near_labels = None, labels
        try:
            yield remote, near, reader, endpoints
        finally:
            reader.close()
    far.close()
    near.close()


def put(database, name, times_s, values, **labels):
    refs = database.resolve(LabelSpans.from_labels([{"__name__": name, **labels}]))
    times = np.array([T0 + 1000 * time for time in times_s], dtype=np.int64)
    database.append(np.repeat(refs, times.size), times, np.array(values, dtype=np.float64))


def selection(name, start_s=-100_000, end_s=100_000, *more):
    matchers = (Matcher("__name__", MatchOp.EQUAL, name), *more)
    return Selection(matchers, T0 + 1000 * start_s, T0 + 1000 * end_s)


def rows(batch):
    out = {}
    for series in range(batch.series_count):
        start, first = batch.time_start[series], batch.value_start[series]
        count = batch.count[series]
        times = ((batch.times[start : start + count] - T0) // 1000).tolist()
        values = batch.values[first : first + count].tolist()
        out[tuple(sorted(batch.labels.row(series).items()))] = dict(zip(times, values, strict=True))
    return out


def series(name, **labels):
    return tuple(sorted({"__name__": name, **labels}.items()))


@pytest.mark.parametrize("form", ["chunks", "samples"])
def test_samples_of_both_are_merged_and_ours_count(pair, form):
    remote, near, reader, _ = pair
    remote.form = form
    put(remote.database, "m", [0, 10, 20], [1, 2, 3], a="x")
    put(remote.database, "far", [0], [9])
    put(near, "m", [20, 30], [30, 40], a="x", **EXTERNAL)
    put(near, "m", [5], [5], a="y")
    m, far, none = reader.select([selection("m"), selection("far"), selection("no")])
    assert rows(m) == {
        series("m", a="x", **EXTERNAL): {0: 1, 10: 2, 20: 30, 30: 40},
        series("m", a="y"): {5: 5},
    }
    assert rows(far) == {series("far", **EXTERNAL): {0: 9}}
    assert none.series_count == 0
    assert m.labels.symbols is far.labels.symbols is none.labels.symbols
    assert m.warnings == ()


@pytest.mark.parametrize("form", ["chunks", "samples"])
def test_series_of_both_are_found_once(pair, form):
    remote, near, reader, endpoints = pair
    remote.form = form
    put(remote.database, "m", [0], [1], a="x")
    put(remote.database, "m", [0], [1], b="z")
    put(remote.database, "far", [0], [9])
    put(near, "m", [20], [30], a="x", **EXTERNAL)
    put(near, "m", [5], [5], a="y")
    sets = [[Matcher("__name__", MatchOp.EQUAL, name)] for name in ("m", "no", "far")]
    found = reader.series(sets, T0 - 10_000, T0 + 100_000)
    labels = [tuple(sorted(found.row(n).items())) for n in range(found.series_count)]
    assert sorted(labels) == sorted(
        [
            series("m", a="x", **EXTERNAL),
            series("m", a="y"),
            series("m", b="z", **EXTERNAL),
            series("far", **EXTERNAL),
        ]
    )
    assert found.names == tuple(sorted(found.names))
    endpoints.clear()
    assert reader.series(sets, T0 - 10_000, T0 + 100_000).series_count == 2


@pytest.mark.parametrize("form", ["broken", "cut", "nonsense"])
def test_a_server_that_fails_costs_no_series_of_ours(pair, form):
    remote, near, reader, _ = pair
    remote.form = form
    put(near, "m", [5], [5])
    put(remote.database, "m", [5], [5], a="theirs")
    found = reader.series([[Matcher("__name__", MatchOp.EQUAL, "m")]], T0, T0 + 10_000)
    assert [found.row(n) for n in range(found.series_count)] == [{"__name__": "m"}]
    (counted,) = reader.stats().values()
    assert (counted.queries, counted.failed_queries) == (1, 1)


def test_external_labels_are_asked_for_and_taken_off(pair):
    remote, _, reader, endpoints = pair
    remote.near_labels |= EXTERNAL
    put(remote.database, "m", [0], [1])
    assert rows(reader.select([selection("m")])[0]) == {series("m"): {0: 1}}
    asked = Matcher("replica", MatchOp.EQUAL, "a")
    (batch,) = reader.select([selection("m", 0, 1, asked)])
    assert rows(batch) == {series("m", replica="a"): {0: 1}}
    endpoints[0] = replace(endpoints[0], filter_external_labels=False)
    assert rows(reader.select([selection("m")])[0]) == {series("m", **EXTERNAL): {0: 1}}


def test_required_matchers_choose_the_queries(pair):
    remote, _, reader, endpoints = pair
    endpoints[0] = replace(endpoints[0], required_matchers={"__name__": "m"})
    put(remote.database, "m", [0], [1])
    put(remote.database, "n", [0], [1])
    m, n = reader.select([selection("m"), selection("n")])
    assert (m.series_count, n.series_count, len(remote.asked)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("near_start_ms", "end_ms"),
    [
        pytest.param(None, T0 + 100_000_000, id="all while we have nothing"),
        pytest.param(
            T0 - RECENT_MARGIN_MS + 5000, T0 + 5000, id="no further than to where ours is trusted"
        ),
        pytest.param(T0 - RECENT_MARGIN_MS - 200_000_000, None, id="not at all if ours is older"),
    ],
)
def test_what_is_recent_is_not_asked_for(pair, near_start_ms, end_ms):
    remote, _, reader, endpoints = pair
    endpoints[0] = replace(endpoints[0], read_recent=False)
    remote.near_start_ms = near_start_ms
    reader.select([selection("m")])
    assert [asked.end_ms for asked in remote.asked] == ([] if end_ms is None else [end_ms])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        pytest.param("broken", "returned http status 500", id="an error"),
        pytest.param("cut", "error reading response: unexpected EOF", id="a cut stream"),
        pytest.param("nonsense", "error reading response: snappy: corrupt input", id="nonsense"),
    ],
)
def test_a_server_that_fails_is_a_warning(pair, form, text):
    remote, near, reader, _ = pair
    put(remote.database, "m", [0], [1])
    put(near, "m", [0], [2])
    remote.form = form
    engine = Engine(reader)
    result = engine.instant("m", T0)
    engine.close()
    assert result.value.values.tolist() == [2.0]
    assert len(result.warnings) == 1
    assert text in result.warnings[0]


def test_a_server_that_is_not_there_is_a_warning(pair):
    _, near, reader, endpoints = pair
    put(near, "m", [0], [2])
    endpoints[0] = RemoteReadSettings("http://127.0.0.1:1/read", name="gone", read_recent=True)
    (batch,) = reader.select([selection("m")])
    assert rows(batch) == {series("m"): {0: 2}}
    assert batch.warnings[0].startswith("remote_read gone: ")
    assert reader.stats() == {"gone": RemoteReadStats(1, 1, 0)}


def test_a_slow_server_is_given_up(pair):
    remote, _, reader, endpoints = pair
    waiting = threading.Event()
    answer = remote.answer

    def slowly(handler):
        waiting.wait(10)
        return answer(handler)

    remote.answer = slowly
    endpoints[0] = replace(endpoints[0], remote_timeout_ms=50)
    (batch,) = reader.select([selection("m")])
    waiting.set()
    assert "context deadline exceeded" in batch.warnings[0]


def test_more_samples_than_allowed_are_not_taken(pair):
    remote, _, reader, _ = pair
    put(remote.database, "m", range(50), range(50))
    assert reader.select([selection("m")], samples_max=50)[0].sample_count == 50
    for form in ("chunks", "samples"):
        remote.form = form
        with pytest.raises(TooManySamplesError):
            reader.select([selection("m")], samples_max=49)


def test_headers_and_credentials_are_sent(pair):
    remote, _, reader, endpoints = pair
    client = HttpClientConfig(basic_auth=BasicAuth(username="me", password="secret"))
    endpoints[0] = replace(endpoints[0], headers={"X-Tenant": "t"}, http_client=client)
    reader.select([selection("m")])
    sent = remote.headers[0]
    assert (sent["X-Tenant"], sent["Authorization"]) == ("t", "Basic bWU6c2VjcmV0")
    assert sent["X-Prometheus-Remote-Read-Version"] == "0.1.0"


def test_answers_with_other_servers_samples_are_not_known_for_long(pair):
    _, near, reader, endpoints = pair
    fan_out = FanOut(near)
    ticket = fan_out.change_ticket()
    assert fan_out.oldest_change_ms(ticket) is None
    fan_out.remote = reader
    assert fan_out.oldest_change_ms(ticket) == ALL_TIMES_MS
    endpoints.clear()
    assert fan_out.oldest_change_ms(ticket) is None


def test_without_servers_storage_answers_itself(pair):
    remote, near, reader, _ = pair
    put(near, "m", [0], [2])
    put(remote.database, "m", [10], [3])
    fan_out = FanOut(near)
    assert rows(fan_out.select([selection("m")])[0]) == {series("m"): {0: 2}}
    fan_out.remote = reader
    assert rows(fan_out.select([selection("m")])[0]) == {
        series("m"): {0: 2}, series("m", **EXTERNAL): {10: 3},
    }  # fmt: skip
