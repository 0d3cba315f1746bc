"""Compiled judging of pushed labels: is the text UTF-8, is a name there, is one there twice.

From: the kernels of `remote_write_kernels.py` and of 2.0, as spans of a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Spans = npt.NDArray[np.int32]

SERIES_OK, SERIES_NO_NAME, SERIES_DUPLICATE, SERIES_BAD_TEXT, SERIES_BAD_REFS, SERIES_EMPTY = range(
    6
)
"""What is wrong with a series; the last two are of remote write 2.0."""

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i32_2 = types.Array(types.int32, 2, "C")


@helper(inline="always")
def is_ascii(data: Bytes, start: Whole, stop: Whole) -> Whole:
    """Say whether no byte has its top bit set."""
    any_bit = np.uint8(0)
    for byte in data[start:stop]:
        any_bit |= byte
    return any_bit < 128


@kernel(types.boolean(_u8r, types.int64, types.int64))
def valid_utf8(data: Bytes, start: Whole, stop: Whole) -> Whole:
    """Say whether bytes are UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF."""
    if is_ascii(data, start, stop):
        return True
    at = start
    while at < stop:
        lead = data[at]
        at += 1
        if lead < 0x80:
            continue
        low, high = np.uint8(0x80), np.uint8(0xBF)
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = np.uint8(0xA0)
            elif lead == 0xED:
                high = np.uint8(0x9F)
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = np.uint8(0x90)
            elif lead == 0xF4:
                high = np.uint8(0x8F)
        else:
            return False
        if at + more > stop or data[at] < low or data[at] > high:
            return False
        for i in range(at + 1, at + more):
            if data[i] < 0x80 or data[i] > 0xBF:
                return False
        at += more
    return True


@helper(types.int64(_u8r, _i32_2, types.int64, types.int64))
def compare_names(data: Bytes, spans: Spans, left: Whole, right: Whole) -> Whole:
    """Compare two labels' names by their bytes: negative, 0 or positive."""
    a, b = np.int64(spans[left, 0]), np.int64(spans[right, 0])
    a_size, b_size = np.int64(spans[left, 1]) - a, np.int64(spans[right, 1]) - b
    for i in range(min(a_size, b_size)):
        if data[a + i] != data[b + i]:
            return np.int64(data[a + i]) - np.int64(data[b + i])
    return a_size - b_size


@helper(inline="always")
def is_name(data: Bytes, start: Whole, stop: Whole) -> Whole:
    """Say whether bytes spell `__name__`."""
    return (
        stop - start == 8
        and data[start] == 95
        and data[start + 1] == 95
        and data[start + 2] == 110
        and data[start + 3] == 97
        and data[start + 4] == 109
        and data[start + 5] == 101
        and data[start + 6] == 95
        and data[start + 7] == 95
    )


@helper(types.int64(_u8r, _i32_2, types.int64, types.int64, types.boolean))
def settle_labels(data: Bytes, spans: Spans, first: Whole, stop: Whole, ascii_only: Whole) -> Whole:
    """Sort a series' labels by name and judge them; return a SERIES_ number."""
    named = False
    bad_text = False
    duplicate = False
    for i in range(first, stop):
        start, name_stop = np.int64(spans[i, 0]), np.int64(spans[i, 1])
        if is_name(data, start, name_stop):
            named = True
            bad_text |= spans[i, 2] == spans[i, 3]
        bad_text |= start == name_stop
        if not ascii_only and not bad_text:
            bad_text = not (
                valid_utf8(data, start, name_stop)
                and valid_utf8(data, np.int64(spans[i, 2]), np.int64(spans[i, 3]))
            )
        if i == first:
            continue
        order = compare_names(data, spans, i - 1, i)
        duplicate |= order == 0
        j = i
        while order > 0:
            for column in range(4):
                held = spans[j, column]
                spans[j, column] = spans[j - 1, column]
                spans[j - 1, column] = held
            j -= 1
            if j == first:
                break
            order = compare_names(data, spans, j - 1, j)
            duplicate |= order == 0
    if not named:
        return SERIES_NO_NAME
    if bad_text:
        return SERIES_BAD_TEXT
    return SERIES_DUPLICATE if duplicate else SERIES_OK
