"""TLS and users of the server's own port, kept in step with their files.

From: `--web.config.file`.   To: `server.py` (the TLS context), `api.access` (rules).

The files are looked at every few seconds: certificates are renewed by programs that signal
nobody. A file that has become bad is logged, and what was good before stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING

from api.access import Access
from gnomon.config.document import ConfigError
from gnomon.config.web import load_web_file

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.web import WebConfig

_log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How long a renewed certificate or a new user waits."""

_Stamp = tuple[tuple[int, int, int], ...]


class WebAccess:
    """The web configuration in force. Raises ConfigError, OSError, SSLError when made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._config = load_web_file(path)
        self._stamp = self._look(self._config)
        self.context = self._config.tls.context() if self._config.tls else None
        self.access = Access(self._config.rules)

    async def watch(self) -> None:
        """Apply changes of the files, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            stamp = await asyncio.to_thread(self._look, self._config)
            if stamp != self._stamp:
                self._stamp = stamp
                await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the files anew. What is bad is logged, and what was in force stays."""
        try:
            config = load_web_file(self._path)
            if (config.tls is None) != (self._config.tls is None):
                raise ConfigError("TLS cannot be switched on or off while the server runs")
            if config.tls is not None and self._config.tls is not None:
                if _fixed(config) != _fixed(self._config):
                    raise ConfigError("TLS versions, suites and client certificates need a restart")
                config.tls.context()  # a certificate that does not fit its key fails here
                assert self.context is not None
                config.tls.load_into(self.context)
        except (ConfigError, OSError, ValueError, ssl.SSLError) as error:
            _log.error("web configuration: %s", error, extra={"fields": {"file": self._path}})
            return
        self._config, self.access.rules = config, config.rules
        self._stamp = self._look(config)
        _log.info("Web configuration applied", extra={"fields": {"file": self._path}})

    def _look(self, config: WebConfig) -> _Stamp:
        """Return what tells whether any of the files has changed."""
        found = []
        for path in (self._path, *config.files):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)


def _fixed(config: WebConfig) -> tuple[object, ...]:
    """Return what a context keeps for its life."""
    tls = config.tls
    assert tls is not None
    suites = tls.ciphers, tls.curve, tls.prefer_server_ciphers
    return (
        tls.client_auth,
        tls.client_ca,
        tls.client_ca_text,
        tls.min_version,
        tls.max_version,
        suites,
    )
