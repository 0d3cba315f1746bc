"""Are these selectors that a Kubernetes API server would take? Told at load, not at run time.

From: `kubernetes.py`.
Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re

_FIELD_TERM = re.compile(r"(?:[^\\,]|\\.)+", re.DOTALL)
_FIELD_ESCAPES = re.compile(r"\\(.?)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_TOKEN = re.compile(r"\s*(==|!=|[=!<>,()]|[^\s=!<>,()]+)")


def check_field_selector(text: str) -> None:
    """Raise ValueError unless a text is a list of `field=value`, `field==value`, `field!=value`.

    >>> check_field_selector("spec.nodeName=a,status.phase!=Failed")
    """
    for term in _FIELD_TERM.findall(text):
        name, equal, value = term.partition("=")
        if not equal:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        del name
        for escaped in _FIELD_ESCAPES.findall(value.removeprefix("=")):
            if escaped not in ("\\", ",", "="):
                raise ValueError(
                    f"invalid field selector: invalid escape sequence: \\{escaped} in '{text}'"
                )
        if re.search(r"(?<!\\)=", value.removeprefix("=")):
            raise ValueError(f"invalid field selector: unescaped = in '{text}'")


def check_label_selector(text: str) -> None:
    """Raise ValueError unless a text is a label selector.

    Requirements are joined by commas: `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`,
    `a notin (b,c)`, `a>1`, `a<1`.

    >>> check_label_selector("app in (a, b),!canary,tier!=db")
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return
    reader = _Tokens(text, tokens)
    while True:
        _requirement(reader)
        following = reader.take()
        if following == "":
            return
        if following != ",":
            raise reader.error(following, "',' or 'end of string'")


class _Tokens:
    """A place in a list of tokens; "" stands for the end."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self._text, self._tokens, self._at = text, tokens, 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def error(self, token: str, expected: str) -> ValueError:
        return ValueError(
            f"unable to parse requirement: found '{token}', expected: {expected}"
            f" in selector '{self._text}'"
        )


def _requirement(reader: _Tokens) -> None:
    absent = reader.peek() == "!"
    if absent:
        reader.take()
    _check_key(reader.take(), reader)
    operator = reader.peek()
    if absent or operator in ("", ","):
        return
    reader.take()
    if operator in ("in", "notin"):
        _values(reader)
    elif operator in ("=", "==", "!=", "<", ">"):
        # No value at all is the empty value, which labels may have.
        value = "" if reader.peek() in ("", ",") else reader.take()
        _check_value(value, reader)
        if operator in "<>" and re.fullmatch(r"[+-]?\d+", value) is None:
            raise reader.error(value, "an integer")
    else:
        raise reader.error(operator, "in, notin, =, ==, !=, gt, lt")


def _values(reader: _Tokens) -> None:
    if (token := reader.take()) != "(":
        raise reader.error(token, "'('")
    while True:
        value = "" if reader.peek() in (",", ")") else reader.take()
        _check_value(value, reader)
        token = reader.take()
        if token == ")":
            return
        if token != ",":
            raise reader.error(token, "',' or ')'")


def _check_key(key: str, reader: _Tokens) -> None:
    prefix, slash, name = key.rpartition("/")
    good = _NAME.fullmatch(name) is not None
    if slash:
        good = good and len(prefix) <= 253 and _PREFIX.fullmatch(prefix) is not None
    if not good:
        raise reader.error(key, "a label key")


def _check_value(value: str, reader: _Tokens) -> None:
    if value and _NAME.fullmatch(value) is None:
        raise reader.error(value, "a label value")
