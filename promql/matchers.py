"""Label matchers as a query makes them: regular expressions checked, emptiness known.

From: `parsing/selector_actions.py`.   To: `tsdb.interface.Matcher`, `check.py`.
"""

from __future__ import annotations

import re
from functools import lru_cache

import re2

from promql.literals import is_utf8
from tsdb.interface import Matcher, MatchOp

_REGEX_OPS = frozenset({MatchOp.MATCHES, MatchOp.NOT_MATCHES})
_REASONS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
"""What RE2 and Go call the same fault."""
_SINGLE_BYTE = re.compile(r"(?:[^\\]|\\Q.*?(?:\\E|\Z)|\\[^CQ])*+\\C", re.DOTALL)
"""`\\C` not quoted: any one byte in RE2, no escape in Go, whose strings it would cut."""


def make_matcher(name: str, op: MatchOp, value: str) -> Matcher:
    """Return a matcher. Raises ValueError with Go's text if the regular expression is bad."""
    if op in _REGEX_OPS:
        _accepts_empty(value)
    return Matcher(name, op, value)


def matches_empty(matcher: Matcher) -> bool:
    """Return whether a series without the label satisfies the matcher."""
    if matcher.op is MatchOp.EQUAL:
        return not matcher.value
    if matcher.op is MatchOp.NOT_EQUAL:
        return bool(matcher.value)
    return _accepts_empty(matcher.value) == (matcher.op is MatchOp.MATCHES)


@lru_cache(maxsize=4096)
def _accepts_empty(pattern: str) -> bool:
    """Return whether an anchored regular expression matches "". Raises ValueError if it is bad."""
    if not is_utf8(pattern):
        shown = pattern.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        raise ValueError(f"error parsing regexp: invalid UTF-8: `{shown}`")
    if "\\C" in pattern and _SINGLE_BYTE.match(pattern):
        raise ValueError("error parsing regexp: invalid escape sequence: `\\C`")
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(pattern, options).fullmatch("") is not None
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"error parsing regexp: {_in_go_words(text, pattern)}") from None


def _in_go_words(reason: str, pattern: str) -> str:
    """Turn RE2's `missing ): (` into Go's words, its fragment in backquotes."""
    look_behind = reason.removeprefix("invalid perl operator: ")
    if look_behind.startswith("(?<"):
        # Go takes it for a named group.
        rest = pattern[max(pattern.find(look_behind), 0) :]
        return f"invalid named capture: `{rest[: rest.find('>') + 1] or rest}`"
    for code, words in _REASONS.items():
        if reason == code:
            return f"{words}: ``"
        if reason.startswith(f"{code}: "):
            return f"{words}: `{reason[len(code) + 2 :]}`"
    code, _, fragment = reason.partition(": ")
    return f"{code}: `{fragment}`"
