"""Remote read against recorded answers of Prometheus 3.5.3, and a plain encoder."""

from __future__ import annotations

import dataclasses
import io
import json
import struct

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.remote_read import SAMPLES, STREAMED_XOR_CHUNKS, decode_read_request, query_result
from api.views import ApiOptions
from api.wire import WireError, fields, read_varint, signed
from tests.protobuf import ld as field
from tests.protobuf import varint
from tests.protobuf import vi as integer
from tsdb.interface import LabelColumns, LabelSpans, Matcher, MatchOp, SeriesBatch

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
EXTERNAL = {"cluster": "corpus", "replica": "a"}


def matcher(kind, name, value):
    return field(3, integer(1, kind) + field(2, name.encode()) + field(3, value.encode()))


def query(start_ms, end_ms, *matchers):
    return field(1, integer(1, start_ms) + integer(2, end_ms) + b"".join(matchers))


def post(message, *, packed=None):
    data = bytes(cramjam.snappy.compress_raw(message)) if packed is None else packed
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
    return ("POST", "/api/v1/read", {"data": data, "headers": headers})


def plain_results(message):
    """Return, for each QueryResult, [(labels, [(time, value bytes)])]."""
    results = []
    for _, result in fields(message):
        series = []
        for _, one in fields(result):
            labels, samples = {}, []
            for number, part in fields(one):
                members = dict(fields(part))
                if number == 1:
                    labels[members[1].decode()] = members[2].decode()
                else:
                    samples.append((signed(members.get(2, 0)), members.get(1, bytes(8))))
            series.append((labels, samples))
        results.append(series)
    return results


def value_of(text):
    return STALE if text == "StaleNaN" else float(text)


def test_recorded_requests_get_the_recorded_answers(real, corpora):
    cases = []
    for path in sorted((corpora / "remote" / "read").glob("*.samples.json")):
        recorded = json.loads(path.read_text())
        floats = all(
            not series.get("histograms")
            for result in recorded["results"]
            for series in result.get("timeseries", ())
        )
        stem = path.name.removesuffix(".samples.json")
        request = path.with_name(f"{stem}.request.bin").read_bytes()
        asked = json.loads(path.with_name(f"{stem}.request.json").read_text())["decoded"]
        hints = [q.get("hints", {}).get("func") for q in asked["queries"]]
        # With the hint "series" Prometheus leaves the samples out; ours come all the same.
        if floats and "series" not in hints:
            # The recorded answers are to the queries alone, without response types.
            message = bytes(cramjam.snappy.decompress_raw(request))
            queries = b"".join(field(1, part) for number, part in fields(message) if number == 1)
            cases.append((queries, recorded["results"]))
    assert len(cases) > 3
    for _, results in cases:
        for result in results:
            for series in result.get("timeseries", ()):
                labels = {n: v for n, v in series["labels"].items() if n not in EXTERNAL}
                ref = real.storage.resolve(LabelSpans.from_labels([labels]))
                times = np.array([t for t, _ in series["samples"]], dtype=np.int64)
                values = np.array([value_of(v) for _, v in series["samples"]], dtype=np.float64)
                real.storage.append(np.repeat(ref, times.size), times, values)
    real.options = ApiOptions(external_labels=EXTERNAL)
    replies = real.ask_all([post(queries) for queries, _ in cases])
    for reply, (_, results) in zip(replies, cases, strict=True):
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "application/x-protobuf"
        assert reply.headers["Content-Encoding"] == "snappy"
        got = plain_results(bytes(cramjam.snappy.decompress_raw(reply.body)))
        expected = [
            [
                (
                    series["labels"],
                    [(t, struct.pack("<d", value_of(v))) for t, v in series["samples"]],
                )
                for series in result.get("timeseries", ())
            ]
            for result in results
        ]
        # Prometheus answers SAMPLES in the order of its index; ours are sorted.
        expected = [sorted(result, key=lambda pair: sorted(pair[0].items())) for result in expected]
        assert got == expected


@pytest.mark.parametrize(
    ("message", "packed", "status", "text"),
    [
        pytest.param(b"", b"", 400, "snappy: corrupt input\n", id="an empty body"),
        pytest.param(b"", b"hello world", 400, "snappy: corrupt input\n", id="not snappy"),
        pytest.param(b"\xff\xff\xff", None, 400, "unexpected EOF\n", id="no protobuf"),
        pytest.param(
            query(0, 1) + integer(2, 7),
            None,
            400,
            "server does not support any of the requested response types: [7]; "
            "supported: map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]\n",
            id="an unknown response type alone",
        ),
        pytest.param(
            query(0, 1, matcher(9, "a", "b")), None, 400, "invalid matcher type\n", id="a bad type"
        ),
        pytest.param(b"\x08\x01", None, 400, "proto: wrong wireType = 0 for a field of bytes\n",
                     id="a query that is a number"),
    ],
)  # fmt: skip
def test_refusals(api, message, packed, status, text):
    reply = api.ask_all([post(message, packed=packed)])[0]
    assert (reply.status, reply.text) == (status, text)


def test_a_request_of_megabytes_is_refused_before_it_is_read(api):
    packed = bytes(cramjam.snappy.compress_raw(bytes(3 << 20)))
    for body, status in ((packed, 400), (io.BytesIO(bytes(3 << 20)), 413)):
        reply = api.ask("POST", "/api/v1/read", data=body)
        assert (reply.status, "is larger than 2097152 bytes" in reply.text) == (status, True)


def test_a_bad_regular_expression_is_the_clients_fault(real):
    reply = real.ask_all([post(query(0, 1, matcher(2, "a", "(")))])[0]
    assert reply.status == 400
    assert "regexp" in reply.text


def test_results_come_in_the_order_of_queries(api):
    api.storage.add({"__name__": "a"}, {5: 1.0}).add({"__name__": "b"}, {5: 2.0})
    message = (
        query(0, 9, matcher(0, "__name__", "b"))
        + query(9, 0, matcher(0, "__name__", "a"))
        + query(5, 5, matcher(0, "__name__", "a"))
        + query(6, 9, matcher(0, "__name__", "a"))
        + query(0, 9)
        + field(2, b"\x00\x01")
    )
    reply = api.ask_all([post(message)])[0]
    got = plain_results(bytes(cramjam.snappy.decompress_raw(reply.body)))
    one, two = struct.pack("<d", 1.0), struct.pack("<d", 2.0)
    assert got == [[({"__name__": "b"}, [(5, two)])], [], [({"__name__": "a"}, [(5, one)])], [], []]


def test_external_labels_are_given_and_asked_for():
    message = query(-5, 9, matcher(0, "cluster", "corpus"), matcher(1, "replica", "a"))
    request = decode_read_request(message, EXTERNAL)
    assert request.selections[0].start_ms == -5
    assert request.selections[0].matchers == (
        Matcher("cluster", MatchOp.EQUAL, ""),
        Matcher("replica", MatchOp.NOT_EQUAL, "a"),
    )


class Texts:
    """Symbols of one list of texts; number 0 is the empty one."""

    def __init__(self, texts):
        self._texts = ["", *texts]

    def text(self, symbol):
        return self._texts[symbol]

    def texts(self, symbols):
        return [self._texts[symbol] for symbol in symbols.tolist()]

    def find(self, text):
        return self._texts.index(text) if text in self._texts else None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "é" * 90, "v" * 200, "w"]),
            st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=4),
        ),
        max_size=4,
        unique_by=lambda pair: pair[0],
    ),
    st.sampled_from([{}, {"zone": "z"}, {"a": "outer"}]),
)
@settings(max_examples=80, deadline=None)
def test_messages_equal_the_plain_decoder(rows, external):
    texts = sorted({text for text, _ in rows})
    symbols = Texts(texts)
    ids = np.array([[symbols.find(text) for text, _ in rows]], dtype=np.uint32).reshape(1, -1)
    count = np.array([len(samples) for _, samples in rows], dtype=np.int64)
    start = np.cumsum(count) - count
    batch = SeriesBatch(
        labels=LabelColumns(("a",), ids, symbols),
        times=np.array([t for _, samples in rows for t, _ in samples], dtype=np.int64),
        time_start=start,
        values=np.array([v for _, samples in rows for _, v in samples], dtype=np.float64),
        value_start=start,
        count=count,
    )
    message = query_result(batch, external)
    (got,) = plain_results(field(1, message))
    expected = [
        ({**external, "a": text}, [(t, struct.pack("<d", v)) for t, v in samples])
        for text, samples in rows
    ]
    assert sorted(got, key=str) == sorted(expected, key=str)


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused_in_order(data):
    try:
        request = decode_read_request(data, {})
    except WireError as error:
        assert str(error)  # noqa: PT017  # either outcome is right
    else:
        assert isinstance(request.accepted, tuple)


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints_come_back(number):
    data = varint(number)
    at, value = read_varint(data, 0)
    assert (at, signed(value)) == (len(data), number)


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        pytest.param(2, 400, id="more samples than the limit are refused"),
        pytest.param(3, 200, id="as many as the limit are not"),
        pytest.param(0, 200, id="0 is no limit"),
    ],
)
@pytest.mark.parametrize("kind", [SAMPLES, STREAMED_XOR_CHUNKS])
def test_the_limit_on_samples_is_kept(api, limit, status, kind):
    api.storage.add({"__name__": "up"}, {1000: 1.0, 2000: 1.0, 3000: 0.0})
    api.options = dataclasses.replace(api.options, read_samples_max=limit)
    message = query(0, 5000, matcher(0, "__name__", "up")) + integer(2, kind)
    reply = api.ask_all([post(message)])[0]
    assert reply.status == status
    if status == 400:
        assert reply.text == "exceeded sample limit (2)\n"
