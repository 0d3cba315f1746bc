"""Compiled writing of a series' labels as protobuf, field 1 of whatever message they belong to.

From: `read_labels.py` and `federation_writer.py`, which encode every text once.
To:   the kernels of remote reads and of federation: Label and LabelPair look alike.
Shapes: `texts_of` int32[L, S], index into `text_at` or -1; `name_at`, `text_at` the starts of the
encoded fields `name` and `value`. Sources and `out` have SLACK_BYTES behind what is used of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from api.float_kernels import put_bytes
from api.wire_writing_kernels import i64r, put_varint, u8, u8r, varint_size
from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any
    Locals = npt.NDArray[np.int32]

_U = np.uint64

i32r2 = types.Array(types.int32, 2, "C", readonly=True)


@helper(types.int64(i32r2, types.int64, i64r, i64r))
def labels_size(texts_of: Locals, series: Whole, name_at: Ints, text_at: Ints) -> Whole:
    """Return the bytes of a series' labels."""
    size: Whole = 0
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text >= 0:
            inner = name_at[label + 1] - name_at[label] + text_at[text + 1] - text_at[text]
            size += 1 + varint_size(_U(inner)) + inner
    return size


@helper(types.int64(u8, types.int64, i32r2, types.int64, u8r, i64r, u8r, i64r))
def put_labels(
    out: Bytes,
    at: Whole,
    texts_of: Locals,
    series: Whole,
    names: Bytes,
    name_at: Ints,
    texts: Bytes,
    text_at: Ints,
) -> Whole:
    """Write a series' labels; return where they end."""
    for label in range(texts_of.shape[0]):
        text = texts_of[label, series]
        if text < 0:
            continue
        inner = name_at[label + 1] - name_at[label] + text_at[text + 1] - text_at[text]
        out[at] = 10
        at = put_varint(out, at + 1, _U(inner))
        at = put_bytes(out, at, names, name_at[label], name_at[label + 1])
        at = put_bytes(out, at, texts, text_at[text], text_at[text + 1])
    return at
