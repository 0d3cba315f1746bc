"""Bodies of remote write 1.0, and sending them."""

from __future__ import annotations

import json
import struct
from itertools import pairwise

import cramjam
from hypothesis import strategies as st

from tests.protobuf import ld as field
from tests.protobuf import varint

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


def captured(root):
    for info_path in sorted((root / "remote" / "write").glob("*/??.json")):
        info = json.loads(info_path.read_text())
        yield info, info_path.with_suffix(".bin").read_bytes(), info_path
