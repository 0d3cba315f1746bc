"""The compiled pass over an exposition: entries to columns, known series recognised.

From: `exposition.py` (bytes) and `series_cache.py` (what earlier scrapes taught).
To:   the columns of `exposition.py`.

The kernel takes the forms that real targets write and stops at the start of any entry it does not
fully understand; `text_format.py` or `openmetrics.py` then reads that one entry by the letter, or
refuses it. Nothing is accepted here that those would refuse: the invariant the tests check.

Buffers are padded as `text_kernels.py` says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from scraper.cache_kernels import DUPLICATE, EXPLICIT, HARD, find_entry
from scraper.text_kernels import (
    BYTES_IN,
    EXACT,
    MIX,
    NO_NUMBER,
    ROUGH,
    Bytes,
    Int,
    hash_bytes,
    hash_wide,
    is_utf8,
    parse_number,
)
from tsdb.kernel_compilation import helper, kernel

Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

# Positions in the `state` array, which carries a scan across an interruption; the last three
# count samples of unknown series, values that are to be rounded, values that are NaN.
SAMPLES, COMMENTS, EXEMPLARS, GUESS, COMMENT_HASH, UNKNOWN, ROUNDED, NANS = range(8)
STATE_SIZE = 8

_int32s_in = types.Array(types.int32, 1, "C", readonly=True)
_words_in = types.Array(types.uint64, 1, "C", readonly=True)
_int32s = types.int32[::1]
_int64s = types.int64[::1]
_int32_table = types.int32[:, ::1]

# Class of each byte: 1 starts a name, 2 goes on in one, 4 starts a metric name, 8 goes on in one.
_CLASS = np.zeros(256, np.uint8)
for _c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_":
    _CLASS[_c] = 15
for _c in b"0123456789":
    _CLASS[_c] = 10
_CLASS[ord(":")] = 12

_ONE = np.uint64(1)


@kernel(types.int64(BYTES_IN, types.int64))
def _quoted(data: Bytes, start: Int) -> Int:
    """Return the position after the quote that ends a string begun before `start`, or -1.

    A newline or a zero byte inside, also behind a backslash, is -1: rare, and not for here.
    """
    i = start
    while True:
        c = data[i]
        if c == 34:
            return i + 1
        if c == 92:
            i += 1
            c = data[i]
        if c == 10 or c == 0:
            return -1
        i += 1


@kernel(
    types.int64(BYTES_IN, types.int64, types.boolean, types.boolean, types.boolean),
)
def _labels(data: Bytes, start: Int, spaces: bool, named: bool, exemplar: bool) -> Int:
    """Return the position after the brace that closes a label list, or -1 if not understood.

    `start` is just after the opening brace. `spaces`: blanks may stand between tokens (text
    format). `named`: the metric name stood before the brace. `exemplar`: no metric name at all.
    """
    i = start
    while True:
        while spaces and (data[i] == 32 or data[i] == 9):
            i += 1
        c = data[i]
        if c == 125:
            return i + 1 if named or exemplar else -1
        quoted = c == 34
        if quoted:
            i = _quoted(data, i + 1)
            if i < 0:
                return -1
        elif _CLASS[c] & 1:
            i += 1
            while _CLASS[data[i]] & 2:
                i += 1
        else:
            return -1
        while spaces and (data[i] == 32 or data[i] == 9):
            i += 1
        c = data[i]
        if c != 61:
            if (c != 44 and c != 125) or not quoted or named or exemplar:
                return -1
            named = True
            i += 1
            if c == 125:
                return i
            continue
        i += 1
        while spaces and (data[i] == 32 or data[i] == 9):
            i += 1
        if data[i] != 34:
            return -1
        i += 1
        first = i
        high = np.uint8(0)
        while True:
            c = data[i]
            if c == 34:
                break
            high |= c
            if c == 92:
                i += 1
                c = data[i]
                high |= c
            if c == 10 or c == 0:
                return -1
            i += 1
        if high >= 0x80 and not is_utf8(data, first, i):
            return -1
        i += 1
        while spaces and (data[i] == 32 or data[i] == 9):
            i += 1
        if data[i] == 44:
            i += 1
        elif data[i] != 125:
            return -1


@kernel(types.int64(BYTES_IN, types.int64, types.int64[::1]))
def _exemplar(data: Bytes, start: Int, span: Ints) -> Int:
    """Read ` # {...} value [time]` whose `#` is at `start`; return where the line ends, or -1.

    `span` receives where the label list opens and where the exemplar ends.
    """
    if data[start + 1] != 32 or data[start + 2] != 123:
        return -1
    i = _labels(data, start + 3, False, False, True)
    if i < 0 or data[i] != 32:
        return -1
    i, _, status = parse_number(data, i + 1)
    if status == NO_NUMBER:
        return -1
    if data[i] == 32:
        i, number, status = parse_number(data, i + 1)
        if status != EXACT or not np.isfinite(number):
            return -1
    if data[i] != 10:
        return -1
    span[0], span[1] = start + 2, i
    return i


@helper(types.int64(BYTES_IN, types.int64, types.boolean))
def _comment(data: Bytes, start: Int, openmetrics: bool) -> Int:
    """Return where the metadata line at `start` ends, 0 if it is a mere comment, -1 if unclear.

    A metadata line is `# HELP `, `# TYPE ` or (OpenMetrics) `# UNIT ` and a name.
    """
    if data[start + 1] != 32:
        return -1 if openmetrics or data[start + 1] == 9 else 0
    i = start + 2
    if data[i] == 32 or data[i] == 9:
        return -1
    a, b, c, d = data[i], data[i + 1], data[i + 2], data[i + 3]
    known = (a == 72 and b == 69 and c == 76 and d == 80) or (
        a == 84 and b == 89 and c == 80 and d == 69
    )
    if openmetrics:
        known = known or (a == 85 and b == 78 and c == 73 and d == 84)
        if not known or data[i + 4] != 32:
            return -1
    elif not known or data[i + 4] != 32:
        return -1 if known and data[i + 4] == 9 else 0
    i += 5
    if data[i] == 34:
        return _quoted(data, i + 1)
    if not _CLASS[data[i]] & 4:
        return -1
    return i


@kernel(
    types.int64(
        BYTES_IN,
        types.int64,
        types.int64,
        types.boolean,
        _words_in,
        # the series cache
        _int32s_in,
        _words_in,
        _words_in,
        _int32s_in,
        _int32s,
        types.int32,
        types.int64,
        # results
        types.uint64[::1],
        _int32_table,
        types.uint64[::1],
        types.uint64[::1],
        _int32s,
        _int32s,
        types.uint8[::1],
        types.float64[::1],
        _int64s,
        _int32_table,
        _int32_table,
    ),
)
def scan(
    data: Bytes,
    start: Int,
    stop: Int,
    openmetrics: bool,
    keys: Words,
    table: Int32s,
    entry_low: Words,
    entry_high: Words,
    entry_length: Int32s,
    entry_seen: Int32s,
    generation: np.int32,
    entry_count: Int,
    state: Words,
    spans: Int32s,
    series_low: Words,
    series_high: Words,
    series_entry: Int32s,
    seen_before: Int32s,
    flags: Bytes,
    values: Floats,
    times: Ints,
    comments: Int32s,
    exemplars: Int32s,
) -> Int:
    """Read entries from `data[start:stop]` into columns; return where it stopped.

    It stops at `stop`, at the start of an entry that needs `read_entry`, or where the results have
    no room for one more. `state` counts what has been written and is carried on by the next call.
    Each sample's series is looked up by its hash among the `entry_count` series known to the
    cache, and marked there with `generation` in `entry_seen`; `seen_before` is what stood there.
    `series_entry` is -1 for a series that is not known; only then its hash is written.

    Shapes: `keys` uint64[4]; `table` int32[power of two], entry + 1 or 0; `entry_*` one for each
    known series. Results have room for so many samples, comments and exemplars: `spans` int32[4,
    room] has where series and value start and stop; `comments` and `exemplars` int32[3, room] have
    start, stop and the number of the sample they stand before, or belong to.
    Units: `times` in milliseconds; only set under the flag EXPLICIT.
    """
    n = np.int64(state[SAMPLES])
    comment_count = np.int64(state[COMMENTS])
    exemplar_count = np.int64(state[EXEMPLARS])
    guess = np.int64(state[GUESS])
    comment_hash = state[COMMENT_HASH]
    unknown, rounded, nans = np.int64(0), np.int64(0), np.int64(0)
    exemplar_span = np.empty(2, np.int64)
    spaces = not openmetrics
    room = series_entry.size
    i = start
    while i < stop and n < room and comment_count < room:
        begin = i
        c = data[i]
        # Invariant: series before `guess` in the exposition stood before it last time too, as a
        # rule; so the next line most often holds the series after the last one that was found.
        entry = np.int64(-1)
        low = high = np.uint64(0)
        if guess < entry_count:
            length = np.int64(entry_length[guess])
            if data[i + length if i + length < stop else stop] == 32:
                low, high = hash_wide(data, i, i + length, keys)
                if low == entry_low[guess] and high == entry_high[guess]:
                    entry = guess
                    i += length
        if entry < 0:
            if c == 35:
                i = _comment(data, i, openmetrics)
                if i < 0:
                    i = begin
                    break
                metadata = i > 0
                if not metadata:
                    i = begin + 1
                at = np.uint64(i)
                while data[at] != 10 and data[at] != 0:
                    at += _ONE
                i = np.int64(at)
                if data[i] == 0 or i >= stop:
                    i = begin
                    break
                if metadata:
                    comments[0, comment_count] = begin
                    comments[1, comment_count] = i
                    comments[2, comment_count] = n
                    comment_count += 1
                    comment_hash = (comment_hash ^ hash_bytes(data, begin, i, keys[0])) * MIX
                i += 1
                continue
            if c == 10 and spaces:
                i += 1
                continue
            named = (_CLASS[c] & 4) != 0
            if named:
                i += 1
                while _CLASS[data[i]] & 8:
                    i += 1
            elif c != 123:
                break
            name_stop = i
            while spaces and (data[i] == 32 or data[i] == 9):
                i += 1
            if data[i] == 123:
                i = _labels(data, i + 1, spaces, named, False)
                if i < 0:
                    i = begin
                    break
            else:
                i = name_stop
            low, high = hash_wide(data, begin, i, keys)
            entry = np.int64(find_entry(low, high, table, entry_low, entry_high))
        series_end = i
        if spaces:
            while data[i] == 32 or data[i] == 9:
                i += 1
        elif data[i] == 32:
            i += 1
        else:
            i = begin
            break
        flag = 0
        value_at = i
        i, value, status = parse_number(data, i)
        if status == NO_NUMBER or i == value_at:
            i = begin
            break
        value_end = i
        if status == ROUGH:
            flag |= HARD
        time = np.int64(0)
        if spaces:
            if data[i] != 32 and data[i] != 9 and data[i] != 10:
                i = begin
                break
            while data[i] == 32 or data[i] == 9:
                i += 1
            if 48 <= data[i] <= 57:
                first = i
                while 48 <= data[i] <= 57 and i - first < 18:
                    time = time * 10 + np.int64(data[i] - 48)
                    i += 1
                flag |= EXPLICIT
                while data[i] == 32 or data[i] == 9:
                    i += 1
        else:
            if data[i] == 32 and data[i + 1] != 35:
                i, seconds, status = parse_number(data, i + 1)
                if status != EXACT or not abs(seconds) < 9.0e15:
                    i = begin
                    break
                time = np.int64(seconds * 1000.0)
                flag |= EXPLICIT
            if data[i] == 32 and data[i + 1] == 35:
                i = _exemplar(data, i + 1, exemplar_span)
                if i < 0:
                    i = begin
                    break
                exemplars[0, exemplar_count] = exemplar_span[0]
                exemplars[1, exemplar_count] = exemplar_span[1]
                exemplars[2, exemplar_count] = n
                exemplar_count += 1
        if data[i] != 10 or i >= stop:
            i = begin
            break
        i += 1
        before = np.int32(0)
        if entry >= 0:
            guess = entry + 1
            before = entry_seen[entry]
            if before == generation:
                flag |= DUPLICATE
            entry_seen[entry] = generation
        else:
            series_low[n], series_high[n] = low, high
            unknown += 1
        rounded += (flag & HARD) != 0
        nans += value != value
        spans[0, n] = begin
        spans[1, n] = series_end
        spans[2, n] = value_at
        spans[3, n] = value_end
        series_entry[n] = entry
        seen_before[n] = before
        flags[n] = flag
        values[n] = value
        times[n] = time
        n += 1
    state[SAMPLES] = np.uint64(n)
    state[COMMENTS] = np.uint64(comment_count)
    state[EXEMPLARS] = np.uint64(exemplar_count)
    state[GUESS] = np.uint64(guess)
    state[COMMENT_HASH] = comment_hash
    state[UNKNOWN] += np.uint64(unknown)
    state[ROUNDED] += np.uint64(rounded)
    state[NANS] += np.uint64(nans)
    return i
