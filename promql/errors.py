"""Every way a query fails; the API maps each class to Prometheus' errorType and status.

QueryError
├── ParseError         bad_data, 400: the text is not PromQL, or its types do not fit
│   └── RefusedQueryError  likewise: well-formed, but not with this kind of query or these times
├── ExecutionError     execution, 422: evaluation came to something that has no answer
├── QueryTimeoutError  timeout, 503
└── CanceledError      canceled, 499
"""

from __future__ import annotations


class QueryError(Exception):
    """Base of all that a query raises on purpose; the text is fit for the client."""


class ParseError(QueryError):
    """The text is no valid query. `str()` is Prometheus' form `line:column: parse error: ...`.

    `position` is the character offset of the fault, or None where Prometheus says
    "unknown position".
    """

    def __init__(self, message: str, query: str, position: int | None) -> None:
        self.message, self.query, self.position = message, query, position
        super().__init__(f"{self.place}: parse error: {message}")

    @property
    def place(self) -> str:
        """`line:column`, both from 1, or `unknown position`."""
        if self.position is None:
            return "unknown position"
        return place_of(self.query, self.position)


def place_of(query: str, position: int) -> str:
    """Return `line:column` of a character offset, both from 1.

    The column counts bytes of UTF-8, as Prometheus' does.
    """
    line = query.count("\n", 0, position) + 1
    before = query[query.rfind("\n", 0, position) + 1 : position]
    return f"{line}:{len(before.encode('utf-8', 'replace')) + 1}"


class RefusedQueryError(ParseError):
    """The text parses, but this query cannot have it: `str()` is the message alone."""

    def __init__(self, message: str, query: str) -> None:
        super().__init__(message, query, None)
        self.args = (message,)


class ExecutionError(QueryError):
    """Evaluation failed; the text is Prometheus' own."""


class TooManySamplesError(ExecutionError):
    """The query would hold more samples at once than `--query.max-samples` allows."""

    def __init__(self, where: str = "query execution") -> None:
        super().__init__(f"query processing would load too many samples into memory in {where}")


class QueryTimeoutError(QueryError):
    """The deadline passed."""

    def __init__(self, where: str = "expression evaluation") -> None:
        super().__init__(f"query timed out in {where}")


class CanceledError(QueryError):
    """The client went away, or the server stops."""

    def __init__(self, where: str = "query execution") -> None:
        super().__init__(f"query was canceled in {where}")
