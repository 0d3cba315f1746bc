"""Log lines to stderr as Prometheus writes them: logfmt or JSON, with time, level and source.

Every module logs through `logging.getLogger(__name__)`; `extra={"fields": {...}}` adds members.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {logging.DEBUG: "DEBUG", logging.INFO: "INFO", logging.WARNING: "WARN"}
_PLAIN_MAX = 1 << 7


def set_up(level: str, style: str) -> None:
    """Send all records of `level` ("debug" to "error") and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=style == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    # Numba and asyncio tell their own business at debug; nobody who debugs Gnomon asked for it.
    for name in ("numba", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, tz=dt.UTC)
        members: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _NAMES.get(record.levelno, "ERROR"),
            "source": f"{record.name.replace('.', '/')}.py:{record.lineno}",
            "msg": record.getMessage(),
        }
        members |= getattr(record, "fields", {})
        if record.exc_info:
            members["err"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str) if self._as_json else logfmt(members)


def logfmt(members: Mapping[str, object]) -> str:
    r"""Return members as `name=value`, quoted where they hold what would confuse a reader.

    >>> logfmt({"level": "INFO", "msg": 'say "hi"', "n": 3})
    'level=INFO msg="say \\"hi\\"" n=3'
    """
    return " ".join(f"{name}={_value(value)}" for name, value in members.items())


def _value(value: object) -> str:
    text = str(value)
    plain = text != "" and all(
        "!" <= char < chr(_PLAIN_MAX) and char not in '"=\\' for char in text
    )
    return text if plain else json.dumps(text, ensure_ascii=False)
