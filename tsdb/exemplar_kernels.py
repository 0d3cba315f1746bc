"""Compiled loops over exemplars: decided and put into the ring, one after the other.

From: `exemplars.py`, which owns every array here.

The labels of an exemplar are text in a pool: for each label the lengths of its name and of its
value (two bytes each, lowest first), then both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Floats, Ints
    from tsdb.label_kernels import Slots

    Int = int | np.integer[Any]

STORED, DUPLICATE, OUT_OF_ORDER, LABELS_TOO_LONG, UNKNOWN = 0, 1, 2, 3, 4
NEXT, USED, POOL = range(3)
"""Places in the ring's `state`: where the next exemplar goes, how many there are, bytes of text."""
STATE_SIZE = 3

_u8, _i32, _i64, _f64 = types.uint8, types.int32, types.int64, types.float64


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


@helper(_i64(_in(_u8), _in(_i32, 2), _i64, _i64, _u8[::1], _i64))
def _write_labels(data: Bytes, spans: Slots, first: Int, stop: Int, pool: Bytes, at: Int) -> Int:
    """Write labels to the pool and return its end, minus one less that if they are too long."""
    chars = 0
    for label in range(first, stop):
        for part in range(2):
            size = spans[label, 2 * part + 1] - spans[label, 2 * part]
            pool[at + 2 * part] = np.uint8(size & 0xFF)
            pool[at + 2 * part + 1] = np.uint8(size >> 8 & 0xFF)
        at += 4
        for part in range(2):
            for i in range(spans[label, 2 * part], spans[label, 2 * part + 1]):
                pool[at] = data[i]
                at += 1
                # Bytes that continue a character are 10xxxxxx.
                chars += (data[i] & 0xC0) != 0x80
    return at if chars <= 128 else -1 - at


@helper(_i64(_in(_u8), _i64, _i64, _i64, _i64))
def _compare(pool: Bytes, a: Int, a_size: Int, b: Int, b_size: Int) -> Int:
    for j in range(min(a_size, b_size)):
        if pool[a + j] != pool[b + j]:
            return -1 if pool[a + j] < pool[b + j] else 1
    return int(np.sign(a_size - b_size))


@kernel(
    types.void(
        _in(_i64), _in(_i64), _in(_f64), _in(_u8), _in(_i32, 2), _in(_i64),
        _i64, _in(_i32), _i64[::1], _f64[::1], _i64[::1], _i64[::1], _i64[::1], _i32[::1],
        _u8[::1], _i64[::1], _u8[::1],
    ),
)  # fmt: skip
def put_exemplars(
    refs: Ints,
    times: Ints,
    values: Floats,
    data: Bytes,
    spans: Slots,
    first: Ints,
    slots: Int,
    generation: Slots,
    ring_time: Ints,
    ring_value: Floats,
    ring_ref: Ints,
    ring_text: Ints,
    ring_size: Ints,
    newest: Slots,
    pool: Bytes,
    state: Ints,
    status: npt.NDArray[np.uint8],
) -> None:
    """Decide about each exemplar and put it into the ring where it is good.

    Shapes: `refs`, `times`, `values`, `status` [N]; labels as in `LabelSpans`. Per slot
    `generation` and `newest`, the place in the ring of its newest exemplar plus one, 0 for none.
    The ring has a place for each exemplar: its time, value, ref (-1: nothing there), and text in
    `pool`, which has room for all.
    Order is by time, then value, then labels, as in Prometheus; what is not after the newest of its
    series is out of order.
    """
    size = ring_time.size
    for i in range(refs.size):
        ref = refs[i]
        slot = ref & 0xFFFFFFFF
        if slot >= slots or generation[slot] != ref >> 32 or generation[slot] < 0:
            status[i] = UNKNOWN
            continue
        start = state[POOL]
        stop = _write_labels(data, spans, first[i], first[i + 1], pool, start)
        if stop < 0:
            status[i] = LABELS_TOO_LONG
            continue
        last = np.int64(newest[slot]) - 1
        if last >= 0 and ring_ref[last] == ref:
            order = _compare(pool, start, stop - start, ring_text[last], ring_size[last])
            if times[i] == ring_time[last]:
                if values[i] == ring_value[last] and order == 0:
                    status[i] = DUPLICATE
                    continue
                if values[i] < ring_value[last] or (values[i] == ring_value[last] and order < 0):
                    status[i] = OUT_OF_ORDER
                    continue
            elif times[i] < ring_time[last]:
                status[i] = OUT_OF_ORDER
                continue
        at = state[NEXT]
        if state[USED] == size:
            loser = ring_ref[at] & 0xFFFFFFFF
            if ring_ref[at] >= 0 and newest[loser] == at + 1:
                newest[loser] = 0
        else:
            state[USED] += 1
        ring_time[at], ring_value[at], ring_ref[at] = times[i], values[i], ref
        ring_text[at], ring_size[at] = start, stop - start
        newest[slot] = np.int32(at + 1)
        state[POOL] = stop
        state[NEXT] = (at + 1) % size
        status[i] = STORED


@kernel(
    types.void(_in(_u8), _in(_i64), _in(_i64), _u8[::1], _i64[::1])
)  # fmt: skip
def copy_texts(pool: Bytes, text: Ints, size: Ints, out: Bytes, place: Ints) -> None:
    """Copy texts one behind the other to `out`, and write where each begins to `place`."""
    at = 0
    for e in range(text.size):
        place[e] = at
        for j in range(size[e]):
            out[at] = pool[text[e] + j]
            at += 1


@kernel(
    _i64(_in(_u8), _in(_i64), _in(_i64), _i32[:, ::1], _i64[::1])
)  # fmt: skip
def find_labels(pool: Bytes, text: Ints, size: Ints, spans: Slots, first: Ints) -> Int:
    """Write the spans of the labels of each text, and where each text's begin; return how many.

    Shapes: `text`, `size` [E]; `first` [E + 1]. Beyond the rows of `spans` labels are counted only.
    """
    count = 0
    for e in range(text.size):
        first[e] = count
        at = text[e]
        while at < text[e] + size[e]:
            name = np.int64(pool[at]) | np.int64(pool[at + 1]) << 8
            value = np.int64(pool[at + 2]) | np.int64(pool[at + 3]) << 8
            at += 4
            if count < spans.shape[0]:
                spans[count, 0], spans[count, 1] = at, at + name
                spans[count, 2], spans[count, 3] = at + name, at + name + value
            at += name + value
            count += 1
    first[text.size] = count
    return count
