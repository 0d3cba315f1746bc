"""Handlers of what storage knows besides samples: series, label names, label values; federation.

From: `routes.py`.   To: `tsdb.interface.SeriesReader`, in threads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import numpy as np
from aiohttp import web

from api.errors import BAD_DATA, ApiError, BadParameterError
from api.json_writer import label_set_body
from api.params import matcher_sets, read_form
from api.parts import PARTS
from api.query import TRUNCATED
from api.replies import (
    Packed,
    accepted_encoding,
    answer,
    packed,
    packed_body,
    success,
    success_body,
)
from promql.errors import ParseError
from promql.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from api.parts import Parts

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"_(?:_|([0-9a-fA-F]{1,6})_)")


async def series(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/series: the label sets that match."""
    parts, form = request.app[PARTS], await read_form(request, strict=True)
    if not form.all("match[]"):
        raise ApiError(BAD_DATA, "no match[] parameter provided")
    limit = form.limit()
    start_ms, end_ms = form.time_range_ms()
    try:
        matchers = matcher_sets(form.all("match[]"))
    except (ParseError, ApiError) as error:
        raise BadParameterError("match[]", str(error)) from None
    offered = accepted_encoding(request)

    if start_ms > end_ms:
        return success(request, [])

    def run() -> Packed:
        found = parts.reader.series(matchers, start_ms, end_ms)
        ids, cut = found.ids, 0 < limit < found.series_count
        if cut:
            ids = np.ascontiguousarray(ids[:, :limit])
        warnings = (*parts.view.reading_notes(), *((TRUNCATED,) if cut else ()))
        return packed_body(label_set_body(found.names, ids, found.symbols, warnings), offered)

    asked = ("series", tuple(matchers), start_ms, end_ms, limit)
    return await answer(request, await parts.gate.read(run, _key(parts, asked)))


async def delete_series(_request: web.Request) -> web.Response:
    """Answer DELETE of /api/v1/series as Prometheus does; the admin API is for deleting."""
    raise ApiError("internal", "not implemented")


async def label_names(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/labels: the names in use."""
    parts, form = request.app[PARTS], await read_form(request)
    limit = form.limit()
    start_ms, end_ms = form.time_range_ms()
    matchers = matcher_sets(form.all("match[]"))
    return await _texts(
        request,
        lambda: parts.storage.label_names(matchers, start_ms, end_ms),
        limit,
        ("names", tuple(matchers), start_ms, end_ms, limit),
    )


async def label_values(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/label/<name>/values; `U__` names are decoded."""
    parts, form = request.app[PARTS], await read_form(request)
    # From the raw path: bytes that are no UTF-8 must be refused, not passed over.
    segment = request.raw_path.partition("?")[0].split("/")[-2]
    name = unquote_to_bytes(segment).decode("utf-8", "surrogateescape")
    if "/" in name:
        raise web.HTTPNotFound
    if name.startswith("U__"):
        name = unescape_name(name)
    if not name or _SURROGATE.search(name):
        raise ApiError(BAD_DATA, f"invalid label name: {quote(name)}")
    limit = form.limit()
    start_ms, end_ms = form.time_range_ms()
    matchers = matcher_sets(form.all("match[]"))
    return await _texts(
        request,
        lambda: parts.storage.label_values(name, matchers, start_ms, end_ms),
        limit,
        ("values", name, tuple(matchers), start_ms, end_ms, limit),
    )


async def _texts(
    request: web.Request, find: Callable[[], list[str]], limit: int, asked: Hashable
) -> web.StreamResponse:
    """Reply with texts; finding, writing and compressing them is a thread's work, as a rule."""
    offered, view = accepted_encoding(request), request.app[PARTS].view

    def run() -> Packed:
        notes = view.reading_notes()
        found = find()
        cut = 0 < limit < len(found)
        warnings = (*notes, TRUNCATED) if cut else notes
        body = success_body(found[:limit] if cut else found, warnings)
        return packed(iter([body]), offered)

    parts = request.app[PARTS]
    return await answer(request, await parts.gate.read(run, _key(parts, asked)))


def _key(parts: Parts, asked: Hashable) -> Hashable:
    """Return what tells a question from others for `Gate.read`, None if it may wait for others."""
    return asked if parts.view.answers_alone() else None


def unescape_name(name: str) -> str:
    """Return the name behind a `U__` form; one that is not well-formed stays as it is.

    >>> unescape_name("U__http_2e_status"), unescape_name("U__a__b"), unescape_name("U__a_b")
    ('http.status', 'a_b', 'U__a_b')
    """
    rest = name.removeprefix("U__")
    if "_" in _ESCAPED.sub("", rest):
        return name
    try:
        plain = _ESCAPED.sub(lambda m: chr(int(m.group(1), 16)) if m.group(1) else "_", rest)
    except ValueError:
        return name
    return name if _SURROGATE.search(plain) else plain
