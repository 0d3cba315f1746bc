import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scraper.text_kernels import (
    EXACT,
    NO_NUMBER,
    PADDING,
    ROUGH,
    hash_bytes,
    hash_wide,
    is_utf8,
    parse_number,
)
from scraper.tokens import ParseError, parse_float


def padded(text):
    return np.frombuffer(text + bytes(PADDING), np.uint8)


def number(text):
    stop, value, status = parse_number(padded(text + b"\n"), 0)
    return stop, value, status


@given(st.floats())
def test_every_float_in_its_shortest_form_is_exact_or_left_to_python(value):
    text = repr(value).replace("inf", "Inf").replace("nan", "NaN").encode()
    stop, got, status = number(text)
    assert status == NO_NUMBER or stop == len(text)
    if status == EXACT:
        assert np.float64(got).tobytes() == np.float64(value).tobytes() or math.isnan(value)
    assert status != NO_NUMBER or abs(value) > 1e280


@given(st.from_regex(r"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,4})?", fullmatch=True))
@example("0000000000000000000000000000000000000000001.2e-1")
@example("9007199254740993")
@example("-0")
@example("-0.0e5")
@example("1e23")
@example(".")
@example("1e")
@example("9999999999999999999999e-22")
def test_decimals_agree_with_python(text):
    stop, value, status = number(text.encode())
    if status == NO_NUMBER:
        # What is left alone is either no number or near the end of the range.
        try:
            assert abs(parse_float(text.encode())) > 1e280
        except ParseError:
            return
        return
    assert stop == len(text)
    assert status in (EXACT, ROUGH)
    if status == EXACT:
        assert np.float64(value).tobytes() == np.float64(float(text)).tobytes()


@pytest.mark.parametrize(
    "text", [b"", b"-", b"+", b"e5", b"x", b"nan", b"inf", b"+NaN", b"Na", b"I"]
)
def test_what_is_no_plain_number_is_left_alone(text):
    assert number(text)[2] == NO_NUMBER


@given(st.binary(max_size=12) | st.text(max_size=8).map(lambda t: t.encode(errors="surrogatepass")))
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\x80")
@example(b"\xe2\x82")
def test_utf8_is_what_python_decodes(data):
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert is_utf8(padded(data), 0, len(data)) == valid


@given(st.binary(max_size=40), st.binary(max_size=9), st.binary(max_size=9))
def test_a_hash_depends_on_its_span_only(data, before, after):
    key = np.uint64(0x1234_5678_9ABC_DEF1)
    alone = hash_bytes(padded(data), 0, len(data), key)
    start = len(before)
    assert hash_bytes(padded(before + data + after), start, start + len(data), key) == alone


def test_hashes_of_similar_texts_differ():
    texts = {b"a" * n for n in range(40)} | {b'metric{l="%d"}' % n for n in range(5000)}
    key = np.uint64(7)
    assert len({int(hash_bytes(padded(t), 0, len(t), key)) for t in texts}) == len(texts)


KEYS = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0x0123456789ABCDEF, 0xF], np.uint64)


def plain_hash_wide(data, keys):
    """What `hash_wide` computes, with Python's integers."""
    k = [int(key) for key in keys]
    low_64 = (1 << 64) - 1

    def fold(left, right):
        return (left * right >> 64) ^ (left * right & low_64)

    a, b = k[2] ^ len(data), k[3] ^ len(data)
    for at in range(0, len(data), 16):
        first = int.from_bytes(data[at : at + 8], "little")
        second = int.from_bytes(data[at + 8 : at + 16], "little")
        a, b = fold(first ^ k[0], second ^ a), fold(first ^ k[1], second ^ b)
    return fold(a ^ k[1], k[3]), fold(b ^ k[0], k[2])


@given(st.binary(max_size=70), st.binary(max_size=9), st.binary(max_size=9))
def test_a_wide_hash_is_that_of_its_definition_wherever_the_text_lies(data, before, after):
    start = len(before)
    got = hash_wide(padded(before + data + after), start, start + len(data), KEYS)
    assert tuple(map(int, got)) == plain_hash_wide(data, KEYS)


@pytest.mark.parametrize("half", [0, 1])
def test_each_half_of_a_wide_hash_tells_similar_texts_apart(half):
    texts = {b"a" * n for n in range(60)} | {b"\0" * n for n in range(60)}
    texts |= {b'metric{l="%d",m="x"}' % n for n in range(5000)}
    assert len({int(hash_wide(padded(t), 0, len(t), KEYS)[half]) for t in texts}) == len(texts)
