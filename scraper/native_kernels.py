"""The compiled reading of native histograms: protobuf messages to columns.

From: `protobuf.py`, with the spans that `protobuf_kernels.walk` found, whose fields are sound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from scraper.protobuf_kernels import BYTES, FIXED64, VARINT, double_at, read_field, read_varint
from scraper.text_kernels import BYTES_IN, Bytes, Int
from tsdb.kernel_compilation import kernel

Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DAMAGED, MISMATCH, OFFSET, NEGATIVE, INDEX = -1, -2, -3, -4, -5
"""Why a histogram is refused; see `protobuf.py` for the words."""

INDEX_MAX = 1 << 30

_int64s = types.int64[::1]


@kernel(types.int64(types.int64))
def _zigzag(value: Int) -> Int:
    return np.int64(np.uint64(value) >> np.uint64(1)) ^ -(value & 1)


@kernel(
    types.int64(
        BYTES_IN,
        types.int64,
        types.int64,
        types.int64,
        types.boolean,
        types.int32[::1],
        types.float64[::1],
        types.int64,
    ),
)
def _side(
    data: Bytes,
    start: Int,
    stop: Int,
    spans: Int,
    is_float: bool,
    index: Int32s,
    count: Floats,
    first: Int,
) -> Int:
    """Write the buckets of one side from `first` on; return where they end, or why not.

    `spans` is the number of the field of spans; deltas and counts are the next two.
    """
    field = np.zeros(5, np.int64)
    wanted = spans + 2 if is_float else spans + 1
    n: Int = first
    total = np.int64(0)
    at = start
    while at < stop:
        read_field(data, at, stop, field)
        at = field[4]
        if field[0] != wanted:
            continue
        wire, inner, end = field[1], field[2], field[3]
        if is_float:
            if wire != FIXED64 and (wire != BYTES or (end - inner) % 8 != 0):
                return DAMAGED
            while inner < end:
                count[n] = double_at(data, inner)
                if count[n] < 0:
                    return NEGATIVE
                n += 1
                inner += 8
        elif wire == VARINT:
            total += _zigzag(inner)
            count[n] = float(total)
            if total < 0:
                return NEGATIVE
            n += 1
        elif wire == BYTES:
            while inner < end:
                if not read_varint(data, inner, end, field):
                    return DAMAGED
                total += _zigzag(field[2])
                count[n] = float(total)
                if total < 0:
                    return NEGATIVE
                n += 1
                inner = field[4]
            field[4] = at
        else:
            return DAMAGED
    place = np.int64(0)
    length: Int = place
    written: Int = first
    number = 0
    at = start
    while at < stop:
        read_field(data, at, stop, field)
        at = field[4]
        if field[0] != spans:
            continue
        offset: Int = np.int64(0)
        length = np.int64(0)
        inner, end = field[2], field[3]
        while inner < end:
            if not read_field(data, inner, end, field):
                return DAMAGED
            if field[0] <= 2 and field[1] != VARINT:
                return DAMAGED
            if field[0] == 1:
                offset = _zigzag(field[2])
            elif field[0] == 2:
                length = field[2]
            inner = field[4]
        if number > 0 and offset < 0:
            return OFFSET
        number += 1
        if length < 0 or length > n - written:
            return MISMATCH
        if offset > INDEX_MAX or offset < -INDEX_MAX or place + offset + length > INDEX_MAX:
            return INDEX
        place += offset
        for _ in range(length):
            index[written] = place
            written += 1
            place += 1
    return n if written == n else MISMATCH


@kernel(
    types.int64(
        BYTES_IN,
        types.Array(types.int32, 2, "C", readonly=True),
        types.int64[:, ::1],
        types.float64[:, ::1],
        _int64s,
        types.int32[::1],
        types.float64[::1],
        _int64s,
        types.int32[::1],
        types.float64[::1],
    ),
)
def read_natives(
    data: Bytes,
    natives: Int32s,
    plain: Ints,
    numbers: Floats,
    positive_start: Ints,
    positive_index: Int32s,
    positive_count: Floats,
    negative_start: Ints,
    negative_index: Int32s,
    negative_count: Floats,
) -> Int:
    """Read histograms; return -1, or 8 times the number of a bad one plus minus its reason.

    `natives` int32[4, H] is that of `protobuf_kernels.walk`. Written: `plain` int64[2, H] schema
    and whether counts are floats; `numbers` float64[4, H] count, sum, zero threshold, zero count;
    starts int64[H + 1] and pools, with room for a bucket to each byte of the messages.
    """
    field = np.zeros(5, np.int64)
    positive_start[0] = negative_start[0] = 0
    for h in range(natives.shape[1]):
        start, stop = np.int64(natives[0, h]), np.int64(natives[1, h])
        end: Int = start
        schema: Int = np.int64(0)
        count = precise = total = threshold = zero = precise_zero = 0.0
        at: Int = start
        while at < stop:
            read_field(data, at, stop, field)
            number, value = field[0], field[2]
            if number == 1:
                count = float(np.uint64(value))
            elif number == 2:
                total = double_at(data, value)
            elif number == 4:
                precise = double_at(data, value)
            elif number == 5:
                if field[1] != VARINT:
                    return 8 * h - DAMAGED
                schema = _zigzag(value)
            elif number == 6:
                threshold = double_at(data, value)
            elif number == 7:
                zero = float(np.uint64(value))
            elif number == 8:
                precise_zero = double_at(data, value)
            at = field[4]
        is_float = precise > 0 or precise_zero > 0
        if is_float:
            count, zero = precise, precise_zero
            if count < 0 or zero < 0:
                return 8 * h - NEGATIVE
        plain[0, h], plain[1, h] = schema, is_float
        numbers[0, h], numbers[1, h], numbers[2, h], numbers[3, h] = count, total, threshold, zero
        end = _side(
            data, start, stop, 12, is_float, positive_index, positive_count, positive_start[h]
        )
        if end < 0:
            return 8 * h - end
        positive_start[h + 1] = end
        end = _side(
            data, start, stop, 9, is_float, negative_index, negative_count, negative_start[h]
        )
        if end < 0:
            return 8 * h - end
        negative_start[h + 1] = end
    return -1
