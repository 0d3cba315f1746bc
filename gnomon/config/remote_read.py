"""The entries of `remote_read`: servers whose samples queries see beside our own.

From: `load.py`.   To: `RemoteReadSettings`, and through it `gnomon/remote_read/`.
Source: Prometheus documentation, remote_read; the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gnomon.config.document import go_quote
from gnomon.config.http_client import decode_client
from gnomon.config.remote_headers import decode_headers
from gnomon.remote_read.settings import FRAME_BYTES_DEFAULT, RemoteReadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section


def decode_remote_reads(top: Section, folder: Path) -> tuple[RemoteReadSettings, ...]:
    """Read all entries; two of one name are refused, as are two that say the same."""
    items = top.sections(
        "remote_read",
        "config.plain",
        null_text="empty or null remote read config section",
    )
    found: list[RemoteReadSettings] = []
    for item in items:
        entry = _entry(item, folder)
        if entry.name and any(entry.name == other.name for other in found):
            item.fail(
                f"found multiple remote read configs with job name {go_quote(entry.name)}", "name"
            )
        if entry in found:
            item.fail(
                "duplicate remote read configs are not allowed, found duplicate for URL:"
                f" {entry.url}"
            )
        found.append(entry)
    return tuple(found)


def _entry(section: Section, folder: Path) -> RemoteReadSettings:
    url = section.string("url")
    if not url:
        section.fail("url for remote_read is empty")
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        section.fail(f"parse {go_quote(url)}: {error}", "url")
    timeout_ms = section.duration_ms("remote_timeout")
    limit = section.integer("chunked_read_limit", FRAME_BYTES_DEFAULT)
    return RemoteReadSettings(
        url=url,
        name=section.string("name"),
        remote_timeout_ms=60_000 if timeout_ms is None else timeout_ms,
        chunked_read_limit_bytes=limit or FRAME_BYTES_DEFAULT,
        headers=decode_headers(section),
        read_recent=section.boolean("read_recent", False),
        required_matchers=section.labels("required_matchers"),
        filter_external_labels=section.boolean("filter_external_labels", True),
        http_client=decode_client(section, folder),
    )
