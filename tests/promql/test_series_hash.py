import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.hash_kernels import xxh64
from promql.labels import QuerySymbols, SeriesLabels
from promql.series_hash import hash_series

MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotated(x, bits):
    return ((x << bits) | (x >> (64 - bits))) & MASK


def mixed(lane, word):
    return rotated((lane + word * P2) & MASK, 31) * P1 & MASK


def plain_xxh64(data):
    """The specification, word by word."""
    words = memoryview(data)
    h = P5
    if len(data) >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while len(words) >= 32:
            lanes = [
                mixed(lane, int.from_bytes(words[8 * i : 8 * i + 8], "little"))
                for i, lane in enumerate(lanes)
            ]
            words = words[32:]
        h = (
            sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
            & MASK
        )
        for lane in lanes:
            h = ((h ^ mixed(0, lane)) * P1 + P4) & MASK
    h = (h + len(data)) & MASK
    while len(words) >= 8:
        h = (rotated(h ^ mixed(0, int.from_bytes(words[:8], "little")), 27) * P1 + P4) & MASK
        words = words[8:]
    if len(words) >= 4:
        h = (rotated(h ^ (int.from_bytes(words[:4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        words = words[4:]
    for byte in words:
        h = rotated(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ (h >> 33)) * P2 & MASK
    h = (h ^ (h >> 29)) * P3 & MASK
    return h ^ (h >> 32)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", 0xEF46DB3751D8E999, id="nothing"),
        pytest.param(b"abc", 0x44BC2CF5AD770999, id="three letters"),
    ],
)
def test_known_hashes(data, expected):
    assert plain_xxh64(data) == expected
    assert int(xxh64(np.frombuffer(data, dtype=np.uint8), len(data))) == expected


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_the_kernel_is_the_specification(data):
    assert int(xxh64(np.frombuffer(data, dtype=np.uint8), len(data))) == plain_xxh64(data)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "bé"]), st.sampled_from(["", "1", "é" * 200])),
        max_size=5,
    )
)
def test_names_and_values_are_hashed_with_their_lengths(label_sets):
    def encoded(labels):
        out = b""
        for name, value in sorted(labels.items()):
            for text in (name, value) if value else ():
                raw = text.encode()
                size = len(raw)
                head = bytes([size]) if size < 255 else b"\xff" + size.to_bytes(3, "little")
                out += head + raw
        return out

    labels = SeriesLabels.from_dicts(label_sets, QuerySymbols(None))
    assert hash_series(labels).tolist() == [plain_xxh64(encoded(row)) for row in label_sets]
