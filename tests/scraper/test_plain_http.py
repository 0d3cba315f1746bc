"""The plain client against servers that say exactly these bytes, in these pieces."""

import asyncio
import contextlib
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper.fetch import FetchError, fetch_plain
from scraper.plain_http import (
    CutShortError,
    LateError,
    NotPlainError,
    PlainClient,
    TooLargeError,
    plain_request,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
MEASURED = OK + b"Content-Length: 4\r\n\r\na 1\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(*answers, close_after=(), requests=None, silent_after_head=False):
    """A server that gives the n-th request the n-th answer, a list of pieces; the last for ever."""
    count = 0

    async def serve(reader, writer):
        nonlocal count
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if requests is not None:
                    requests.append(head)
                number = min(count, len(answers) - 1)
                count += 1
                for piece in answers[number]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if number in close_after:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def get(client, port, *, timeout_s=5.0, size_max=0, headers=None):
    request = plain_request(f"http://127.0.0.1:{port}/metrics", headers or {}, {"headers": {}})
    return await client.get(request, timeout_s=timeout_s, body_bytes_max=size_max)


def ask(*answers, times=1, timeout_s=5.0, size_max=0, **server):
    """Ask a server several times over one client; return the answers and idle connections."""

    async def run():
        client = PlainClient()
        async with serving(*answers, **server) as port:
            try:
                got = [
                    await get(client, port, timeout_s=timeout_s, size_max=size_max)
                    for _ in range(times)
                ]
                return got, client.idle_count
            finally:
                client.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("raw", "body", "kept"),
    [
        pytest.param(MEASURED, b"a 1\n", 1, id="a body with a length"),
        pytest.param(OK + b"Content-Length: 0\r\n\r\n", b"", 1, id="an empty body"),
        pytest.param(
            CHUNKED + b"4\r\na 1\n\r\n4\r\nb 2\n\r\n0\r\n\r\n", b"a 1\nb 2\n", 1, id="two chunks"
        ),
        pytest.param(
            CHUNKED + b"4;x=y\r\na 1\n\r\n0\r\nT: v\r\n\r\n", b"a 1\n", 1, id="extension, trailer"
        ),
        pytest.param(CHUNKED + b"0\r\n\r\n", b"", 1, id="no chunk at all"),
        pytest.param(
            OK + b"content-LENGTH:4\r\nConnection: close\r\n\r\na 1\n",
            b"a 1\n",
            0,
            id="asked to close",
        ),
        pytest.param(MEASURED + b"more", b"a 1\n", 0, id="bytes behind the body"),
    ],
)
def test_bodies_and_what_becomes_of_the_connection(raw, body, kept):
    (answer,), idle = ask([raw])
    assert (answer.status, answer.body, answer.content_type) == (200, body, "text/plain")
    assert idle == kept


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_how_bytes_arrive_makes_no_difference(data):
    body = data.draw(st.binary(max_size=300))
    if data.draw(st.booleans()):
        raw = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        raw, rest = CHUNKED, body
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            raw += b"%x\r\n" % size + rest[:size] + b"\r\n"
            rest = rest[size:]
        raw += b"0\r\n\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    answers, idle = ask(pieces, times=2)
    assert [answer.body for answer in answers] == [body, body]
    assert idle == 1


def test_a_connection_is_used_again_and_the_request_is_what_it_should_be():
    requests = []

    async def run():
        client = PlainClient()
        async with serving([MEASURED], requests=requests) as port:
            for _ in range(3):
                await get(client, port, headers={"Accept": "x", "User-Agent": "y"})
            assert client.idle_count == 1
            client.close()
            return port

    port = asyncio.run(run())
    head = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: x\r\nUser-Agent: y\r\n\r\n"
    assert requests == [head.encode()] * 3


def test_a_connection_closed_while_idle_is_replaced():
    answers, idle = ask([MEASURED], [MEASURED], [MEASURED], times=3, close_after=(0, 1))
    assert [answer.body for answer in answers] == [b"a 1\n"] * 3
    assert idle == 1


@pytest.mark.parametrize(
    ("raw", "lasting"),
    [
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", True, id="a redirect"),
        pytest.param(OK + b"\r\na 1\n", True, id="a body that ends with the connection"),
        pytest.param(
            OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", True, id="two lengths"
        ),
        pytest.param(
            CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
            True,
            id="length and chunks",
        ),
        pytest.param(OK + b"Content-Length: +4\r\n\r\na 1\n", True, id="a length with a sign"),
        pytest.param(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", True, id="another coding"),
        pytest.param(OK + b" folded: x\r\n\r\n", True, id="a folded field"),
        pytest.param(OK + b"no colon\r\n\r\n", True, id="a field without a colon"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", True, id="no HTTP at all"),
        pytest.param(OK + b"X: " + b"x" * 70_000, True, id="a head that does not end"),
        pytest.param(CHUNKED + b"x\r\n", False, id="a chunk without a size"),
        pytest.param(CHUNKED + b"1\r\nab\r\n", False, id="a chunk longer than it says"),
    ],
)
def test_what_is_not_plain_is_for_the_general_client(raw, lasting):
    with pytest.raises(NotPlainError) as caught:
        ask([raw])
    assert caught.value.lasting == lasting


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 2"])
def test_a_connection_closed_before_the_body_is_for_the_general_client(raw):
    with pytest.raises(NotPlainError) as caught:
        ask([raw], close_after=(0,))
    assert not caught.value.lasting


def test_nobody_listens():
    async def run():
        async with serving([b""]) as port:
            pass
        await get(PlainClient(), port)

    with pytest.raises(NotPlainError):
        asyncio.run(run())


@pytest.mark.parametrize("raw", [MEASURED[:-1], CHUNKED + b"4\r\na 1\n\r\n", CHUNKED + b"4\r\na"])
def test_a_body_cut_short(raw):
    with pytest.raises(CutShortError):
        ask([raw], close_after=(0,))


@pytest.mark.parametrize(("raw", "in_body"), [(b"", False), (OK, False), (MEASURED[:-1], True)])
def test_the_deadline(raw, in_body):
    with pytest.raises(LateError) as caught:
        ask([raw], timeout_s=0.1)
    assert caught.value.in_body == in_body


@pytest.mark.parametrize(
    "raw", [MEASURED, CHUNKED + b"2\r\na \r\n2\r\n1\n\r\n0\r\n\r\n", CHUNKED + b"ffffff\r\na 1\n"]
)
def test_a_body_that_reaches_the_bound(raw):
    with pytest.raises(TooLargeError):
        ask([raw], size_max=4)
    if raw == MEASURED:
        assert ask([raw], size_max=5)[0][0].body == b"a 1\n"


def test_another_status_is_told_without_its_body():
    (answer,), idle = ask([b"HTTP/1.1 503 Busy now\r\nContent-Length: 1000\r\n\r\nx"])
    assert (answer.status, answer.reason, idle) == (503, "Busy now", 0)


@pytest.mark.parametrize(
    ("raw", "options", "text"),
    [
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], {}, "server returned HTTP status 404 Not Found"),
        ([MEASURED], {"body_bytes_max": 3}, "body size limit exceeded"),
        ([MEASURED[:-1]], {"timeout_s": 0.1}, "context deadline exceeded"),
        ([b""], {"timeout_s": 0.1}, 'Get "URL": context deadline exceeded'),
    ],
)
def test_failures_read_as_those_of_prometheus(raw, options, text):
    async def run():
        client = PlainClient()
        async with serving(raw) as port:
            request = plain_request(f"http://127.0.0.1:{port}/", {}, {"headers": {}})
            arguments = {"timeout_s": 5.0, "body_bytes_max": 0} | options
            try:
                await fetch_plain(client, request, "URL", **arguments)
            finally:
                client.close()

    with pytest.raises(FetchError) as caught:
        asyncio.run(run())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("url", "headers", "options"),
    [
        pytest.param("http://u:p@h/", {}, {}, id="a user in the URL"),
        pytest.param("http://h/", {}, {"proxy": "http://p"}, id="a proxy"),
        pytest.param("https://h/", {}, {}, id="TLS without a context"),
        pytest.param("http://h/", {"Host": "x"}, {}, id="a host of its own"),
        pytest.param("http://h/", {"X": "a\r\nY: b"}, {}, id="a header that breaks the line"),
        pytest.param("http://h:x/", {}, {}, id="a bad port"),
        pytest.param("ftp://h/", {}, {}, id="another scheme"),
        pytest.param("/path", {}, {}, id="no host"),
    ],
)
def test_requests_for_the_general_client(url, headers, options):
    assert plain_request(url, headers, options) is None


def test_a_request_over_tls_names_its_server():
    context = ssl.create_default_context()
    request = plain_request("https://h/x?y=%2F", {}, {"ssl": context, "server_hostname": "s"})
    assert (request.host, request.port, request.tls, request.server_name) == (
        "h",
        443,
        context,
        "s",
    )
    assert request.data == b"GET /x?y=%2F HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h:80/a", "h"),
        ("http://h:8080/", "h:8080"),
        ("http://[::1]:9/", "[::1]:9"),
        ("https://H/", "H"),
    ],
)
def test_the_host_is_written_as_the_general_client_writes_it(url, host):
    request = plain_request(url, {}, {"ssl": ssl.create_default_context()})
    assert request.data.split(b"\r\n")[1] == f"Host: {host}".encode()
