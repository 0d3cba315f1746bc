from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zstandard

from tsdb import frames, pages
from tsdb.errors import CorruptFileError
from tsdb.pages import Layout

PATH = Path("pages")


def encoded(runs: int, samples: int, layout: Layout):
    rng = np.random.default_rng(runs)
    values = np.round(rng.normal(size=runs * samples), 3).cumsum()
    count = np.full(runs, samples)
    start = np.arange(runs) * samples
    return values, start, count, pages.encode_values(values, start, count, layout=layout)


@pytest.mark.parametrize("layout", [Layout.PLANES, Layout.SPLIT])
@pytest.mark.parametrize(("runs", "samples"), [(1, 1), (3, 480), (700, 100), (9000, 1)])
def test_frames_give_back_their_pages(layout, runs, samples):
    values, start, count, made = encoded(runs, samples, layout)
    ranges = frames.cut(made)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == runs
    file, at = b"", []
    for first, stop in ranges:
        at.append(len(file))
        file += frames.pack(made, first, stop, frames.compressor())
    out = np.empty_like(values)
    decompressor = zstandard.ZstdDecompressor()
    for offset, (first, stop) in zip(at, ranges, strict=True):
        frame = frames.unpack(PATH, memoryview(file), offset, decompressor)
        pages.decode_values(
            frame.data,
            frame.offset,
            count[first:stop],
            out,
            start[first:stop],
            noise=frame.noise,
            noise_offset=frame.noise_offset,
        )
    np.testing.assert_array_equal(out, values)


def test_frames_are_of_about_the_size_asked_for():
    *_, made = encoded(700, 480, Layout.SPLIT)
    sizes = [
        int(
            made.offset[stop]
            - made.offset[first]
            + made.noise_offset[stop]
            - made.noise_offset[first]
        )
        for first, stop in frames.cut(made)
    ]
    assert all(frames.FRAME_BYTES <= size < frames.FRAME_BYTES + 8192 for size in sizes[:-1])


def test_every_flipped_byte_and_every_cut_is_found():
    *_, made = encoded(5, 20, Layout.SPLIT)
    frame = frames.pack(made, 0, 5, frames.compressor())
    decompressor = zstandard.ZstdDecompressor()
    for at in range(len(frame)):
        broken = bytearray(frame)
        broken[at] ^= 1
        with pytest.raises(CorruptFileError):
            frames.unpack(PATH, memoryview(bytes(broken)), 0, decompressor)
        with pytest.raises(CorruptFileError):
            frames.unpack(PATH, memoryview(frame[:at]), 0, decompressor)
