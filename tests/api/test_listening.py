"""Connections over real sockets: how many at once, and who is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import time

import pytest
from aiohttp import web

from api.connection import HEAD_BYTES_MAX
from api.listening import Connections, Site
from api.routes import RUNNER_OPTIONS
from tests.api.conftest import PATIENCE_S, until

pytestmark = pytest.mark.timeout(120)


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _large(_request: web.Request) -> web.Response:
    return web.Response(body=bytes(32 << 20))


async def _slow(request: web.Request) -> web.Response:
    await request.app[RELEASE].wait()
    return web.Response(text="at last")


RELEASE: web.AppKey[asyncio.Event] = web.AppKey("RELEASE", asyncio.Event)


@contextlib.asynccontextmanager
async def serving(sites=1, context=None, **limits):
    """Yield the connections, their ports and the application."""
    app = web.Application()
    app[RELEASE] = asyncio.Event()
    app.router.add_route("*", "/echo", _echo)
    app.router.add_get("/large", _large)
    app.router.add_get("/slow", _slow)
    runner = web.AppRunner(app, shutdown_timeout=1.0, **RUNNER_OPTIONS)
    await runner.setup()
    connections = Connections(runner.server, **limits)
    try:
        for _ in range(sites):
            await Site(runner, connections, "127.0.0.1", 0, ssl_context=context).start()
        yield connections, [address[1] for address in runner.addresses], app
    finally:
        connections.close()
        await runner.cleanup()
        await until(lambda: not connections.open)


@contextlib.asynccontextmanager
async def client(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(reader, writer, path="/echo"):
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    return int(head.split()[1])


async def ended(reader):
    """Wait until the server ends the connection; return what it said before."""
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    return b""


def test_a_connection_beyond_the_limit_waits_until_one_ends():
    async def run():
        async with (
            serving(connections_max=2) as (connections, [port], _app),
            client(port) as first,
            client(port) as second,
            client(port) as third,
        ):
            assert [await ask(*first), await ask(*second)] == [200, 200]
            third[1].write(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(third[0].readexactly(1), 0.3)
            assert connections.stats().accepted == 2
            first[1].close()
            head = await asyncio.wait_for(third[0].readuntil(b"\r\n\r\n"), PATIENCE_S)
            assert head.startswith(b"HTTP/1.1 200")
            assert connections.stats().accepted == 3

    asyncio.run(run())


def test_all_addresses_share_the_limit():
    async def run():
        async with (
            serving(sites=2, connections_max=1) as (_connections, [one, other], _app),
            client(one) as first,
            client(other) as second,
        ):
            assert await ask(*first) == 200
            second[1].write(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second[0].readexactly(1), 0.3)
            first[1].close()
            head = await asyncio.wait_for(second[0].readuntil(b"\r\n\r\n"), PATIENCE_S)
            assert head.startswith(b"HTTP/1.1 200")

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="one that says nothing"),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-A", id="one that stops in its headers"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
            id="one that stops in its body",
        ),
        pytest.param(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", id="one that is idle after a reply"),
    ],
)
def test_a_client_is_cut_off_after_the_read_timeout(sent):
    async def run():
        async with (
            serving(read_timeout_s=0.5) as (_connections, [port], _app),
            client(port) as (reader, writer),
        ):
            writer.write(sent)
            begin = time.monotonic()
            await ended(reader)
            assert time.monotonic() - begin >= 0.4

    asyncio.run(run())


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /echo HTTP/1.1\r\n", id="headers"),
        pytest.param(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", id="a body"
        ),
    ],
)
def test_trickling_does_not_put_off_the_end(head):
    async def run():
        async with (
            serving(read_timeout_s=0.5) as (_connections, [port], _app),
            client(port) as (reader, writer),
        ):
            writer.write(head)

            async def trickle():
                while True:
                    writer.write(b"x")
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            try:
                await ended(reader)
            finally:
                trickling.cancel()

    asyncio.run(run())


def test_who_does_not_read_the_reply_is_cut_off():
    async def run():
        limits = {"stall_s": 0.5, "read_timeout_s": 60.0}
        async with (
            serving(**limits) as (connections, [port], _app),
            client(port) as (_reader, writer),
        ):
            writer.transport.pause_reading()
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: connections.cut_off == 1)
            await until(lambda: not connections.open)

    asyncio.run(run())


def test_a_slow_query_is_not_a_slow_client():
    async def run():
        async with (
            serving(read_timeout_s=0.3, stall_s=0.3) as (_connections, [port], app),
            client(port) as (reader, writer),
        ):
            writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(1.0)
            app[RELEASE].set()
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
            assert head.startswith(b"HTTP/1.1 200")

    asyncio.run(run())


def test_headers_without_end_are_refused_before_they_fill_memory():
    async def run():
        async with serving() as (connections, [port], _app), client(port) as (reader, writer):
            line = b"X-A: " + b"a" * 100_000 + b"\r\n"
            writer.write(b"GET /echo HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(2 * HEAD_BYTES_MAX // len(line)):
                    writer.write(line)
                    await writer.drain()
            await ended(reader)
            assert connections.cut_off == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="a header that is none"),
        pytest.param(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n", id="a path of a megabyte"),
        pytest.param(b"GET /nope HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n\r\n", id="no UTF-8"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", id="many headers"),
    ],
)
def test_what_is_no_http_is_refused_in_a_line_and_not_in_the_log(caplog, sent):
    async def run():
        async with serving() as (_, [port], _app), client(port) as (reader, writer):
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), PATIENCE_S)

    with caplog.at_level("INFO"):
        reply = asyncio.run(run())
    assert reply.split(b" ", 2)[1] in (b"400", b"431")
    assert len(reply) < 500
    assert caplog.records == []


@pytest.fixture
def server_certificate(tmp_path):
    paths = tmp_path / "one.crt", tmp_path / "one.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


def test_a_handshake_that_stops_holds_up_nobody(server_certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_certificate)

    async def run():
        limits = {"connections_max": 2, "read_timeout_s": 0.7}
        async with (
            serving(context=context, **limits) as (connections, [port], _app),
            client(port) as (silent, _writer),
        ):
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            assert await ask(reader, writer) == 200
            writer.close()
            await ended(silent)
            await until(lambda: connections.stats().closed == 2)

    asyncio.run(run())
