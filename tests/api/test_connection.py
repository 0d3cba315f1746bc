"""Requests that are begun without a task: in one turn or in several, they are answered alike."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from api.listening import Connections, Site
from api.routes import RUNNER_OPTIONS
from tests.api.conftest import PATIENCE_S, until

pytestmark = pytest.mark.timeout(120)

TRACE: web.AppKey[list[str]] = web.AppKey("TRACE", list)
RELEASE: web.AppKey[asyncio.Event] = web.AppKey("RELEASE", asyncio.Event)


async def _prompt(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.path_qs}")


async def _waiting(request: web.Request) -> web.Response:
    request.app[TRACE].append("begun")
    try:
        await request.app[RELEASE].wait()
    except asyncio.CancelledError:
        request.app[TRACE].append("canceled")
        raise
    finally:
        request.app[TRACE].append("ended")
    return web.Response(text="at last")


async def _timed_out(request: web.Request) -> web.Response:
    try:
        async with asyncio.timeout(0.01):
            await request.app[RELEASE].wait()
    except TimeoutError:
        await asyncio.sleep(0)
        return web.Response(text="timed out")
    return web.Response(text="not timed out")


async def _raised_inside(request: web.Request) -> web.Response:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, LookupError("nothing"))
    try:
        await future
    except LookupError as error:
        return web.Response(text=str(error))
    return web.Response(text="no error")


async def _broken(_request: web.Request) -> web.Response:
    raise ValueError("a bug")


async def _streamed(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (b"one ", b"two ", b"three"):
        await response.write(piece)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


@contextlib.asynccontextmanager
async def serving():
    """Yield a port, the application and its connections."""
    app = web.Application()
    app[TRACE], app[RELEASE] = [], asyncio.Event()
    for path, handler in {
        "/prompt": _prompt,
        "/waiting": _waiting,
        "/timed-out": _timed_out,
        "/raised-inside": _raised_inside,
        "/broken": _broken,
        "/streamed": _streamed,
    }.items():
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, shutdown_timeout=1.0, **RUNNER_OPTIONS)
    await runner.setup()
    connections = Connections(runner.server)
    try:
        await Site(runner, connections, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], app, connections
    finally:
        connections.close()
        await runner.cleanup()
        await until(lambda: not connections.open)


async def exchange(port, *pieces: bytes) -> bytes:
    """Send pieces, each in a packet of its own; return all that comes until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    finally:
        writer.close()
        await writer.wait_closed()


def get(path: str, *, last: bool = False, method: str = "GET") -> bytes:
    close = "Connection: close\r\n" if last else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{close}\r\n".encode()


def bodies(said: bytes) -> list[bytes]:
    """The bodies of answers that have a length."""
    found = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        length = next(
            int(line[15:])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        found.append(said[:length])
        said = said[length:]
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/prompt?a=1", b"GET /prompt?a=1", id="one that waits for nothing"),
        pytest.param("/timed-out", b"timed out", id="one that limits the time it waits"),
        pytest.param("/raised-inside", b"nothing", id="one whose wait ends in an error"),
    ],
)
def test_answers_on_new_and_on_kept_connections(path, expected):
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(port, get(path), get(path), get(path, last=True))
            assert bodies(said) == [expected] * 3

    asyncio.run(run())


def test_pipelined_requests_are_answered_in_their_order():
    async def run():
        async with serving() as (port, _app, _connections):
            numbers = range(100)
            whole = b"".join(get(f"/prompt?{n}", last=n == numbers[-1]) for n in numbers)
            said = await exchange(port, whole)
            assert bodies(said) == [b"GET /prompt?%d" % n for n in numbers]

    asyncio.run(run())


def test_what_comes_while_a_request_waits_has_its_turn_afterwards():
    async def run():
        async with serving() as (port, app, _connections):
            asking = asyncio.create_task(
                exchange(port, get("/waiting"), get("/prompt?1"), get("/prompt?2", last=True))
            )
            await until(lambda: app[TRACE] == ["begun"])
            app[RELEASE].set()
            assert bodies(await asking) == [b"at last", b"GET /prompt?1", b"GET /prompt?2"]

    asyncio.run(run())


def test_a_head_may_come_in_pieces_and_a_body_is_waited_for():
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(
                port,
                b"GET /prompt HT",
                b"TP/1.1\r\nHost: x\r\n",
                b"\r\n",
                b"POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n",
                b"abcd",
                get("/prompt?last", last=True),
            )
            assert bodies(said) == [b"GET /prompt", b"POST /prompt", b"GET /prompt?last"]

    asyncio.run(run())


def test_head_is_answered_without_a_body():
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(
                port, get("/prompt", method="HEAD"), get("/prompt", method="HEAD", last=True)
            )
            assert said.count(b"HTTP/1.1 200 OK") == 2
            assert said.endswith(b"\r\n\r\n")
            assert b"HEAD /prompt" not in said

    asyncio.run(run())


def test_http_1_0_ends_after_an_answer_unless_asked_not_to():
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(port, b"GET /prompt HTTP/1.0\r\n\r\n")
            assert bodies(said) == [b"GET /prompt"]
            kept = b"GET /prompt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            said = await exchange(port, kept, b"GET /prompt HTTP/1.0\r\n\r\n")
            assert bodies(said) == [b"GET /prompt"] * 2

    asyncio.run(run())


def test_an_expected_continue_is_said():
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(
                port,
                b"GET /prompt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                b"Connection: close\r\n\r\n",
            )
            assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    asyncio.run(run())


def test_a_bug_of_a_handler_is_told_and_logged(caplog):
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(port, get("/broken"))
            assert said.startswith(b"HTTP/1.1 500 ")

    asyncio.run(run())
    assert "a bug" in caplog.text


def test_pieces_of_an_answer_leave_before_and_after_a_wait():
    async def run():
        async with serving() as (port, _app, _connections):
            said = await exchange(port, get("/streamed", last=True))
            assert said.endswith(b"4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n")

    asyncio.run(run())


def test_bytes_that_are_no_http_are_refused():
    async def run():
        async with serving() as (port, _app, _connections):
            assert (await exchange(port, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.0 400 ")
            said = await exchange(port, get("/prompt"), b"nonsense\r\n\r\n")
            assert said.startswith(b"HTTP/1.1 200 OK")
            assert b"HTTP/1.0 400 " in said

    asyncio.run(run())


def test_a_client_may_end_its_side_and_be_gone_while_its_request_waits():
    async def run():
        async with serving() as (port, app, _connections):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/waiting"))
            await until(lambda: app[TRACE] == ["begun"])
            writer.close()
            await writer.wait_closed()
            app[RELEASE].set()
            await until(lambda: "ended" in app[TRACE])
            said = await exchange(port, get("/prompt", last=True))
            assert bodies(said) == [b"GET /prompt"]

    asyncio.run(run())


def test_a_request_whose_connection_ends_before_its_task_runs_is_cancelled():
    async def run():
        async with serving() as (port, app, connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/prompt"))
            await asyncio.wait_for(reader.readuntil(b"GET /prompt"), PATIENCE_S)
            [connection] = connections.open
            loop = asyncio.get_running_loop()
            loop.call_soon(connection.data_received, get("/waiting"))
            loop.call_soon(connection.connection_lost, None)
            await until(lambda: app[TRACE] == ["begun", "canceled", "ended"])
            connection.abort()
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())
