"""Two verbs of the Kubernetes API: list (page by page) and watch.

From: `access.py`.   To: `watches.py`.
Source: Kubernetes documentation, "Kubernetes API Concepts".
No client library: none for Python lists again, compares and keeps what it had after an error.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from discovery.http_requests import CredentialsError
from discovery.kubernetes.access import connect
from discovery.kubernetes.kubeconfig import AccessError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from discovery.http_requests import RequestOptions
    from discovery.kubernetes.access import Connection
    from discovery.kubernetes.settings import ApiAccess

PAGE = 500
"""Objects asked for at once; what kubectl and client-go ask for."""

WATCH_S = (300, 600)
"""A watch asks to be ended after a random time between these, as client-go does: so clients
spread over the servers again, and not all at one moment."""

SILENCE_S = 180.0
"""Servers send a bookmark about every minute: a watch without a byte for so long is dead."""

ANSWER_S = 60.0
"""How long a server may take to answer, or to send the next part of a list."""

_FAILURES = (aiohttp.ClientError, OSError, CredentialsError, AccessError)


class ApiError(Exception):
    """The server refused or could not be asked. `status` is 0 where there was no answer."""

    def __init__(self, text: str, *, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


class GoneError(ApiError):
    """The version asked for is too old (410): list again."""


class SilentError(ApiError):
    """A watch did not say anything for too long."""


class ApiClient:
    """One API server as one identity. Belongs to the event loop of its session."""

    def __init__(self, access: ApiAccess, session: aiohttp.ClientSession) -> None:
        self._access, self._session = access, session
        self._connection: Connection | None = None

    async def page(self, path: str, query: Mapping[str, str], accept: str) -> dict[str, Any]:
        """Return one page of a list. Raises ApiError."""
        async with self._get(path, query, accept, read_s=ANSWER_S, encoding="gzip") as response:
            body = await response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 31)
        answer = _parsed(body)
        if not isinstance(answer.get("metadata"), dict):
            raise ApiError("the answer is not a list of objects")
        return answer

    async def watch(
        self, path: str, query: Mapping[str, str], accept: str
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events after the version in `query`, until the server ends it.

        Raises ApiError; an event of type ERROR is raised as one.
        """
        query = {
            **query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*WATCH_S)),
        }
        async with self._get(path, query, accept, read_s=SILENCE_S) as response:
            async for line in _lines(response.content):
                event = _parsed(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise _error(int(status.get("code") or 500), status, 0.0)
                if not isinstance(event.get("object"), dict):
                    raise ApiError("a line of the watch is not an event")
                yield event

    @asynccontextmanager
    async def _get(
        self,
        path: str,
        query: Mapping[str, str],
        accept: str,
        *,
        read_s: float,
        encoding: str = "identity",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a request and turn whatever goes wrong, also while reading, into ApiError."""
        try:
            server, options = await asyncio.to_thread(self._connected)
            url = server + path
            arguments, _ = await options.arguments(url)
            headers = {
                **arguments.pop("headers", {}),
                "User-Agent": "gnomon",
                "Accept": accept,
                "Accept-Encoding": encoding,
            }
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=read_s)
            async with self._session.get(
                url, params=query, headers=headers, timeout=timeout, **arguments
            ) as response:
                if response.status != 200:
                    if response.status == 401:
                        await asyncio.to_thread(self._refused)
                    raise _refusal(response, await response.content.read(1 << 16))
                yield response
        except aiohttp.SocketTimeoutError as e:
            raise SilentError(str(e) or "timed out") from e
        except aiohttp.ClientPayloadError as e:
            raise ApiError("the connection was cut in the middle of an answer") from e
        except zlib.error as e:
            raise ApiError(f"broken gzip: {e}") from e
        except _FAILURES as e:
            raise ApiError(str(e) or type(e).__name__) from e

    def _connected(self) -> tuple[str, RequestOptions]:
        # Two watches that start at once may both connect; the results are alike.
        connection = self._connection
        if connection is None:
            connection = self._connection = connect(self._access)
        return connection.server, connection.options()

    def _refused(self) -> None:
        if self._connection is not None:
            self._connection.refused()
            if self._connection.plugin is None:
                # A kubeconfig may have been written anew.
                self._connection = None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines of any length; what a cut connection leaves of the last is no line.

    `readline` of the reader gives up at 128 KiB, an object may have 2 MiB.
    """
    begun: list[bytes] = []
    async for chunk in content.iter_any():
        first, *rest = chunk.split(b"\n")
        begun.append(first)
        for following in rest:
            line = b"".join(begun)
            begun = [following]
            if line:
                yield line


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError as e:
        raise ApiError(f"the answer is not JSON: {e}") from e
    if not isinstance(value, dict):
        raise ApiError("the answer is not an object")
    return value


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = _parsed(body)
    except ApiError:
        # Proxies, and servers that lack an API group, answer in plain text.
        status = {"message": body.decode(errors="replace").strip()[:200]}
    try:
        retry_after_s = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        retry_after_s = 0.0  # a date; the usual backoff will do
    return _error(response.status, status, retry_after_s)


def _error(status: int, document: Mapping[str, Any], retry_after_s: float) -> ApiError:
    details = document.get("details")
    if isinstance(details, dict) and details.get("retryAfterSeconds"):
        retry_after_s = max(retry_after_s, float(details["retryAfterSeconds"]))
    message = document.get("message") or document.get("reason") or "no reason given"
    kind = GoneError if status == 410 else ApiError
    return kind(f"HTTP {status}: {message}", status=status, retry_after_s=retry_after_s)
