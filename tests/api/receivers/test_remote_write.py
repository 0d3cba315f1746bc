"""The receiver of remote write 1.0: answers in Prometheus' words, encodings, refusals."""

from __future__ import annotations

import gzip
import math
from contextlib import suppress

import cramjam
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.body_decoding import BodyError, decode
from api.receivers.remote_write import WRITES
from api.receivers.write_batch import decode_write_request, series_text
from api.views import ApiOptions
from api.wire import WireError
from tests.api.receivers.write_requests import (
    NOW_MS,
    captured,
    label,
    named,
    one,
    send,
)
from tests.protobuf import ld as field
from tsdb.errors import WriteFailedError


def test_series_text_prints_as_prometheus_does():
    batch = decode_write_request(one([*named("m"), ("b.c", 'x"y')]))
    assert series_text(batch.labels, 0) == '{__name__="m", "b.c"="x\\"y"}'


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
