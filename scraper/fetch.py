"""One bounded GET of one target: its body, or why there is none, in Prometheus' words.

From: `loop.py`.   To: `ingest.py`, which decompresses and reads the body in its thread.
Source: headers and error texts as seen on Prometheus 3.5.3. The time limit is one for all:
connecting, sending, headers and body.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from isal import isal_zlib
from yarl import URL

from discovery.http_requests import CredentialsError
from scraper.job import PROTOBUF_PROTOCOL
from scraper.outcome import Body, BodySizeError
from scraper.plain_http import CutShortError, LateError, TooLargeError
from scraper.tokens import ParseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scraper.job import ScrapeJob
    from scraper.plain_http import PlainClient, PlainRequest

_MEDIA_TYPES = {
    PROTOBUF_PROTOCOL: (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
    ),
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
}
_ESCAPING = frozenset(("OpenMetricsText1.0.0", "PrometheusText1.0.0"))
_PROTOCOLS_KNOWN = 5
_BODY_SIZE = "body size limit exceeded"
DEADLINE = "context deadline exceeded"


class FetchError(Exception):
    """There is no body; the text is what `lastError` shows."""

    def __init__(self, reason: str, *, body_too_large: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.body_too_large, self.status = body_too_large, status


@dataclass(frozen=True, slots=True)
class Response:
    """A 200 answer. `body` is as it was sent: gzip if `gzipped`."""

    body: bytes
    content_type: str
    gzipped: bool

    def read(self, size_max: int) -> Body:
        """Return the body decompressed. Raises BodySizeError, ParseError for damaged gzip."""
        text = gunzip(self.body, size_max) if self.gzipped else self.body
        return Body(text, self.content_type)


def accept_header(job: ScrapeJob) -> str:
    """Return the `Accept` that Prometheus sends for the job's protocols.

    >>> from scraper.job import ScrapeJob
    >>> accept_header(ScrapeJob("j", scrape_protocols=("PrometheusText0.0.4",)))
    'text/plain;version=0.0.4;q=0.6,*/*;q=0.5'
    """
    weight = _PROTOCOLS_KNOWN + 1
    parts = []
    for protocol in job.scrape_protocols:
        escaping = ""
        if protocol in _ESCAPING:
            escaping = f";escaping={job.metric_name_escaping_scheme}"
        parts.append(f"{_MEDIA_TYPES[protocol]}{escaping};q=0.{weight}")
        weight -= 1
    return ",".join([*parts, f"*/*;q=0.{weight}"])


def request_headers(job: ScrapeJob, *, timeout_ms: int, user_agent: str) -> dict[str, str]:
    """Return the headers of a scrape, save those of authentication."""
    return {
        "User-Agent": user_agent,
        "Accept": accept_header(job),
        "Accept-Encoding": "gzip" if job.enable_compression else "identity",
        "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_ms / 1000:.3f}".rstrip("0").rstrip("."),
    }


async def fetch_plain(
    client: PlainClient, request: PlainRequest, url: str, *, timeout_s: float, body_bytes_max: int
) -> Response:
    """GET one target by the plain client. Raises FetchError, NotPlainError."""
    try:
        answer = await client.get(request, timeout_s=timeout_s, body_bytes_max=body_bytes_max)
    except LateError as e:
        raise FetchError(DEADLINE if e.in_body else f'Get "{url}": {DEADLINE}') from None
    except TooLargeError:
        raise FetchError(_BODY_SIZE, body_too_large=True) from None
    except CutShortError:
        raise FetchError("unexpected EOF") from None
    if answer.status != 200:
        status = f"{answer.status} {answer.reason}".rstrip()
        raise FetchError(f"server returned HTTP status {status}", status=answer.status)
    return Response(answer.body, answer.content_type, answer.content_encoding == "gzip")


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    *,
    headers: Mapping[str, str],
    options: Mapping[str, Any],
    timeout_s: float,
    body_bytes_max: int = 0,
) -> Response:
    """GET one target by the general client. Raises FetchError.

    `options` are `RequestOptions.for_url`.

    `body_bytes_max` bounds what is read as it arrives; 0 means no bound.
    """
    arguments = dict(options)
    merged = {**headers, **arguments.pop("headers", {})}
    in_body = False
    try:
        async with asyncio.timeout(timeout_s):
            target = URL(url, encoded=True)
            async with session.get(target, headers=merged, **arguments) as response:
                if response.status != 200:
                    status = f"{response.status} {response.reason or ''}".rstrip()
                    text = f"server returned HTTP status {status}"
                    raise FetchError(text, status=response.status)
                in_body = True
                body = await _read(response, body_bytes_max)
    except TimeoutError:
        raise FetchError(DEADLINE if in_body else f'Get "{url}": {DEADLINE}') from None
    except (aiohttp.ClientError, OSError, ValueError, CredentialsError) as e:
        reason = describe(e)
        raise FetchError(reason if in_body else f'Get "{url}": {reason}') from e
    encoding = response.headers.get("Content-Encoding", "")
    return Response(body, response.headers.get("Content-Type", ""), encoding == "gzip")


async def _read(response: aiohttp.ClientResponse, size_max: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        # What is compressed is smaller than what it becomes, so this bound serves both.
        if size_max and size >= size_max:
            raise FetchError(_BODY_SIZE, body_too_large=True)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_or_refuse(result: Response | FetchError, size_max: int) -> Body:
    """Return the decompressed body, or raise the ParseError that says why there is none."""
    if isinstance(result, FetchError):
        raise (BodySizeError if result.body_too_large else ParseError)(str(result))
    return result.read(size_max)


# Its stubs take the class for an instance of one.
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]


def gunzip(data: bytes, size_max: int) -> bytes:
    """Decompress all members of a gzip body, `size_max` bytes at most (0: no bound).

    Raises BodySizeError at the bound, ParseError for what is not gzip or is cut short.
    """
    out = []
    size = 0
    rest = data
    while True:
        # A third of zlib's time: 7 % of what a scrape costs in all.
        member = isal_zlib.decompressobj(31)
        try:
            while not member.eof:
                chunk = member.decompress(rest, size_max - size if size_max else 0)
                size += len(chunk)
                if size_max and size >= size_max:
                    raise BodySizeError(_BODY_SIZE)
                out.append(chunk)
                rest = member.unconsumed_tail
                if not chunk and not rest and not member.eof:
                    raise ParseError("unexpected EOF")
        except _GZIP_ERROR as e:
            raise ParseError(_gzip_fault(str(e))) from e
        rest = member.unused_data
        if not rest:
            return b"".join(out)


def _gzip_fault(reason: str) -> str:
    """Return Go's words for what is wrong with a gzip body."""
    if "wrapper" in reason:
        return "gzip: invalid header"
    return "gzip: invalid checksum" if "checksum" in reason else "flate: corrupt input"


_CONNECT_CALL = re.compile(r"Connect call failed \('([^']*)', (\d+)")
_SYSCALL = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ECONNRESET: "connection reset by peer",
    errno.ETIMEDOUT: "connection timed out",
    errno.ENOENT: "no such file or directory",
    errno.EACCES: "permission denied",
}


def describe(error: BaseException) -> str:
    """Return the words Go's HTTP client has for an error of ours."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.client_exceptions.UnixClientConnectorError):
        return f"dial unix {error.path}: connect: {_os_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        if isinstance(inner, ssl.SSLError):
            return f"tls: {inner.reason or inner}"
        if isinstance(inner, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
            return f"dial tcp: lookup {error.host}: no such host"
        match = _CONNECT_CALL.search(str(inner))
        host, port = match.groups() if match else (error.host, error.port)
        host = f"[{host}]" if ":" in str(host) else host
        return f"dial tcp {host}:{port}: connect: {_os_reason(inner)}"
    if isinstance(error, aiohttp.TooManyRedirects):
        return "stopped after 10 redirects"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "unexpected EOF"
    if isinstance(error, aiohttp.ClientResponseError):
        return (
            f"net/http: HTTP/1.x transport connection broken: malformed response: {error.message}"
        )
    if isinstance(error, OSError):
        return f"read: {_os_reason(error)}"
    return str(error) or type(error).__name__


def _os_reason(error: OSError) -> str:
    return _SYSCALL.get(error.errno or 0, error.strerror or str(error))
