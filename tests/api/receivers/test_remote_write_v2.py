"""Remote write 2.0 against a plain decoder, captured bodies, and Prometheus' texts."""

from __future__ import annotations

import json
from contextlib import suppress

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.remote_write_v2 import decode_request
from api.views import ApiOptions
from api.wire import WireError, fields, read_varint, signed
from tests.protobuf import f64, ld, varint, vi
from tsdb.errors import WriteFailedError
from tsdb.interface import Matcher, MatchOp, MetricMetadata, Selection

NOW_MS = 1_795_470_000_000
MEDIA = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
WRITTEN = tuple(
    f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")
)


def refs(*numbers):
    return ld(1, b"".join(map(varint, numbers)))


def sample(value=1.0, time_ms=NOW_MS, start_ms=0):
    return ld(2, f64(1, value) + vi(2, time_ms) + (vi(3, start_ms) if start_ms else b""))


def request(symbols, *series):
    return b"".join(ld(4, s if isinstance(s, bytes) else s.encode()) for s in symbols) + b"".join(
        ld(5, each) for each in series
    )


SYMBOLS = ("", "__name__", "up", "job", "a", "down", b"\xff", "help text", "seconds", "trace")


def post(packed, media=MEDIA, path="/api/v1/write"):
    headers = {"Content-Type": media, "Content-Encoding": "snappy"}
    return ("POST", path, {"data": packed, "headers": headers})


def send(api, body, **options):
    return api.ask_all([post(bytes(cramjam.snappy.compress_raw(body)), **options)])[0]


def written(reply):
    return tuple(int(reply.headers[name]) for name in WRITTEN)


# ------------------------------------------------------------------ the plain twin


def plain_refs(message):
    out = []
    for number, part in fields(message):
        if number == 1:
            at = 0
            while at < len(part):
                at, ref = read_varint(part, at)
                out.append(ref)
    return out


def plain_decode(body):
    """Return the sound series that have samples, and how many are not sound."""
    symbols = [part for number, part in fields(body) if number == 4]
    out, refused = [], 0
    for number, message in fields(body):
        if number != 5:
            continue
        samples, other = [], False
        for inner, leaf in fields(message):
            if inner == 2:
                parts = dict(fields(leaf))
                samples.append((signed(parts.get(2, 0)), parts.get(1, bytes(8))))
            other |= inner in (3, 4)
        numbers = plain_refs(message)
        try:
            if len(numbers) % 2:
                raise ValueError
            texts = [symbols[ref].decode() for ref in numbers]
            pairs = list(zip(texts[::2], texts[1::2], strict=True))
            names = texts[::2]
            if len(set(names)) < len(names) or "" in names or not dict(pairs).get("__name__"):
                raise ValueError
            if not samples and not other:
                raise ValueError
        except (ValueError, IndexError):
            refused += 1
            continue
        if samples:
            out.append((sorted((n, v) for n, v in pairs if v), samples))
    return out, refused


def as_lists(batch):
    data = batch.labels.data.tobytes()
    out = []
    for series in range(batch.labels.series_count):
        rows = batch.labels.spans[batch.labels.first[series] : batch.labels.first[series + 1]]
        labels = [(data[a:b].decode(), data[c:d].decode()) for a, b, c, d in rows.tolist()]
        mine = batch.series_of == series
        values = [value.tobytes() for value in batch.values[mine]]
        out.append((labels, list(zip(batch.times_ms[mine].tolist(), values, strict=True))))
    return out


texts = st.sampled_from(["", "__name__", "a", "b", "up", "ä", "job", b"\xff\xfe"])
series_messages = st.builds(
    lambda numbers, samples, more: refs(*numbers) + b"".join(sample(*s) for s in samples) + more,
    st.lists(st.integers(0, 7), max_size=8),
    st.lists(
        st.tuples(st.floats(), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 1 << 40)),
        max_size=3,
    ),
    st.sampled_from([b"", ld(5, vi(1, 1) + vi(3, 1)), vi(6, 5), ld(9, b"x")]),
)
bodies = st.builds(
    lambda symbols, series: request(symbols, *series),
    st.lists(texts, min_size=6, max_size=8),
    st.lists(series_messages, max_size=5),
)


@given(body=bodies)
@settings(max_examples=100, deadline=None)
def test_bodies_equal_the_plain_decoder(body):
    expected, refused = plain_decode(body)
    got = decode_request(body)
    assert as_lists(got.batch) == expected
    assert len(got.problems) == refused


@given(body=bodies)
@settings(max_examples=100, deadline=None)
def test_start_times_equal_the_plain_decoder(body):
    """A sample's own counts; else the one that its series says, as senders once did."""
    wanted = []
    for number, message in fields(body):
        if number != 5:
            continue
        parts = list(fields(message))
        if plain_decode(ld(5, message) + b"".join(ld(4, s) for n, s in fields(body) if n == 4))[1]:
            continue
        created = dict(parts).get(6, 0)
        wanted += [signed(dict(fields(leaf)).get(3, 0)) or created for n, leaf in parts if n == 2]
    found = decode_request(body).batch.start_times_ms
    assert (found.tolist() if found is not None else [0] * len(wanted)) == wanted


def test_start_times_are_stored_with_their_samples(real):
    histogram = vi(1, 1) + f64(3, 2.0) + vi(6, 1) + vi(15, NOW_MS) + vi(17, NOW_MS - 5)
    body = request(
        SYMBOLS,
        refs(1, 2) + sample(start_ms=NOW_MS - 9) + sample(time_ms=NOW_MS + 10),
        refs(1, 5) + ld(3, histogram),
        refs(1, 2, 3, 4) + sample() + vi(6, NOW_MS - 7),
    )
    assert send(real, body).status == 204
    (batch,) = real.storage.select([Selection((), 0, 1 << 60, start_times=True)])
    known = batch.start_times
    found = {
        tuple(_labels(batch, s).values()): list(
            zip(
                (known.times[known.first[s] : known.first[s + 1]] - NOW_MS).tolist(),
                (known.starts[known.first[s] : known.first[s + 1]] - NOW_MS).tolist(),
                strict=True,
            )
        )
        for s in range(batch.series_count)
    }
    assert found == {("up",): [(0, -9)], ("down",): [(0, -5)], ("up", "a"): [(0, -7)]}


@given(body=bodies, data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_bodies_are_decoded_or_refused_as_a_whole(body, data):
    damaged = bytearray(body or b"\x2a\x00")
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] = data.draw(st.integers(0, 255))
    stop = data.draw(st.integers(0, len(damaged)))
    with suppress(WireError):
        batch = decode_request(bytes(damaged[:stop])).batch
        assert batch.series_of.size == batch.values.size
        assert all(name and value for labels, _ in as_lists(batch) for name, value in labels)


@given(body=st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_decoded_or_refused(body):
    with suppress(WireError):
        batch = decode_request(body).batch
        assert batch.series_of.size == batch.values.size


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("series", "text"),
    [
        pytest.param(refs(3, 4) + sample(), 'invalid metric name or labels, got {job="a"}',
                     id="no name"),
        pytest.param(refs(1, 2, 3, 4, 3, 2) + sample(),
                     'invalid labels for series, labels {__name__="up", job="a", job="up"}, '
                     "duplicated label job", id="a label twice"),
        pytest.param(refs(1, 2, 3) + sample(),
                     "parsing labels for series [1, 2, 3]: invalid labelRefs length 3",
                     id="a name without value"),
        pytest.param(refs(1, 2, 3, 77) + sample(),
                     "parsing labels for series [1, 2, 3, 77]: labelRefs 3 (value) = 77 outside of "
                     "symbols table (size 10)", id="a reference to nothing"),
        pytest.param(refs(1, 2), "TimeSeries must contain at least one sample or histogram for "
                     'series {__name__="up"}', id="nothing in it"),
        pytest.param(refs(1, 2) + sample(time_ms=NOW_MS + 3_600_000),
                     "out of bounds: timestamp is too far in the future for series "
                     '{__name__="up"}', id="from the future"),
        pytest.param(refs(1, 2) + ld(3, vi(1, 5) + f64(3, 1.0) + vi(15, NOW_MS)),
                     "0 observations found in buckets, but the Count field is 5: ",
                     id="a histogram that contradicts itself"),
    ],
)  # fmt: skip
def test_what_is_not_sound_is_told_and_the_rest_is_written(real, series, text):
    good = refs(1, 5, 3, 4) + sample()
    reply = send(real, request(SYMBOLS, series, good))
    assert (reply.status, written(reply)) == (400, (1, 0, 0))
    assert reply.text.startswith(text)


def test_text_that_is_no_utf8_is_refused(api):
    reply = send(api, request(SYMBOLS, refs(1, 2, 3, 6) + sample()))
    assert (reply.status, written(reply)) == (400, (0, 0, 0))
    assert reply.text.startswith("invalid metric name or labels")


def test_everything_is_counted_and_described(real):
    histogram = vi(1, 1) + f64(3, 2.0) + vi(6, 1) + vi(15, NOW_MS) + vi(17, NOW_MS - 5)
    exemplar = ld(4, refs(9, 4) + f64(2, 0.5) + vi(3, NOW_MS))
    about = ld(5, vi(1, 1) + vi(3, 7) + vi(4, 8))
    body = request(
        SYMBOLS,
        refs(3, 4, 1, 2) + sample(2.5, start_ms=NOW_MS - 9) + exemplar + about,
        refs(1, 5, 3, 0) + ld(3, histogram),
    )
    reply = send(real, body)
    assert (reply.status, reply.text, written(reply)) == (204, "", (1, 1, 1))
    again = send(real, body)
    assert (again.status, written(again)) == (204, (1, 1, 1))
    assert real.storage.metadata() == [MetricMetadata("up", "counter", "seconds", "help text")]
    value, found = real.ask_all(
        [
            ("GET", "/api/v1/query?query=up", {}),
            ("GET", "/api/v1/query?query=histogram_sum(down)", {}),
        ]
    )
    assert value.json["data"]["result"][0]["metric"] == {"__name__": "up", "job": "a"}
    assert found.json["data"]["result"][0]["value"][1] == "2"


def test_an_exemplar_out_of_order_is_told(real):
    def exemplar(time_ms):
        return ld(4, f64(2, 0.5) + vi(3, time_ms))

    reply = send(
        real, request(SYMBOLS, refs(1, 2) + sample() + exemplar(NOW_MS) + exemplar(NOW_MS - 1))
    )
    assert (reply.status, written(reply)) == (400, (1, 0, 1))
    assert reply.text == 'out of order exemplar for series {__name__="up"}\n'


def test_families_are_named_without_the_suffixes_of_their_series(api):
    about = ld(5, vi(1, 3) + vi(3, 1))
    symbols = ("", "help", "__name__", "h_bucket", "h_sum")
    send(api, request(symbols, *(refs(2, n) + sample() + about for n in (3, 4))))
    assert list(api.storage.families.values()) == [MetricMetadata("h", "histogram", "", "help")]


def test_a_message_that_is_not_accepted_is_refused(api):
    api.options = ApiOptions(
        enable_remote_write_receiver=True, remote_write_messages=("prometheus.WriteRequest",)
    )
    reply = send(api, request(SYMBOLS, refs(1, 2) + sample()))
    assert (reply.status, reply.text) == (
        415,
        "io.prometheus.write.v2.Request protobuf message is not accepted by this server; "
        "only accepts prometheus.WriteRequest\n",
    )


def test_a_full_disk_is_no_refusal(api, monkeypatch):
    def fail(*_args, **_options):
        raise WriteFailedError("write to the log failed")

    monkeypatch.setattr(api.storage, "append", fail)
    assert send(api, request(SYMBOLS, refs(1, 2) + sample())).status == 503


# ------------------------------------------------------------------ captured bodies


def test_captured_bodies_are_stored_bit_for_bit(real, corpora):
    requests, expected, wanted = [], [], {}
    histograms = 0
    for path in sorted((corpora / "remote" / "write" / "prometheus-3.5.3-v2").glob("??.json")):
        recorded = json.loads(path.read_text())
        packed = path.with_suffix(".bin").read_bytes()
        requests.append(post(packed, dict(recorded["headers"])["Content-Type"]))
        headers = recorded["answer_prometheus_3.5.3"]["headers"]
        expected.append(tuple(int(headers[name]) for name in WRITTEN))
        histograms += recorded["contents"]["histograms"]
        body = bytes(cramjam.snappy.decompress_raw(packed))
        for labels, samples in plain_decode(body)[0]:
            wanted.setdefault(tuple(labels), {}).update(samples)
    replies = real.ask_all(requests)
    assert [reply.status for reply in replies] == [204] * 10
    assert [written(reply) for reply in replies] == expected
    everything = Selection((Matcher("__name__", MatchOp.NOT_EQUAL, ""),), 0, 1 << 62)
    (batch,) = real.storage.select([everything])
    got = {}
    for series in range(batch.count.size):
        labels = tuple(sorted(_labels(batch, series).items()))
        low, at, size = (
            int(column[series]) for column in (batch.time_start, batch.value_start, batch.count)
        )
        if size:
            values = [value.tobytes() for value in batch.values[at : at + size]]
            got[labels] = dict(zip(batch.times[low : low + size].tolist(), values, strict=True))
    assert got == wanted
    assert int(np.sum(batch.histograms.count)) == histograms


def _labels(batch, series):
    columns = batch.labels
    return {
        name: columns.symbols.text(int(symbol))
        for name, symbol in zip(columns.names, columns.ids[:, series], strict=True)
        if symbol
    }
