"""What writing and reading pages have in common: flags, limits, numbers of variable length.

From: the format, see `FORMAT.md`, "A page".
To:   `page_encode_kernels.py`, `page_decode_kernels.py`.

All arithmetic of the codec is on uint64 and wraps, so that no times and no bit patterns, however
hostile, can lose a bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has no stubs
from numba import types
from numba.extending import intrinsic

from tsdb.kernel_compilation import helper

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Ints = npt.NDArray[np.int64]

BYTES_IN = types.Array(types.uint8, 1, "C", readonly=True)
INTS_IN = types.Array(types.int64, 1, "C", readonly=True)
FLOATS_IN = types.Array(types.float64, 1, "C", readonly=True)
WORDS_IN = types.Array(types.uint64, 1, "C", readonly=True)
BYTES = types.Array(types.uint8, 1, "C")
INTS = types.Array(types.int64, 1, "C")
FLOATS = types.Array(types.float64, 1, "C")
WORDS = types.Array(types.uint64, 1, "C")
TABLE = types.Array(types.int64, 2, "C")

# The first byte of a page. See FORMAT.md, "A page".
TRANSFORM = 0x03
PLAIN, DELTA, DELTA2 = 0, 1, 2
ZIGZAG = 0x04
EXCEPTIONS = 0x08
STEP = 0x10
BITS = 0x20
PACKED = 0x40
BIAS = 0x80

# How the words of a page are laid out; arguments of `encode_pages`.
LAYOUT_PLANES, LAYOUT_SPLIT = 0, 1

EXPONENT_MAX = 15
PACKED_BITS_MAX = 56
"""So many bits can be taken out of eight bytes that start at any bit of the first."""

ONE = np.uint64(1)
ZERO = np.uint64(0)
POW10 = np.array([10.0**e for e in range(EXPONENT_MAX + 1)])


if TYPE_CHECKING:

    def bit_length(value: np.uint64) -> int:
        """Return the position of the highest bit, counted from 1; 0 for 0."""

    def load_word(array: Bytes, index: int) -> np.uint64:
        """Return the eight bytes at `array[index:]` as a little-endian word, aligned or not."""

else:

    @intrinsic
    def bit_length(typing_context, value):  # noqa: ANN001, ANN201, D103  see above; Numba's own objects
        del typing_context, value

        def emit(context, builder, signature, args):  # noqa: ANN001, ANN202  as above
            del context, signature
            zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
            return builder.sub(ir.Constant(args[0].type, 64), zeros)

        return types.int64(types.uint64), emit

    @intrinsic
    def load_word(typing_context, array, index):  # noqa: ANN001, ANN201, D103  see above; Numba's own objects
        del typing_context

        def emit(context, builder, signature, args):  # noqa: ANN001, ANN202  as above
            array_struct = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(array_struct.data, [args[1]])
            wide = builder.bitcast(pointer, ir.IntType(64).as_pointer())
            return builder.load(wide, align=1)

        return types.uint64(array, index), emit


@helper(types.int64(BYTES, types.int64, types.uint64))
def put_varint(out: Bytes, at: int, value: np.uint64) -> int:
    """Write one LEB128 number at `out[at]` and return the index after it."""
    while value >= np.uint64(128):
        out[at] = np.uint8((value & np.uint64(127)) | np.uint64(128))
        value >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@helper(types.uint64(types.uint64))
def zigzag(word: np.uint64) -> np.uint64:
    """Fold a signed word so that small magnitudes become small numbers."""
    return (word << ONE) ^ (ZERO - (word >> np.uint64(63)))


@helper(types.uint64(BYTES_IN, INTS, types.int64))
def take_varint(data: Bytes, cursor: Ints, stop: int) -> np.uint64:
    """Read one LEB128 number at `cursor[0]` and move it; past `stop` it is set beyond `stop`."""
    value = ZERO
    shift = 0
    at = cursor[0]
    while at < stop and shift < 70:
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << np.uint64(min(shift, 63))
        shift += 7
        if byte < np.uint64(128):
            cursor[0] = at
            return value
    cursor[0] = stop + 1
    return value


@helper(types.int64(BYTES_IN, INTS, types.int64))
def take_length(data: Bytes, cursor: Ints, stop: int) -> int:
    """Read a LEB128 number as an index or a length; negative if no such can be meant."""
    value = take_varint(data, cursor, stop)
    if value >> np.uint64(31):
        return -1
    return np.int64(value)  # type: ignore[return-value]  # Numba's int is this one
