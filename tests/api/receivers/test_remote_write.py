"""The receiver against a plain decoder, captured bodies of real senders, and Prometheus' texts."""

from __future__ import annotations

import gzip
import json
import math
import struct
from contextlib import suppress
from itertools import pairwise

import cramjam
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.receivers.body_decoding import BodyError, decode
from api.receivers.remote_write import WRITES
from api.receivers.write_batch import decode_write_request, refused_series_text, series_text
from api.views import ApiOptions
from api.wire import WireError
from tests.protobuf import ld as field
from tests.protobuf import varint
from tsdb.errors import WriteFailedError

NOW_MS = 1_795_470_000_000
STALE_BITS = 0x7FF0000000000002


def label(name, value):
    return field(1, field(1, name) + field(2, value))


def sample(time_ms, value):
    return field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))


def one(labels, samples=((NOW_MS, 1.0),)):
    """One TimeSeries within a WriteRequest; labels and samples are pairs."""
    texts = [
        (n if isinstance(n, bytes) else n.encode(), v if isinstance(v, bytes) else v.encode())
        for n, v in labels
    ]
    return field(
        1, b"".join(label(*pair) for pair in texts) + b"".join(sample(*s) for s in samples)
    )


def named(name, **labels):
    return [("__name__", name), *labels.items()]


def post(body, *, packed=None, **headers):
    sent = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    data = bytes(cramjam.snappy.compress_raw(body)) if packed is None else packed
    return ("POST", "/api/v1/write", {"data": data, "headers": sent})


def send(api, body, **options):
    return api.ask_all([post(body, **options)])[0]


# ------------------------------------------------------------------ the plain twin


class PlainError(Exception):
    pass


def plain_varint(data, at):
    value = shift = 0
    for _ in range(10):
        if at >= len(data):
            raise PlainError
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return at, value & ((1 << 64) - 1)
        shift += 7
    raise PlainError


def plain_fields(data, wires):
    """Yield (field number, value) of a message; groups are skipped."""
    at = depth = 0
    while at < len(data):
        at, tag = plain_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not depth and (wire == 4 or not 0 < number < 1 << 29):
            raise PlainError
        if not depth and number in wires and wires[number] != wire:
            raise PlainError
        value = None
        if wire == 0:
            at, value = plain_varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value = data[at : at + size]
            at += size
        elif wire == 2:
            at, size = plain_varint(data, at)
            value = data[at : at + size]
            at += size
        elif wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
        else:
            raise PlainError
        if at > len(data):
            raise PlainError
        if not depth and wire not in (3, 4):
            yield number, value
    if depth:
        raise PlainError


def plain_decode(body):
    """Return ([(labels, samples)] of sound series with samples, refused series)."""
    series, refused = [], 0
    for number, message in plain_fields(body, {1: 2, 3: 2}):
        if number != 1:
            continue
        pairs, samples = [], []
        for inner, leaf in plain_fields(message, {1: 2, 2: 2, 3: 2, 4: 2}):
            if inner == 1:
                parts = dict(plain_fields(leaf, {1: 2, 2: 2}))
                pairs.append((parts.get(1, b""), parts.get(2, b"")))
            elif inner == 2:
                parts = dict(plain_fields(leaf, {1: 1, 2: 0}))
                time = parts.get(2, 0)
                time -= (time >> 63) << 64
                samples.append((time, parts.get(1, b"\0" * 8)))
        if not samples:
            continue
        try:
            texts = [(n.decode(), v.decode()) for n, v in pairs]
        except UnicodeDecodeError:
            refused += 1
            continue
        names = [n for n, _ in texts]
        if (
            "__name__" not in names
            or ("__name__", "") in texts
            or "" in names
            or len(set(names)) < len(names)
        ):
            refused += 1
            continue
        series.append((sorted((n, v) for n, v in texts if v), samples))
    return series, refused


def columns_as_lists(batch):
    data = batch.labels.data.tobytes()
    spans, first = batch.labels.spans.tolist(), batch.labels.first.tolist()
    series = [
        [(data[a:b].decode(), data[c:d].decode()) for a, b, c, d in spans[lo:hi]]
        for lo, hi in pairwise(first)
    ]
    samples = [[] for _ in series]
    for number, time, value in zip(
        batch.series_of.tolist(), batch.times_ms.tolist(), batch.values, strict=True
    ):
        samples[number].append((time, value.tobytes()))
    return list(zip(series, samples, strict=True))


def assert_same(body):
    try:
        expected, refused = plain_decode(body)
    except PlainError:
        with pytest.raises(WireError):
            decode_write_request(body)
        return
    batch = decode_write_request(body)
    assert columns_as_lists(batch) == expected
    assert len(batch.refused) == refused
    for number in range(refused):
        assert refused_series_text(batch, number).startswith("{")


texts = st.one_of(
    st.sampled_from([b"", b"a", b"b", b"__name__", b"job", b"\xff", "é".encode(), b"x" * 130]),
    st.binary(max_size=6),
)
labels = st.one_of(
    st.tuples(texts, texts).map(lambda pair: label(*pair)),
    st.tuples(texts, texts).map(
        lambda pair: field(1, field(2, pair[1]) + b"\x28\x07" + field(1, pair[0]))
    ),
    st.just(field(1, b"")),
    st.just(label(b"__name__", b"m")),
)
samples = st.one_of(
    st.builds(sample, st.integers(-(2**63), 2**63 - 1), st.floats()),
    st.just(field(2, b"")),
    st.just(field(2, b"\x10\x05\x19abcdefgh\x09abcdefgh")),
)
odd_fields = st.sampled_from(
    [field(3, b"exemplar"), field(4, b"hist"), field(9, b"new"), b"\x2b\x08\x01\x2c", b"\x50\x01"]
)
messages = st.lists(st.one_of(labels, labels, samples, odd_fields), max_size=8).map(
    lambda parts: field(1, b"".join(parts))
)
bodies = st.lists(st.one_of(messages, odd_fields), max_size=5).map(b"".join)


@given(bodies)
@settings(max_examples=100, deadline=None)
def test_sound_bodies_equal_the_plain_decoder(body):
    assert_same(body)


@given(bodies, st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bodies_equal_the_plain_decoder(body, data):
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
    assert_same(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@given(st.binary(max_size=60))
@example(b"\x0a\x02\x12\x00")
@settings(max_examples=100, deadline=None)
def test_random_bytes_equal_the_plain_decoder(body):
    assert_same(body)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xc0\x80", id="an overlong zero"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="past the last code point"),
        pytest.param(b"\xe2\x82", id="a character cut short"),
        pytest.param(b"\xf0\x8f\xbf\xbf", id="an overlong form of four"),
        pytest.param(b"abc\x80", id="a stray continuation"),
    ],
)
def test_text_that_is_no_utf8_is_refused(text):
    batch = decode_write_request(one([*named("m"), ("a", text)]))
    assert len(batch.refused) == 1
    assert batch.values.size == 0


def test_series_text_prints_as_prometheus_does():
    batch = decode_write_request(one([*named("m"), ("b.c", 'x"y')]))
    assert series_text(batch.labels, 0) == '{__name__="m", "b.c"="x\\"y"}'


# ------------------------------------------------------------------ over HTTP


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        pytest.param(one(named("good")), 204, "", id="a good sample"),
        pytest.param(b"", 204, "", id="an empty request"),
        pytest.param(one(named("empty"), []), 204, "", id="a series without samples"),
        pytest.param(one([]), 204, "", id="no labels: left out"),
        pytest.param(one([("a", "b")]), 204, "", id="no metric name: left out"),
        pytest.param(one([*named("d"), ("a", "1"), ("a", "2")]), 204, "", id="a label twice"),
        pytest.param(one([("", "x"), *named("d")]), 204, "", id="an empty label name"),
        pytest.param(one(named("u")) + field(9, b"x"), 204, "", id="unknown fields are skipped"),
        pytest.param(field(3, field(2, b"m")), 204, "", id="metadata alone"),
        pytest.param(
            one(named("f"), [(NOW_MS + 600_001, 1.0)]),
            400,
            'out of bounds: timestamp is too far in the future for series {__name__="f"}\n',
            id="more than ten minutes ahead",
        ),
        pytest.param(
            one(named("o"), [(NOW_MS, 1.0), (NOW_MS - 1, 1.0)]),
            400,
            'out of order sample for series {__name__="o"}\n',
            id="out of order",
        ),
        pytest.param(b"\xff\xff\xff\xff", 400, "unexpected EOF\n", id="no protobuf"),
        pytest.param(one(named("t"))[:-3], 400, "unexpected EOF\n", id="cut short"),
        pytest.param(
            b"\x0b\x0c", 400, "proto: wrong wireType = 3 for field Timeseries\n", id="a group"
        ),
        pytest.param(
            b"\x00\x0c", 400, "proto: WriteRequest: illegal tag 0 (wire type 0)\n", id="field 0"
        ),
        pytest.param(
            b"\x0a" + b"\xff" * 11, 400, "proto: integer overflow\n", id="an endless length"
        ),
        pytest.param(
            field(1, field(1, b"\x08\x01")),
            400,
            "proto: wrong wireType = 0 for field Name\n",
            id="a label whose name is a number",
        ),
    ],
)
def test_answers(api, body, status, text):
    reply = send(api, body)
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize(
    ("headers", "packed", "status", "text"),
    [
        pytest.param({}, b"\xff" * 7, 400, "snappy: corrupt input\n", id="not snappy"),
        pytest.param({}, b"", 400, "snappy: corrupt input\n", id="nothing at all"),
        pytest.param(
            {"Content_Type": "application/json"},
            b"{}",
            415,
            "expected application/x-protobuf as the first (media) part, "
            "got application/json content-type\n",
            id="JSON",
        ),
        pytest.param(
            {"Content_Encoding": "br"},
            b"x",
            415,
            "br encoding (compression) is not accepted by this server; "
            "only snappy, gzip, zstd or identity is acceptable\n",
            id="an unknown encoding",
        ),
        pytest.param(
            {"Content_Type": "application/x-protobuf;proto=foo.Bar"},
            None,
            415,
            "got application/x-protobuf;proto=foo.Bar content type; unknown remote write protobuf "
            "message foo.Bar, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request\n",
            id="an unknown message",
        ),
        pytest.param(
            {"Content_Type": "application/x-protobuf;proto"},
            None,
            415,
            "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be "
            "key-values, got proto in application/x-protobuf;proto content-type\n",
            id="a parameter without value",
        ),
        pytest.param(
            {"Content_Type": "application/x-protobuf;proto=prometheus.WriteRequest"},
            None,
            204,
            "",
            id="the message named",
        ),
        pytest.param(
            {"Content_Encoding": "gzip"},
            b"\x1f\x8bxx",
            400,
            "gzip: invalid input\n",
            id="broken gzip",
        ),
        pytest.param(
            {"Content_Encoding": "zstd"},
            b"\x28\xb5\x2f\xfd" + b"x" * 100,
            400,
            "zstd: invalid input\n",
            id="broken zstd",
        ),
        pytest.param(
            {"Content_Encoding": "gzip"},
            gzip.compress(one(named("g")))[:-9],
            400,
            "gzip: unexpected end of input\n",
            id="gzip cut short",
        ),
    ],
)
def test_media_and_encodings(api, headers, packed, status, text):
    body = one(named("m")) if packed is None else b""
    reply = send(api, body, packed=packed, **headers)
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("identity", bytes),
        ("snappy", lambda body: bytes(cramjam.snappy.compress_raw(body))),
        ("gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:40]) + gzip.compress(body[40:])),
        ("zstd", lambda body: zstandard.compress(body)),
        ("zstd", lambda body: zstandard.compress(body[:40]) + zstandard.compress(body[40:])),
    ],
)
def test_every_encoding_brings_the_same(api, encoding, pack):
    body = one(named("m", z="1", a="2"), [(NOW_MS, math.pi)])
    reply = send(api, b"", packed=pack(body), Content_Encoding=encoding)
    assert reply.status == 204
    key = (("__name__", "m"), ("a", "2"), ("z", "1"))
    assert api.storage.samples[api.storage.refs[key]] == {NOW_MS: math.pi}


def test_good_samples_are_kept_beside_refused_ones(api):
    body = one([("a", "b")]) + one(named("late"), [(5, 1.0), (4, 1.0), (3, 2.0), (6, 2.0)])
    reply = send(api, body)
    assert reply.status == 400
    assert reply.text == ('out of order sample for series {__name__="late"} (and 1 more samples)\n')
    assert api.storage.samples == [{5: 1.0, 6: 2.0}]
    assert api.storage.refs == {(("__name__", "late"),): 0}


def test_a_conflict_with_what_is_stored_is_told(api):
    api.storage.add({"__name__": "c"}, {NOW_MS: 1.0})
    reply = send(api, one(named("c"), [(NOW_MS, 2.5)]))
    assert (reply.status, reply.text) == (
        400,
        f"duplicate sample for timestamp {NOW_MS}; overrides not allowed: new value 2.5 "
        'for series {__name__="c"}\n',
    )


def test_a_conflict_within_one_body_keeps_the_first_in_silence(api):
    body = one(named("c"), [(NOW_MS, 1.0), (NOW_MS, 2.5)]) + one(named("c"), [(NOW_MS, 3.0)])
    assert send(api, body).status == 204
    assert api.storage.samples == [{NOW_MS: 1.0}]
    assert api.app[WRITES].stats().refused_samples == 2


def test_a_series_that_was_collected_in_between_is_resolved_again(api):
    api.storage.add({"__name__": "gone"}, {})
    api.storage.lost_refs = {0}
    reply = send(api, one(named("gone")))
    assert reply.status == 204
    assert api.storage.samples == [{NOW_MS: 1.0}]


def test_a_refused_histogram_is_told_and_floats_are_kept(api):
    # One observation, and no bucket that holds it.
    histogram = field(1, label(b"__name__", b"h") + field(4, b"\x08\x01"))
    body = histogram + one(named("f"))
    reply = send(api, body)
    assert reply.status == 400
    assert reply.text.startswith("0 observations found in buckets, but the Count field is 1")
    assert api.storage.samples[0] == {NOW_MS: 1.0}
    assert api.storage.histograms == []


def test_without_its_flag_the_receiver_is_not_there(api):
    api.options = ApiOptions()
    reply = send(api, b"")
    assert reply.status == 404
    assert reply.text == (
        "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n"
    )


def test_what_came_in_is_counted(api):
    exemplar = field(1, label(b"__name__", b"e") + field(3, b""))
    body = one(named("m")) + one([("a", "b")]) + exemplar + field(3, b"")
    send(api, body)
    stats = api.app[WRITES].stats()
    assert (stats.requests, stats.failed_requests, stats.samples) == (1, 0, 1)
    assert stats.invalid_labels_samples == 1
    assert (stats.exemplars, stats.exemplars_ignored) == (1, 0)


# ------------------------------------------------------------------ captured bodies


def captured(root):
    for info_path in sorted((root / "remote" / "write").glob("*/??.json")):
        info = json.loads(info_path.read_text())
        yield info, info_path.with_suffix(".bin").read_bytes(), info_path


def _decoded_value(value):
    if value == "StaleNaN":
        return struct.pack("<Q", STALE_BITS)
    return struct.pack("<d", float(value))


def test_captured_bodies_decode_as_recorded(corpora):
    count = 0
    for info, packed, path in captured(corpora):
        if info["sender"].endswith("-v2"):
            continue
        encoding = dict(info["headers"])["Content-Encoding"]
        body = (
            zstandard.decompress(packed)
            if encoding == "zstd"
            else bytes(cramjam.snappy.decompress_raw(packed))
        )
        batch = decode_write_request(body)
        contents = info["contents"]
        assert batch.values.size == contents["samples"], path
        assert batch.exemplars == contents["exemplars"], path
        assert batch.histograms == contents["histograms"], path
        assert batch.metadata == contents["metadata"], path
        assert (batch.values.view(np.uint64) == STALE_BITS).sum() >= contents["stale"] - contents[
            "histograms"
        ]
        decoded_path = path.with_name(path.stem + ".decoded.json")
        if decoded_path.exists():
            decoded = json.loads(decoded_path.read_text())
            expected = [
                (sorted(series["labels"].items()), [(t, _decoded_value(v)) for t, v in samples])
                for series in decoded["timeseries"]
                if (samples := series.get("samples"))
            ]
            got = columns_as_lists(batch)
            assert [labels for labels, _ in got] == [labels for labels, _ in expected], path
            for (_, mine), (_, theirs) in zip(got, expected, strict=True):
                assert [t for t, _ in mine] == [t for t, _ in theirs], path
                for (_, a), (_, b) in zip(mine, theirs, strict=True):
                    assert a == b or (a != a and b != b) or _both_nan(a, b), path
        count += 1
    assert count == 44


def _both_nan(a, b):
    return math.isnan(struct.unpack("<d", a)[0]) and math.isnan(struct.unpack("<d", b)[0])


def test_captured_bodies_are_accepted_or_refused_for_good(api, corpora):
    requests, expected = [], []
    for info, packed, _ in captured(corpora):
        headers = {
            name: value
            for name, value in info["headers"]
            if name not in ("Content-Length", "Accept-Encoding")
        }
        requests.append(("POST", info["path"], {"data": packed, "headers": headers}))
        if info["contents"]["nhcb"] and not info["sender"].endswith("-v2"):
            expected.append({400})  # remote write 1.0 leaves their bounds out
        else:
            # This storage takes nothing late, and senders overlap.
            expected.append({204, 400})
    for reply, statuses in zip(api.ask_all(requests), expected, strict=True):
        assert reply.status in statuses, reply.text


def test_a_full_disk_is_said_and_can_be_tried_again(api, monkeypatch):
    def fail(*_args, **_options):
        raise WriteFailedError("write to the log failed: No space left on device")

    body = one(named("up"))
    with monkeypatch.context() as failing:
        failing.setattr(api.storage, "append", fail)
        reply = send(api, body)
    assert reply.status == 503
    assert "No space left on device" in reply.text
    assert send(api, body).status == 204


@given(packed=st.binary(max_size=80), encoding=st.sampled_from(["snappy", "gzip", "zstd", ""]))
@settings(max_examples=50, deadline=None)
def test_random_bodies_never_fail_the_server(packed, encoding):
    for start in (b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"):
        with suppress(BodyError, WireError):
            batch = decode_write_request(decode(start + packed, encoding or "identity"))
            assert batch.times_ms.size == batch.values.size
