"""The description of the API: whole, well-formed, and kept by the server."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from api.openapi import ENDPOINTS, description
from api.openapi_pushes import PUSHES
from api.routes import API, API_ROUTES
from api.views import ApiOptions


def test_it_has_every_path_and_method():
    described = {(e.path, m.upper()) for e in ENDPOINTS for m in e.methods}
    described |= {(e.path, "POST") for e in PUSHES}
    routed = {(p, m) for ms, p, _ in API_ROUTES for m in ms}
    routed.remove(("/series", "DELETE"))  # answers "not implemented", as Prometheus does
    assert described - {("/status/walreplay", "GET")} == routed


def test_it_is_served_below_the_prefix(api):
    api.options = ApiOptions(route_prefix="/prom")
    reply = api.ask("GET", f"/prom{API}/openapi.yaml")
    assert reply.headers["Content-Type"] == "application/yaml; charset=utf-8"
    document = yaml.safe_load(reply.body)
    assert document["servers"] == [{"url": "/prom/api/v1"}]
    assert document == description("0.1.0", "/prom/api/v1")


def test_operations_have_names_of_their_own():
    paths = description("1", "/api/v1")["paths"]
    names = [op["operationId"] for path in paths.values() for op in path.values()]
    assert len(names) == len(set(names))


SCHEMAS = {
    (path, method): operation["responses"]
    for path, operations in description("1", "/api/v1")["paths"].items()
    for method, operation in operations.items()
}
SHARED = description("1", "/api/v1")["components"]


def check(path, method, reply):
    """Hold a reply against what the description promises."""
    promised = SCHEMAS[path, method.lower()]
    assert str(reply.status) in promised, reply.text
    content = promised[str(reply.status)].get("content")
    if content is None:
        assert reply.body == b""
        return
    schema = content["application/json"]["schema"]
    assert reply.headers["Content-Type"] == "application/json"
    Draft202012Validator({**schema, "components": SHARED}).validate(reply.json)


GOOD = [
    ("/query", "query=up&time=1&stats=all"),
    ("/query", "query=up[5m]&time=100"),
    ("/query", "query=1"),
    ("/query", "query='a'"),
    ("/query_range", "query=up&start=1&end=100&step=10"),
    ("/query_range", "query=1&start=1&end=100&step=10&stats=1"),
    ("/query_exemplars", "query=up"),
    ("/query_exemplars", "query=1"),
    ("/format_query", "query=sum(a)"),
    ("/parse_query", "query=sum(a)"),
    ("/series", "match[]=up&limit=1"),
    ("/labels", ""),
    ("/label/{name}/values", "match[]=up"),
    ("/targets", "state=any"),
    ("/targets", "state=active"),
    ("/targets/metadata", ""),
    ("/targets/metadata", "metric=up_total"),
    ("/targets/relabel_steps", "scrapePool=node&labels={}"),
    ("/scrape_pools/config", "scrapePool=node"),
    ("/metadata", "limit=1"),
    ("/status/tsdb", "limit=3"),
    *((e.path, "") for e in ENDPOINTS if e.methods == ("get",) and not e.parameters),
]


@pytest.mark.parametrize(("path", "query"), GOOD)
def test_good_answers_are_as_described(api, path, query):
    api.storage.add({"__name__": "up", "job": "a"}, {1000: 1.5, 61_000: 2.5})
    url = f"{API}{path.replace('{name}', 'job')}?{query}"
    reply = api.ask("GET", url)
    assert reply.status in (200, 204), reply.text
    check(path, "get", reply)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if "put" in e.methods], ids=lambda e: e.path
)
def test_commands_answer_as_described(api, endpoint, enabled):
    api.options = ApiOptions(enable_admin_api=enabled)
    reply = api.ask("POST", f"{API}{endpoint.path}", data={"match[]": "up"})
    assert (reply.status < 300) == enabled
    check(endpoint.path, "post", reply)


def values_for(parameter):
    """Good values, borderline ones and anything at all."""
    texts = st.sampled_from(
        ["", "0", "1", "-1", "1e9", "NaN", "Inf", "1m", "5m30s", "up", "1+1", "up[1m]", "{}", "x{",
         '{"a":"b"}', "node", "true", "2026-11-24T00:00:00Z", "all", "9" * 30, "\0", "\u00e9"]
    )  # fmt: skip
    return st.lists(texts | st.text(max_size=8), min_size=0, max_size=2).map(
        lambda found: [(parameter.name, text) for text in found]
    )


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_is_asked_the_answer_is_as_described(api, data):
    api.options = ApiOptions(enable_admin_api=True)
    asked, requests = [], []
    for endpoint in ENDPOINTS:
        pairs = [p for each in endpoint.parameters for p in data.draw(values_for(each))]
        method = data.draw(st.sampled_from(endpoint.methods)).upper()
        path = f"{API}{endpoint.path.replace('{name}', 'job')}"
        asked.append((endpoint.path, method))
        if method == "GET":
            from urllib.parse import urlencode

            requests.append((method, f"{path}?{urlencode(pairs, errors='surrogatepass')}", {}))
        else:
            requests.append((method, path, {"data": pairs}))
    for (path, method), reply in zip(asked, api.ask_all(requests), strict=True):
        check(path, method, reply)
