"""Compiled loops over the series of a scrape: found in the cache, numbered, made ready to append.

From: `kernels.py`, `series_cache.py`, `ingest.py`.
Numba's cache of a kernel looks at the file of that kernel only: after a change to `find_entry`,
change or touch `kernels.py` as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from tsdb.kernel_compilation import kernel

Int = int | np.int64
"""Inside a kernel both are the machine's 64 bits."""
Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

DUPLICATE = 1
"""Flag: this series came before in this exposition."""
HARD = 2
"""Flag: the value is a number, but only `float()` rounds it correctly; its text is spanned."""
EXPLICIT = 4
"""Flag: the exposition gives a timestamp."""

# Positions in what `settle` counts.
STORED, KEPT, REPEATED, ADDED, SHOWN, GONE = range(6)
COUNTS_SIZE = 6

DROPPED = -(1 << 63)
"""Ref of a series that relabelling drops: known, counted, never stored."""

_bytes_in = types.Array(types.uint8, 1, "C", readonly=True)
_int32s_in = types.Array(types.int32, 1, "C", readonly=True)
_words_in = types.Array(types.uint64, 1, "C", readonly=True)
_int64s_in = types.Array(types.int64, 1, "C", readonly=True)
_int32s = types.int32[::1]
_int64s = types.int64[::1]

_ONE = np.uint64(1)


@kernel(
    types.int64(types.uint64, types.uint64, _int32s_in, _words_in, _words_in),
)
def find_entry(
    low: np.uint64, high: np.uint64, table: Int32s, entry_low: Words, entry_high: Words
) -> Int:
    """Return the entry that is known by this hash, or -1."""
    mask = np.uint64(table.size - 1)
    probe = low & mask
    while table[probe] != 0:
        candidate = np.int64(table[probe] - 1)
        if entry_low[candidate] == low and entry_high[candidate] == high:
            return candidate
        probe = (probe + _ONE) & mask
    return -1


@kernel(
    types.void(_words_in, _int64s_in, _int32s),
)
def insert_entries(entry_low: Words, entries: Ints, table: Int32s) -> None:
    """Put entries into the open-addressed `table` (power of two, never full).

    The caller has made sure that no entry is there yet.
    """
    mask = np.int64(table.size - 1)
    for k in range(entries.size):
        probe = np.int64(entry_low[entries[k]] & np.uint64(mask))
        while table[probe] != 0:
            probe = (probe + 1) & mask
        table[probe] = entries[k] + 1


@kernel(
    types.int64(_words_in, _words_in, _int64s_in, types.uint8[::1], _int64s, _int64s),
)
def number_texts(
    low: Words, high: Words, samples: Ints, flags: Bytes, numbers: Ints, first: Ints
) -> Int:
    """Give each different hash among `samples` a number; return how many there are.

    `numbers` int64[samples] has each sample's, in order of appearance; `first` the sample that
    showed a number first. Those that repeat one are flagged DUPLICATE.
    """
    size = 16
    while size < 2 * samples.size:
        size *= 2
    table = np.zeros(size, np.int32)
    mask = np.uint64(size - 1)
    count = 0
    for k in range(samples.size):
        sample = samples[k]
        probe = low[sample] & mask
        number = np.int64(-1)
        while table[probe] != 0:
            other = first[table[probe] - 1]
            if low[other] == low[sample] and high[other] == high[sample]:
                number = np.int64(table[probe] - 1)
                flags[sample] |= np.uint8(DUPLICATE)
                break
            probe = (probe + _ONE) & mask
        if number < 0:
            number = np.int64(count)
            first[number] = sample
            count += 1
            table[probe] = np.int32(count)
        numbers[k] = number
    return count


@kernel(
    types.void(
        # the scrape
        _int32s_in,
        _int32s_in,
        _bytes_in,
        types.Array(types.float64, 1, "C", readonly=True),
        _int64s_in,
        types.int64,
        types.int64,
        types.boolean,
        types.boolean,
        # the series cache
        _int64s_in,
        types.Array(types.boolean, 1, "C", readonly=True),
        # results
        _int64s,
        _int64s,
        types.float64[::1],
        _int64s,
        types.boolean[::1],
        _int64s,
    ),
)
def settle(
    entries: Int32s,
    seen_before: Int32s,
    flags: Bytes,
    values: Floats,
    times: Ints,
    time_ms: Int,
    good_generation: Int,
    honor_timestamps: bool,
    track_staleness: bool,
    entry_ref: Ints,
    was_live: npt.NDArray[np.bool_],
    out_refs: Ints,
    out_times: Ints,
    out_values: Floats,
    out_samples: Ints,
    live: npt.NDArray[np.bool_],
    counts: Ints,
) -> None:
    """Write the samples to append, which series are live from now on, and counts.

    Left out are samples whose ref is DROPPED, and repeated ones without a timestamp. A sample with
    a timestamp of its own makes its series live only if `track_staleness`.
    Shapes: samples [N] (all `entries` >= 0); `entry_ref`, `was_live`, `live` [entries], `live` all
    False before; results have room for N; `out_samples` is the number of each sample. `counts`
    int64[6]: STORED samples written, KEPT by relabelling, REPEATED, ADDED series that the last
    good scrape did not show, SHOWN series, GONE series that were live and are not.
    """
    stored = kept = repeated = added = shown = np.int64(0)
    for n in range(entries.size):
        entry = entries[n]
        ref = entry_ref[entry]
        again = (flags[n] & DUPLICATE) != 0
        shown += not again
        if ref == DROPPED:
            continue
        kept += 1
        explicit = honor_timestamps and (flags[n] & EXPLICIT) != 0
        if again and not explicit:
            repeated += 1
            continue
        if not again and (good_generation == 0 or seen_before[n] < good_generation):
            added += 1
        if track_staleness or not explicit:
            live[entry] = True
        out_refs[stored] = ref
        out_times[stored] = times[n] if explicit else time_ms
        out_values[stored] = values[n]
        out_samples[stored] = n
        stored += 1
    gone = np.int64(0)
    for entry in range(live.size):
        gone += was_live[entry] and not live[entry]
    counts[STORED], counts[KEPT], counts[REPEATED] = stored, kept, repeated
    counts[ADDED], counts[SHOWN], counts[GONE] = added, shown, gone
