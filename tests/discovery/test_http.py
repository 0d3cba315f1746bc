import asyncio
import gzip
import json

import pytest
from aiohttp import web

from discovery.groups import TargetGroup
from discovery.http import HttpDiscovery
from discovery.http_client import BasicAuth, HttpClientConfig

GOOD = [{"targets": ["h:1", "h:2"], "labels": {"a": "b"}}, {"targets": ["h:3"]}]


class Service:
    """Answers with what the test sets."""

    def __init__(self):
        self.body, self.status = json.dumps(GOOD).encode(), 200
        self.headers = {"Content-Type": "application/json"}
        self.requests = []

    async def handler(self, request):
        self.requests.append(dict(request.headers))
        return web.Response(body=self.body, status=self.status, headers=self.headers)


def run(body, **options):
    async def main():
        service = Service()
        app = web.Application()
        app.router.add_get("/sd", service.handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/sd"
        settings = {"client": HttpClientConfig(), "refresh_interval_s": 0.2} | options
        discovery = HttpDiscovery(url, **settings)
        changes = discovery.changes()
        try:
            await body(service, discovery, lambda: asyncio.wait_for(anext(changes), 5))
        finally:
            await changes.aclose()
            await runner.cleanup()

    asyncio.run(main())


def test_groups_come_with_the_url_and_vanish_when_the_answer_shrinks():
    async def body(service, discovery, following):
        url = discovery.url
        first = await following()
        assert first == [
            TargetGroup(
                f"{url}:0",
                ({"__address__": "h:1"}, {"__address__": "h:2"}),
                {"a": "b", "__meta_url": url},
            ),
            TargetGroup(f"{url}:1", ({"__address__": "h:3"},), {"__meta_url": url}),
        ]
        service.body = json.dumps(GOOD[:1]).encode()
        assert await following() == [first[0], TargetGroup(f"{url}:1")]

    run(body)


def test_requests_are_those_of_prometheus():
    async def body(service, _, following):
        await following()
        sent = service.requests[0]
        del sent["Host"]
        assert sent == {
            "User-Agent": "Prometheus/3.5.3",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "X-Prometheus-Refresh-Interval-Seconds": "0.2",
            "Authorization": "Basic dTpw",
        }

    run(body, client=HttpClientConfig(basic_auth=BasicAuth("u", None, "p")))


def test_gzip_is_unpacked():
    async def body(service, _, following):
        service.headers = {"Content-Type": "application/json; charset=utf-8"}
        service.headers["Content-Encoding"] = "gzip"
        service.body = gzip.compress(service.body)
        assert len(await following()) == 2

    run(body)


@pytest.mark.parametrize(
    ("status", "content_type", "text"),
    [
        pytest.param(500, "application/json", "[]", id="a status that is not 200"),
        pytest.param(200, "text/plain", "[]", id="another type"),
        pytest.param(200, "application/json; charset=latin1", "[]", id="another charset"),
        pytest.param(200, "application/json", "[", id="broken JSON"),
        pytest.param(200, "application/json", '[{"x": 1}]', id="an unknown field"),
        pytest.param(200, "application/json", "\xff", id="no UTF-8"),
    ],
)
def test_any_failure_keeps_what_was_known(status, content_type, text, caplog):
    async def body(service, discovery, following):
        good = await following()
        keep = service.body, service.headers
        service.status = status
        service.headers, service.body = {"Content-Type": content_type}, text.encode("latin1")
        next_change = asyncio.ensure_future(following())
        await failures(discovery, 2)
        assert not next_change.done()
        assert discovery.stats().last_error
        service.status = 200
        service.body, service.headers = keep
        assert await next_change == good
        assert discovery.stats().last_error == ""

    run(body, refresh_interval_s=0.05)
    assert caplog.text.count("Unable to refresh") == 1


def test_a_service_out_of_reach_is_counted(caplog):
    async def body():
        discovery = HttpDiscovery("http://127.0.0.1:1/", HttpClientConfig(), 0.05)
        changes = discovery.changes()
        waiting = asyncio.ensure_future(anext(changes))
        await failures(discovery, 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(body())
    assert "Unable to refresh" in caplog.text


async def failures(discovery, count):
    for _ in range(1000):
        if discovery.stats().failures >= count:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not fail")
