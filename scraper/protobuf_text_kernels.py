"""The compiled writer of the text of new series that came as protobuf.

From: `protobuf.py`, with what `protobuf_kernels.walk` found.
What it writes is what `ProtobufExposition.series_text` would; whatever is not plain ASCII without
escapes it leaves to that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from scraper.protobuf_kernels import BUCKET, BYTES, COUNT, QUANTILE, SUM, read_field
from scraper.text_kernels import BYTES_IN, Bytes, Int
from tsdb.kernel_compilation import kernel

Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

_COUNT = np.frombuffer(b"_count", np.uint8)
_SUM = np.frombuffer(b"_sum", np.uint8)
_BUCKET = np.frombuffer(b"_bucket", np.uint8)
_LE = np.frombuffer(b'le="', np.uint8)
_QUANTILE = np.frombuffer(b'quantile="', np.uint8)

_int32s_in = types.Array(types.int32, 2, "C", readonly=True)
_int64s_in = types.Array(types.int64, 1, "C", readonly=True)


@kernel(types.boolean(BYTES_IN, types.int64, types.int64, types.boolean))
def _is_name(data: Bytes, start: Int, stop: Int, colons: bool) -> bool:
    """Say whether bytes are a name that needs no quotes; `colons`: as metrics may have them."""
    if start == stop:
        return False
    for at in range(start, stop):
        byte = data[at]
        letter = 97 <= byte <= 122 or 65 <= byte <= 90 or byte == 95 or (colons and byte == 58)
        if not letter and not (48 <= byte <= 57 and at > start):
            return False
    return True


@kernel(types.int64(BYTES_IN, types.int64, types.int64, types.uint8[::1], types.int64))
def _copy(data: Bytes, start: Int, stop: Int, out: Bytes, at: Int) -> Int:
    """Copy bytes to `at`; return where they end."""
    for k in range(stop - start):
        out[at + k] = data[start + k]
    return at + stop - start


@kernel(
    types.int64(
        BYTES_IN,
        _int32s_in,
        _int32s_in,
        _int64s_in,
        BYTES_IN,
        _int64s_in,
        _int64s_in,
        types.uint8[::1],
        types.int32[:, ::1],
    )
)
def write_texts(
    body: Bytes,
    where: Int32s,
    families: Int32s,
    samples: Ints,
    bound_texts: Bytes,
    bound_start: Ints,
    bound_of: Ints,
    out: Bytes,
    spans: Int32s,
) -> Int:
    """Write the texts of series one after the other; return how many bytes there are.

    Shapes: `where`, `families` as of `walk`; `samples` int64[U], whose texts are wanted;
    `bound_of` int64[U] numbers the text of each one's bound in `bound_texts`, which begins at
    `bound_start` int64[B + 1]. Written: `out`, with room for all (the metric's bytes, its name and
    its bound bound each text); `spans` int32[2, at least N] at each sample, both -1 for one that is
    left to others.
    """
    field = np.zeros(5, np.int64)
    end: Int = np.int64(0)
    for number in range(samples.size):
        sample = samples[number]
        start, stop = np.int64(where[0, sample]), np.int64(where[1, sample])
        family, part = where[2, sample], where[3, sample]
        begin = end
        good = _is_name(body, families[0, family], families[1, family], True)
        at = _copy(body, families[0, family], families[1, family], out, begin)
        if part == COUNT:
            at = _copy(_COUNT, 0, _COUNT.size, out, at)
        elif part == SUM:
            at = _copy(_SUM, 0, _SUM.size, out, at)
        elif part == BUCKET:
            at = _copy(_BUCKET, 0, _BUCKET.size, out, at)
        opened = at
        out[at] = 123  # {
        at += 1
        while good and start < stop:
            if not read_field(body, start, stop, field):
                good = False
                break
            start = field[4]
            if field[0] != 1:
                continue
            inner, inner_stop = field[2], field[3]
            name_start = name_stop = value_start = value_stop = np.int64(0)
            while inner < inner_stop:
                if not read_field(body, inner, inner_stop, field):
                    good = False
                    break
                inner = field[4]
                if field[0] > 2:
                    continue
                if field[1] != BYTES:
                    good = False
                elif field[0] == 1:
                    name_start, name_stop = field[2], field[3]
                else:
                    value_start, value_stop = field[2], field[3]
            good = good and _is_name(body, name_start, name_stop, False)
            for k in range(value_start, value_stop):
                byte = body[k]
                if byte >= 128 or byte == 34 or byte == 92 or byte == 10:
                    good = False
            if not good:
                break
            if at > opened + 1:
                out[at] = 44  # ,
                at += 1
            at = _copy(body, name_start, name_stop, out, at)
            out[at], out[at + 1] = 61, 34  # ="
            at = _copy(body, value_start, value_stop, out, at + 2)
            out[at] = 34
            at += 1
        if not good:
            spans[0, sample] = spans[1, sample] = -1
            continue
        if part in (BUCKET, QUANTILE):
            if at > opened + 1:
                out[at] = 44
                at += 1
            if part == BUCKET:
                at = _copy(_LE, 0, _LE.size, out, at)
            else:
                at = _copy(_QUANTILE, 0, _QUANTILE.size, out, at)
            bound = bound_of[number]
            at = _copy(bound_texts, bound_start[bound], bound_start[bound + 1], out, at)
            out[at] = 34
            at += 1
        if at == opened + 1:
            at = opened  # no labels, no braces
        else:
            out[at] = 125  # }
            at += 1
        spans[0, sample], spans[1, sample] = begin, at
        end = at
    return end
