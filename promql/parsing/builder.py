"""What the actions of the grammar share while one text is parsed.

From: `parse.py` makes one builder per text.   To: `expression_actions.py`, `selector_actions.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from promql.check import DEPTH_MAX, TOO_DEEP
from promql.errors import ParseError
from promql.syntax import Span
from promql.value_types import value_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from promql.parsing.lexing import Tokens
    from promql.syntax import Binary, Expr, ValueType


class Builder:
    """What the actions share while one text is parsed."""

    __slots__ = (
        "binary_depths",
        "binary_types",
        "features",
        "kinds",
        "starts",
        "stops",
        "text",
        "tokens",
    )

    def __init__(self, tokens: Tokens, features: frozenset[str]) -> None:
        self.tokens, self.text, self.features = tokens, tokens.text, features
        self.kinds, self.starts, self.stops = tokens.kinds, tokens.starts, tokens.stops
        # Of binary nodes, by id: they stay alive as long as the builder does.
        self.binary_types: dict[int, ValueType] = {}
        self.binary_depths: dict[int, int] = {}

    def fault(self, message: str, position: int) -> ParseError:
        """Return the error to raise for a fault at a character offset."""
        return ParseError(message, self.text, position)

    def value(self, token: int) -> str:
        """Return the text of a token."""
        return self.text[self.starts[token] : self.stops[token]]

    def span(self, token: int) -> Span:
        """Return where a token stands."""
        return Span(self.starts[token], self.stops[token])

    def grow(self, node: Binary) -> None:
        """Refuse a chain of operators early that `check.py` would refuse after all of it."""
        depths = self.binary_depths
        depth = 1 + max(depths.get(id(node.lhs), 1), depths.get(id(node.rhs), 1))
        if depth > DEPTH_MAX:
            raise self.fault(TOO_DEEP, node.span.start)
        depths[id(node)] = depth

    def type_of(self, node: Expr) -> ValueType:
        """Return the type of a node; those of its binary parts are known already."""
        return value_type(node, self.binary_types)


Pieces = list[Any]
"""What a rule has reduced so far: token numbers (terminals), nodes, or what actions returned."""

if TYPE_CHECKING:
    Action = Callable[[Builder, Pieces], Any]
