"""Compiled loops over many texts: which order their bytes have, and one buffer of them.

From: `series_order.py`, `block_writer.py`. The order of UTF-8 bytes is that of code points, so it
is the order Python's strings have, but no string is made, and other threads go on meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Ints

    Int = int | np.integer[Any]

_u8, _i64 = types.uint8, types.int64

_RUN = 8
"""Texts that are sorted by insertion before runs are merged. A guess, not measured."""


def _in(dtype: types.Type) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, 1, "C", readonly=True)


@helper(_i64(_in(_u8), _i64, _i64, _i64, _i64))
def _compare(text: Bytes, a: Int, a_stop: Int, b: Int, b_stop: Int) -> Int:
    """Return below zero, zero or above as the first text is before, the same or after."""
    size = min(a_stop - a, b_stop - b)
    for k in range(size):
        if text[a + k] != text[b + k]:
            return np.int64(text[a + k]) - np.int64(text[b + k])
    return (a_stop - a) - (b_stop - b)


@kernel(types.void(_in(_u8), _in(_i64), _in(_i64), _i64[::1], _i64[::1], _u8[::1]))
def order_texts(
    text: Bytes,
    starts: Ints,
    stops: Ints,
    order: Ints,
    scratch: Ints,
    repeats: npt.NDArray[np.uint8],
) -> None:
    """Write the places of the texts in rising order, and which of them are as the one before.

    Shapes: text n is `text[starts[n] : stops[n]]`; `order`, `scratch` int64[N], `repeats` uint8[N]
    in the order that was found. Equal texts keep their order.
    Invariant: after each pass `order` holds sorted runs of `width` places.
    """
    count = starts.size
    for begin in range(0, count, _RUN):
        for i in range(begin, min(begin + _RUN, count)):
            at = i
            while at > begin and _compare(
                text, starts[order[at - 1]], stops[order[at - 1]], starts[i], stops[i]
            ) > 0:  # fmt: skip
                order[at] = order[at - 1]
                at -= 1
            order[at] = i
    width = _RUN
    while width < count:
        for begin in range(0, count, 2 * width):
            left, middle = begin, min(begin + width, count)
            right, stop = middle, min(begin + 2 * width, count)
            for out in range(begin, stop):
                if left < middle and (
                    right == stop
                    or _compare(
                        text,
                        starts[order[left]],
                        stops[order[left]],
                        starts[order[right]],
                        stops[order[right]],
                    )
                    <= 0
                ):
                    scratch[out] = order[left]
                    left += 1
                else:
                    scratch[out] = order[right]
                    right += 1
        order[:count] = scratch[:count]
        width *= 2
    for i in range(count):
        repeats[i] = 0
        if i > 0:
            a, b = order[i - 1], order[i]
            repeats[i] = _compare(text, starts[a], stops[a], starts[b], stops[b]) == 0


@kernel(types.void(_in(_u8), _in(_i64), _in(_i64), _u8[::1]))
def join_texts(text: Bytes, starts: Ints, stops: Ints, out: Bytes) -> None:
    """Write the texts one behind the other; `out` has room for them."""
    at = 0
    for n in range(starts.size):
        for k in range(starts[n], stops[n]):
            out[at] = text[k]
            at += 1
