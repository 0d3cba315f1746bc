"""Who may ask, and the headers every answer carries: what `--web.config.file` says of HTTP.

From: `gnomon/web_access.py`, which reads the file.   To: the outermost middleware in `replies.py`.
Source: exporter-toolkit's web configuration.

A bcrypt check takes 50 ms or more and a client sends its password with every request, so outcomes
are remembered: as a keyed digest, never the password. Checks run in one thread of their own; who
guesses passwords waits in line with others who are not known yet, and holds up nobody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import bcrypt
from aiohttp import web

from api.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REMEMBERED_MAX = 1000
"""Outcomes of each kind."""

_PASSWORD_BYTES_MAX = 72
"""What bcrypt looks at; Go's passes over the rest, Python's refuses it."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A request every so many seconds on average, so many at once."""

    interval_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class AccessRules:
    """`users` maps names to bcrypt hashes, empty: all may ask. `headers` go on every answer.

    `client_names`: at least one must be a subject alternative name of the client's certificate;
    empty: any verified certificate does. `rate` None: as many requests as may come.
    """

    users: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    client_names: frozenset[str] = frozenset()
    rate: RateLimit | None = None


class Access:
    """Checks requests by rules that may be replaced at any time. Used from one event loop."""

    def __init__(self, rules: AccessRules, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self._clock_s = clock_s
        self._bucket = 0.0
        self._filled_s = -math.inf
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}
        self._bad: dict[bytes, None] = {}
        self._threads = Threads(1, "bcrypt")

    async def refusal(self, request: web.Request) -> web.Response | None:
        """Return what to answer a request that is not allowed; None if it is."""
        rules = self.rules
        if rules.rate is not None and not self._in_time(rules.rate):
            return web.Response(status=429, text="Too Many Requests\n")
        if rules.client_names and not _names_of(request) & rules.client_names:
            return web.Response(status=403, text="the client certificate has no allowed name\n")
        if not rules.users:
            return None
        if await self._known(request.headers.get("Authorization", "")):
            return None
        return web.Response(
            status=401, text="Unauthorized\n", headers={"WWW-Authenticate": "Basic"}
        )

    async def close(self) -> None:
        """End the thread."""
        await self._threads.close()

    def _in_time(self, rate: RateLimit) -> bool:
        """Take a token out of the bucket, which fills as time goes by."""
        now_s = self._clock_s()
        filled = self._bucket + (now_s - self._filled_s) / rate.interval_s
        self._bucket, self._filled_s = min(float(rate.burst), filled), now_s
        if self._bucket < 1:
            return False
        self._bucket -= 1
        return True

    async def _known(self, header: str) -> bool:
        credentials = _credentials(header)
        if credentials is None:
            return False
        name, password = credentials
        users = self.rules.users
        stored = users.get(name)
        # An unknown name costs as much as a wrong password: the time must not tell names.
        against = next(iter(users.values())) if stored is None else stored
        digest = hashlib.blake2b(
            b"%b\0%b\0%b" % (name.encode("utf-8", "surrogateescape"), against, password),
            key=self._key,
        ).digest()
        if digest in self._good:
            return True
        if digest in self._bad:
            return False
        equal = await self._threads.submit(lambda: _matches(password, against))
        good = equal and stored is not None
        _remember(self._good if good else self._bad, digest)
        return good


def _remember(outcomes: dict[bytes, None], digest: bytes) -> None:
    outcomes[digest] = None
    if len(outcomes) > REMEMBERED_MAX:
        del outcomes[next(iter(outcomes))]


def _matches(password: bytes, stored: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_PASSWORD_BYTES_MAX], stored)
    except ValueError:  # a hash that is none, a password with a zero byte
        return False


def _credentials(header: str) -> tuple[str, bytes] | None:
    """Return name and password of an Authorization header, None for any other."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        plain = base64.b64decode(coded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = plain.partition(b":")
    return (name.decode("utf-8", "surrogateescape"), password) if colon else None


def _names_of(request: web.Request) -> set[str]:
    """Return the subject alternative names of the client's verified certificate."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    return {value for _, value in (certificate or {}).get("subjectAltName", ())}
