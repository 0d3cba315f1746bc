"""The compiled sum that joins checksums of neighbouring pieces.

To: `piece_packing.py`.   Source: RFC 1952 section 8 for the polynomial; M. Adler's idea in zlib of
shifting a CRC by powers of x that double.
"""

from __future__ import annotations

from numba import types

from tsdb.kernel_compilation import helper, kernel

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
"""The polynomial 1: the highest power comes last in a word."""


@helper(types.int64(types.int64, types.int64))
def _product(left: int, right: int) -> int:
    """Return the product of two polynomials modulo the CRC's."""
    product = 0
    for place in range(31, -1, -1):
        if left >> place & 1:
            product ^= right
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
    return product


@kernel(types.int64(types.int64, types.int64, types.int64))
def joined_crc(first: int, second: int, second_bytes: int) -> int:
    """Return the CRC-32 of two pieces in a row, of their own ones and the length of the second."""
    power = _ONE >> 8  # x^8, a byte
    while second_bytes > 0:
        if second_bytes & 1:
            first = _product(power, first)
        power = _product(power, power)
        second_bytes >>= 1
    return first ^ second
