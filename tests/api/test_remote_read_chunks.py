"""Streamed remote read: frames by a plain decoder, chunks by the reader of Prometheus' blocks."""

from __future__ import annotations

import struct
from itertools import pairwise

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.read_labels import read_labels
from api.remote_read_chunks import frames
from api.views import ApiOptions
from api.wire import fields, read_varint, signed, varint_bytes
from gnomon.prometheus.bit_kernels import crc32c
from gnomon.prometheus.chunks import MAGIC, Segment
from promql.engine import Engine
from tsdb.database import Database
from tsdb.interface import HistogramColumns, LabelSpans, Matcher, MatchOp, Selection

EXTERNAL = {"cluster": "corpus", "replica": "a"}
STALE_BITS = 0x7FF0000000000002
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
T0 = 1_795_470_000_000
EVERYTHING = Selection((Matcher("__name__", MatchOp.NOT_EQUAL, ""),), -(1 << 62), 1 << 62)


def plain_frames(data):
    """Return [(query, labels, [(min, max, encoding, bytes)])] of each frame, checksums compared."""
    at, out = 0, []
    while at < len(data):
        at, size = read_varint(data, at)
        told, message = data[at : at + 4], data[at + 4 : at + 4 + size]
        at += 4 + size
        whole = np.frombuffer(message, dtype=np.uint8)
        assert struct.unpack(">I", told)[0] == crc32c(whole, 0, whole.size)
        parts = list(fields(message))
        query = dict(parts).get(2, 0)
        for number, series in parts:
            if number != 1:
                continue
            labels, chunks = {}, []
            for inner, part in fields(series):
                found = dict(fields(part))
                if inner == 1:
                    labels[found[1].decode()] = found[2].decode()
                else:
                    chunks.append((signed(found[1]), signed(found[2]), found[3], found[4]))
            out.append((query, labels, chunks))
    assert at == len(data)
    return out


def segment(folder, chunks):
    """Write chunks as a segment of a block; return it, and where each chunk is."""
    body, places = struct.pack(">IB3x", MAGIC, 1), []
    for _, _, encoding, data in chunks:
        places.append(len(body))
        summed = np.frombuffer(bytes([encoding]) + data, dtype=np.uint8)
        crc = struct.pack(">I", int(crc32c(summed, 0, summed.size)))
        body += varint_bytes(len(data)) + summed.tobytes() + crc
    path = folder / "000001"
    path.write_bytes(body)
    return Segment(path), np.array(places, dtype=np.int64)


def floats_of(folder, chunks):
    if not chunks:
        return []
    found, places = segment(folder, chunks)
    times, values = found.floats(found.find(places)[1])
    return list(zip(times.tolist(), (v.tobytes() for v in values), strict=True))


def histograms_of(folder, chunks):
    found, places = segment(folder, chunks)
    times, columns = found.histograms(found.find(places)[1])
    return [(time, *row(columns, h)) for h, time in enumerate(times.tolist())]


def row(columns, h):
    """Return what one histogram says, in a form that can be compared; of a stale one, only that."""
    if columns.sum[h : h + 1].view(np.uint64)[0] == STALE_BITS:
        return (bool(columns.is_float[h]), "stale")
    sides = []
    for start, index, count in (
        (columns.positive_start, columns.positive_index, columns.positive_count),
        (columns.negative_start, columns.negative_index, columns.negative_count),
    ):
        low, high = int(start[h]), int(start[h + 1])
        sides.append(list(zip(index[low:high].tolist(), count[low:high].tolist(), strict=True)))
    low = int(columns.bounds_start[h])
    return (
        int(columns.schema[h]), bool(columns.is_float[h]), int(columns.hint[h]) == 3,
        float(columns.count[h]), columns.sum[h].tobytes(), float(columns.zero_threshold[h]),
        float(columns.zero_count[h]), sides,
        columns.bounds[low : low + int(columns.bounds_count[h])].tolist(),
    )  # fmt: skip


def answer(database, query=0, bytes_max=1 << 20):
    (batch,) = database.select([EVERYTHING])
    return plain_frames(bytes(frames(batch, read_labels(batch, {}), query, bytes_max)))


@pytest.fixture
def database():
    opened = Database.in_memory()
    yield opened
    opened.close()


def store(database, name, times, values):
    ref = database.resolve(LabelSpans.from_labels([{"__name__": name}]))
    times = np.array(times, dtype=np.int64)
    database.append(np.repeat(ref, times.size), times, np.array(values, dtype=np.float64))


steps = st.one_of(
    st.just(15_000), st.integers(1, 20), st.integers(1, 1_000_000), st.integers(1, 1 << 36)
)
values = st.one_of(st.floats(), st.integers(0, 5).map(float), st.just(STALE))


@given(rows=st.lists(st.tuples(steps, values), min_size=1, max_size=300))
@settings(max_examples=60, deadline=None)
def test_floats_come_back_bit_for_bit(rows, tmp_path_factory):
    times = (np.cumsum([step for step, _ in rows]) + T0).tolist()
    database = Database.in_memory()
    try:
        store(database, "m", times, [value for _, value in rows])
        found = answer(database)
    finally:
        database.close()
    chunks = [chunk for _, _, chunks in found for chunk in chunks]
    assert len(chunks) == -(-len(rows) // 120)
    assert [c[0] for c in chunks] == times[::120]
    assert [c[1] for c in chunks] == [times[min(n + 119, len(times) - 1)]
                                      for n in range(0, len(times), 120)]  # fmt: skip
    got = floats_of(tmp_path_factory.mktemp("segment"), chunks)
    assert got == [
        (time, struct.pack("<d", value)) for time, (_, value) in zip(times, rows, strict=True)
    ]


def test_a_series_goes_on_in_further_frames(database, tmp_path):
    times = list(range(T0, T0 + 600_000, 1000))
    store(database, "m", times, np.random.default_rng(1).random(600))
    store(database, "b", [T0], [1.0])
    found = answer(database, query=300, bytes_max=2500)
    assert [query for query, _, _ in found] == [300] * len(found)
    assert [labels["__name__"] for _, labels, _ in found] == ["b", *["m"] * (len(found) - 1)]
    assert len(found) > 3
    chunks = [chunk for _, _, chunks in found[1:] for chunk in chunks]
    assert [time for time, _ in floats_of(tmp_path, chunks)] == times


def histograms(kinds):
    """Return columns of histograms from (schema, float, hint, positive, negative, bounds, sum)."""
    starts = {3: [0], 4: [0], 5: [0]}
    for kind in kinds:
        for place, total in starts.items():
            total.append(total[-1] + len(kind[place]))
    pool = {place: [item for kind in kinds for item in kind[place]] for place in starts}
    return HistogramColumns(
        schema=np.array([k[0] for k in kinds], dtype=np.int8),
        hint=np.array([k[2] for k in kinds], dtype=np.int8),
        is_float=np.array([k[1] for k in kinds], dtype=np.bool_),
        count=np.array([sum(c for _, c in k[3] + k[4]) for k in kinds], dtype=np.float64),
        sum=np.array([k[6] for k in kinds], dtype=np.float64),
        zero_threshold=np.array([0 if k[0] == -53 else 2.0**-128 for k in kinds]),
        zero_count=np.zeros(len(kinds)),
        positive_start=np.array(starts[3], dtype=np.int64),
        positive_index=np.array([i for i, _ in pool[3]], dtype=np.int32),
        positive_count=np.array([c for _, c in pool[3]], dtype=np.float64),
        negative_start=np.array(starts[4], dtype=np.int64),
        negative_index=np.array([i for i, _ in pool[4]], dtype=np.int32),
        negative_count=np.array([c for _, c in pool[4]], dtype=np.float64),
        bounds_start=np.array(starts[5][:-1], dtype=np.int64),
        bounds_count=np.diff(starts[5]),
        bounds=np.array(pool[5], dtype=np.float64),
    )  # fmt: skip


counts = st.integers(0, 1 << 40)
sides = st.dictionaries(st.sampled_from([-9, -1, 0, 1, 2, 7]), counts, max_size=4).map(
    lambda d: sorted(d.items())
)
exponential = st.tuples(
    st.sampled_from([0, 3]), st.booleans(), st.sampled_from([0, 3]), sides, sides, st.just([]),
    st.one_of(st.floats(allow_nan=False), st.just(STALE)),
)  # fmt: skip
custom = st.tuples(
    st.just(-53), st.booleans(), st.just(0),
    st.dictionaries(st.integers(0, 2), counts, max_size=3).map(lambda d: sorted(d.items())),
    st.just([]), st.sampled_from([[0.5, 1.0], [1 / 3, 1e12], [0.005, 2.5, 1e300]]), st.floats(0, 9),
)  # fmt: skip


@given(
    kinds=st.lists(st.tuples(st.one_of(exponential, custom), st.integers(1, 4)), min_size=1,
                   max_size=6),
    floats_at=st.sets(st.integers(0, 30), max_size=3),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_histograms_come_back_between_floats(kinds, floats_at, tmp_path_factory):
    kinds = [kind for kind, times in kinds for _ in range(times)]
    columns = histograms(kinds)
    times = np.arange(len(kinds), dtype=np.int64) * 1000 + T0
    database = Database.in_memory()
    try:
        ref = database.resolve(LabelSpans.from_labels([{"__name__": "m"}]))
        database.append_histograms(np.repeat(ref, times.size), times, columns)
        store(database, "m", [T0 + 1000 * n + 500 for n in sorted(floats_at)],
              [1.0] * len(floats_at))  # fmt: skip
        (batch,) = database.select([EVERYTHING])
        runs = batch.histograms
        expected = [
            (int(runs.times[h]), *row(runs.columns, h))
            for h in range(int(runs.start[0]), int(runs.start[0] + runs.count[0]))
        ]
        found = answer(database)
    finally:
        database.close()
    chunks = [chunk for _, _, chunks in found for chunk in chunks]
    assert all(a[1] < b[0] for a, b in pairwise(chunks))
    folder = tmp_path_factory.mktemp("segment")
    assert histograms_of(folder, [c for c in chunks if c[2] != 1]) == expected
    assert len(floats_of(folder, [c for c in chunks if c[2] == 1])) == len(floats_at)


def test_a_counter_that_was_reset_begins_a_chunk(database):
    def kind(count):
        return (0, False, 0, [(1, count)], [], [], 1.0)

    columns = histograms([kind(n) for n in (5, 6, 2, 3)])
    ref = database.resolve(LabelSpans.from_labels([{"__name__": "m"}]))
    times = np.arange(4, dtype=np.int64) * 1000 + T0
    database.append_histograms(np.repeat(ref, 4), times, columns)
    ((_, _, chunks),) = answer(database)
    assert [(low - T0, high - T0) for low, high, _, _ in chunks] == [(0, 1000), (2000, 3000)]


def test_hints_of_neighbours_cut_no_chunk_and_a_reset_that_a_writer_tells_does(database):
    columns = histograms([(0, False, 1 if n == 200 else 0, [(1, n)], [], [], 1.0)
                          for n in range(300)])  # fmt: skip
    ref = database.resolve(LabelSpans.from_labels([{"__name__": "m"}]))
    times = np.arange(300, dtype=np.int64) * 1000 + T0
    database.append_histograms(np.repeat(ref, 300), times, columns)
    ((_, _, chunks),) = answer(database)
    spans = [((low - T0) // 1000, (high - T0) // 1000) for low, high, _, _ in chunks]
    assert spans == [(0, 119), (120, 199), (200, 299)]
    # The header of a chunk is in the first bits of its third byte.
    assert [data[2] >> 6 for *_, data in chunks] == [0, 0, 2]


def test_nothing_found_is_no_frame(database):
    assert answer(database) == []


def test_recorded_requests_get_the_recorded_chunks(api, corpora, tmp_path):
    api.engine.close()
    api.storage = Database.in_memory()
    api.engine = Engine(api.storage)
    api.options = ApiOptions(external_labels=EXTERNAL)
    cases = []
    for path in sorted((corpora / "remote" / "read").glob("*.stream.json")):
        stem = path.name.removesuffix(".stream.json")
        stream = plain_frames(path.with_name(f"{stem}.stream.bin").read_bytes())
        request = path.with_name(f"{stem}.request.bin").read_bytes()
        wanted = {}
        for query, labels, chunks in stream:
            key = (query, tuple(sorted(labels.items())))
            wanted.setdefault(key, []).extend(chunks)
        if any(chunk[2] != 1 for chunks in wanted.values() for chunk in chunks):
            continue
        expected = [(key, floats_of(tmp_path, chunks)) for key, chunks in wanted.items()]
        for (_, labels), samples in expected:
            own = {name: value for name, value in labels if name not in EXTERNAL}
            ref = api.storage.resolve(LabelSpans.from_labels([own]))
            times = np.array([t for t, _ in samples], dtype=np.int64)
            bits = np.frombuffer(b"".join(v for _, v in samples), dtype=np.float64)
            api.storage.append(np.repeat(ref, times.size), times, bits)
        cases.append((request, expected))
    # Only streams are asked for, as Prometheus 3.5 would be answered.
    requests = []
    for request, _ in cases:
        asked = bytes(cramjam.snappy.decompress_raw(request))
        body = b"".join(
            b"\x0a" + varint_bytes(len(part)) + part
            for number, part in fields(asked)
            if number == 1
        )
        packed = bytes(cramjam.snappy.compress_raw(body + b"\x10\x01"))
        requests.append(("POST", "/api/v1/read", {"data": packed}))
    replies = api.ask_all(requests)
    api.storage.close()
    assert len(cases) > 10
    for reply, (_, expected) in zip(replies, cases, strict=True):
        assert reply.status == 200
        assert reply.headers["Content-Type"] == (
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        )
        got = [
            ((query, tuple(sorted(labels.items()))), floats_of(tmp_path, chunks))
            for query, labels, chunks in plain_frames(reply.body)
        ]
        assert got == expected
