"""What to say about a token that does not fit.

From: `parse.py`. The wording depends on the innermost place that expected something in particular,
which the grammar marks with ERROR; elsewhere there is just an unexpected token.
"""

from __future__ import annotations

from promql.parsing.lexing import (
    AGGREGATOR_KINDS,
    END_OF_INPUT,
    KEYWORD_KINDS,
    KIND_OF,
    OPERATOR_KINDS,
)
from promql.quoting import quote

_DURATIONS = "number, duration, step(), or range()"

PLACES: dict[str, tuple[str, str]] = {
    "fault_aggregation": ("aggregation", ""),
    "fault_grouping": ("grouping opts", '"("'),
    "fault_grouping_list": ("grouping opts", '"," or ")"'),
    "fault_grouping_label": ("grouping opts", "label"),
    "fault_offset": ("offset", _DURATIONS),
    "fault_at": ("@", "timestamp"),
    "fault_range": ("subquery or range selector", _DURATIONS),
    "fault_range_end": ("subquery or range", '":" or "]"'),
    "fault_step": ("subquery selector", 'number, duration, step(), range(), or "]"'),
    "fault_step_end": ("subquery selector", '"]"'),
    "fault_matchers": ("label matching", '"," or "}"'),
    "fault_matcher_value": ("label matching", "string"),
    "fault_matcher_op": ("label matching", "label matching operator"),
    "fault_matcher": ("label matching", 'identifier or "}"'),
}
"""For each error alternative of the grammar: where we are, and what was expected."""

_NAMED = {
    KIND_OF["IDENTIFIER"]: "identifier",
    KIND_OF["METRIC_IDENTIFIER"]: "metric identifier",
    KIND_OF["STRING"]: "string",
    KIND_OF["NUMBER"]: "number",
    KIND_OF["DURATION"]: "duration",
}
_NEVER_CUT = frozenset({KIND_OF["IDENTIFIER"], KIND_OF["METRIC_IDENTIFIER"]})


def unexpected(kind: int, text: str, place: str | None) -> str:
    """Return the message for a token of a kind, with the alias of the place, if there is one."""
    context, expected = PLACES[place] if place else ("", "")
    message = f"unexpected {_describe(kind, text)}"
    if context:
        message += f" in {context}"
    if expected:
        message += f", expected {expected}"
    return message


def _describe(kind: int, text: str) -> str:
    if kind == END_OF_INPUT:
        return "end of input"
    if kind in KEYWORD_KINDS:
        return f"<{text}>"
    if kind in OPERATOR_KINDS:
        return f"<op:{text}>"
    if kind in AGGREGATOR_KINDS:
        return f"<aggr:{text}>"
    if kind not in _NEVER_CUT and len(text.encode("utf-8", "surrogateescape")) > 10:
        shown = f"{quote(text[:10])}..."
    else:
        shown = quote(text)
    name = _NAMED.get(kind)
    return f"{name} {shown}" if name else shown
