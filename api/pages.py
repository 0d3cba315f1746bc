"""The pages for browsers: one HTML page for all addresses, scripts and a style, as they lie here.

From: `ui/`, read once.   To: browsers, whose scripts ask the API and nothing else.

Everything is addressed relative to the page, so it holds under any prefix and behind any proxy. The
policy that goes with the page forbids scripts, styles and connections of anybody else, and inline
ones. Only the names in `FILES` can be asked for. Source: the addresses are those of Prometheus' UI.
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from api.parts import PARTS
from api.replies import text, whole

if TYPE_CHECKING:
    from aiohttp import web

PAGES = (
    "/graph",
    "/query",
    "/alerts",
    "/targets",
    "/rules",
    "/service-discovery",
    "/alertmanager-discovery",
    "/status",
    "/tsdb-status",
    "/flags",
    "/config",
)
"""Addresses of Prometheus' pages, which bookmarks, alerts and dashboards link to; and /."""

FILES = {
    "style.css": "text/css; charset=utf-8",
    "text.js": "text/javascript; charset=utf-8",
    "graph.js": "text/javascript; charset=utf-8",
    "query.js": "text/javascript; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HTML = "text/html; charset=utf-8"
_UI = Path(__file__).parent / "ui"


@cache
def _content(name: str) -> bytes:
    return (_UI / name).read_bytes()


@cache
def _stamp() -> str:
    """Return what changes when any of the files does: browsers keep them until then."""
    whole_text = b"".join(_content(name) for name in FILES)
    return hashlib.sha256(whole_text).hexdigest()[:16]


async def page(request: web.Request) -> web.Response:
    """Answer / and the addresses of `PAGES`: the script finds out which of them it is."""
    parts = request.app[PARTS]
    values = {
        "title": parts.options.page_title,
        "version": parts.view.build().gnomon_version,
        "stamp": _stamp(),
    }
    index = _content("index.html").decode()
    shown = re.sub(r"{{(\w+)}}", lambda found: html.escape(values[found[1]]), index)
    response = whole(request, shown.encode(), content_type=_HTML)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-cache"
    return response


async def file(request: web.Request) -> web.Response:
    """Answer /ui/{name}."""
    name = request.match_info["name"]
    if name not in FILES:
        return text("404 page not found\n", 404)
    response = whole(request, _content(name), content_type=FILES[name])
    response.headers["X-Content-Type-Options"] = "nosniff"
    fresh = request.query.get("v") == _stamp()
    response.headers["Cache-Control"] = "max-age=31536000, immutable" if fresh else "no-cache"
    return response
