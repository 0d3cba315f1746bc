"""One request of remote write, and what its answer means.

From: `delivery.py`.   To: whoever receives. Source: remote write specifications, "Retries".
"""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from discovery.http_requests import CredentialsError, RequestOptions, new_session
from gnomon.version import gnomon_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gnomon.forwarding.settings import RemoteWriteSettings

_SHOWN_BYTES = 256
"""So much of an answer is told in the log, as by Prometheus."""
_WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    `retry`: the same again later. `retry_after_s` is what the other side asked for, 0 for nothing.
    `written` says what 2.0 was told: samples, histograms, exemplars; None without such headers.
    """

    ok: bool
    retry: bool = False
    retry_after_s: float = 0.0
    problem: str = ""
    written: tuple[int, int, int] | None = None


class Sender:
    """Requests to one end. Made and used on one event loop; `close` it there."""

    def __init__(self, settings: RemoteWriteSettings, headers: Mapping[str, str]) -> None:
        """`headers` tell the version of the protocol."""
        self._settings = settings
        self._options = RequestOptions(settings.http_client)
        self._headers = {
            "Content-Encoding": "snappy",
            "User-Agent": f"Gnomon/{gnomon_version()}",
            **settings.headers,
            **headers,
        }
        # The connector goes round the addresses of a name, with or without round_robin_dns.
        self._session = new_session()
        self._timeout = aiohttp.ClientTimeout(total=settings.remote_timeout_ms / 1000)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, body: bytes, attempt: int) -> Reply:
        """Send one body; attempts are counted from 0. Whatever goes wrong is in the reply."""
        url = self._settings.url
        try:
            options, _ = await self._options.arguments(url)
            options["headers"] = {**options["headers"], **self._headers}
            if attempt:
                options["headers"]["Retry-Attempt"] = str(attempt)
            async with self._session.post(
                url, data=body, timeout=self._timeout, **options
            ) as answer:
                text = await answer.content.read(_SHOWN_BYTES)
                return self._reply(answer, text)
        except TimeoutError:
            took = self._settings.remote_timeout_ms / 1000
            return Reply(False, retry=True, problem=f"no answer within {took:g} s")
        except (aiohttp.ClientError, CredentialsError, OSError, ValueError) as error:
            return Reply(False, retry=True, problem=f"{type(error).__name__}: {error}")

    def _reply(self, answer: aiohttp.ClientResponse, text: bytes) -> Reply:
        status, headers = answer.status, answer.headers
        written = _written(headers)
        if 200 <= status < 300:
            return Reply(True, written=written)
        if status == 401:
            self._options.refused(answer.request_info.headers)
        line = text.partition(b"\n")[0].decode(errors="replace")
        problem = f"server returned HTTP status {status} {answer.reason or ''}: {line}"
        retry = status >= 500 or (status == 429 and self._settings.queue.retry_on_http_429)
        after_s = _retry_after_s(headers.get("Retry-After", "")) if retry else 0.0
        return Reply(False, retry, after_s, problem, written)


def _written(headers: Mapping[str, str]) -> tuple[int, int, int] | None:
    found = [headers.get(_WRITTEN.format(name)) for name in ("Samples", "Histograms", "Exemplars")]
    if all(each is None for each in found):
        return None
    numbers = [int(each) if each is not None and each.isdecimal() else 0 for each in found]
    return numbers[0], numbers[1], numbers[2]


def _retry_after_s(text: str) -> float:
    """Return how long to wait: the header is seconds or a date.

    >>> _retry_after_s("3"), _retry_after_s("soon")
    (3.0, 0.0)
    """
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
