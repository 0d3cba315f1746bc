"""The server that other tests believe: it answers as the Kubernetes documentation says."""

import asyncio
import json

import aiohttp
import pytest

from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer

PODS = "/api/v1/pods"
METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class Client:
    def __init__(self, api, session):
        self._api, self._session = api, session

    async def list(self, path=PODS, *, accept="application/json", **query):
        headers = {"Accept": accept}
        async with self._session.get(self._api.url + path, params=query, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text

    async def watch(self, count, path=PODS, *, during=lambda: None, **query):
        """Return the first events of a watch."""
        query = {"watch": "1", **query}
        events = []
        async with self._session.get(self._api.url + path, params=query) as answer:
            assert answer.status == 200
            during()
            async with asyncio.timeout(5):
                while len(events) < count and (line := await answer.content.readline()):
                    events.append(json.loads(line))
        return events


def run(body, **options):
    async def main():
        api = ApiServer(**options)
        for name in "abc":
            api.put("pods", cluster.pod(name, labels={"app": name}))
        await api.start()
        try:
            async with aiohttp.ClientSession() as session:
                await body(api, Client(api, session))
        finally:
            await api.stop()

    asyncio.run(main())


def names(items):
    return [item["metadata"]["name"] for item in items]


def test_a_list_tells_its_version_and_its_items_neither_kind_nor_version_of_the_api():
    async def body(_, client):
        status, found = await client.list()
        assert status == 200
        assert (found["kind"], found["apiVersion"]) == ("PodList", "v1")
        assert found["metadata"] == {"resourceVersion": "1003"}
        assert names(found["items"]) == ["a", "b", "c"]
        assert "kind" not in found["items"][0]
        _, found = await client.list("/apis/networking.k8s.io/v1/namespaces/x/ingresses")
        assert (found["kind"], found["items"]) == ("IngressList", [])

    run(body)


def test_pages_show_one_moment_and_any_version_comes_whole():
    async def body(api, client):
        _, first = await client.list(limit="2")
        assert first["metadata"]["remainingItemCount"] == 1
        token = first["metadata"]["continue"]
        api.put("pods", cluster.pod("d"))
        _, second = await client.list(**{"limit": "2", "continue": token})
        assert names(second["items"]) == ["c"]
        assert second["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}
        _, cached = await client.list(limit="2", resourceVersion="0")
        assert len(cached["items"]) == 4
        api.compact()
        status, refused = await client.list(**{"limit": "2", "continue": token})
        assert (status, refused["reason"]) == (410, "Expired")

    run(body)


@pytest.mark.parametrize(
    ("path", "query", "status", "text"),
    [
        (PODS, {"resourceVersion": "abc"}, 500, "ParseUint"),
        (PODS, {"resourceVersion": "9999"}, 504, "Too large resource version: 9999, current: 1003"),
        (PODS, {"fieldSelector": "x"}, 400, "can't understand 'x'"),
        (PODS, {"fieldSelector": "spec.other=1"}, 400, "field label not supported: spec.other"),
        ("/apis/none/v1/things", {}, 404, "404 page not found"),
        (PODS, {"watch": "1", "sendInitialEvents": "true"}, 422, "resourceVersionMatch"),
    ],
)
def test_refusals(path, query, status, text):
    async def body(_, client):
        found, answer = await client.list(path, **query)
        assert found == status
        assert text in (answer if isinstance(answer, str) else answer["message"])

    run(body)


def test_a_watch_goes_on_from_a_version():
    async def body(api, client):
        def during():
            api.put("pods", cluster.pod("d"))
            api.put("pods", cluster.pod("d", phase="Failed"))
            api.delete("pods", "d", "default")

        events = await client.watch(3, resourceVersion="1003", during=during)
        assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
        versions = [event["object"]["metadata"]["resourceVersion"] for event in events]
        assert versions == ["1004", "1005", "1006"]
        assert events[0]["object"]["kind"] == "Pod"
        again = await client.watch(2, resourceVersion="1004")
        assert [event["type"] for event in again] == ["MODIFIED", "DELETED"]
        anything = await client.watch(3)
        assert [event["type"] for event in anything] == ["ADDED"] * 3

    run(body)


def test_who_leaves_a_selector_is_deleted_with_old_labels_and_the_new_version():
    async def body(api, client):
        def during():
            api.put("pods", cluster.pod("a", labels={"app": "other"}))
            api.put("pods", cluster.pod("a", labels={"app": "a"}))

        events = await client.watch(2, resourceVersion="1003", labelSelector="app=a", during=during)
        left, back = events
        assert left["type"] == "DELETED"
        assert left["object"]["metadata"]["labels"] == {"app": "a"}
        assert left["object"]["metadata"]["resourceVersion"] == "1004"
        assert (back["type"], back["object"]["metadata"]["resourceVersion"]) == ("ADDED", "1005")

    run(body)


def test_too_old_a_version_is_an_event_or_a_status():
    async def body(api, client):
        api.put("pods", cluster.pod("d"))
        api.compact()
        (event,) = await client.watch(2, resourceVersion="1003")
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
        api.gone_by_status = True
        status, _ = await client.list(watch="1", resourceVersion="1003")
        assert status == 410

    run(body)


def test_bookmarks_and_the_streaming_list():
    async def body(_, client):
        events = await client.watch(
            5,
            sendInitialEvents="true",
            resourceVersionMatch="NotOlderThan",
            allowWatchBookmarks="true",
        )
        assert [event["type"] for event in events] == ["ADDED"] * 3 + ["BOOKMARK"] * 2
        first, second = (event["object"]["metadata"] for event in events[3:])
        assert first["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert "annotations" not in second
        assert first["resourceVersion"] == second["resourceVersion"] == "1003"

    run(body, bookmark_s=0.05)


def test_a_watch_ends_when_it_was_asked_to():
    async def body(_, client):
        assert await client.watch(1, resourceVersion="1003", timeoutSeconds="0.1") == []

    run(body)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=a", ["a"]),
        ("app!=a", ["b", "c"]),
        ("app in (a, c)", ["a", "c"]),
        ("app notin (a)", ["b", "c"]),
        ("app", ["a", "b", "c"]),
        ("!app", []),
        ("app in (a,b),app!=b", ["a"]),
    ],
)
def test_label_selectors(selector, expected):
    async def body(_, client):
        _, found = await client.list(labelSelector=selector)
        assert names(found["items"]) == expected

    run(body)


def test_field_selectors_and_namespaces():
    async def body(api, client):
        api.put("pods", cluster.pod("a", "other", phase="Failed"))
        for query, count in (
            ("metadata.name=a", 2),
            ("metadata.namespace=other", 1),
            ("metadata.namespace!=other,metadata.name!=b", 2),
            ("status.phase=Failed", 1),
            ("spec.nodeName=node-a", 4),
        ):
            _, found = await client.list(fieldSelector=query)
            assert len(found["items"]) == count, query
        _, found = await client.list("/api/v1/namespaces/other/pods")
        assert names(found["items"]) == ["a"]

    run(body)


def test_metadata_alone():
    async def body(_, client):
        _, found = await client.list(accept=METADATA.format("List"))
        assert found["kind"] == "PartialObjectMetadataList"
        assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}

    run(body)


def test_who_may_ask():
    async def body(api, client):
        status, answer = await client.list()
        assert (status, answer["reason"]) == (401, "Unauthorized")
        api.token = ""
        api.denied = {("list", "pods", "x")}
        status, answer = await client.list("/api/v1/namespaces/x/pods")
        assert status == 403
        assert (
            'cannot list resource "pods" in API group "" in the namespace "x"'
            in (answer["message"])
        )
        assert (await client.list())[0] == 200

    run(body, token="t")
