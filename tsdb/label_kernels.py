"""Compiled loops over labels: hashing, interning, finding series, rows and columns of ids.

From: `symbols.py`, `series_index.py`, `metric_table.py`. All loops trust their bounds; those that
fill growing arrays stop where room ends and say how far they came, so that the caller grows the
arrays and calls again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # ships no types
from numba import types
from numba.extending import intrinsic

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints

    Words = npt.NDArray[np.uint64]
    Slots = npt.NDArray[np.int32]

EMPTY = np.int32(-1)
"""A hash table's free place."""


def _in(dtype: types.Type, ndim: int = 1) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, ndim, "C", readonly=True)


_u8, _u32, _i32, _i64, _u64 = types.uint8, types.uint32, types.int32, types.int64, types.uint64


@intrinsic
def _mul_high(_typing_context: object, _left: object, _right: object) -> object:
    """High 64 bits of the product of two uint64; LLVM makes one multiplication of it."""

    def code(
        _context: object, builder: ir.IRBuilder, _signature: object, args: list[ir.Value]
    ) -> ir.Value:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return _u64(_u64, _u64), code


@kernel(_u64(_u64, _u64))
def fold(word: np.uint64, key: np.uint64) -> np.uint64:
    """Multiply to 128 bits and fold the halves: the one mixing step of every hash here."""
    mul_high: Any = _mul_high  # its Python signature is the compiler's, not the caller's
    mixed: np.uint64 = mul_high(word, key) ^ (word * key)
    return mixed


@kernel(_u64(_in(_u8), _u64, _u64))
def _load(data: Bytes, at: np.uint64, count: np.uint64) -> np.uint64:
    """Read `count` (at most 8) bytes as a little-endian number."""
    if count == 8:
        return (
            np.uint64(data[at])
            | np.uint64(data[at + np.uint64(1)]) << np.uint64(8)
            | np.uint64(data[at + np.uint64(2)]) << np.uint64(16)
            | np.uint64(data[at + np.uint64(3)]) << np.uint64(24)
            | np.uint64(data[at + np.uint64(4)]) << np.uint64(32)
            | np.uint64(data[at + np.uint64(5)]) << np.uint64(40)
            | np.uint64(data[at + np.uint64(6)]) << np.uint64(48)
            | np.uint64(data[at + np.uint64(7)]) << np.uint64(56)
        )
    word = np.uint64(0)
    for i in range(count):
        word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return word


@kernel(
    types.void(_in(_u8), _in(_i32, 2), _in(_i64), _in(_u64), _u64[::1], _u64[::1]),
)
def hash_series(
    data: Bytes, spans: Slots, first: Ints, keys: Words, low: Words, high: Words
) -> None:
    """Write the keyed 128-bit hash of each series' labels.

    Shapes: `spans` int32[labels, 4], `first` int64[N + 1] as in `LabelSpans`; `keys` uint64[4],
    random and secret; `low`, `high` uint64[N]. What is hashed is injective: for each label the
    two lengths, then the words of the name, then those of the value, padded with zeros.
    Two lanes with keys of their own, so that finding a collision takes knowing both.
    """
    for n in range(low.size):
        a, b = keys[2], keys[3]
        for k in range(first[n], first[n + 1]):
            name, name_stop, value, value_stop = spans[k]
            lengths = np.uint64(name_stop - name) | np.uint64(value_stop - value) << np.uint64(32)
            a, b = fold(a ^ lengths, keys[0]), fold(b ^ lengths, keys[1])
            for part in range(2):
                at = np.uint64(name if part == 0 else value)
                stop = np.uint64(name_stop if part == 0 else value_stop)
                while at < stop:
                    word = _load(data, at, min(stop - at, np.uint64(8)))
                    a, b = fold(a ^ word, keys[0]), fold(b ^ word, keys[1])
                    at += np.uint64(8)
        low[n], high[n] = fold(a, keys[1]), fold(b, keys[0])


@helper(_u64(_in(_u8), _i64, _i64, _u64))
def _hash_text(data: Bytes, start: np.int64, stop: np.int64, key: np.uint64) -> np.uint64:
    """Hash one text for the symbol table, where bytes are compared as well."""
    at, end = np.uint64(start), np.uint64(stop)
    state = fold(key ^ (end - at), key)
    while at < end:
        state = fold(state ^ _load(data, at, min(end - at, np.uint64(8))), key)
        at += np.uint64(8)
    return state


@kernel(
    _i64(
        _in(_u8), _in(_i64), _in(_i64), _i64, _u64,
        _u8[::1], _i64[::1], _u32[::1], _i32[::1], _i64[::1], _u32[::1],
    ),
)  # fmt: skip
def intern_texts(
    data: Bytes,
    starts: Ints,
    stops: Ints,
    begin: int,
    key: int,
    text: Bytes,
    offsets: Ints,
    hashes: Ids,
    table: Slots,
    counts: Ints,
    out: Ids,
) -> int:
    """Give each span of `data` its symbol id, adding unknown texts; return how far it came.

    Shapes: `starts`, `stops` int64[N] into `data`; `out` uint32[N], written from `begin` on.
    The table's state: `text` uint8[bytes], `offsets` int64[symbols + 1], `hashes` uint32[symbols],
    `table` int32[power of two] of ids, `counts` int64[1] the symbols in use. Stops before the
    first text for which `text`, `offsets` or `table` (kept half empty) has no room.
    """
    mask = np.uint64(table.size - 1)
    for k in range(begin, starts.size):
        start, stop = starts[k], stops[k]
        full = _hash_text(data, start, stop, np.uint64(key))
        tag = np.uint32(full >> np.uint64(32))
        at = full & mask
        found = np.int64(-1)
        while table[at] >= 0:
            symbol = table[at]
            base = offsets[symbol]
            if hashes[symbol] == tag and offsets[symbol + 1] - base == stop - start:
                same = True
                for i in range(stop - start):
                    if text[base + i] != data[start + i]:
                        same = False
                        break
                if same:
                    found = np.int64(symbol)
                    break
            at = (at + np.uint64(1)) & mask
        if found < 0:
            count = counts[0]
            base = offsets[count]
            no_room = base + stop - start > text.size or count + 2 > offsets.size
            if no_room or count + 1 > hashes.size or 2 * (count + 1) > table.size:
                return k
            for i in range(stop - start):
                text[base + i] = data[start + i]
            offsets[count + 1] = base + stop - start
            hashes[count] = tag
            table[at] = np.int32(count)
            counts[0] = count + 1
            found = count
        out[k] = np.uint32(found)
    return starts.size


@kernel(
    _i64(_in(_u8), _u64, _in(_u8), _in(_i64), _in(_u32), _in(_i32)),
)
def find_text(data: Bytes, key: int, text: Bytes, offsets: Ints, hashes: Ids, table: Slots) -> int:
    """Return the id of the text `data`, or -1; the state is that of `intern_texts`."""
    full = _hash_text(data, np.int64(0), np.int64(data.size), np.uint64(key))
    tag = np.uint32(full >> np.uint64(32))
    mask = np.uint64(table.size - 1)
    at = full & mask
    while table[at] >= 0:
        symbol = table[at]
        base = offsets[symbol]
        if hashes[symbol] == tag and offsets[symbol + 1] - base == data.size:
            same = True
            for i in range(data.size):
                if text[base + i] != data[i]:
                    same = False
                    break
            if same:
                return int(symbol)
        at = (at + np.uint64(1)) & mask
    return -1


@kernel(types.void(_in(_u8), _in(_i64), _i64, _u64, _i32[::1]))
def rebuild_symbol_table(text: Bytes, offsets: Ints, count: int, key: int, table: Slots) -> None:
    """Enter the first `count` symbols into `table`, which is all `EMPTY`."""
    mask = np.uint64(table.size - 1)
    for symbol in range(count):
        at = _hash_text(text, offsets[symbol], offsets[symbol + 1], np.uint64(key)) & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = np.int32(symbol)


@kernel(
    types.void(_in(_u64), _in(_u64), _in(_i32), _in(_u64), _in(_u64), _i32[::1]),
)
def find_series(
    low: Words, high: Words, table: Slots, slot_low: Words, slot_high: Words, out: Slots
) -> None:
    """Write the slot of each hash, or -1. Open addressing; `table` int32[power of two]."""
    mask = np.uint64(table.size - 1)
    for n in range(low.size):
        at = low[n] & mask
        out[n] = -1
        while table[at] >= 0:
            slot = table[at]
            if slot_low[slot] == low[n] and slot_high[slot] == high[n]:
                out[n] = slot
                break
            at = (at + np.uint64(1)) & mask


@kernel(
    _i64(
        _in(_u64), _in(_u64), _in(_i32),
        _i32[::1], _u64[::1], _u64[::1], _i32[::1], _i64[::1],
    ),
)  # fmt: skip
def claim_series(
    low: Words,
    high: Words,
    fresh: Slots,
    table: Slots,
    slot_low: Words,
    slot_high: Words,
    slots: Slots,
    new: Ints,
) -> int:
    """Find each hash or enter it; return how many were entered.

    `slots` int32[N] receives the slot of each, `new` int64[N] the positions of those entered, in
    order; the j-th of them took slot `fresh[j]`. A hash that comes twice is entered once. There
    must be room: `table` larger than what it will hold, `fresh` as long as `low`.
    """
    mask = np.uint64(table.size - 1)
    entered = 0
    for n in range(low.size):
        at = low[n] & mask
        found = np.int32(-1)
        while table[at] >= 0:
            slot = table[at]
            if slot_low[slot] == low[n] and slot_high[slot] == high[n]:
                found = slot
                break
            at = (at + np.uint64(1)) & mask
        if found < 0:
            found = fresh[entered]
            table[at] = found
            slot_low[found], slot_high[found] = low[n], high[n]
            new[entered] = n
            entered += 1
        slots[n] = found
    return entered


@kernel(types.void(_in(_i32), _in(_u64), _i32[::1]))
def rebuild_series_table(slots: Slots, slot_low: Words, table: Slots) -> None:
    """Enter `slots` into `table`, which is all `EMPTY`."""
    mask = np.uint64(table.size - 1)
    for n in range(slots.size):
        at = slot_low[slots[n]] & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = slots[n]


@kernel(
    _i64(
        _in(_u32), _in(_u32), _in(_i64), _in(_i32), _i64, _u32,
        _i32[::1], _i64[::1], _u32[::1], _i32[::1], _i32[::1], _i32[::1],
        _i32[::1], _u32[::1], _i32[::1], _i64[::1],
    ),
)  # fmt: skip
def add_rows(
    names: Ids,
    values: Ids,
    first: Ints,
    slots: Slots,
    begin: int,
    metric_label: int,
    shape_of: Slots,
    row_start: Ints,
    pool: Ids,
    next_in_metric: Slots,
    metric_newest: Slots,
    metric_size: Slots,
    shape_first: Slots,
    shape_names: Ids,
    shape_table: Slots,
    counts: Ints,
) -> int:
    """Store the labels of new series as rows; return how far it came.

    Shapes: `names`, `values` uint32[labels] ids, series n having `first[n]` to `first[n + 1]`;
    `slots` int32[N]. Per slot: `shape_of` (which sequence of label names), `row_start` (its value
    ids in `pool`), `next_in_metric` (the slot + 1 that came before it in its metric, 0 at the end).
    Per symbol: `metric_newest` (slot + 1), `metric_size`. Shapes: names of shape h are
    `shape_names[shape_first[h] : shape_first[h + 1]]`, found through `shape_table`.
    `counts` int64[2]: ids in `pool`, shapes. Stops where `pool` or the shape arrays have no room.
    """
    mask = np.uint64(shape_table.size - 1)
    for n in range(begin, slots.size):
        lo, hi = first[n], first[n + 1]
        size = hi - lo
        state = np.uint64(0x9E3779B97F4A7C15)
        metric = np.uint32(0)
        for k in range(lo, hi):
            state = fold(state ^ np.uint64(names[k]), np.uint64(0xD6E8FEB86659FD93))
            if names[k] == metric_label:
                metric = values[k]
        at = state & mask
        shape = np.int64(-1)
        while shape_table[at] >= 0:
            other = shape_table[at]
            base = shape_first[other]
            if shape_first[other + 1] - base == size:
                same = True
                for k in range(size):
                    if shape_names[base + k] != names[lo + k]:
                        same = False
                        break
                if same:
                    shape = np.int64(other)
                    break
            at = (at + np.uint64(1)) & mask
        used, shapes = counts[0], counts[1]
        if used + size > pool.size:
            return n
        if shape < 0:
            base = shape_first[shapes]
            if shapes + 2 > shape_first.size or base + size > shape_names.size:
                return n
            if 2 * (shapes + 1) > shape_table.size:
                return n
            for k in range(size):
                shape_names[base + k] = names[lo + k]
            shape_first[shapes + 1] = np.int32(base + size)
            shape_table[at] = np.int32(shapes)
            counts[1] = shapes + 1
            shape = shapes
        slot = slots[n]
        shape_of[slot] = np.int32(shape)
        row_start[slot] = used
        for k in range(size):
            pool[used + k] = values[lo + k]
        counts[0] = used + size
        next_in_metric[slot] = metric_newest[metric]
        metric_newest[metric] = slot + np.int32(1)
        metric_size[metric] += np.int32(1)
    return slots.size


@kernel(types.void(_in(_i32), _in(_u32), _i64, _i32[::1]))
def rebuild_shape_table(first: Slots, names: Ids, count: int, table: Slots) -> None:
    """Enter the first `count` shapes into `table`, which is all `EMPTY`; hash as in `add_rows`."""
    mask = np.uint64(table.size - 1)
    for shape in range(count):
        state = np.uint64(0x9E3779B97F4A7C15)
        for k in range(first[shape], first[shape + 1]):
            state = fold(state ^ np.uint64(names[k]), np.uint64(0xD6E8FEB86659FD93))
        at = state & mask
        while table[at] >= 0:
            at = (at + np.uint64(1)) & mask
        table[at] = np.int32(shape)


@kernel(_i64(_in(_i32), _i32, _i32, _i32[::1]))
def walk_metric(next_in_metric: Slots, newest: int, known: int, out: Slots) -> int:
    """Write the slots of one metric that came after slot `known` (-1: all), newest first.

    `newest` is a slot + 1. Returns how many there are, also where `out` has room for fewer.
    Safe beside a writer: a chain is complete behind the slot at which it begins.
    """
    at, count = newest, 0
    while at > 0 and at - 1 != known:
        if count < out.size:
            out[count] = at - 1
        count += 1
        at = next_in_metric[at - 1]
    return count


@kernel(
    types.void(_in(_i32), _in(_i32), _in(_i64), _in(_u32), _in(_i32), _u32[::1]),
)
def fill_column(
    slots: Slots, shape_of: Slots, row_start: Ints, pool: Ids, place: Slots, out: Ids
) -> None:
    """Write one label's id for each slot; `place[shape]` is where a shape has it, or -1."""
    for n in range(slots.size):
        slot = slots[n]
        at = place[shape_of[slot]]
        out[n] = pool[row_start[slot] + at] if at >= 0 else np.uint32(0)


@kernel(
    types.void(
        _in(_i32), _in(_i32), _in(_i64), _in(_u32), _in(_i32), _in(_i32), _u32[:, ::1]
    ),
)  # fmt: skip
def fill_label_columns(
    slots: Slots,
    shape_of: Slots,
    row_start: Ints,
    pool: Ids,
    shape_first: Slots,
    column_of: Slots,
    out: Ids,
) -> None:
    """Write all labels of each slot; `column_of` goes beside the names of all shapes.

    Shapes: `out` uint32[columns, slots], zero before.
    """
    for n in range(slots.size):
        slot = slots[n]
        base = row_start[slot]
        lo = shape_first[shape_of[slot]]
        for k in range(shape_first[shape_of[slot] + 1] - lo):
            out[column_of[lo + k], n] = pool[base + k]


@kernel(types.void(_in(_u32), types.boolean[::1]))
def mark_ids(ids: Ids, seen: npt.NDArray[np.bool_]) -> None:
    """Set `seen[id]` for every id that occurs; a fraction of the time of `numpy.unique`."""
    for n in range(ids.size):
        seen[ids[n]] = True
