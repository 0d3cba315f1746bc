"""Access tokens of OAuth 2.0's client credentials, got when needed and kept while they hold.

From: `http_client.py` (what the configuration says); the token endpoint.   To: `http_requests.py`.
Source: RFC 6749, sections 2.3.1, 4.4 and 5; Prometheus documentation, `oauth2`.
Invariant: at most one request for a token is under way, whoever waits for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus

import aiohttp
import orjson

from discovery.credentials import CredentialsError, base64_text, read_secret
from discovery.redaction import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from discovery.http_client import OAuth2

EARLY_S = 10.0
"""A token is renewed so long before it ends."""

RENEWAL_S = 5.0
"""A token younger than this is kept although it was refused: who refuses all would else cost the
token endpoint a request for each of ours."""

ANSWER_S = 30.0
_BODY_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the value of an `Authorization` header. Times are of the monotonic clock."""

    header: str
    got_at: float
    renew_at: float


class TokenSource:
    """The tokens of one configuration. Belongs to one event loop.

    `arguments` gives the keyword arguments of a request to a URL (TLS, proxy), blocking.
    """

    def __init__(self, config: OAuth2, arguments: Callable[[str], dict[str, Any]]) -> None:
        self._config, self._arguments = config, arguments
        self._token: Token | None = None
        self._lock = asyncio.Lock()
        # Where the endpoint wants client and secret; found out by asking, then remembered.
        self._in_body: bool | None = None
        self._failure: tuple[float, CredentialsError] | None = None

    async def token(self) -> Token:
        """Return a token that holds. Raises CredentialsError."""
        began = time.monotonic()
        if self._holds(began):
            assert self._token is not None
            return self._token
        async with self._lock:
            if self._token is None or not self._holds(time.monotonic()):
                if self._failure is not None and self._failure[0] > began:
                    # The attempt that we waited for has failed: hundreds of targets share that.
                    raise self._failure[1]
                self._token = None
                try:
                    self._token = await self._get()
                except CredentialsError as e:
                    self._failure = time.monotonic(), e
                    raise
            return self._token

    def refused(self, header: str) -> bool:
        """Note that a server did not accept a token (401); say whether another is to be had."""
        token = self._token
        if token is None or token.header != header:
            return True
        if time.monotonic() - token.got_at < RENEWAL_S:
            return False
        self._token = None
        return True

    def _holds(self, now: float) -> bool:
        return self._token is not None and now < self._token.renew_at

    async def _get(self) -> Token:
        config, shown = self._config, without_password(self._config.token_url)
        secret = await asyncio.to_thread(
            read_secret, config.client_secret, config.client_secret_file
        )
        try:
            options = await asyncio.to_thread(self._arguments, config.token_url)
            async with (
                asyncio.timeout(ANSWER_S),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            ):
                for in_body in (False, True) if self._in_body is None else (self._in_body,):
                    status, kind, body = await self._ask(session, options, secret, in_body)
                    if 200 <= status < 300:
                        self._in_body = in_body
                        break
        except TimeoutError as e:
            raise CredentialsError(f'Post "{shown}": context deadline exceeded') from e
        except (aiohttp.ClientError, OSError, ValueError) as e:
            raise CredentialsError(f'Post "{shown}": {e or type(e).__name__}') from e
        return _token(status, kind, body)

    async def _ask(
        self, session: aiohttp.ClientSession, options: dict[str, Any], secret: str, in_body: bool
    ) -> tuple[int, str, bytes]:
        """Return status, content type and body of the endpoint's answer."""
        config, options = self._config, dict(options)
        form = [("grant_type", "client_credentials")]
        if config.scopes:
            form.append(("scope", " ".join(config.scopes)))
        form += config.endpoint_params.items()
        headers = {"User-Agent": "gnomon", **options.pop("headers", {})}
        if in_body:
            form.append(("client_id", config.client_id))
            form += [("client_secret", secret)] if secret else []
        else:
            pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64_text(pair)}"
        async with session.post(
            config.token_url, data=dict(form), headers=headers, **options
        ) as response:
            body = await response.content.read(_BODY_MAX)
            while len(body) < _BODY_MAX and (more := await response.content.read(_BODY_MAX)):
                body += more
            return response.status, response.content_type, body


def _token(status: int, kind: str, body: bytes) -> Token:
    """Read an endpoint's answer. Raises CredentialsError in the words of Go's client."""
    fields: dict[str, Any] = {}
    if kind in ("application/x-www-form-urlencoded", "text/plain"):
        fields = {k: v[0] for k, v in parse_qs(body.decode(errors="replace")).items()}
    else:
        try:
            parsed = orjson.loads(body)
            fields = parsed if isinstance(parsed, dict) else {}
        except ValueError as e:
            if 200 <= status < 300:
                raise CredentialsError(f"oauth2: cannot parse json: {e}") from e
    if fields.get("error"):
        parts = [fields.get(name) for name in ("error", "error_description", "error_uri")]
        raise CredentialsError("oauth2: " + " ".join(f'"{part}"' for part in parts if part))
    if not 200 <= status < 300:
        said = body.decode(errors="replace").strip()[:200]
        raise CredentialsError(f"oauth2: cannot fetch token: {status}\nResponse: {said}")
    access = fields.get("access_token")
    if not isinstance(access, str) or not access:
        raise CredentialsError("oauth2: server response missing access_token")
    if any(char in access for char in "\r\n\0"):
        raise CredentialsError("oauth2: the access token is no header value")
    written = str(fields.get("token_type") or "Bearer")
    kinds = {"bearer": "Bearer", "mac": "MAC", "basic": "Basic"}
    now = time.monotonic()
    return Token(f"{kinds.get(written.lower(), written)} {access}", now, now + _lasts_s(fields))


def _lasts_s(fields: dict[str, Any]) -> float:
    """Return how long a token is to be used: for ever where its end is not said."""
    try:
        lasts_s = float(fields.get("expires_in") or 0)
    except (TypeError, ValueError) as e:
        raise CredentialsError(f"oauth2: cannot parse json: expires_in: {e}") from e
    # Of one that lasts for less than twice our margin, half: better than asking each time.
    return max(lasts_s - EARLY_S, lasts_s / 2) if lasts_s > 0 else math.inf
