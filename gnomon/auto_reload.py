"""The configuration's files, watched: what `--config.auto-reload` does.

From: `server.py`, which runs it.   To: its `reload`.

Contents are compared, not times: a file that is written anew with the same text is no change, and
one behind a symbolic link, as Kubernetes mounts it, is seen. A change that cannot be used is told
once, by the reload, and not tried again before the next change.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from glob import glob
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gnomon.config.model import Config

_log = logging.getLogger(__name__)


def digest(config_file: Path, config: Config) -> bytes:
    """Return what tells one state of the configuration's files from another.

    The files are the one that is named and those that it takes in. One that cannot be read counts
    as one without content.
    """
    named = [str(config_file)]
    for pattern in config.scrape_config_files:
        named += sorted(glob(str(pattern)))  # noqa: PTH207 - a pattern may be absolute
    found = hashlib.blake2b()
    for name in named:
        try:
            with open(name, "rb") as file:  # noqa: PTH123 - a name as glob gives it
                content = file.read()
        except OSError:
            content = b""
        for part in (name.encode(), content):
            found.update(len(part).to_bytes(8, "little") + part)
    return found.digest()


async def watch(
    config_file: Path,
    config: Callable[[], Config],
    interval_s: float,
    reload: Callable[[], Awaitable[None]],
    before: bytes,
) -> None:
    """Reload whenever the files have changed, until cancelled.

    `config` is what holds now, `before` the digest of its files when they were read.
    """
    while True:
        await asyncio.sleep(interval_s)
        now = await asyncio.to_thread(digest, config_file, config())
        if now == before:
            continue
        _log.info("Configuration file change detected, reloading the configuration.")
        try:
            await reload()
        except ValueError:
            before = now  # the reload has told what is wrong
        else:
            # With the files that the new configuration names.
            before = await asyncio.to_thread(digest, config_file, config())
