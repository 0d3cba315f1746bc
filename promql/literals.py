r"""Numbers, durations and strings: from PromQL text to values and back, the way Go does it.

From: `parsing/lexing.py` and the grammar's actions read; `format.py`, `check.py` and error texts
write.

Text is `str`. A byte that is no valid UTF-8 (`"\xc5"`) is kept as the lone surrogate that Python's
`surrogateescape` makes of it, and written back as `\xc5`.
"""

from __future__ import annotations

import math
import re

from promql.quoting import quote

DURATION_SECONDS_MAX = (1 << 63) / 1e9
"""A duration is a 64-bit count of nanoseconds in Prometheus; beyond that it is out of range."""

_DURATION_PART = re.compile(r"([0-9]+)([^0-9]+)")
# Each unit's rank, for units go from large to small, and its length in ms.
_UNITS = {
    "y": (7, 31_536_000_000),
    "w": (6, 604_800_000),
    "d": (5, 86_400_000),
    "h": (4, 3_600_000),
    "m": (3, 60_000),
    "s": (2, 1000),
    "ms": (1, 1),
}
_NANOSECONDS_MAX = (1 << 63) - 1

_INTEGER = re.compile(
    r"0[xX](?:_?[0-9a-fA-F])+\Z|0[bB](?:_?[01])+\Z|0[oO](?:_?[0-7])+\Z|0(?:_?[0-7])*\Z"
    r"|[1-9](?:_?[0-9])*\Z"
)
_DECIMAL = re.compile(
    r"(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)"
    r"(?:[eE][+-]?[0-9](?:_?[0-9])*)?\Z"
)
_INTEGER_MAX = (1 << 63) - 1

_DIGITS = re.compile(r"[0-9]*")
_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

_SIMPLE_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)


def scan_number(text: str, at: int) -> tuple[bool, int]:
    """Return whether a number stands at `at`, and where reading stopped.

    What is found need not have a value (`0x`); that is noticed when it is read.
    """
    start = at
    digits = "0123456789"
    if text[at : at + 1] == "0":
        at += 1
        if text[at : at + 1] in ("x", "X"):
            at += 1
            if text[at : at + 1] == "_":
                at += 1
            digits = "0123456789abcdefABCDEF"
    if text[at : at + 1] == ".":
        at += 1
    if text[at : at + 1] and text[at] in digits:
        at += 1
    had_dot = had_exponent = False
    while True:
        character = text[at : at + 1]
        if not character:
            break
        following = text[at + 1 : at + 2]
        if character == ".":
            # A second dot, a dot after a dot or underscore after it, a dot in a hexadecimal one.
            if had_dot:
                return False, at + 1
            had_dot = True
            if following and following in "_.":
                return False, at + 2
            if len(digits) > 10:
                return False, at + 1
            at += 1
        elif character in "eE":
            if had_exponent:
                return False, at + 1
            had_exponent = True
            at += 1
            if text[at : at + 1] in ("+", "-"):
                at += 1
            following = text[at : at + 1]
            if not following:
                return False, at
            if following in "._eE":
                return False, at + 1
        elif character == "_":
            if not following:
                return False, at + 1
            if following in "._eE":
                return False, at + 2
            at += 1
        elif character in digits:
            while text[at : at + 1] and text[at] in digits:
                at += 1
        else:
            break
    if at == start or (text[at : at + 1] and text[at] in _ALPHANUMERIC):
        return False, at
    return True, at


def scan_duration(text: str, at: int) -> tuple[bool, int]:
    """Go on from where a number ended; return whether it is a duration, and where that stops.

    That it is one says nothing about its units; those are looked at when it is read.
    """
    if text[at : at + 1] not in tuple("smhdwy"):
        return False, at
    at += 1
    if text[at : at + 1] == "s":
        at += 1
    while text[at : at + 1] and text[at] in "0123456789":
        found = _DIGITS.match(text, at)
        at = found.end() if found else at
        if text[at : at + 1] not in tuple("smhdw"):
            return False, at
        at += 1
        if text[at : at + 1] == "s":
            at += 1
    if text[at : at + 1] and text[at] in _ALPHANUMERIC:
        return False, at + 1
    return True, at


def parse_number(text: str) -> float:
    """Return the value of a NUMBER token. Raises ValueError with Go's reason.

    An integer may be decimal, hexadecimal, octal (a leading 0) or binary; what is none of these
    is read as a float, so `08` is eight.

    >>> parse_number("010"), parse_number("08"), parse_number("1_000.5"), parse_number("NaN")
    (8.0, 8.0, 1000.5, nan)
    """
    if _INTEGER.match(text):
        value = _integer(text)
        if value <= _INTEGER_MAX:
            return float(value)
        if not text.isdigit() and text[:2].lower() in ("0x", "0b", "0o"):
            raise ValueError(_number_fault(text, "invalid syntax"))
    lowered = text.lower()
    if lowered in ("inf", "nan"):
        return float(lowered)
    if not _DECIMAL.match(text):
        raise ValueError(_number_fault(text, "invalid syntax"))
    number = float(text.replace("_", ""))
    if math.isinf(number):
        raise ValueError(_number_fault(text, "value out of range"))
    return number


def _integer(text: str) -> int:
    if text[0] != "0" or text == "0":
        return int(text)
    if text[1] in "xXbBoO":
        return int(text, 0)
    return int(text, 8)


def _number_fault(text: str, reason: str) -> str:
    return f"error parsing number: strconv.ParseFloat: parsing {quote(text)}: {reason}"


def parse_duration(text: str) -> int:
    """Return a duration in milliseconds. Raises ValueError with Prometheus' text.

    >>> parse_duration("1h30m"), parse_duration("0")
    (5400000, 0)
    """
    if text == "0":
        return 0
    if not text:
        raise ValueError("empty duration string")
    fault = f"not a valid duration string: {quote(text)}"
    total, at, last_rank = 0, 0, 8
    while at < len(text):
        part = _DURATION_PART.match(text, at)
        # Python refuses to read thousands of digits at once, and Go more than 64 bits.
        if part is None or len(part[1].lstrip("0")) > 19:
            raise ValueError(fault)
        if part[2] not in _UNITS:
            raise ValueError(f"unknown unit {quote(part[2])} in duration {quote(text)}")
        rank, unit = _UNITS[part[2]]
        if rank >= last_rank:
            raise ValueError(fault)
        last_rank = rank
        total += int(part[1]) * unit
        if total * 1_000_000 > _NANOSECONDS_MAX:
            raise ValueError("duration out of range")
        at = part.end()
    return total


def format_duration(milliseconds: int) -> str:
    """Write a duration as Prometheus does: large units only where they divide it exactly.

    >>> format_duration(5_400_000), format_duration(86_400_000), format_duration(0)
    ('1h30m', '1d', '0s')
    """
    if milliseconds == 0:
        return "0s"
    sign, rest = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    parts = [sign]
    for letter, unit, only_exact in (
        ("y", 31_536_000_000, True),
        ("w", 604_800_000, True),
        ("d", 86_400_000, False),
        ("h", 3_600_000, False),
        ("m", 60_000, False),
        ("s", 1000, False),
        ("ms", 1, False),
    ):
        if only_exact and rest % unit:
            continue
        count, left = divmod(rest, unit)
        if count:
            parts.append(f"{count}{letter}")
            rest = left
    return "".join(parts)


def unquote(text: str) -> str:
    r"""Return the value of a STRING token, quotes and escapes taken off.

    The lexer has checked the escapes. `\x` and octal escapes give bytes, not characters.

    >>> unquote(r'"a\tb"'), unquote("`a\\tb`")
    ('a\tb', 'a\\tb')
    """
    inner = text[1:-1]
    if text[0] == "`" or "\\" not in inner:
        return inner
    pieces: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(inner):
        pieces.append(inner[at : found.start()].encode())
        at = found.end()
        simple, byte, octal, short, long = found.groups()
        if simple:
            pieces.append(_SIMPLE_ESCAPES[simple].encode())
        elif byte or octal:
            pieces.append(bytes([int(byte, 16) if byte else int(octal, 8)]))
        else:
            pieces.append(chr(int(short or long, 16)).encode())
    pieces.append(inner[at:].encode())
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Return whether a text came from valid UTF-8: no lone surrogates in it."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def quote_character(character: str) -> str:
    r"""Write one character in single quotes, with Go's escapes; "" (no more input) is U+FFFD.

    >>> print(quote_character("'"), quote_character("|"))
    '\'' '|'
    """
    if not character:
        return "'\ufffd'"
    inner = quote(character)[1:-1]
    return "'" + {"'": "\\'", '\\"': '"'}.get(inner, inner) + "'"


def code_point(character: str) -> str:
    """Write one character like Go's `%#U`: `U+0063 'c'`; "" is the end of input."""
    if not character:
        return "U+FFFFFFFFFFFFFFFF"
    name = f"U+{ord(character):04X}"
    return f"{name} '{character}'" if character.isprintable() else name
