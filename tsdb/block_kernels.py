"""Compiled loop over the rows of a block: what a matcher says of codes, many tables at once.

From: `block_rows.py`. The layout of columns is in FORMAT.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints

    Int = int | np.integer[Any]
    Numbers = npt.NDArray[np.uint32]

_u8, _u32, _i64, _u64 = types.uint8, types.uint32, types.int64, types.uint64


def _in(dtype: types.Type) -> types.Array:
    """Name the type of an array that is only read; memory-mapped ones are accepted."""
    return types.Array(dtype, 1, "C", readonly=True)


@kernel(
    types.void(
        _in(_i64), _in(_u32), _in(_i64), _in(_i64), _in(_u8),
        _in(_u8), _in(_u64), _in(_u8), types.boolean, _u8[::1],
    ),
)  # fmt: skip
def narrow_rows(
    tables: Ints,
    table_row: Ids,
    column_of: Ints,
    pass_start: Ints,
    passes: Bytes,
    column_width: Bytes,
    column_codes: npt.NDArray[np.uint64],
    codes: Bytes,
    of_absent: bool,
    mask: Bytes,
) -> None:
    """Clear `mask` at the rows of some tables that do not pass one test.

    Table `tables[n]` has the rows `table_row[t]` to `table_row[t + 1]` and the label in the column
    `column_of[n]` (-1: not at all, then `of_absent` is what the test says); code c of that column
    passes if `passes[pass_start[n] + c]`. Shapes: `tables`, `column_of`, `pass_start` [N]; `mask`
    [rows of the block].
    """
    for n in range(tables.size):
        first = np.int64(table_row[tables[n]])
        stop = np.int64(table_row[tables[n] + 1])
        column = column_of[n]
        if column < 0:
            if not of_absent:
                mask[first:stop] = 0
            continue
        base = pass_start[n]
        width = np.int64(column_width[column])
        if width == 0:
            if not passes[base]:
                mask[first:stop] = 0
            continue
        at = np.int64(column_codes[column])
        for row in range(first, stop):
            code: Int = 0
            for j in range(width):
                code |= np.int64(codes[at + j]) << (8 * j)
            at += width
            if not passes[base + code]:
                mask[row] = 0
