import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.prometheus.bit_kernels import crc32c
from gnomon.prometheus.chunks import Segment
from tests.gnomon.prometheus import chunk_writer as writer
from tests.gnomon.tsdb_tools.digests import STALE
from tsdb.errors import CorruptFileError

words = st.one_of(
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False).map(writer.bits_of),
    st.integers(-1000, 1000).map(float).map(writer.bits_of),
    st.just(STALE),
)
steps = st.one_of(st.just(15_000), st.integers(1, 2**13 + 3), st.integers(1, 2**40))


@st.composite
def float_samples(draw):
    time = draw(st.integers(-(2**40), 2**42))
    samples = []
    for _ in range(draw(st.integers(1, 20))):
        samples.append((time, draw(words)))
        time += draw(steps)
    return samples


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("chunks") / "000001"


def open_segment(path, chunks):
    content, places = writer.segment(chunks)
    path.write_bytes(content)
    segment = Segment(path)
    return segment, segment.find(np.array(places, np.int64))[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(float_samples(), min_size=1, max_size=4))
def test_float_chunks_are_what_was_written(path, chunks):
    segment, places = open_segment(path, [(1, writer.xor_chunk(each)) for each in chunks])
    times, values = segment.floats(places)
    assert places.samples.tolist() == [len(each) for each in chunks]
    expected = [sample for each in chunks for sample in each]
    assert list(zip(times.tolist(), values.view(np.uint64).tolist(), strict=True)) == expected


@st.composite
def histograms(draw, floats):
    number = st.floats(0, 1e9) if floats else st.integers(0, 2**50)
    indexes = {
        side: sorted(draw(st.sets(st.integers(-300, 300), max_size=8)))
        for side in ("positive", "negative")
    }
    schema = draw(st.sampled_from([-53, -4, 0, 3, 8]))
    bounds = []
    if schema == -53:
        indexes = {"positive": [0, 1, 4], "negative": []}
        bounds = sorted(draw(st.sets(st.floats(-1e6, 1e6), min_size=4, max_size=6)))
    threshold = draw(st.sampled_from([0.0, 2.0**-128, 0.001, 1.0]))
    time = draw(st.integers(0, 2**42))
    found = []
    count = draw(st.integers(1, 8))
    stale = draw(st.integers(0, 2)) if count > 2 else 0
    for n in range(count):
        found.append(
            {
                "time": time,
                "schema": schema,
                "zero_threshold": threshold,
                "bounds": bounds,
                "count": draw(number),
                "zero_count": draw(number),
                "sum": STALE if n >= count - stale else draw(st.floats().map(writer.bits_of)),
                "positive": [(index, draw(number)) for index in indexes["positive"]],
                "negative": [(index, draw(number)) for index in indexes["negative"]],
            }
        )
        time += draw(steps)
    return found


def read_back(columns, times, row):
    def buckets(start, index, count):
        part = slice(int(start[row]), int(start[row + 1]))
        return list(zip(index[part].tolist(), count[part].tolist(), strict=True))

    bounds = columns.bounds[columns.bounds_start[row] :][: columns.bounds_count[row]]
    return {
        "time": int(times[row]),
        "schema": int(columns.schema[row]),
        "zero_threshold": float(columns.zero_threshold[row]),
        "bounds": bounds.tolist(),
        "count": float(columns.count[row]),
        "zero_count": float(columns.zero_count[row]),
        "sum": int(columns.sum.view(np.uint64)[row]),
        "positive": buckets(columns.positive_start, columns.positive_index, columns.positive_count),
        "negative": buckets(columns.negative_start, columns.negative_index, columns.negative_count),
    }


def as_read(one):
    if one["sum"] == STALE:
        none = {"schema": 0, "zero_threshold": 0.0, "count": 0.0, "zero_count": 0.0}
        return one | none | {"bounds": [], "positive": [], "negative": []}
    return one


@pytest.mark.parametrize("floats", [False, True], ids=["counts are integers", "counts are floats"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_histogram_chunks_are_what_was_written(path, floats, data):
    chunks = data.draw(st.lists(histograms(floats), min_size=1, max_size=3))
    encoding = 3 if floats else 2
    segment, places = open_segment(
        path, [(encoding, writer.histogram_chunk(each, floats=floats)) for each in chunks]
    )
    times, columns = segment.histograms(places)
    expected = [as_read(one) for each in chunks for one in each]
    assert [read_back(columns, times, row) for row in range(times.size)] == expected
    assert set(columns.is_float.tolist()) == {floats}


@pytest.mark.parametrize(
    ("header", "hints"),
    [
        pytest.param(0, [0, 0, 0], id="of a counter nothing is said for sure"),
        pytest.param(2, [0, 0, 0], id="not even of a reset"),
        pytest.param(3, [3, 3, 3], id="a gauge"),
    ],
)
def test_hints(path, header, hints):
    one = {
        "schema": 0,
        "zero_threshold": 0.0,
        "bounds": [],
        "count": 1,
        "zero_count": 0,
        "sum": 0,
        "positive": [(1, 1)],
        "negative": [],
    }
    data = writer.histogram_chunk(
        [one | {"time": t} for t in (1, 2, 3)], floats=False, header=header
    )
    segment, places = open_segment(path, [(2, data)])
    _, columns = segment.histograms(places)
    assert columns.hint.tolist() == hints


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_the_checksum_is_crc_32c(data):
    assert int(crc32c(np.frombuffer(data, np.uint8), 0, len(data))) == writer.crc32c(data)


@pytest.mark.parametrize("at", [8, 9, 12, 20, -1], ids=lambda at: f"byte {at}")
def test_a_flipped_bit_is_found(path, at):
    content, places = writer.segment([(1, writer.xor_chunk([(1, 2), (3, 4), (5, 6)]))])
    broken = bytearray(content)
    broken[at] ^= 4
    path.write_bytes(broken)
    with pytest.raises(CorruptFileError, match="damaged chunk"):
        Segment(path).find(np.array(places, np.int64))


@pytest.mark.parametrize("encoding", [1, 2, 3], ids=["floats", "integers", "float histograms"])
@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=2, max_size=60))
def test_nonsense_with_a_right_checksum_is_refused_or_read_but_never_crashes(path, encoding, data):
    segment, places = open_segment(path, [(encoding, b"\x00" + data)])
    read = segment.floats if encoding == 1 else segment.histograms
    try:
        times = read(places)[0]
    except CorruptFileError:
        return
    assert times.size == int.from_bytes((b"\x00" + data)[:2], "big")


def test_an_unknown_encoding_is_named(path):
    with pytest.raises(CorruptFileError, match="chunk encoding 9 is not known"):
        open_segment(path, [(9, b"\x00\x00")])
