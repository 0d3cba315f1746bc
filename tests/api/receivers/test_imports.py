"""Other systems' formats, pushed: what of them is stored, what is told of the rest."""

from __future__ import annotations

import gzip
import json
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.falcon import read_falcon
from api.receivers.graphite import read_graphite
from api.receivers.import_receiver import IMPORTS
from api.receivers.import_text import read_text
from api.receivers.influx import PRECISIONS, read_influx
from api.receivers.push_requests import PushRefusedError
from api.views import ApiOptions
from tsdb.errors import WriteFailedError
from tsdb.interface import MetricMetadata

NOW_MS = 1_795_470_000_000
TEXT, GRAPHITE = "/api/v1/import/prometheus", "/api/v1/import/graphite"
INFLUX, INFLUX2, TRANSFER, AGENT = "/write", "/api/v2/write", "/api/push", "/v1/push"
ALL = (TEXT, GRAPHITE, INFLUX, INFLUX2, TRANSFER, AGENT)


@pytest.fixture
def receiver(api):
    api.options = ApiOptions(enable_import_receivers=True)
    return api


def send(api, path, body, headers=None, **query):
    data = body.encode() if isinstance(body, str) else body
    url = f"{path}?{urlencode(query, doseq=True)}" if query else path
    return api.ask("POST", url, data=data, headers=headers or {})


def stored(api):
    """Return {(labels): {time: value}} of all that is stored, times relative to now."""
    return {
        key: {time - NOW_MS: value for time, value in api.storage.samples[ref].items()}
        for key, ref in api.storage.refs.items()
        if api.storage.samples[ref]
    }


def one(name, **labels):
    return tuple(sorted({"__name__": name, **labels}.items()))


# ------------------------------------------------------------------ Prometheus' text


@pytest.mark.parametrize(
    ("body", "query", "expected"),
    [
        pytest.param("up 1", {}, {one("up"): {0: 1.0}}, id="without a time it is now"),
        pytest.param(
            f'a{{b="c"}} 2 {NOW_MS - 5}\na{{b="d"}} 3\n',
            {},
            {one("a", b="c"): {-5: 2.0}, one("a", b="d"): {0: 3.0}},
            id="a time of its own",
        ),
        pytest.param(
            "up 1", {"timestamp": str(NOW_MS - 7)}, {one("up"): {-7: 1.0}}, id="a given time"
        ),
        pytest.param(
            'up{job="x"} 1\ndown 0\n',
            {"extra_label": ["job=y", "dc=eu"]},
            {one("up", job="y", dc="eu"): {0: 1.0}, one("down", job="y", dc="eu"): {0: 0.0}},
            id="extra labels win",
        ),
        pytest.param(
            '{"a.b", "c d"="é"} 1\n', {}, {one("a.b", **{"c d": "é"}): {0: 1.0}}, id="quoted names"
        ),
        pytest.param("\n# a comment\n\n", {}, {}, id="nothing"),
    ],
)
def test_text_is_stored(receiver, body, query, expected):
    reply = send(receiver, TEXT, body, **query)
    assert (reply.status, reply.body) == (204, b"")
    assert stored(receiver) == expected


def test_a_bad_line_costs_itself_alone(receiver):
    lines = [f"m{n} {n}" for n in range(100)]
    lines[17], lines[60] = "m17 {", "60 60"
    reply = send(receiver, TEXT, "\n".join(lines))
    assert reply.status == 400
    assert [line.partition(":")[0] for line in reply.text.splitlines()] == ["line 18", "line 61"]
    assert len(stored(receiver)) == 98


def test_metadata_of_text_is_kept(receiver):
    send(receiver, TEXT, "# HELP up Is it?\n# TYPE up gauge\nup 1\n")
    assert receiver.storage.families == {"up": MetricMetadata("up", "gauge", "", "Is it?")}


def test_openmetrics_has_its_own_times(receiver):
    headers = {"Content-Type": "application/openmetrics-text; version=1.0.0"}
    body = f"# TYPE a counter\na_total 2 {NOW_MS / 1000 - 1}\n# EOF\n"
    assert send(receiver, TEXT, body, headers).status == 204
    assert stored(receiver) == {one("a_total"): {-1000: 2.0}}
    assert send(receiver, TEXT, "a 1\n", headers).status == 400


def test_refused_samples_are_told_with_their_lines(receiver):
    body = f"a 1 {NOW_MS}\na 2 {NOW_MS}\nb 1\nb 1 {NOW_MS * 2}\n"
    reply = send(receiver, TEXT, body)
    assert reply.status == 400
    assert reply.text == (
        f"line 2: duplicate sample for timestamp {NOW_MS}; overrides not allowed: new value 2 "
        'for series {__name__="a"}\n'
        "line 4: out of bounds: timestamp is too far in the future "
        'for series {__name__="b"}\n'
    )


@pytest.mark.parametrize(
    "query",
    [{"extra_label": "job"}, {"extra_label": "=x"}, {"timestamp": "1.5"}, {"timestamp": "9" * 18}],
)
def test_bad_parameters_of_text(receiver, query):
    assert send(receiver, TEXT, "up 1", **query).status == 400
    assert stored(receiver) == {}


# ------------------------------------------------------------------ Graphite


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("a.b 1.5 1795469999", {one("a.b"): {-1000: 1.5}}, id="all of it"),
        pytest.param("a.b 1", {one("a.b"): {0: 1.0}}, id="without a time"),
        pytest.param("a.b 1 -1", {one("a.b"): {0: 1.0}}, id="minus one is now"),
        pytest.param("a;h=x;d=/ 1", {one("a", h="x", d="/"): {0: 1.0}}, id="tags"),
        pytest.param("a.b 1 1795469999.5\r", {one("a.b"): {-500: 1.0}}, id="fractions"),
    ],
)
def test_graphite_is_stored(receiver, line, expected):
    assert send(receiver, GRAPHITE, f"\n{line}\n").status == 204
    assert stored(receiver) == expected


@pytest.mark.parametrize("line", ["a", "a b", "a 1 2 3", "a;b 1", ";b=c 1", "a 1 1e300", "a 1_0"])
def test_bad_lines_of_graphite(receiver, line):
    reply = send(receiver, GRAPHITE, f"x 1\n{line}\ny 2\n")
    assert reply.status == 400
    assert reply.text.startswith("line 2: ")
    assert stored(receiver) == {one("x"): {0: 1.0}, one("y"): {0: 2.0}}


# ------------------------------------------------------------------ InfluxDB


@pytest.mark.parametrize(
    ("line", "query", "expected"),
    [
        pytest.param(
            "cpu,host=h1 usage=5,idle=95i 1795469999000000000",
            {},
            {one("cpu_usage", host="h1"): {-1000: 5.0}, one("cpu_idle", host="h1"): {-1000: 95.0}},
            id="fields and tags",
        ),
        pytest.param("m v=1", {}, {one("m_v"): {0: 1.0}}, id="without a time"),
        pytest.param("m v=t,w=FALSE", {}, {one("m_v"): {0: 1}, one("m_w"): {0: 0}}, id="booleans"),
        pytest.param("m v=7u,w=-2i", {}, {one("m_v"): {0: 7}, one("m_w"): {0: -2}}, id="integers"),
        pytest.param('m s="a, b",v=1', {}, {one("m_v"): {0: 1.0}}, id="strings are left out"),
        pytest.param('m s="12"', {}, {one("m_s"): {0: 12.0}}, id="but numbers in quotes are not"),
        pytest.param(
            r"my\ m\,x,a\=b=c\ d f\,g=1 1795469999000",
            {"precision": "ms"},
            {one("my m,x_f,g", **{"a=b": "c d"}): {-1000: 1.0}},
            id="escapes",
        ),
        pytest.param("m v=1 1795469999", {"precision": "s"}, {one("m_v"): {-1000: 1}}, id="in s"),
        pytest.param("m v=1", {"db": "d"}, {one("m_v", db="d"): {0: 1.0}}, id="database"),
        pytest.param("m,db=own v=1", {"bucket": "d"}, {one("m_v", db="own"): {0: 1}}, id="own db"),
        pytest.param("# no\n\nm v=1", {}, {one("m_v"): {0: 1.0}}, id="comments"),
        pytest.param(
            'm,a=b v=1,s="x\\"y" 1795470000000000000', {}, {one("m_v", a="b"): {0: 1.0}},
            id="quotes in quotes",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [INFLUX, INFLUX2])
def test_influx_is_stored(receiver, path, line, query, expected):
    reply = send(receiver, path, line, **query)
    assert (reply.status, reply.headers["X-Influxdb-Version"]) == (204, "1.8.10")
    assert stored(receiver) == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("m", "missing fields"),
        ("m v", "invalid field format: 'v'"),
        ("m v=", "invalid field format: 'v='"),
        ("m v=x", "cannot parse 'x' as a number"),
        ("m v=1.5i", "cannot parse '1.5i' as a whole number"),
        ("m v=1 x", "bad timestamp 'x'"),
        ("m v=1 2 3", "too many parts"),
        (",a=b v=1", "missing measurement"),
        ("m,a v=1", "missing tag value: 'a'"),
        ('m v="x', "invalid field format"),
        ("m v=1 " + "9" * 20, "out of bounds: timestamp is too far in the future"),
    ],
)
def test_bad_lines_of_influx(receiver, line, problem):
    reply = send(receiver, INFLUX, f"x v=1\n{line}\ny v=2\n")
    assert reply.status == 400
    assert reply.json["error"].startswith(f"partial write: line 2: {problem}")
    assert reply.json["error"].endswith("dropped=1")
    assert stored(receiver) == {one("x_v"): {0: 1.0}, one("y_v"): {0: 2.0}}


def test_version_2_has_errors_of_its_own(receiver):
    reply = send(receiver, INFLUX2, "m")
    assert (reply.status, reply.json["code"]) == (400, "invalid")
    assert "line 1: missing fields" in reply.json["message"]


def test_an_unknown_precision_is_refused(receiver):
    assert send(receiver, INFLUX, "m v=1", precision="d").status == 400


def test_clients_ask_whether_influx_is_there(receiver):
    assert receiver.ask("GET", "/ping").status == 204


# ------------------------------------------------------------------ Open-Falcon

ITEM = {
    "endpoint": "h1", "metric": "cpu.idle", "timestamp": 1795469999, "step": 60, "value": 95.5,
    "counterType": "GAUGE", "tags": "core=1, srv=web",
}  # fmt: skip


def test_falcon_is_stored(receiver):
    items = [ITEM, {**ITEM, "metric": "net", "value": "12", "counterType": "COUNTER", "tags": ""}]
    reply = send(receiver, TRANSFER, json.dumps(items))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=UTF-8"
    told = reply.json
    assert (told["msg"], told["data"]["Message"]) == ("success", "ok")
    assert (told["data"]["Total"], told["data"]["Invalid"]) == (2, 0)
    assert stored(receiver) == {
        one("cpu.idle", endpoint="h1", core="1", srv="web"): {-1000: 95.5},
        one("net", endpoint="h1"): {-1000: 12.0},
    }
    assert {m.metric: m.type for m in receiver.storage.families.values()} == {
        "cpu.idle": "gauge", "net": "counter",
    }  # fmt: skip


def test_an_agent_says_success(receiver):
    reply = send(receiver, AGENT, json.dumps([ITEM]))
    assert (reply.status, reply.text) == (200, "success")


@pytest.mark.parametrize("timestamp", [0, -5, 10**11])
def test_a_time_that_is_none_is_now(receiver, timestamp):
    send(receiver, AGENT, json.dumps([{**ITEM, "timestamp": timestamp, "tags": ""}]))
    assert stored(receiver) == {one("cpu.idle", endpoint="h1"): {0: 95.5}}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {**ITEM, "metric": "kernel.hostname"},
        {**ITEM, "metric": ""},
        {**ITEM, "endpoint": ""},
        {**ITEM, "counterType": "gauge"},
        {**ITEM, "value": ""},
        {**ITEM, "value": "x"},
        {**ITEM, "value": True},
        {**ITEM, "step": 0},
        {**ITEM, "tags": 5},
        {**ITEM, "metric": "m" * 511},
        {**ITEM, "timestamp": "1"},
    ],
)
def test_bad_items_of_falcon(receiver, bad):
    reply = send(receiver, TRANSFER, json.dumps([bad, ITEM]))
    assert (reply.json["data"]["Total"], reply.json["data"]["Invalid"]) == (2, 1)
    assert reply.json["data"]["Problems"].startswith("item 1: ")
    assert len(stored(receiver)) == 1
    assert send(receiver, AGENT, json.dumps([bad])).status == 400


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (TRANSFER, "", "blank body\n"),
        (TRANSFER, "{", "decode error\n"),
        (TRANSFER, "{}", "decode error\n"),
        (AGENT, "", "body is blank\n"),
        (AGENT, "x", "connot decode body\n"),
    ],
)
def test_bodies_that_are_no_items(receiver, path, body, text):
    reply = send(receiver, path, body)
    assert (reply.status, reply.text) == (400, text)


# ------------------------------------------------------------------ all of them

GOOD = {
    TEXT: b"up 1", GRAPHITE: b"up 1", INFLUX: b"up v=1", INFLUX2: b"up v=1",
    TRANSFER: json.dumps([ITEM]).encode(), AGENT: json.dumps([ITEM]).encode(),
}  # fmt: skip


@pytest.mark.parametrize("path", ALL)
def test_they_have_to_be_switched_on(api, path):
    assert send(api, path, GOOD[path]).status == 404


@pytest.mark.parametrize("path", ALL)
def test_bodies_may_be_compressed(receiver, path):
    reply = send(receiver, path, gzip.compress(GOOD[path]), {"Content-Encoding": "gzip"})
    assert reply.status in (200, 204)
    assert len(stored(receiver)) == 1
    assert send(receiver, path, b"x", {"Content-Encoding": "br"}).status == 415


@pytest.mark.parametrize("path", ALL)
def test_a_full_disk_can_be_tried_again(receiver, path, monkeypatch):
    def fail(*_args, **_options):
        raise WriteFailedError("no space left")

    monkeypatch.setattr(receiver.storage, "append", fail)
    reply = send(receiver, path, GOOD[path])
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    assert "no space left" in reply.text


def test_what_came_in_is_counted(receiver):
    send(receiver, INFLUX, 'm v=1,s="x"\nbad\n')
    stats = receiver.app[IMPORTS].stats()["influx"]
    assert (stats.requests, stats.samples, stats.bad_lines, stats.ignored_values) == (1, 1, 1, 1)


BYTES = st.binary(max_size=60) | st.lists(
    st.sampled_from(
        [b"a", b"up", b"{", b"}", b'"', b"=", b",", b" ", b"\n", b"1", b"-", b"\\", b";", b"\xff",
         b"\0", b"#", b"# TYPE up gauge", b"nan", b"1795470000000", b"\xc3\xa9", b"[", b"]", b"\t"]
    ),
    max_size=20,
).map(b"".join)  # fmt: skip


@given(body=BYTES, precision=st.sampled_from(PRECISIONS))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_told_of(body, precision):
    found = [
        read_text(body, NOW_MS, {}),
        read_text(body, NOW_MS, {"job": "x"}),
        read_text(body, NOW_MS, {}, openmetrics=True),
        read_graphite(body, NOW_MS, {"job": "x"}),
        read_influx(body, NOW_MS, {}, precision, "db"),
    ]
    for each in found:
        for batch in each.batches:
            samples = batch.samples
            assert samples.times_ms.size == samples.values.size == samples.series_of.size
            assert samples.labels.series_count > samples.series_of.max(initial=-1)
            lines = [batch.line_of(sample) for sample in range(samples.values.size)]
            assert all(1 <= line <= body.count(b"\n") + 1 for line in lines)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(list(ITEM)), inner, max_size=7)
        ),
        max_leaves=10,
    )
)
@settings(max_examples=100, deadline=None)
def test_any_items_are_read_or_told_of(items):
    try:
        found = read_falcon(json.dumps(items).encode(), NOW_MS)
    except PushRefusedError as error:
        assert error.status == 400  # noqa: PT017 - either outcome is right
        return
    assert found.faults.count + found.batches[0].samples.values.size == len(items)


def test_equal_series_of_many_lines_are_one(receiver):
    body = "".join(f"m,h={n % 3} v={n} {NOW_MS + n}\n" for n in range(30))
    assert send(receiver, INFLUX, body, precision="ms").status == 204
    assert sorted(map(len, stored(receiver).values())) == [10, 10, 10]
    assert np.isfinite([v for s in stored(receiver).values() for v in s.values()]).all()


@pytest.mark.parametrize("path", ["/write", "/api/v1/import/graphite"])
def test_very_many_lines_are_to_be_sent_in_parts(receiver, path):
    reply = send(receiver, path, gzip.compress(b"\n" * 1_000_001), {"Content-Encoding": "gzip"})
    assert reply.status == 413
    assert "more than 1000000 lines" in reply.text
