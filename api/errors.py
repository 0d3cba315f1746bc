"""Error class -> HTTP status and Prometheus' errorType; the one table of it.

From: every handler, by raising.   To: `replies.py`, which writes the JSON.
Source: Prometheus HTTP API documentation, and its 3.5.3 answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from promql.errors import CanceledError, ExecutionError, ParseError, QueryTimeoutError
from tsdb.errors import BadMatcherError, ClosedError, TooManySamplesError

BAD_DATA = "bad_data"

STATUS_BY_TYPE = {
    BAD_DATA: 400,
    "execution": 422,
    "canceled": 499,
    "timeout": 503,
    "internal": 500,
    "unavailable": 500,
    "not_found": 404,
    "not_acceptable": 406,
}
"""errorType -> HTTP status."""

TOO_MANY_SAMPLES = "query processing would load too many samples into memory in query execution"


class ApiError(Exception):
    """A request that gets an error reply; `str()` is the client's text."""

    def __init__(self, error_type: str, text: str) -> None:
        super().__init__(text)
        self.error_type = error_type


class BadParameterError(ApiError):
    """A parameter that cannot be taken: `invalid parameter "name": reason`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(BAD_DATA, f'invalid parameter "{name}": {reason}')


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """What the client is told: HTTP status, errorType, text."""

    status: int
    error_type: str
    text: str


def describe(error: Exception, parse_prefix: str = "") -> ErrorReply | None:
    """Return the reply to an expected error, or None for one that nobody foresaw.

    `parse_prefix` stands before the text of a ParseError: endpoints differ in it.
    """
    match error:
        case ApiError():
            error_type, text = error.error_type, str(error)
        case ParseError():
            error_type, text = BAD_DATA, f"{parse_prefix}{error}"
        case BadMatcherError():
            error_type, text = BAD_DATA, str(error)
        case TooManySamplesError():
            error_type, text = "execution", TOO_MANY_SAMPLES
        case QueryTimeoutError():
            error_type, text = "timeout", str(error)
        case CanceledError():
            error_type, text = "canceled", str(error)
        case ExecutionError():
            error_type, text = "execution", str(error)
        case ClosedError():
            error_type, text = "unavailable", "storage is closed"
        case _:
            return None
    return ErrorReply(STATUS_BY_TYPE[error_type], error_type, text)
