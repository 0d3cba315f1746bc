"""Answers in parts, over real sockets: their order, their bounds, and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import threading
import time
import zlib

import numpy as np
import pytest
from aiohttp import ClientPayloadError, ClientSession, web

from api.answer_parts import Body, ChunkRun, SeriesRun, whole_chunks
from api.gate import Gate
from api.listening import Connections, Site
from api.routes import RUNNER_OPTIONS
from api.streaming import LOOK_AHEAD, PartSender
from tests.api.conftest import PATIENCE_S, until

pytestmark = pytest.mark.timeout(120)

ROOM_BYTES = 1 << 16
BODY: web.AppKey[list] = web.AppKey("BODY", list)


def numbers_part(first, stop, made=None, delay_s=0.0, size=20_000):
    """A part that writes each number of a range `size` times over, one to a room."""

    def write(state, room):
        if delay_s:
            time.sleep(random.random() * delay_s)
        if made is not None:
            made.append(int(state[0]))
        text = np.frombuffer(b"%d," % state[0] * size, dtype=np.uint8)[: room.size]
        room[: text.size] = text
        state[0] += 1
        return text.size

    return SeriesRun(write, first, stop)


def text_of(numbers, size=20_000):
    return b"".join((b"%d," % number * size)[:ROOM_BYTES] for number in numbers)


async def send_body(request):
    """Answer with the next body, as `replies.streamed` does."""
    body, encoding, gate = request.app[BODY].pop(0)
    response = web.StreamResponse()
    if encoding:
        response.headers["Content-Encoding"] = encoding
    await response.prepare(request)
    try:
        await PartSender(gate, request, response, body).send()
        await response.write_eof()
    except ConnectionError:
        request.app[BODY].append("gone")
    except ValueError:
        request.transport.abort()
    return response


@contextlib.asynccontextmanager
async def serving(*, ours=True):
    app = web.Application()
    app[BODY] = []
    app.router.add_get("/", send_body)
    runner = web.AppRunner(app, shutdown_timeout=1.0, **RUNNER_OPTIONS)
    await runner.setup()
    connections = Connections(runner.server)
    gate = Gate(4)
    try:
        if ours:
            await Site(runner, connections, "127.0.0.1", 0).start()
        else:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield app[BODY], gate, runner.addresses[0][1]
    finally:
        connections.close()
        await runner.cleanup()
        await until(lambda: not connections.open)
        await gate.close()


async def answer_of(body, encoding, *, ours=True):
    async with serving(ours=ours) as (bodies, gate, port), ClientSession() as session:
        bodies.append((body, encoding, gate))
        async with session.get(f"http://127.0.0.1:{port}/", auto_decompress=False) as response:
            return await response.read()


@pytest.mark.parametrize("ours", [True, False], ids=["our transport", "asyncio's transport"])
@pytest.mark.parametrize(
    ("encoding", "unpack"), [("", bytes), ("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
def test_parts_arrive_in_their_order_however_long_each_takes(encoding, unpack, ours):
    parts = [numbers_part(n, n + 1, delay_s=0.01) for n in range(30)]
    body = Body(b"[", parts, b"]", ROOM_BYTES)
    got = asyncio.run(answer_of(body, encoding, ours=ours))
    assert unpack(got) == b"[" + text_of(range(30)) + b"]"


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_parts_larger_than_a_room_and_chunks_of_others_mingle(encoding):
    parts = [
        numbers_part(0, 7),
        ChunkRun(iter([b"one,", b"two,"])),
        numbers_part(7, 8),
        ChunkRun(iter([])),
    ]
    got = asyncio.run(answer_of(Body(b"<", parts, b">", ROOM_BYTES), encoding))
    got = gzip.decompress(got) if encoding else got
    assert got == b"<" + text_of(range(7)) + b"one,two," + text_of([7]) + b">"


def test_whole_chunks_are_the_same_answer():
    parts = [numbers_part(0, 3), ChunkRun(iter([b"x"])), numbers_part(3, 4)]
    chunks = list(whole_chunks(Body(b"<", parts, b">", ROOM_BYTES)))
    assert b"".join(chunks) == b"<" + text_of(range(3)) + b"x" + text_of([3]) + b">"
    assert all(chunks)


def test_clients_of_http_1_0_get_it_without_chunks():
    async def run():
        async with serving() as (bodies, gate, port):
            bodies.append((Body(b"<", [numbers_part(0, 9)], b">", ROOM_BYTES), "", gate))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), PATIENCE_S)
            writer.close()
            await writer.wait_closed()
            return got.partition(b"\r\n\r\n")[2]

    assert asyncio.run(run()) == b"<" + text_of(range(9)) + b">"


def test_a_part_that_fails_breaks_the_answer_off():
    def fail(_state, _room):
        raise ValueError("no such column")

    parts = [numbers_part(0, 1), SeriesRun(fail, 1, 2), numbers_part(2, 3)]
    with pytest.raises(ClientPayloadError):
        asyncio.run(answer_of(Body(b"<", parts, b">", ROOM_BYTES), ""))


async def left_at(make_ahead_of, wait):
    """Open a connection that never reads, see what `wait` says, and leave."""
    made: list[int] = []
    parts = [numbers_part(n, n + 1, made, size=ROOM_BYTES) for n in range(make_ahead_of)]
    async with serving() as (bodies, gate, port):
        bodies.append((Body(b"<", parts, b">", ROOM_BYTES), "", gate))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: made)
        await wait(made)
        before_leaving = len(made)
        writer.transport.abort()
        del reader
        await until(lambda: bodies == ["gone"])
        return before_leaving, len(made)


def test_who_does_not_read_has_few_parts_made_and_leaving_ends_it():
    count = 2000  # 128 MB, more than the kernel's buffers take

    async def settled(made):
        at_rest = -1
        while at_rest != len(made):
            at_rest = len(made)
            await asyncio.sleep(0.3)

    before, after = asyncio.run(left_at(count, settled))
    assert before < count // 2
    assert after <= before + LOOK_AHEAD


def test_a_small_question_is_answered_while_a_large_answer_is_made():
    made: list[int] = []
    release = threading.Event()

    async def run():
        async with serving() as (bodies, gate, port), ClientSession() as session:
            parts = [numbers_part(n, n + 1, made, delay_s=0.01) for n in range(60)]
            bodies.append((Body(b"<", parts, b">", ROOM_BYTES), "", gate))
            large = asyncio.create_task(session.get(f"http://127.0.0.1:{port}/"))
            await until(lambda: made)
            asked_at = len(made)
            await gate.read(release.set)
            answered_at = len(made)
            async with await large as response:
                await response.read()
            return answered_at - asked_at

    assert asyncio.run(run()) <= 2 * LOOK_AHEAD
    assert release.is_set()
    assert len(made) == 60
