"""Target groups from an HTTP service.

From: `http_sd_configs`.   To: `combine.py`.
Source: Prometheus documentation, `http_sd_config`.
Invariant: any failure keeps the groups that were known.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import aiohttp

from discovery.group_format import GroupFormatError, parse_json
from discovery.groups import TargetGroup
from discovery.http_requests import CredentialsError, RequestOptions, new_session
from discovery.redaction import without_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from discovery.http_client import HttpClientConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpDiscoveryStats:
    """Refreshes since the start, those that failed, and why the last one did ("" if it did not)."""

    refreshes: int
    failures: int
    last_error: str


@dataclass(slots=True)
class _State:
    group_count: int = 0
    refreshes: int = 0
    failures: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class HttpDiscovery:
    """Asks a service again and again. Equal configurations make equal discoverers."""

    url: str
    client: HttpClientConfig
    refresh_interval_s: float = 60.0
    user_agent: str = field(default="Prometheus/3.5.3", compare=False)
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    async def changes(self) -> AsyncIterator[list[TargetGroup]]:
        """Yield all groups after each refresh that succeeds. Runs until cancelled."""
        options = RequestOptions(self.client)
        self._state.group_count = 0
        async with new_session() as session:
            while True:
                groups = await self._refresh(session, options)
                if groups is not None:
                    yield groups
                await asyncio.sleep(self.refresh_interval_s)

    def stats(self) -> HttpDiscoveryStats:
        """Return the counts so far."""
        state = self._state
        return HttpDiscoveryStats(state.refreshes, state.failures, state.last_error)

    async def _refresh(
        self, session: aiohttp.ClientSession, options: RequestOptions
    ) -> list[TargetGroup] | None:
        """Return the groups, with empty ones for those that went; None if anything failed."""
        state = self._state
        state.refreshes += 1
        try:
            async with asyncio.timeout(self.refresh_interval_s):
                groups = await self._ask(session, options)
        except (aiohttp.ClientError, OSError, CredentialsError, GroupFormatError) as e:
            state.failures += 1
            shown = without_password(self.url)
            reason = str(e).replace(self.url, shown) or type(e).__name__
            if reason != state.last_error:
                _log.error("Unable to refresh target groups: url=%s %s", shown, reason)
            state.last_error = reason
            return None
        state.last_error = ""
        gone = range(len(groups), state.group_count)
        state.group_count = len(groups)
        return groups + [TargetGroup(f"{self.url}:{number}") for number in gone]

    async def _ask(
        self, session: aiohttp.ClientSession, options: RequestOptions
    ) -> list[TargetGroup]:
        arguments, _ = await options.arguments(self.url)
        headers = {
            "User-Agent": self.user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "X-Prometheus-Refresh-Interval-Seconds": f"{self.refresh_interval_s:g}",
            **arguments.pop("headers", {}),
        }
        async with session.get(self.url, headers=headers, **arguments) as response:
            if response.status != 200:
                if response.status == 401:
                    options.refused(headers)
                raise GroupFormatError(f"server returned HTTP status {response.status}")
            content_type = response.headers.get("Content-Type", "")
            if not _is_json(content_type):
                raise GroupFormatError(f'unsupported content type "{content_type}"')
            body = await response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                try:
                    body = zlib.decompress(body, 31)
                except zlib.error as e:
                    raise GroupFormatError(str(e)) from e
        try:
            text = body.decode()
        except UnicodeDecodeError as e:
            raise GroupFormatError(str(e)) from e
        return [
            replace(
                group,
                source=f"{self.url}:{group.source}",
                labels={**group.labels, "__meta_url": without_password(self.url)},
            )
            for group in parse_json(text)
        ]


def _is_json(content_type: str) -> bool:
    """Say whether a type is JSON in UTF-8, said or unsaid."""
    kind, _, rest = content_type.partition(";")
    charset = rest.replace(" ", "").lower()
    return kind.strip().lower() == "application/json" and charset in ("", "charset=utf-8")
