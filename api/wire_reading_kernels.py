"""Compiled reading of protobuf's wire format, and what can be wrong with it.

From: a decompressed body.   To: the kernels of `receivers/remote_write_kernels.py` and of 2.0.
Source: protobuf wire format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tsdb.kernel_compilation import helper, kernel

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]
    # Numba's own mixture of int and np.int64, which mypy holds apart.
    Whole = Any

_U = np.uint64

FAULT_NONE, FAULT_EOF, FAULT_OVERFLOW, FAULT_WIRE_TYPE, FAULT_TAG, FAULT_END_GROUP = range(6)
"""What is wrong with a body; `note_fault` says where."""

WRITE_REQUEST, TIME_SERIES, LABEL, SAMPLE, REQUEST, SERIES, METADATA = range(7)
"""Messages, as `fault[1]` names them; the last three are of remote write 2.0."""

_u8r = types.Array(types.uint8, 1, "C", readonly=True)
_i64 = types.Array(types.int64, 1, "C")


@kernel("Tuple((int64, uint64))(Array(uint8, 1, 'C', readonly=True), int64, int64)")
def varint(data: Bytes, at: Whole, stop: Whole) -> tuple[Whole, np.uint64]:
    """Return where a varint ends and its value; -1 for a cut one, -2 for one over 64 bits."""
    value = _U(0)
    shift = _U(0)
    for _ in range(10):
        if at >= stop:
            return -1, value
        byte = data[at]
        at += 1
        value |= _U(byte & np.uint8(0x7F)) << shift
        if byte < 128:
            return at, value
        shift += _U(7)
    return -2, value


@helper(types.int64(_u8r, types.int64, types.int64, types.int64))
def skip_field(data: Bytes, at: Whole, stop: Whole, wire: Whole) -> Whole:
    """Return where a field's value of one wire type ends; -1 cut, -2 overflow, -3 bad type."""
    depth = 0
    while True:
        if wire == 0:
            at, _ = varint(data, at, stop)
        elif wire == 1:
            at = at + 8
        elif wire == 2:
            at, size = varint(data, at, stop)
            if at >= 0:
                if size > _U(stop - at):
                    return -1
                at += np.int64(size)
        elif wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
            if depth < 0:
                return -4
        elif wire == 5:
            at = at + 4
        else:
            return -3
        if at < 0:
            return at
        if at > stop:
            return -1
        if depth == 0:
            return at
        at, tag = varint(data, at, stop)
        if at < 0:
            return at
        wire = np.int64(tag & _U(7))


@helper(types.int64(_i64, types.int64, types.int64, types.int64, types.int64))
def note_fault(fault: Ints, kind: Whole, message: Whole, field: Whole, wire: Whole) -> Whole:
    """Note a fault; return -1 for the caller to return."""
    if kind == -1:
        kind = FAULT_EOF
    elif kind == -2:
        kind = FAULT_OVERFLOW
    elif kind == -3:
        kind = FAULT_TAG
    elif kind == -4:
        kind = FAULT_END_GROUP
    fault[0], fault[1], fault[2], fault[3] = kind, message, field, wire
    return -1
