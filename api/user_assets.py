"""Files of a directory that whoever runs the server names, for browsers, under /user/.

From: the directory of `--web.user-assets`.   To: browsers.
Nothing outside of it is ever served: the path is followed to where it leads, links included, before
it is asked whether that is inside. Directories are not listed.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

from api.parts import PARTS
from api.replies import text, whole

if TYPE_CHECKING:
    from aiohttp import web

FILE_BYTES_MAX = 64 << 20
"""Files are held whole while they are sent."""


def read_inside(folder: Path, name: str) -> tuple[bytes, str] | None:
    """Return a file's bytes and its type, None where there is none in the folder."""
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        if path.is_dir():
            path = (path / "index.html").resolve(strict=True)
        inside = path.is_relative_to(root) and path.is_file()
        if not inside or path.stat().st_size > FILE_BYTES_MAX:
            return None
        content = path.read_bytes()
    except (OSError, ValueError, RuntimeError):  # not there, a NUL in its name, links in a circle
        return None
    kind, _ = mimetypes.guess_type(path.name, strict=False)
    return content, kind or "application/octet-stream"


async def file(request: web.Request) -> web.Response:
    """Answer /user/..."""
    parts = request.app[PARTS]
    folder, name = parts.options.user_assets, request.match_info["filepath"]
    found = None
    if folder:
        found = await parts.gate.call(lambda: read_inside(Path(folder), name.lstrip("/")))
    if found is None:
        return text("404 page not found\n", 404)
    content, kind = found
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    response = whole(request, content, content_type=kind)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
