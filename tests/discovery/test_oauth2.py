import asyncio
import base64
import math
from dataclasses import replace
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web

from discovery.groups import TargetGroup
from discovery.http import HttpDiscovery
from discovery.http_client import HttpClientConfig, OAuth2
from discovery.http_requests import CredentialsError, RequestOptions
from discovery.kubernetes.client import ApiClient
from discovery.kubernetes.settings import ApiAccess
from discovery.oauth2 import RENEWAL_S
from tests.scraper.conftest import serve


class Endpoint:
    """Hands out tokens `t1`, `t2` ... and lets in who carries one that is not withdrawn."""

    def __init__(self):
        self.forms, self.authorizations, self.withdrawn = [], [], set()
        self.issued, self.in_body, self.delay_s = 0, False, 0.0
        self.answer = {"token_type": "bearer", "expires_in": 3600}
        self.status = 200

    async def handler(self, request):
        if request.path != "/token":
            header = request.headers.get("Authorization", "")
            known = {f"Bearer t{n}" for n in range(1, self.issued + 1)} - self.withdrawn
            self.authorizations.append(header)
            if header not in known:
                return web.Response(status=401)
            return web.json_response([{"targets": [header]}])
        body = await request.text()
        await asyncio.sleep(self.delay_s)
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if self.in_body and "client_secret" not in form:
            return web.json_response({"error": "invalid_client"}, status=401)
        self.forms.append((form, request.headers.get("Authorization", "")))
        if self.status != 200:
            return web.Response(status=self.status, text="busy")
        self.issued += 1
        return web.json_response({"access_token": f"t{self.issued}", **self.answer})


def run(body, **settings):
    async def main():
        endpoint = Endpoint()
        runner, address = await serve(endpoint.handler)
        oauth2 = OAuth2("me", f"http://{address}/token", client_secret="s:1", **settings)
        try:
            await body(endpoint, RequestOptions(HttpClientConfig(oauth2=oauth2)), address)
        finally:
            await runner.cleanup()

    asyncio.run(main())


async def header(options):
    arguments, _ = await options.arguments("http://h/")
    return arguments["headers"]["Authorization"]


def test_the_endpoint_is_asked_as_the_rfc_says_and_the_token_is_kept():
    async def body(endpoint, options, address):
        assert await header(options) == "Bearer t1"
        assert await header(options) == "Bearer t1"
        ((form, authorization),) = endpoint.forms
        assert form == {"grant_type": "client_credentials", "scope": "a b", "audience": "x"}
        assert authorization == "Basic " + base64.b64encode(b"me:s%3A1").decode()

    run(body, scopes=("a", "b"), endpoint_params={"audience": "x"})


def test_an_endpoint_that_wants_the_secret_in_the_body_gets_it_there_from_then_on():
    async def body(endpoint, options, address):
        endpoint.in_body = True
        endpoint.answer["expires_in"] = 0.001
        assert await header(options) == "Bearer t1"
        await asyncio.sleep(0.01)
        assert await header(options) == "Bearer t2"
        for form, authorization in endpoint.forms:
            assert (form["client_id"], form["client_secret"]) == ("me", "s:1")
            assert authorization == ""

    run(body)


@pytest.mark.parametrize(
    ("expires_in", "holds_s"),
    [
        pytest.param(3600, 3590, id="it is renewed ten seconds before its end"),
        pytest.param("100", 90, id="a number may be written as text"),
        pytest.param(8, 4, id="a short one is used for half its time"),
        pytest.param(None, math.inf, id="without an end it is kept"),
    ],
)
def test_how_long_a_token_holds(expires_in, holds_s):
    async def body(endpoint, options, address):
        endpoint.answer["expires_in"] = expires_in
        now = asyncio.get_running_loop().time()
        _, until = await options.arguments("http://h/")
        assert until - now == pytest.approx(holds_s, abs=3)

    run(body)


def test_many_who_ask_at_once_cost_one_request():
    async def body(endpoint, options, address):
        endpoint.delay_s = 0.05
        assert set(await asyncio.gather(*(header(options) for _ in range(50)))) == {"Bearer t1"}
        assert endpoint.issued == 1

    run(body)


def test_a_failure_is_shared_by_who_waited_and_asked_about_again_by_who_comes_later():
    async def body(endpoint, options, address):
        endpoint.delay_s, endpoint.status = 0.05, 503
        results = await asyncio.gather(*(header(options) for _ in range(9)), return_exceptions=True)
        assert {str(e) for e in results} == {"oauth2: cannot fetch token: 503\nResponse: busy"}
        assert len(endpoint.forms) == 2  # by header, then in the body
        endpoint.status = 200
        assert await header(options) == "Bearer t1"

    run(body)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"access_token": ""}, "oauth2: server response missing access_token"),
        ({"error": "x", "error_description": "y"}, 'oauth2: "x" "y"'),
        ({"access_token": "a\nb"}, "oauth2: the access token is no header value"),
        ({"expires_in": "soon"}, "oauth2: cannot parse json: expires_in"),
    ],
)
def test_answers_that_are_no_token(answer, text):
    async def body(endpoint, options, address):
        endpoint.answer = answer
        with pytest.raises(CredentialsError, match=text):
            await header(options)

    run(body)


def test_the_secret_comes_from_a_file_read_for_each_token(tmp_path):
    secret = tmp_path / "secret"

    async def body(endpoint, options, address):
        oauth2 = replace(options.config.oauth2, client_secret="", client_secret_file=secret)
        options = RequestOptions(HttpClientConfig(oauth2=oauth2))
        with pytest.raises(CredentialsError, match="no such file"):
            await header(options)
        secret.write_text("from-file\n")
        endpoint.in_body = True
        assert await header(options) == "Bearer t1"
        assert endpoint.forms[-1][0]["client_secret"] == "from-file"

    run(body)


def test_a_refused_token_is_renewed_once_it_is_not_brand_new(monkeypatch):
    async def body(endpoint, options, address):
        first = await header(options)
        assert not options.refused({"Authorization": first})
        monkeypatch.setattr("discovery.oauth2.RENEWAL_S", 0.0)
        assert RENEWAL_S > 0
        assert options.refused({"Authorization": first})
        assert await header(options) == "Bearer t2"
        # One that went long ago says nothing against the new one.
        assert options.refused({"Authorization": first})
        assert await header(options) == "Bearer t2"

    run(body)


def test_http_discovery_carries_a_token():
    async def body(endpoint, options, address):
        discovery = HttpDiscovery(f"http://{address}/sd", options.config, 0.2)
        changes = discovery.changes()
        (group,) = await asyncio.wait_for(anext(changes), 10)
        await changes.aclose()
        assert isinstance(group, TargetGroup)
        assert group.targets == ({"__address__": "Bearer t1"},)

    run(body)


def test_the_kubernetes_client_carries_a_token_and_takes_a_new_one_after_a_refusal():
    async def body(endpoint, options, address):
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            client = ApiClient(ApiAccess(f"http://{address}", client=options.config), session)
            for _ in range(2):
                with pytest.raises(Exception, match="not an object"):
                    await client.page("/api", {}, "application/json")
            endpoint.withdrawn.add("Bearer t1")
            with pytest.raises(Exception, match="401"):
                await client.page("/api", {}, "application/json")
            with pytest.raises(Exception, match="not an object"):
                await client.page("/api", {}, "application/json")
        assert endpoint.authorizations == ["Bearer t1"] * 3 + ["Bearer t2"]

    run(body)
