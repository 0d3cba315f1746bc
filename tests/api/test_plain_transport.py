"""A connection as a transport: what asyncio promises a protocol, over real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from api.plain_transport import PlainTransport
from tests.api.conftest import until


class Told(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self, *, keep_open=False):
        self.made = []
        self.data = b""
        self.calls = []
        self.lost = []
        self.keep_open = keep_open
        self.refuse = False

    def connection_made(self, transport):
        self.made.append(transport)

    def data_received(self, data):
        if self.refuse:
            raise ZeroDivisionError
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        return self.keep_open

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.lost.append(exc)


def over_a_socket(scenario, *, sent_before=b"", **told):
    """Run `scenario(transport, protocol, peer)`; the transport has ended when it returns."""

    async def main():
        ours, peer = socket.socketpair()
        with peer:
            ours.setblocking(False)
            peer.setblocking(False)
            peer.send(sent_before)
            protocol = Told(**told)
            transport = PlainTransport(asyncio.get_running_loop(), ours, "a peer", protocol)
            assert protocol.made == [transport]
            await scenario(transport, protocol, peer)
            transport.abort()
            await until(lambda: protocol.lost)
            assert len(protocol.lost) == 1
            assert ours.fileno() == -1

    asyncio.run(main())


async def received(peer, size):
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
    return data


def test_what_is_there_already_is_read_at_once():
    async def scenario(transport, protocol, peer):
        assert protocol.data == b"first"
        assert transport.get_extra_info("peername") == "a peer"
        assert transport.get_extra_info("sslcontext") is None
        peer.send(b" and second")
        await until(lambda: protocol.data == b"first and second")

    over_a_socket(scenario, sent_before=b"first")


def test_more_than_the_kernel_takes_arrives_in_order_and_the_protocol_is_paused_meanwhile():
    data = bytes(range(256)) * 40_000

    async def scenario(transport, protocol, peer):
        transport.write(data[:5])
        assert transport.get_write_buffer_size() == 0
        transport.write(memoryview(data)[5:5_000_000])
        transport.writelines([bytearray(data[5_000_000:7_000_000]), data[7_000_000:]])
        assert protocol.calls == ["pause"]
        assert transport.get_write_buffer_size() > 1_000_000
        assert await received(peer, len(data)) == data
        await until(lambda: transport.get_write_buffer_size() == 0)
        assert protocol.calls == ["pause", "resume"]

    over_a_socket(scenario)


@pytest.mark.parametrize("size", [10, 10_000_000])
def test_closing_sends_what_waits_first(size):
    async def scenario(transport, protocol, peer):
        transport.write(bytes(size))
        transport.close()
        assert transport.is_closing()
        assert await received(peer, size) == bytes(size)
        await until(lambda: protocol.lost)
        assert protocol.lost == [None]
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        transport.write(b"nobody reads this")

    over_a_socket(scenario)


def test_aborting_sends_nothing_more():
    async def scenario(transport, protocol, peer):
        transport.write(bytes(10_000_000))
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        await until(lambda: protocol.lost)
        assert protocol.lost == [None]

    over_a_socket(scenario)


def test_the_end_of_input_ends_the_connection():
    async def scenario(transport, protocol, peer):
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.lost)
        assert (protocol.calls, protocol.lost) == (["eof"], [None])

    over_a_socket(scenario)


def test_a_protocol_may_go_on_writing_after_the_end_of_input():
    async def scenario(transport, protocol, peer):
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.calls)
        transport.write(b"still here")
        assert await received(peer, 10) == b"still here"
        assert protocol.lost == []

    over_a_socket(scenario, keep_open=True)


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_the_end_of_output_comes_after_the_data(size):
    async def scenario(transport, protocol, peer):
        transport.write(bytes(size))
        transport.write_eof()
        assert await received(peer, size) == bytes(size)
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        peer.send(b"I still write")
        await until(lambda: protocol.data == b"I still write")

    over_a_socket(scenario)


def test_reading_pauses_and_resumes():
    async def scenario(transport, protocol, peer):
        transport.pause_reading()
        assert not transport.is_reading()
        peer.send(b"later")
        await asyncio.sleep(0.02)
        assert protocol.data == b""
        transport.resume_reading()
        await until(lambda: protocol.data == b"later")

    over_a_socket(scenario)


def test_a_peer_that_breaks_off_is_an_end_with_an_error():
    async def scenario(transport, protocol, peer):
        transport.write(bytes(10_000_000))
        peer.close()
        await until(lambda: protocol.lost)
        assert isinstance(protocol.lost[0], OSError)

    over_a_socket(scenario)


def test_a_protocol_that_fails_loses_its_connection(caplog):
    async def scenario(transport, protocol, peer):
        protocol.refuse = True
        peer.send(b"anything")
        await until(lambda: protocol.lost)
        assert isinstance(protocol.lost[0], ZeroDivisionError)
        assert "unexpected error" in caplog.text

    over_a_socket(scenario)


def test_limits_of_what_may_wait():
    async def scenario(transport, protocol, peer):
        assert transport.get_write_buffer_limits() == (1 << 14, 1 << 16)
        transport.set_write_buffer_limits(low=10)
        assert transport.get_write_buffer_limits() == (10, 40)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError, match="high"):
            transport.set_write_buffer_limits(high=1, low=2)

    over_a_socket(scenario)
