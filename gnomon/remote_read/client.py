"""Asking other servers: HTTP on an event loop in a thread of its own.

From: `reader.py`, whose callers are the threads of queries and wait.   To: other servers.
All questions of a query are asked at once; connections stay open between queries.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import cramjam

from api.receivers.body_decoding import BodyError, decode
from api.wire import WireError
from discovery.http_requests import CredentialsError, RequestOptions, new_session
from gnomon.prometheus import bit_kernels, chunk_kernels, histogram_kernels
from gnomon.remote_read.messages import Chunks, Frames, Series, read_samples
from gnomon.version import gnomon_version
from scraper.loop_thread import LoopThread
from tsdb.errors import TooManySamplesError
from tsdb.kernel_compilation import kernels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gnomon.remote_read.settings import RemoteReadSettings

ANSWER_BYTES_MAX = 256 << 20
"""An answer of samples, packed or not: as much as a push may be."""

ERROR_TEXT_MAX = 1024
"""So much of an error's text is looked at."""

_STREAM = "application/x-streamed-protobuf"


class RemoteReadError(Exception):
    """A server that did not answer, or not as it should; the text is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query to one server. `samples_max`: an answer of more is a TooManySamplesError."""

    endpoint: RemoteReadSettings
    message: bytes
    samples_max: int | None


class RemoteClient:
    """The thread and its connections. `ask` may be called from any thread."""

    def __init__(self) -> None:
        """Start the thread, with the kernels that decode what comes ready."""
        for module in (bit_kernels, chunk_kernels, histogram_kernels):
            for kernel in kernels_of(module.__name__):
                kernel.load()
        self._options: dict[int, tuple[RemoteReadSettings, RequestOptions]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._loop = LoopThread("remote-read")

    def ask(self, questions: Sequence[Question]) -> list[Series | RemoteReadError]:
        """Return the answer, or what went wrong, of each question. Waits for all of them.

        Raises TooManySamplesError.
        """
        return self._loop.begin(self._ask_all(questions)).result()

    def close(self) -> None:
        """End the connections and the thread."""
        self._loop.begin(self._close()).result()
        self._loop.end()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask_all(self, questions: Sequence[Question]) -> list[Series | RemoteReadError]:
        tasks = [asyncio.create_task(self._answer(question)) for question in questions]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _answer(self, question: Question) -> Series | RemoteReadError:
        endpoint = question.endpoint
        try:
            async with asyncio.timeout(endpoint.remote_timeout_ms / 1000):
                return await self._exchange(question)
        except RemoteReadError as error:
            return error
        except TimeoutError:
            return _failed(endpoint, "context deadline exceeded")
        except (aiohttp.ClientError, CredentialsError, OSError, ValueError) as error:
            return _failed(endpoint, str(error) or type(error).__name__)
        except WireError as error:
            return _failed(endpoint, f"error reading response: {error}")

    async def _exchange(self, question: Question) -> Series:
        endpoint = question.endpoint
        if self._session is None:
            self._session = new_session()
        arguments, _ = await self._options_of(endpoint).arguments(endpoint.url)
        arguments["headers"] |= {
            **endpoint.headers,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "Accept-Encoding": "snappy",
            "User-Agent": f"Gnomon/{gnomon_version()}",
            "X-Prometheus-Remote-Read-Version": "0.1.0",
        }
        body = bytes(cramjam.snappy.compress_raw(question.message))
        async with self._session.post(endpoint.url, data=body, **arguments) as response:
            if response.status // 100 != 2:
                text = (await response.content.read(ERROR_TEXT_MAX)).decode(errors="replace")
                raise _failed(
                    endpoint,
                    f"remote server returned http status {response.status}"
                    f" {response.reason or ''}: {text.strip()}",
                )
            if response.headers.get("Content-Type", "").startswith(_STREAM):
                return await _streamed(response, question)
            return await _whole(response, question)

    def _options_of(self, endpoint: RemoteReadSettings) -> RequestOptions:
        """Return what makes requests of one endpoint; TLS contexts and tokens are kept."""
        known = self._options.get(id(endpoint))
        if known is None or known[0] is not endpoint:
            if len(self._options) > 64:  # of configurations long gone
                self._options.clear()
            known = self._options[id(endpoint)] = endpoint, RequestOptions(endpoint.http_client)
        return known[1]


def _failed(endpoint: RemoteReadSettings, text: str) -> RemoteReadError:
    return RemoteReadError(f"remote_read {endpoint.shown_name}: {text}")


def _check_count(question: Question, count: int) -> None:
    if question.samples_max is not None and count > question.samples_max:
        raise TooManySamplesError(question.samples_max)


async def _streamed(response: aiohttp.ClientResponse, question: Question) -> Series:
    """Return the series of an answer in frames, as they come in."""
    frames, chunks = Frames(question.endpoint.chunked_read_limit_bytes), Chunks()
    async for data in response.content.iter_any():
        for message in frames.feed(data):
            chunks.add(message)
            _check_count(question, chunks.sample_count)
    frames.end()
    return await asyncio.to_thread(chunks.decoded)


async def _whole(response: aiohttp.ClientResponse, question: Question) -> Series:
    """Return the series of an answer in one piece."""
    packed = bytearray()
    async for data in response.content.iter_any():
        packed += data
        if len(packed) > ANSWER_BYTES_MAX:
            raise _failed(question.endpoint, f"more than {ANSWER_BYTES_MAX} bytes")

    def work() -> Series:
        # The same limits as for pushes: the length of a block is known before memory is taken.
        return read_samples(decode(bytes(packed), "snappy"))

    try:
        found = await asyncio.to_thread(work)
    except BodyError as error:
        raise WireError(str(error)) from error
    _check_count(question, found.sample_count)
    return found
