"""Ask a Prometheus-compatible server, with nothing but the standard library.

From: `commands/query.py`.   To: a server's API. No kernels, no event loop: a query to a server must
not wait for Numba to load.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 300.0

Parameters = list[tuple[str, str]]


class AskError(Exception):
    """The question was refused, or nobody answered; the text is fit for the user."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The `data` member of an answer, with what came beside it."""

    data: Any
    warnings: Sequence[str] = field(default_factory=list)
    infos: Sequence[str] = field(default_factory=list)


class HttpSource:
    """One server. `url` may hold a user and a password."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": "gnomon-query", **(headers or {})}
        if parts.username is not None:
            token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
            self._headers.setdefault("Authorization", f"Basic {token}")
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        if parts.scheme not in ("http", "https"):
            raise AskError(f"URL scheme must be 'http' or 'https', got {url!r}")
        self._base = urlunsplit(parts).rstrip("/")

    def instant(self, query: str, time: str) -> Answer:
        """Ask a query at one time."""
        parameters = [("query", query)] + ([("time", time)] if time else [])
        return self._ask("query", parameters)

    def range(self, query: str, start: str, end: str, step: str) -> Answer:
        """Ask a query at every step of a range."""
        parameters = [("query", query), ("start", start), ("end", end), ("step", step)]
        return self._ask("query_range", parameters)

    def explain(self, query: str, times: Sequence[str], *, analyze: bool) -> Answer:
        """Ask for the plan of a query: at one time, or at start, end and step."""
        names = ("start", "end", "step") if len(times) == 3 else ("time",)
        parameters = [(name, text) for name, text in zip(names, times, strict=True) if text]
        parameters += [("query", query), ("explain", "analyze" if analyze else "plan")]
        answer = self._ask("query_range" if len(times) == 3 else "query", parameters)
        if "nodes" not in answer.data:
            raise AskError(f"{self._base} explains no queries")
        return answer

    def series(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for the series that satisfy any of the selectors."""
        return self._ask("series", _range(start, end) + _match(selectors))

    def label_names(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for the label names in use."""
        return self._ask("labels", _range(start, end) + _match(selectors))

    def label_values(self, name: str, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for the values of one label."""
        path = f"label/{quote(name, safe='')}/values"
        return self._ask(path, _range(start, end) + _match(selectors), get=True)

    def close(self) -> None:
        """Nothing stays open between questions."""

    def _ask(self, path: str, parameters: Parameters, *, get: bool = False) -> Answer:
        url, body = f"{self._base}/api/v1/{path}", urlencode(parameters)
        request = Request(
            f"{url}?{body}" if get else url,
            data=None if get else body.encode(),
            headers=self._headers,
        )
        try:
            with urlopen(request, timeout=TIMEOUT_S) as response:
                return _answer(_read(response), response.status)
        except HTTPError as error:
            with error:
                return _answer(_read(error), error.code)
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            ways = "is a server running there? --url names another, --data DIR asks without one"
            raise AskError(f"cannot reach {self._base}: {reason}; {ways}") from error


def _range(start: str, end: str) -> Parameters:
    return [(name, text) for name, text in (("start", start), ("end", end)) if text]


def _match(selectors: Sequence[str]) -> Parameters:
    return [("match[]", selector) for selector in selectors]


def _read(response: Any) -> bytes:  # noqa: ANN401 - an answer or an error of urllib
    body: bytes = response.read()
    return gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body


def _answer(body: bytes, status: int) -> Answer:
    try:
        members = json.loads(body)
        kind = members["status"]
    except (ValueError, KeyError, TypeError) as error:
        shown = body[:200].decode(errors="replace").strip()
        raise AskError(f"unexpected answer with status {status}: {shown}") from error
    if kind != "success":
        raise AskError(f"{members.get('errorType', status)}: {members.get('error', '')}")
    return Answer(members.get("data"), members.get("warnings", []), members.get("infos", []))
