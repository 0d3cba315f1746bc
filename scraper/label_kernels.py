"""The compiled labelling of new series: exposed text to label spans, for the forms nearly all have.

From: `ingest.py`, once for each text that its cache does not know.   To: `LabelSpans`.

What is not plain is left to `labelling.py`: escapes, quoted names, names that come twice or that
the target has as well, bucket bounds in unusual spelling, anything beyond a limit. So nothing is
refused here, and what is taken is labelled as `Labelling.stored_labels` would without rules.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from scraper.text_kernels import BYTES_IN, Bytes, Int, is_utf8
from tsdb.kernel_compilation import helper, kernel

Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

LABELS_MAX = 64
"""A series with more labels, the target's included, is left to Python."""

NO_BOUND, HISTOGRAM, SUMMARY = 0, 1, 2
"""Which label holds a number to be written in canonical form: none, `le`, `quantile`."""

_int32_table_in = types.Array(types.int32, 2, "C", readonly=True)
_int64s_in = types.Array(types.int64, 1, "C", readonly=True)

_NAME = np.zeros(256, np.bool_)
for _c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789":
    _NAME[_c] = True


@kernel(
    types.int64(BYTES_IN, types.int64, types.int64, types.int64, types.int64),
)
def _compare(data: Bytes, a: Int, a_stop: Int, b: Int, b_stop: Int) -> Int:
    """Return -1, 0 or 1 as one run of bytes sorts before, is, or sorts after another."""
    for k in range(min(a_stop - a, b_stop - b)):
        x, y = data[a + k], data[b + k]
        if x != y:
            return -1 if x < y else 1
    left, right = a_stop - a, b_stop - b
    return 0 if left == right else (-1 if left < right else 1)


@helper(types.boolean(BYTES_IN, types.int64, types.int64, types.uint8))
def _is_bound(data: Bytes, start: Int, stop: Int, kind: np.uint8) -> bool:
    """Say whether a label's name is the one whose value is a number, for this kind."""
    if kind == HISTOGRAM:
        return bool(stop - start == 2 and data[start] == 108 and data[start + 1] == 101)
    if kind != SUMMARY or stop - start != 8:
        return False
    word = np.uint64(0)
    for k in range(8):
        word = word << np.uint64(8) | np.uint64(data[start + k])
    return bool(word == np.uint64(0x7175616E74696C65))  # quantile


@helper(types.int64(BYTES_IN, types.int64, types.int64))
def bound_form(data: Bytes, start: Int, stop: Int) -> Int:
    """Return 0 if a number is in canonical form, 1 if it only lacks `.0`, -1 if unclear.

    Clear are `+Inf` and decimals of fifteen digits at most from 0.0001 up to below a million,
    without zeros in front or behind that are not needed.
    """
    size = stop - start
    if size == 4 and data[start] == 43:
        inf = data[start + 1] == 73 and data[start + 2] == 110 and data[start + 3] == 102
        return 0 if inf else -1
    i = start
    while i < stop and 48 <= data[i] <= 57:
        i += 1
    whole = i - start
    if whole == 0 or whole > 6 or (whole > 1 and data[start] == 48):
        return -1
    if i == stop:
        return 1
    if data[i] != 46 or size > 16 or i + 1 == stop:
        return -1
    first = i + 1
    zeros, leading = 0, True
    for k in range(first, stop):
        if not 48 <= data[k] <= 57:
            return -1
        leading = leading and data[k] == 48
        zeros += leading
    if stop - first == 1:
        return 0
    if data[stop - 1] == 48 or (data[start] == 48 and zeros > 3):
        return -1
    return 0


@kernel(
    types.int64(BYTES_IN, types.int64, types.int64, types.int32[:, ::1]),
)
def _read(data: Bytes, start: Int, stop: Int, rows: Int32s) -> Int:
    """Write the label spans of one series' text from row 1 on; return the rows, -1 if not plain.

    Row 0 receives the span of the metric name as its value. Values may be empty.
    """
    i = start
    while i < stop and (_NAME[data[i]] or data[i] == 58):
        i += 1
    if i == start:
        return -1
    rows[0, 2], rows[0, 3] = start, i
    while i < stop and (data[i] == 32 or data[i] == 9):
        i += 1
    if i == stop:
        return 1
    if data[i] != 123:
        return -1
    i += 1
    count = 1
    while True:
        while i < stop and (data[i] == 32 or data[i] == 9):
            i += 1
        if i < stop and data[i] == 125:
            return count if i + 1 == stop else -1
        name = i
        while i < stop and _NAME[data[i]]:
            i += 1
        if i == name or count == rows.shape[0]:
            return -1
        rows[count, 0], rows[count, 1] = name, i
        while i < stop and (data[i] == 32 or data[i] == 9):
            i += 1
        if i >= stop or data[i] != 61:
            return -1
        i += 1
        while i < stop and (data[i] == 32 or data[i] == 9):
            i += 1
        if i >= stop or data[i] != 34:
            return -1
        i += 1
        value = i
        high = np.uint8(0)
        while i < stop and data[i] != 34 and data[i] != 92:
            high |= data[i]
            i += 1
        if i >= stop or data[i] == 92 or (high >= 0x80 and not is_utf8(data, value, i)):
            return -1
        rows[count, 2], rows[count, 3] = value, i
        count += 1
        i += 1
        while i < stop and (data[i] == 32 or data[i] == 9):
            i += 1
        if i < stop and data[i] == 44:
            i += 1
        elif i >= stop or data[i] != 125:
            return -1


@kernel(
    types.int64(
        types.uint8[::1],
        _int32_table_in,
        _int64s_in,
        BYTES_IN,
        types.int64,
        _int32_table_in,
        _int64s_in,
        types.int64[::1],
        types.int32[:, ::1],
        types.int64[::1],
        types.boolean[::1],
    ),
)
def plain_labels(
    data: Bytes,
    text: Int32s,
    samples: Ints,
    kinds: Bytes,
    begin: Int,
    target: Int32s,
    limits: Ints,
    state: Ints,
    spans: Int32s,
    first: Ints,
    plain: npt.NDArray[np.bool_],
) -> Int:
    """Write the label spans of the series from `begin` on that are plain; return how far it came.

    Shapes: `text` int32[at least 2, ...] has where the series of a sample starts and stops;
    `samples` int64[K]; `kinds` uint8[K] says whether `le` or `quantile` is a number; `target`
    int32[1 + T, 4]: a row whose name is `__name__`, then the target's labels. `limits` int64[3]:
    greatest number of labels, bytes of a name, bytes of a value. `state` int64[3] is carried on:
    plain series, rows of `spans`, where `data` is free to its end for numbers that are rewritten.
    `first` int64[K + 1] goes with the plain series, `plain` bool[K] says which they are.
    Stops where `spans` may not have room for one more.
    """
    rows = np.empty((LABELS_MAX, 4), np.int32)
    count, at, free = state[0], state[1], state[2]
    for k in range(begin, samples.size):
        if at + LABELS_MAX > spans.shape[0]:
            state[0], state[1], state[2] = count, at, free
            return k
        start, stop = np.int64(text[0, samples[k]]), np.int64(text[1, samples[k]])
        plain[k] = False
        size = _read(data, start, stop, rows[: LABELS_MAX - target.shape[0] + 1])
        if size < 0:
            continue
        rows[0, 0], rows[0, 1] = target[0, 0], target[0, 1]
        for j in range(1, target.shape[0]):
            rows[size] = target[j]
            size += 1
        taken = True
        labels = 0
        for j in range(size):
            name, name_stop, value, value_stop = rows[j]
            # Put each behind those that sort before it; a name that is there already is unclear.
            place = j
            while place > 0:
                order = _compare(data, rows[place - 1, 0], rows[place - 1, 1], name, name_stop)
                if order < 0:
                    break
                taken = bool(taken and order != 0)
                rows[place] = rows[place - 1]
                place -= 1
            if _is_bound(data, name, name_stop, kinds[k]):
                form = bound_form(data, value, value_stop)
                length = value_stop - value
                taken = bool(taken and form >= 0 and (form == 0 or free + length + 2 <= data.size))
                if taken and form == 1:
                    for b in range(length):
                        data[free + b] = data[value + b]
                    data[free + length], data[free + length + 1] = 46, 48
                    value, value_stop = np.int32(free), np.int32(free + length + 2)
                    free += length + 2
            rows[place, 0], rows[place, 1] = name, name_stop
            rows[place, 2], rows[place, 3] = value, value_stop
            labels += value_stop > value
            within = name_stop - name <= limits[1] and value_stop - value <= limits[2]
            taken = bool(taken and within)
        if not taken or labels > limits[0]:
            continue
        plain[k] = True
        first[count] = at
        for j in range(size):
            if rows[j, 3] > rows[j, 2]:
                spans[at] = rows[j]
                at += 1
        count += 1
        first[count] = at
    state[0], state[1], state[2] = count, at, free
    return samples.size
