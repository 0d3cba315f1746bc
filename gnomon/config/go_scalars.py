"""What a plain scalar of YAML is to Go's reader, which knows other numbers than PyYAML.

From: `document.py`.   Source: yaml.v2 of Go, as Prometheus uses it; all seen on Prometheus 3.5.3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

TAG = "tag:yaml.org,2002:"

BOOLEANS = {
    form: value
    for value, words in ((True, ("y", "yes", "on", "true")), (False, ("n", "no", "off", "false")))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN = tuple(f"{TAG}{name}" for name in ("int", "float", "str", "bool", "timestamp"))
UINT64_MAX = (1 << 64) - 1


def go_tag(node: yaml.ScalarNode) -> str:
    """Return what Go's reader takes a scalar for: it knows other numbers than PyYAML."""
    if node.style or node.tag not in _PLAIN:
        return str(node.tag)
    text = node.value
    if text in BOOLEANS:
        return f"{TAG}bool"
    digits = text.replace("_", "")
    if text[:1] in "+-0123456789" and _INTEGER.fullmatch(digits):
        return f"{TAG}int" if abs(whole(digits)) <= UINT64_MAX else f"{TAG}float"
    if FLOAT.fullmatch(digits):
        return f"{TAG}float"
    return str(node.tag) if node.tag == f"{TAG}float" and ":" not in text else f"{TAG}str"


def whole(digits: str) -> int:
    """Return the value of an integer as Go writes them: `010` and `0o10` are eight."""
    sign, number = (-1 if digits.startswith("-") else 1), digits.lstrip("+-").lower()
    octal = number[0] == "0" and number[1:].isdigit()
    return sign * int(number, 8 if octal else 0)
