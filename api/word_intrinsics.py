"""What kernels that write text ask of the processor: wide products, bit counts, unaligned words.

To: `float_kernels.py`.   None of them looks at bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # has no types
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# ruff: noqa: ANN401  # Numba hands builders and types of its own to intrinsics


def _multiply_high_typed(_typing: Any, _a: Any, _b: Any) -> Any:
    """Return the high 64 bits of a 64 x 64 bit product; one instruction, where halves take ten."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


def _leading_zeros_typed(_typing: Any, _a: Any) -> Any:
    """Return how many top bits of a word are zero; 64 for 0."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], cgutils.false_bit)

    return types.uint64(types.uint64), codegen


def _trailing_zeros_typed(_typing: Any, _a: Any) -> Any:
    """Return how many low bits of a word are zero; 64 for 0."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], cgutils.false_bit)

    return types.uint64(types.uint64), codegen


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return a pointer to one byte of a uint8 array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _store_word_typed(_typing: Any, out: Any, _at: Any, _word: Any) -> Any:
    """Write the eight bytes of a word at `at`, lowest first, however it is aligned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _element(context, builder, signature.args[0], args[0], args[1])
        place = builder.bitcast(target, ir.IntType(64).as_pointer())
        builder.store(args[2], place, align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint64), codegen


def _copy_sixteen_typed(_typing: Any, out: Any, _at: Any, source: Any, _start: Any) -> Any:
    """Copy 16 bytes, however they are aligned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128).as_pointer()
        target = _element(context, builder, signature.args[0], args[0], args[1])
        origin = _element(context, builder, signature.args[2], args[2], args[3])
        word = builder.load(builder.bitcast(origin, wide), align=1)
        builder.store(word, builder.bitcast(target, wide), align=1)
        return context.get_dummy_value()

    return types.void(out, types.int64, source, types.int64), codegen


def _sixteen_digits_typed(_typing: Any, _upper: Any, _lower: Any) -> Any:
    """Return the digits of two numbers below 1e8, one a byte, as `_eight_digits` of each.

    Both are split at once in one vector register: into four of four digits, eight of two, sixteen.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def lanes(bits: int) -> Any:
            return ir.VectorType(ir.IntType(bits), 128 // bits)

        def every(bits: int, value: int) -> Any:
            return ir.Constant(lanes(bits), [value] * (128 // bits))

        def split(value: Any, bits: int, quotient: Any, divisor: int) -> Any:
            """Leave the quotient in the lower half of each lane, the rest in the upper half."""
            rest = builder.sub(value, builder.mul(quotient, every(bits, divisor)))
            return builder.add(quotient, builder.shl(rest, every(bits, bits // 2)))

        def scaled_down(value: Any, factor: int) -> Any:
            """Return 16-bit lanes times a factor, the upper 16 bits."""
            wide = ir.VectorType(ir.IntType(32), 8)
            product = builder.mul(builder.zext(value, wide), ir.Constant(wide, [factor] * 8))
            return builder.trunc(builder.lshr(product, ir.Constant(wide, [16] * 8)), lanes(16))

        index = ir.IntType(32)
        narrow = ir.IntType(32)
        pair = ir.Constant(ir.VectorType(narrow, 2), ir.Undefined)
        for place, number in enumerate(args):
            pair = builder.insert_element(
                pair, builder.trunc(number, narrow), ir.Constant(index, place)
            )
        value = builder.zext(pair, lanes(64))
        quarter = builder.lshr(builder.mul(value, every(64, 3518437209)), every(64, 45))
        value = builder.bitcast(split(value, 64, quarter, 10000), lanes(16))
        hundreds = builder.lshr(scaled_down(value, 5243), every(16, 3))
        value = builder.bitcast(value, lanes(32))
        value = split(value, 32, builder.bitcast(hundreds, lanes(32)), 100)
        value = builder.bitcast(value, lanes(16))
        value = builder.bitcast(split(value, 16, scaled_down(value, 6554), 10), lanes(64))
        words = [builder.extract_element(value, ir.Constant(index, place)) for place in (0, 1)]
        return context.make_tuple(builder, signature.return_type, words)

    pair_of_words: Any = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]
    return pair_of_words(types.uint64, types.uint64), codegen


def _store_byte_typed(_typing: Any, out: Any, _at: Any, _byte: Any) -> Any:
    """Write the lowest byte of a word at `at`, which is not looked at for being negative."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _element(context, builder, signature.args[0], args[0], args[1])
        builder.store(builder.trunc(args[2], ir.IntType(8)), target)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.uint64), codegen


store_byte: Any = intrinsic(_store_byte_typed)
sixteen_digits: Any = intrinsic(_sixteen_digits_typed)
multiply_high: Any = intrinsic(_multiply_high_typed)
leading_zeros: Any = intrinsic(_leading_zeros_typed)
trailing_zeros: Any = intrinsic(_trailing_zeros_typed)
store_word: Any = intrinsic(_store_word_typed)
copy_sixteen: Any = intrinsic(_copy_sixteen_typed)
