"""The compiled loops of this package: one pass over an exposition, known series recognised.

From: `exposition.py` (bytes) and `series_cache.py` (what earlier scrapes taught).
To:   the columns of `exposition.py`.

The kernel takes the forms that real targets write and stops at the start of any entry it does not
fully understand; `entry.py` then reads that one entry by the letter of the format, or refuses it.
So nothing is accepted here that `entry.py` would refuse: that is the invariant the tests check.

All text that is read lies in buffers with at least `PADDING` zero bytes behind their last byte:
words of eight bytes may be read from any position, and the zero ends every scan.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, types

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Int = int | np.int64
"""Inside a kernel both are the machine's 64 bits."""

PADDING = 16

DUPLICATE = 1
"""Flag: this series came before in this exposition."""
HARD = 2
"""Flag: the value is a number, but only `float()` rounds it correctly; its text is spanned."""
EXPLICIT = 4
"""Flag: the exposition gives a timestamp."""

# Positions in the `state` array, which carries a scan across an interruption.
SAMPLES, COMMENTS, EXEMPLARS, GUESS, COMMENT_HASH = range(5)

EXACT, ROUGH, NO_NUMBER = 0, 1, 2

_bytes_in = types.Array(types.uint8, 1, "C", readonly=True)
_int32s_in = types.Array(types.int32, 1, "C", readonly=True)
_words_in = types.Array(types.uint64, 1, "C", readonly=True)
_int64s_in = types.Array(types.int64, 1, "C", readonly=True)
_int32s = types.int32[::1]
_int64s = types.int64[::1]
_int32_table = types.int32[:, ::1]
# Numba leaves this call untyped.
_number_type = types.Tuple((types.int64, types.float64, types.int64))  # type: ignore[no-untyped-call]

_POWERS = np.array([10.0**k for k in range(23)])
# Class of each byte: 1 starts a name, 2 goes on in one, 4 starts a metric name, 8 goes on in one.
_CLASS = np.zeros(256, np.uint8)
for _c in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_":
    _CLASS[_c] = 15
for _c in b"0123456789":
    _CLASS[_c] = 10
_CLASS[ord(":")] = 12

_K1 = np.uint64(0x9E3779B97F4A7C15)
_K2 = np.uint64(0xD6E8FEB86659FD93)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Positions in hot loops are unsigned: for signed ones each access tests whether they count from
# the end, which made `scan` four times slower.
_ONE, _TWO = np.uint64(1), np.uint64(2)


@njit(types.uint64(_bytes_in, types.int64), cache=True, nogil=True)
def _word(data: Bytes, at: Int) -> np.uint64:
    """Return eight bytes as a little-endian word; the compiler makes one load of this.

    It does so only for unsigned positions: signed ones may be negative, and mean the end then.
    """
    p = np.uint64(at)
    return (
        np.uint64(data[p])
        | np.uint64(data[p + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[p + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[p + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[p + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[p + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[p + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[p + np.uint64(7)]) << np.uint64(56)
    )


@njit(types.uint64(_bytes_in, types.int64, types.int64, types.uint64), cache=True, nogil=True)
def hash_bytes(data: Bytes, start: Int, stop: Int, key: np.uint64) -> np.uint64:
    """Return a keyed hash of `data[start:stop]`. It finds candidates; bytes decide equality."""
    h = key ^ (np.uint64(stop - start) * _K2)
    at = start
    while at + 8 <= stop:
        h = (h ^ _word(data, at)) * _K1
        h ^= h >> np.uint64(29)
        at += 8
    if at < stop:
        h = (h ^ (_word(data, at) & (_ALL >> np.uint64(8 * (8 - (stop - at)))))) * _K1
        h ^= h >> np.uint64(29)
    h *= _K2
    return h ^ (h >> np.uint64(32))


@njit(
    types.boolean(_bytes_in, types.int64, _bytes_in, types.int64, types.int64),
    cache=True,
    nogil=True,
)
def _equal(a: Bytes, a_start: Int, b: Bytes, b_start: Int, length: Int) -> bool:
    """Say whether two runs of bytes are the same."""
    k = 0
    while k + 8 <= length:
        if _word(a, a_start + k) != _word(b, b_start + k):
            return False
        k += 8
    if k < length:
        differ = _word(a, a_start + k) ^ _word(b, b_start + k)
        return bool((differ & (_ALL >> np.uint64(8 * (8 - (length - k))))) == np.uint64(0))
    return True


@njit(types.boolean(_bytes_in, types.int64, types.int64), cache=True, nogil=True)
def is_utf8(data: Bytes, start: Int, stop: Int) -> bool:
    """Say whether bytes are UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF."""
    i = start
    while i < stop:
        c = data[i]
        if c < 0x80:
            i += 1
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if i + more >= stop:
            return False
        if not low <= data[i + 1] <= high:
            return False
        for k in range(2, more + 1):
            if not 0x80 <= data[i + k] <= 0xBF:
                return False
        i += more + 1
    return True


@njit(_number_type(_bytes_in, types.int64), cache=True, nogil=True)
def parse_number(data: Bytes, start: Int) -> tuple[Int, float, Int]:
    """Read a number; return (where it ends, value, EXACT, ROUGH or NO_NUMBER).

    EXACT: the mantissa is below 2**53 and the power of ten at most 22, so that one multiplication
    or division rounds correctly (Clinger). ROUGH: a valid decimal that is not so; the value is
    NaN. NO_NUMBER: anything else, spellings such as `inf` and `1e999` included.
    """
    i = np.uint64(start)
    negative = False
    c = data[i]
    signed = c == 43 or c == 45
    if signed:
        negative = c == 45
        i += _ONE
        c = data[i]
    if c == 78:  # NaN
        if not signed and data[i + _ONE] == 97 and data[i + _TWO] == 78:
            return np.int64(i) + 3, np.nan, EXACT
        return np.int64(i), 0.0, NO_NUMBER
    if c == 73:  # Inf
        if data[i + _ONE] == 110 and data[i + _TWO] == 102:
            return np.int64(i) + 3, -np.inf if negative else np.inf, EXACT
        return np.int64(i), 0.0, NO_NUMBER
    mantissa = np.uint64(0)
    digits = 0  # significant ones
    any_digit = False
    scale = np.int64(0)
    while 48 <= data[i] <= 57:
        any_digit = True
        if digits < 19:
            mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
        else:
            scale += 1
        if mantissa != np.uint64(0):
            digits += 1
        i += _ONE
    if data[i] == 46:
        i += _ONE
        while 48 <= data[i] <= 57:
            any_digit = True
            if digits < 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - 48)
                scale -= 1
            if mantissa != np.uint64(0):
                digits += 1
            i += _ONE
    if not any_digit:
        return np.int64(i), 0.0, NO_NUMBER
    if data[i] == 101 or data[i] == 69:
        i += _ONE
        down = False
        if data[i] == 43 or data[i] == 45:
            down = data[i] == 45
            i += _ONE
        exponent = np.int64(0)
        first = i
        while 48 <= data[i] <= 57:
            if exponent < 10000:
                exponent = exponent * 10 + np.int64(data[i] - 48)
            i += _ONE
        if i == first:
            return np.int64(i), 0.0, NO_NUMBER
        scale += -exponent if down else exponent
    if mantissa == np.uint64(0):
        return np.int64(i), -0.0 if negative else 0.0, EXACT
    if digits <= 19 and mantissa < np.uint64(1 << 53) and -22 <= scale <= 22:
        value = np.float64(mantissa)
        if scale < 0:
            value /= _POWERS[-scale]
        else:
            value *= _POWERS[scale]
        return np.int64(i), -value if negative else value, EXACT
    if digits + scale > 300:  # near or past the largest float: `entry.py` knows which
        return np.int64(i), 0.0, NO_NUMBER
    return np.int64(i), np.nan, ROUGH


@njit(types.int64(_bytes_in, types.int64), cache=True, nogil=True)
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


@njit(
    types.int64(_bytes_in, types.int64, types.boolean, types.boolean, types.boolean),
    cache=True,
    nogil=True,
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


@njit(types.int64(_bytes_in, types.int64, types.int64[::1]), cache=True, nogil=True)
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


@njit(types.int64(_bytes_in, types.int64, types.boolean), cache=True, nogil=True)
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


@njit(
    types.int64(
        _bytes_in,
        types.int64,
        types.int64,
        types.uint64,
        _int32s_in,
        _words_in,
        _bytes_in,
        _int64s_in,
        _int32s_in,
    ),
    cache=True,
    nogil=True,
)
def find_entry(
    data: Bytes,
    start: Int,
    stop: Int,
    series_hash: np.uint64,
    table: Int32s,
    entry_hash: Words,
    entry_text: Bytes,
    entry_at: Ints,
    entry_length: Int32s,
) -> Int:
    """Return the entry whose text is `data[start:stop]`, or -1. Hashes suggest, bytes decide."""
    mask = np.int64(table.size - 1)
    probe = np.int64(series_hash & np.uint64(mask))
    while table[probe] != 0:
        candidate = np.int64(table[probe] - 1)
        if (
            entry_hash[candidate] == series_hash
            and entry_length[candidate] == stop - start
            and _equal(data, start, entry_text, entry_at[candidate], stop - start)
        ):
            return candidate
        probe = (probe + 1) & mask
    return -1


@njit(
    types.int64(
        _bytes_in,
        types.int64,
        types.int64,
        types.boolean,
        types.uint64,
        # the series cache
        _int32s_in,
        _words_in,
        _bytes_in,
        _int64s_in,
        _int32s_in,
        _int32s,
        types.int32,
        types.int64,
        # results
        types.uint64[::1],
        _int32_table,
        types.uint64[::1],
        _int32s,
        types.uint8[::1],
        types.float64[::1],
        _int64s,
        _int32_table,
        _int32_table,
    ),
    cache=True,
    nogil=True,
)
def scan(
    data: Bytes,
    start: Int,
    stop: Int,
    openmetrics: bool,
    key: np.uint64,
    table: Int32s,
    entry_hash: Words,
    entry_text: Bytes,
    entry_at: Ints,
    entry_length: Int32s,
    entry_seen: Int32s,
    generation: np.int32,
    entry_count: Int,
    state: Words,
    spans: Int32s,
    series_hash: Words,
    series_entry: Int32s,
    flags: Bytes,
    values: Floats,
    times: Ints,
    comments: Int32s,
    exemplars: Int32s,
) -> Int:
    """Read entries from `data[start:stop]` into columns; return where it stopped.

    It stops at `stop`, or at the start of an entry that needs `entry.py`. `state` counts what has
    been written and is carried on by the next call. Each sample's series is looked up among the
    `entry_count` series known to the cache, and marked there with `generation` in `entry_seen`;
    `series_entry` is -1 for a series that is not known. Bytes are always compared in full.

    Shapes: `table` int32[power of two], entry + 1 or 0; `entry_*` one for each known series, all
    text in `entry_text`. Results have room for a sample, a comment and an exemplar per line:
    `spans` int32[4, lines] has where series and value start and stop; `comments` and `exemplars`
    int32[3, lines] have start, stop and the number of the sample they stand before, or belong to.
    Units: `times` in milliseconds; only set under the flag EXPLICIT.
    """
    n = np.int64(state[SAMPLES])
    comment_count = np.int64(state[COMMENTS])
    exemplar_count = np.int64(state[EXEMPLARS])
    guess = np.int64(state[GUESS])
    comment_hash = state[COMMENT_HASH]
    exemplar_span = np.empty(2, np.int64)
    spaces = not openmetrics
    i = start
    while i < stop:
        begin = i
        c = data[i]
        # Invariant: series before `guess` in the exposition stood before it last time too, as a
        # rule; so the next line most often holds the series after the last one that was found.
        entry = np.int64(-1)
        if guess < entry_count:
            length = np.int64(entry_length[guess])
            if data[i + length if i + length < stop else stop] == 32 and _equal(
                data, i, entry_text, entry_at[guess], length
            ):
                entry = guess
                i += length
        h = np.uint64(0)
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
                    comment_hash = (comment_hash ^ hash_bytes(data, begin, i, key)) * _K1
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
            h = hash_bytes(data, begin, i, key)
            entry = np.int64(
                find_entry(data, begin, i, h, table, entry_hash, entry_text, entry_at, entry_length)
            )
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
        if entry >= 0:
            guess = entry + 1
            if entry_seen[entry] == generation:
                flag |= DUPLICATE
            entry_seen[entry] = generation
        spans[0, n] = begin
        spans[1, n] = series_end
        spans[2, n] = value_at
        spans[3, n] = value_end
        series_hash[n] = h
        series_entry[n] = entry
        flags[n] = flag
        values[n] = value
        times[n] = time
        n += 1
    state[SAMPLES] = np.uint64(n)
    state[COMMENTS] = np.uint64(comment_count)
    state[EXEMPLARS] = np.uint64(exemplar_count)
    state[GUESS] = np.uint64(guess)
    state[COMMENT_HASH] = comment_hash
    return i


@njit(
    types.void(_words_in, _int64s_in, _int32s),
    cache=True,
    nogil=True,
)
def insert_entries(entry_hash: Words, entries: Ints, table: Int32s) -> None:
    """Put entries into the open-addressed `table` (power of two, never full).

    The caller has made sure that no entry is there yet.
    """
    mask = np.int64(table.size - 1)
    for k in range(entries.size):
        probe = np.int64(entry_hash[entries[k]] & np.uint64(mask))
        while table[probe] != 0:
            probe = (probe + 1) & mask
        table[probe] = entries[k] + 1
