"""Bytes -> HTTP replies: the envelope, compression, CORS, and what every request passes through.

From: handlers.   To: aiohttp.
Source: Prometheus HTTP API documentation, and the headers of its 3.5.3 answers.
"""

from __future__ import annotations

import html
import logging
import re
import time
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from aiohttp import web
from isal import isal_zlib

from api.answer_parts import Body, whole_chunks
from api.errors import ErrorReply, describe
from api.json_text import dumps
from api.json_writer import annotation_members
from api.parts import PARTS
from api.piece_packing import LEVEL
from api.streaming import PartSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)

JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_WINDOW_BITS = {"gzip": 16 + 15, "deflate": 15}

GONE = 499
"""The status that requests are counted under whose client left before it had sent them."""

PACKED_BYTES_MIN = 1024
"""Smaller replies fit into a packet or two as they are; packing costs more than it saves."""


def success_body(data: object, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> bytes:
    """Return the bytes of a success reply with this data."""
    members = annotation_members(warnings, infos)
    return b'{"status":"success","data":%b%b}' % (dumps(data), members)


def success(
    request: web.Request, data: object, warnings: Sequence[str] = (), infos: Sequence[str] = ()
) -> web.Response:
    """Return a success reply with small data; large data is written in a thread."""
    return whole(request, success_body(data, warnings, infos))


def failure(request: web.Request, error: ErrorReply) -> web.Response:
    """Return an error reply."""
    members = {"status": "error", "errorType": error.error_type, "error": error.text}
    return whole(request, dumps(members), status=error.status)


def whole(
    request: web.Request, body: bytes, *, status: int = 200, content_type: str = JSON
) -> web.Response:
    """Return a reply whose bytes are all here, compressed if it is worth it."""
    reply = packed(iter([body]), accepted_encoding(request))
    return _response(reply, status, content_type)


@dataclass(frozen=True, slots=True)
class Packed:
    """A reply's bytes, compressed as the Content-Encoding `encoding` says, "" for not at all.

    `rest` is None where `first` is everything, and a body where nothing is made yet.
    """

    first: bytes
    rest: Iterator[bytes] | Body | None
    encoding: str


def packed(chunks: Iterator[bytes], offered: str) -> Packed:
    """Compress a reply if it is worth it, as far as the first two chunks. A thread's work.

    `offered` is what `accepted_encoding` found.
    """
    first = next(chunks)
    second = next(chunks, None)
    if second is None:
        encoding = offered if len(first) >= PACKED_BYTES_MIN else ""
        return Packed(b"".join(compressed(iter([first]), encoding)), None, encoding)
    rest = compressed(chain((first, second), chunks), offered)
    return Packed(next(rest), rest, offered)


def packed_body(body: Body, offered: str) -> Packed:
    """Compress a reply that one part makes; the parts of others wait for their threads."""
    if len(body.parts) <= 1:
        return packed(whole_chunks(body), offered)
    return Packed(b"", body, offered)


async def large(request: web.Request, data: Callable[[], object]) -> web.StreamResponse:
    """Reply with data that may be large: found, written and compressed in a thread."""
    offered = accepted_encoding(request)

    def run() -> Packed:
        return packed(iter([success_body(data())]), offered)

    return await answer(request, await request.app[PARTS].gate.read(run))


async def answer(request: web.Request, reply: Packed) -> web.StreamResponse:
    """Send JSON, in chunks if it came in chunks."""
    if reply.rest is None:
        return _response(reply, 200, JSON)
    return await streamed(request, reply)


def _response(reply: Packed, status: int, content_type: str) -> web.Response:
    headers = {"Content-Type": content_type}
    if reply.encoding:
        headers["Content-Encoding"] = reply.encoding
    return web.Response(body=reply.first, status=status, headers=headers)


def text(body: str, status: int = 200, content_type: str = _TEXT) -> web.Response:
    """Return a plain text reply; errors tell browsers not to guess another type."""
    headers = {"Content-Type": content_type}
    if status >= 400:
        headers["X-Content-Type-Options"] = "nosniff"
    # What a client sent may stand in it, and need not be UTF-8.
    return web.Response(body=body.encode(errors="replace"), status=status, headers=headers)


async def streamed(request: web.Request, reply: Packed) -> web.StreamResponse:
    """Send a reply in chunks, made in threads: a body's several at once, else one by one."""
    response = web.StreamResponse(headers={"Content-Type": JSON})
    if reply.encoding:
        response.headers["Content-Encoding"] = reply.encoding
    set_cors(request, response)
    parts = request.app[PARTS]
    if parts.access is not None:
        response.headers.update(parts.access.rules.headers)
    gate = parts.gate
    try:
        await response.prepare(request)
        rest = reply.rest
        if isinstance(rest, Body):
            await PartSender(gate, request, response, rest).send()
        else:
            await response.write(reply.first)
            while rest and (chunk := await gate.read(lambda: next(rest, b""))):
                await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        logger.debug("client went away while %s was sent", request.path)
    except Exception:  # too late for a status: break off, so that the client sees it
        logger.exception("unexpected error in the middle of the reply to %s", request.path)
        if request.transport is not None:
            request.transport.abort()
    return response


def accepted_encoding(request: web.Request) -> str:
    """Return "gzip" or "deflate", whichever the client names first, or ""."""
    for offer in request.headers.get("Accept-Encoding", "").split(","):
        if offer.strip() in _WINDOW_BITS:
            return offer.strip()
    return ""


def compressed(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the chunks compressed, none of them empty; "" leaves them as they are.

    "deflate" is zlib's stream, as RFC 9110 and Prometheus have it. Grafana reads a raw one there,
    but offers gzip first.
    """
    if not encoding:
        yield from chunks
        return
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _WINDOW_BITS[encoding])
    for chunk in chunks:
        packed = packer.compress(chunk)
        if packed:
            yield packed
    yield packer.flush()


def set_cors(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that let pages of other origins read the API."""
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin", "")
    if not origin or not re.fullmatch(request.app[PARTS].options.cors_origin, origin):
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = "Accept, Authorization, Content-Type, Origin"
    response.headers["Access-Control-Expose-Headers"] = "Date"


def _api_prefix(request: web.Request) -> str:
    return f"{request.app[PARTS].options.route_prefix.rstrip('/')}/api/v1/"


@web.middleware
async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count every request; answer unknown paths, wrong methods and errors as Prometheus does."""
    begin = time.perf_counter()
    in_api = request.path.startswith(_api_prefix(request))
    access = request.app[PARTS].access
    refusal = None if access is None else await access.refusal(request)
    response = refusal or await _answered(request, handler, in_api=in_api)
    if not response.prepared:
        if in_api and (request.method == "OPTIONS" or request.match_info.http_exception is None):
            set_cors(request, response)
        if access is not None:
            response.headers.update(access.rules.headers)
    handler_name = _handler_name(request)
    size = response.body_length if response.prepared else _length(response)
    request.app[PARTS].requests.count(
        handler_name, response.status, seconds=time.perf_counter() - begin, size_bytes=size
    )
    return response


def _handler_name(request: web.Request) -> str:
    """Return the route as Prometheus' metrics name it: without the prefix, `:name` for a part."""
    resource = request.match_info.route.resource
    if resource is None:
        return "/"
    prefix = request.app[PARTS].options.route_prefix.rstrip("/")
    return resource.canonical.removeprefix(prefix).replace("{name}", ":name")


def _length(response: web.StreamResponse) -> int:
    return len(response.body) if isinstance(getattr(response, "body", None), bytes) else 0  # type: ignore[attr-defined]


async def _answered(request: web.Request, handler: Handler, *, in_api: bool) -> web.StreamResponse:
    if request.method == "OPTIONS" and in_api:
        return web.Response(status=204)
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        asked = request.method == "OPTIONS"
        response = web.Response() if asked else text("Method Not Allowed\n", 405)
        response.headers["Allow"] = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        return response
    except web.HTTPNotFound:
        return _redirected(request) or text("404 page not found\n", 404)
    except web.HTTPRequestEntityTooLarge:
        return text("request body too large\n", 413)
    except web.RequestPayloadError as error:
        return text(f"request body: {error}\n", 400)
    except web.HTTPException:
        raise
    except Exception as error:  # the last resort of all handlers: logged, told
        reply = describe(error)
        if reply is None and isinstance(error, ConnectionError) and request.transport is None:
            # The client left, or was cut off, in the middle of its request.
            logger.debug("client went away while it sent %s %s", request.method, request.path)
            return text("nobody reads this\n", GONE)
        if reply is None:
            logger.exception("unexpected error answering %s %s", request.method, request.path)
            reply = ErrorReply(500, "internal", f"unexpected error: {type(error).__name__}")
        return failure(request, reply)


def _redirected(request: web.Request) -> web.Response | None:
    """Return the redirect for a path with doubled or trailing slashes, else None."""
    path, _, query = request.raw_path.partition("?")
    cleaned = re.sub("/{2,}", "/", path)
    if cleaned == path:
        if path + "/" == _api_prefix(request):
            cleaned = path + "/"
        elif path.rstrip("/") in request.app[PARTS].paths:
            cleaned = path.rstrip("/")
        else:
            return None
    location = f"{cleaned}?{query}" if query else cleaned
    status = 301 if request.method in ("GET", "HEAD") else 307
    body = f'<a href="{html.escape(location)}">Moved Permanently</a>.\n\n'
    response = text(body, status, "text/html; charset=utf-8")
    response.headers["Location"] = location
    return response
