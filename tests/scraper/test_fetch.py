import asyncio
import gzip
import json
import re

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from discovery.http_client import Authorization, BasicAuth, HttpClientConfig
from discovery.http_requests import RequestOptions, new_session
from scraper.fetch import FetchError, Response, accept_header, fetch, request_headers
from scraper.job import PROTOBUF_FIRST, ScrapeJob
from scraper.tokens import ParseError
from tests.scraper.conftest import serve

AGENT = "Prometheus/3.5.3+ds1"


def get(handler, path="/metrics", *, config=None, timeout_s=5.0, size_max=0, headers=None):
    """Fetch once from a server with this handler; returns the response and the URL."""

    async def run():
        runner, address = await serve(handler)
        url = f"http://{address}{path}"
        try:
            async with new_session() as session:
                options = RequestOptions(config or HttpClientConfig()).for_url(url)
                response = await fetch(
                    session,
                    url,
                    headers=headers or {},
                    options=options,
                    timeout_s=timeout_s,
                    body_bytes_max=size_max,
                )
        except FetchError as e:
            raise FetchError(str(e).replace(url, "URL"), body_too_large=e.body_too_large) from e
        finally:
            await runner.cleanup()
        return response

    return asyncio.run(run())


def answer(body=b"a 1\n", **more):
    async def handler(_):
        return web.Response(body=body, **more)

    return handler


def recorded(corpora):
    requests = json.loads((corpora / "exposition/scrape_requests.json").read_text())
    return [r for r in requests if r["scraper"] == "Prometheus 3.5.3"]


def test_requests_are_those_of_prometheus(corpora):
    """All that was recorded of a plain Prometheus 3.5.3, header for header."""
    jobs = {
        "default": ({}, {}),
        "nocompress": ({"enable_compression": False}, {}),
        "text": ({"scrape_protocols": ("PrometheusText0.0.4",)}, {}),
        "legacy": (
            {"metric_name_escaping_scheme": "underscores"},
            {"basic_auth": BasicAuth("u", None, "p")},
        ),
        "bearer": ({}, {"authorization": Authorization(credentials="tok")}),
    }
    seen = 0
    for request in recorded(corpora):
        name = request["path"].partition("?")[0].removeprefix("/scrape35plain_")
        if name not in jobs:
            continue
        job_options, client = jobs[name]
        expected = dict(request["headers"])
        host = expected.pop("Host")
        timeout_ms = int(float(expected["X-Prometheus-Scrape-Timeout-Seconds"]) * 1000)
        job = ScrapeJob("j", **job_options)
        ours = request_headers(job, timeout_ms=timeout_ms, user_agent=AGENT)
        options = RequestOptions(HttpClientConfig(**client)).for_url(f"http://{host}/")
        assert ours | options["headers"] == expected
        seen += 1
    assert seen == len(jobs)


def test_only_our_headers_go_out():
    sent = {}

    async def handler(request):
        sent.update(request.headers)
        return web.Response(text="")

    get(handler, headers={"User-Agent": AGENT, "Accept": "x"})
    assert sent.keys() == {"Host", "User-Agent", "Accept"}


def test_protobuf_is_asked_for_as_prometheus_does(corpora):
    requests = json.loads((corpora / "exposition" / "scrape_requests.json").read_text())
    (theirs,) = (
        dict(request["headers"])["Accept"]
        for request in requests
        if request["path"] == "/scrape_default"
    )
    assert accept_header(ScrapeJob("j", scrape_protocols=PROTOBUF_FIRST)) == theirs


def test_a_body_comes_with_its_type():
    response = get(answer(headers={"Content-Type": "text/plain; version=0.0.4"}))
    assert response.read(0).text == b"a 1\n"
    assert response.content_type == "text/plain; version=0.0.4"


def test_a_gzip_body_is_unpacked():
    body = gzip.compress(b"a 1\n")
    response = get(answer(body, headers={"Content-Encoding": "gzip"}))
    assert response.read(0).text == b"a 1\n"


def test_paths_are_sent_as_they_are():
    seen = []

    async def handler(request):
        seen.append(request.raw_path)
        return web.Response()

    get(handler, "/a%20b?x=%2F&y=1+2")
    assert seen == ["/a%20b?x=%2F&y=1+2"]


def test_redirects_are_followed_unless_told_not_to():
    async def handler(request):
        if request.path == "/metrics":
            raise web.HTTPFound("/elsewhere")
        return web.Response(text="a 1\n")

    assert get(handler).body == b"a 1\n"
    with pytest.raises(FetchError, match=r"^server returned HTTP status 302 Found$"):
        get(handler, config=HttpClientConfig(follow_redirects=False))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "server returned HTTP status 500 Internal Server Error"),
        (404, "server returned HTTP status 404 Not Found"),
        (204, "server returned HTTP status 204 No Content"),
    ],
)
def test_any_status_but_200_fails(status, text):
    with pytest.raises(FetchError, match=f"^{text}$"):
        get(answer(b"", status=status))


def test_one_deadline_covers_the_wait_for_headers():
    async def slow(_):
        await asyncio.sleep(5)

    with pytest.raises(FetchError, match=re.escape('Get "URL": context deadline exceeded')):
        get(slow, timeout_s=0.1)


def test_and_the_body():
    async def trickle(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a 1\n")
        await asyncio.sleep(5)
        return response

    with pytest.raises(FetchError, match=r"^context deadline exceeded$"):
        get(trickle, timeout_s=0.2)


def test_the_size_limit_holds_while_the_body_arrives():
    sent = []

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while len(sent) < 10_000:
                await response.write(b"x" * 1000)
                sent.append(1)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    with pytest.raises(FetchError, match=r"^body size limit exceeded$") as caught:
        get(endless, size_max=5000)
    assert caught.value.body_too_large
    assert len(sent) < 10_000


def test_a_body_cut_short_is_unexpected_eof():
    async def cut(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"a 1\n")
        request.transport.close()
        return response

    with pytest.raises(FetchError, match=r"^unexpected EOF$"):
        get(cut)


def failure(url):
    async def run():
        async with new_session() as session:
            options = RequestOptions(HttpClientConfig()).for_url(url)
            await fetch(session, url, headers={}, options=options, timeout_s=5)

    with pytest.raises(FetchError) as caught:
        asyncio.run(run())
    return str(caught.value)


def test_a_refused_connection_names_its_address():
    assert failure("http://127.0.0.1:1/metrics") == (
        'Get "http://127.0.0.1:1/metrics": dial tcp 127.0.0.1:1: connect: connection refused'
    )


def test_an_unknown_host_is_named():
    assert failure("http://no-such-host.invalid:1/") == (
        'Get "http://no-such-host.invalid:1/": dial tcp: lookup no-such-host.invalid: no such host'
    )


@pytest.mark.parametrize("url", ["http://[::1", "http://h:port/", "http://", "gopher://h:1/"])
def test_an_impossible_url_is_an_error_not_a_crash(url):
    assert failure(url).startswith(f'Get "{url}": ')


def test_garbage_instead_of_http_is_an_error():
    async def run():
        async def talk(reader, writer):
            await reader.readline()
            writer.write(b"SSH-2.0-OpenSSH\r\n")
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, new_session() as session:
            options = RequestOptions(HttpClientConfig()).for_url(url)
            with pytest.raises(FetchError, match="malformed"):
                await fetch(session, url, headers={}, options=options, timeout_s=5)

    asyncio.run(run())


def test_gzip_bodies_are_bounded():
    packed = gzip.compress(b"a 1\n" * 100_000)
    response = Response(packed, "text/plain", gzipped=True)
    assert len(response.read(0).text) == 400_000
    with pytest.raises(ParseError, match="body size limit exceeded"):
        response.read(399_999)
    assert len(Response(packed + packed, "text/plain", gzipped=True).read(0).text) == 800_000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"a 1\n" * 9, "gzip: invalid header", id="plain text is no gzip"),
        pytest.param(b"a 1\n", "unexpected EOF", id="less than a header, as Go sees it"),
        pytest.param(gzip.compress(b"a 1\n" * 100)[:-9], "unexpected EOF", id="cut short"),
        pytest.param(gzip.compress(b"a 1\n")[:-8] + bytes(8), "gzip: invalid checksum", id="other"),
        pytest.param(
            gzip.compress(b"a 1\n")[:10] + b"\xff" * 30, "flate: corrupt input", id="no deflate"
        ),
        pytest.param(b"", "unexpected EOF", id="nothing at all"),
    ],
)
def test_damaged_gzip_is_refused(data, error):
    with pytest.raises(ParseError, match=re.escape(error)):
        Response(data, "text/plain", gzipped=True).read(0)


@given(st.binary(max_size=2000), st.integers(1, 4000), st.booleans())
def test_what_is_packed_comes_out_as_it_was_or_is_too_large(text, size_max, twice):
    packed = gzip.compress(text * 50)
    expected = text * (100 if twice else 50)
    response = Response(packed + packed if twice else packed, "text/plain", gzipped=True)
    assert response.read(0).text == expected
    if len(expected) < size_max:
        assert response.read(size_max).text == expected
    else:
        with pytest.raises(ParseError, match="body size limit exceeded"):
            response.read(size_max)
