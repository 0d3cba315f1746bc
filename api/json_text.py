r"""Text as JSON, escaped as Prometheus escapes it.

To: `json_writer.py`, `replies.py`.
Labels of results are escaped where JSON demands it; all other text has `<`, `>` and `&` as
`\u003c` and so on as well, which Go's encoder does for the sake of HTML.
"""

from __future__ import annotations

import re

import orjson

_SPECIAL = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HTML = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def quoted(text: str) -> bytes:
    r"""Return a label's text as a JSON string; bytes that were no UTF-8 become U+FFFD.

    >>> quoted('a"b\n<').decode()
    '"a\\"b\\n<"'
    """
    if not is_plain(text):
        text = _SPECIAL.sub(_escape, text)
    return b'"%b"' % text.encode()


def is_plain(text: str) -> bool:
    """Say whether a text needs no escape at all."""
    return not _SPECIAL.search(text)


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    if char >= "\ud800":
        return "\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


class JsonBytes(bytes):
    """JSON already; `dumps` only makes it safe in HTML."""


def dumps(value: object) -> bytes:
    r"""Return dicts, lists, text and numbers as JSON, safe in HTML.

    >>> dumps({"a": "<b>"}).decode()
    '{"a":"\\u003cb\\u003e"}'
    """
    if isinstance(value, JsonBytes):
        body = bytes(value)
    else:
        try:
            body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            body = orjson.dumps(_mended(value))  # lone surrogates: bytes that were no UTF-8
    for plain, escaped in _HTML:
        body = body.replace(plain, escaped)
    return body


def _mended(value: object) -> object:
    """Return the value with every lone surrogate replaced by U+FFFD."""
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case dict():
            return {_mended(name): _mended(item) for name, item in value.items()}
        case list() | tuple():
            return [_mended(item) for item in value]
    return value
