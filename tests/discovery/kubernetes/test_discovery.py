"""Discovery against an API server that pages, expires, refuses, breaks and goes away."""

import asyncio
import contextlib
import logging

import pytest

from discovery.http_client import Authorization, HttpClientConfig
from discovery.kubernetes import client, watches
from discovery.kubernetes.discovery import KubernetesDiscovery
from discovery.kubernetes.settings import ApiAccess, AttachMetadata, KubernetesSettings, Selector
from discovery.kubernetes.watches import Watches
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer

PODS = "/api/v1/pods"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(watches, "BACKOFF_S", (0.02, 0.1))
    monkeypatch.setattr(watches, "_SHORT_S", 0.05)


class Follower:
    """Follows a discovery as `combine` does: the last group of each source that has targets."""

    def __init__(self, discovery):
        self.discovery, self.groups, self.updates = discovery, {}, []
        self._changes = discovery.changes()

    async def __aenter__(self):
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._changes.aclose()

    async def _follow(self):
        async for update in self._changes:
            self.updates.append([group.source for group in update])
            for group in update:
                if group.targets:
                    self.groups[group.source] = group
                else:
                    self.groups.pop(group.source, None)

    async def until(self, *sources):
        """Wait until exactly these sources have targets."""
        await wait(lambda: set(self.groups) == set(sources), lambda: set(self.groups))

    @property
    def failing(self):
        return [watch for watch in self.discovery.stats().watches if watch.last_error]


async def wait(condition, shown=lambda: "", patience_s=10):
    deadline = asyncio.get_running_loop().time() + patience_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain; now {shown()}"
        await asyncio.sleep(0.005)


def run(body, **options):
    async def main():
        api = ApiServer(**options)
        await api.start()
        try:
            await body(api)
        finally:
            await api.stop()

    asyncio.run(main())


def follow(api, role="pod", *, shared=None, http=None, **settings):
    access = ApiAccess(api_server=api.url, client=http or HttpClientConfig())
    discovery = KubernetesDiscovery(
        KubernetesSettings(role, access=access, **settings), shared or Watches()
    )
    return Follower(discovery)


def pods(api, *names, namespace="default"):
    for number, name in enumerate(names):
        api.put("pods", cluster.pod(name, namespace, ip=f"10.1.0.{number}"))


def test_one_change_tells_one_group_and_a_heartbeat_none():
    async def body(api):
        pods(api, "a", "b", "c")
        async with follow(api) as found:
            await found.until("pod/default/a", "pod/default/b", "pod/default/c")
            api.change("pods", "b", "default", lambda p: p["status"].update(startTime="now"))
            api.change("pods", "b", "default", lambda p: p["status"].update(phase="Failed"))
            await wait(lambda: len(found.updates) == 2)
            api.delete("pods", "c", "default")
            await found.until("pod/default/a", "pod/default/b")
            assert found.updates[1:] == [["pod/default/b"], ["pod/default/c"]]
            events = found.discovery.stats().events
            assert events == {("add", "pod"): 3, ("update", "pod"): 1, ("delete", "pod"): 1}

    run(body)


def test_nothing_at_all_is_told_at_once():
    async def body(api):
        async with follow(api) as found:
            await wait(lambda: found.updates == [[]])

    run(body)


def test_lists_come_in_pages_of_one_version(monkeypatch):
    monkeypatch.setattr(watches, "PAGE", 2)

    async def body(api):
        pods(api, *"abcde")
        async with follow(api) as found:
            await found.until(*(f"pod/default/{name}" for name in "abcde"))
            await wait(lambda: api.watches(PODS) == 1)
            lists = [r.query for r in api.requests if r.verb == "list"]
            assert [query.get("limit") for query in lists] == ["2"] * 3
            assert [("continue" in query) for query in lists] == [False, True, True]
            (watch,) = [r.query for r in api.requests if r.verb == "watch"]
            assert watch["resourceVersion"] == str(api._version)
            assert watch["allowWatchBookmarks"] == "true"
            assert 300 <= int(watch["timeoutSeconds"]) <= 600

    run(body)


def test_a_page_that_expired_begins_the_list_again(monkeypatch):
    monkeypatch.setattr(watches, "PAGE", 2)

    async def body(api):
        pods(api, *"abc")
        pages = client.ApiClient.page

        async def page(self, path, query, accept):
            if "continue" in query and len(api.requests) < 3:
                api.compact()
            return await pages(self, path, query, accept)

        monkeypatch.setattr(client.ApiClient, "page", page)
        async with follow(api) as found:
            await found.until(*(f"pod/default/{name}" for name in "abc"))
            lists = [r.query for r in api.requests if r.verb == "list"]
            assert [("continue" in query) for query in lists] == [False, True, False, True]

    run(body)


def test_long_lists_are_compressed_and_lines_may_be_long():
    async def body(api):
        long = {"note": "x" * 300_000}
        api.put("pods", cluster.pod("a", annotations=long))
        async with follow(api) as found:
            await found.until("pod/default/a")
            assert api.requests[0].headers["Accept-Encoding"] == "gzip"
            api.put("pods", cluster.pod("b", annotations={"note": "x" * 2_000_000}))
            await found.until("pod/default/a", "pod/default/b")

    run(body)


@pytest.mark.parametrize("by_status", [False, True], ids=["as a line", "as a status"])
def test_410_lists_again_and_takes_away_what_is_gone(by_status):
    async def body(api):
        pods(api, "a", "b")
        async with follow(api) as found:
            await found.until("pod/default/a", "pod/default/b")
            await wait(lambda: api.watches() == 1)
            api.silent = True
            api.delete("pods", "a", "default")
            pods(api, "c")
            api.compact()
            api.gone_by_status = by_status
            api.cut_all()
            api.silent = False
            await found.until("pod/default/b", "pod/default/c")
            # What stays is never told twice, what goes is told with what comes.
            assert sorted(found.updates[1]) == ["pod/default/a", "pod/default/c"]
            assert [r.verb for r in api.requests].count("list") == 2

    run(body)


def test_a_watch_that_is_overtaken_lists_again():
    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            pods(api, "b")
            api.compact()
            await found.until("pod/default/a", "pod/default/b")

    run(body)


def test_a_server_that_always_says_410_is_not_asked_without_pause(monkeypatch):
    monkeypatch.setattr(watches, "BACKOFF_S", (0.2, 0.2))

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            real = api._list

            def old(request, view):
                answer = real(request, view)
                api._version += 5
                api.compact()
                return answer

            api._list = old
            api.compact()
            api.cut_all()
            await asyncio.sleep(0.8)
            assert [r.verb for r in api.requests].count("list") < 12
            assert set(found.groups) == {"pod/default/a"}

    run(body)


def test_a_bookmark_moves_the_version_on():
    async def body(api):
        pods(api, "a")
        async with follow(api, selectors=(Selector("pod", field="metadata.name=a"),)) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            pods(api, "other")  # no event for us, but the version of the cluster moves
            marked = str(api._version)
            await asyncio.sleep(0.15)
            api.compact()
            api.cut_all()
            await wait(lambda: api.requests[-1].query.get("resourceVersion") == marked)
            await asyncio.sleep(0.1)
            assert [r.verb for r in api.requests].count("list") == 1

    run(body, bookmark_s=0.03)


def test_a_watch_that_ends_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(client, "WATCH_S", (1, 1))
    monkeypatch.setattr(watches, "_SHORT_S", 0.5)

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: [r.verb for r in api.requests].count("watch") == 3)
            assert [r.verb for r in api.requests].count("list") == 1
            assert found.discovery.stats().failures == 0
            pods(api, "b")
            await found.until("pod/default/a", "pod/default/b")

    run(body)


def test_a_line_that_is_cut_is_read_again():
    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            await wait(lambda: api.watches() == 1)
            api.cut_watches = 2
            pods(api, "b")
            await wait(lambda: "pod/default/b" in found.groups)
            assert found.discovery.stats().failures == 2
            assert found.failing == []

    run(body)


def test_silence_is_noticed_and_after_a_second_time_the_list_is_asked_for(monkeypatch):
    monkeypatch.setattr(client, "SILENCE_S", 0.1)

    async def body(api):
        pods(api, "a")
        async with follow(api) as found:
            await found.until("pod/default/a")
            api.silent = True
            pods(api, "b")
            await wait(lambda: "pod/default/b" in found.groups)
            assert [r.verb for r in api.requests][:4] == ["list", "watch", "watch", "list"]

    run(body)


def test_an_outage_takes_nothing_away_and_is_told_once(caplog):
    async def body(api):
        pods(api, "a", "b")
        async with follow(api) as found:
            await found.until("pod/default/a", "pod/default/b")
            await wait(lambda: api.watches() == 1)
            heard = found.discovery.stats().watches[0].heard_s
            await api.stop()
            await wait(lambda: found.discovery.stats().failures > 3)
            assert set(found.groups) == {"pod/default/a", "pod/default/b"}
            (watch,) = found.failing
            assert "onnect" in watch.last_error
            assert watch.heard_s == heard
            assert watch.objects == 2
            api.delete("pods", "a", "default")
            await api.start()
            await found.until("pod/default/b")
            assert found.failing == []
        errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        assert 1 <= len(errors) <= 2  # the cut, and then the refusal to connect
        assert "verb=watch resource=pods namespace=(all)" in errors[0]

    run(body)


def test_a_start_without_the_server_waits_for_it():
    async def body(api):
        pods(api, "a")
        port = api.port
        await api.stop()
        async with follow(api) as found:
            await wait(lambda: found.discovery.stats().failures > 2)
            assert found.updates == []
            assert api.port == port
            await api.start()
            await found.until("pod/default/a")

    run(body)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param((503, {}, "no server available"), id="unavailable, in plain text"),
        pytest.param((500, {"Content-Type": "application/json"}, "{"), id="broken JSON"),
        pytest.param((200, {"Content-Type": "application/json"}, "[]"), id="not an object"),
        pytest.param((200, {}, '{"metadata": {"resourceVersion": "1"}, "items": [7]}'), id="odd"),
        pytest.param((200, {}, '{"metadata": {}, "items": []}'), id="without a version"),
        pytest.param((404, {}, "404 page not found"), id="an API group that is not there"),
        pytest.param((200, {"Content-Encoding": "gzip"}, "no gzip"), id="broken gzip"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bad_answer_is_a_failure_and_then_forgotten(refusal):
    async def body(api):
        pods(api, "a")
        api.refuse = [refusal]
        async with follow(api) as found:
            await found.until("pod/default/a")
            assert found.discovery.stats().failures == 1
            assert found.failing == []

    run(body)


def test_the_server_says_when_to_come_again():
    async def body(api):
        pods(api, "a")
        api.refuse = [(429, {"Retry-After": "1"}, "too many requests")]
        async with follow(api) as found:
            began = asyncio.get_running_loop().time()
            await found.until("pod/default/a")
            assert asyncio.get_running_loop().time() - began >= 1

    run(body)


def test_jobs_that_ask_for_the_same_share_one_watch():
    async def body(api):
        pods(api, "a")
        shared = Watches()
        selected = (Selector("pod", label="app=web"),)
        async with follow(api, shared=shared) as one:
            await one.until("pod/default/a")
            async with (
                follow(api, shared=shared) as two,
                follow(api, "endpoints", shared=shared),
                follow(api, shared=shared, selectors=selected),
            ):
                await two.until("pod/default/a")
                await wait(lambda: api.watches() == 4)
                assert api.watches(PODS) == 2
                assert len(shared.stats()) == 4
                pods(api, "b")
                await two.until("pod/default/a", "pod/default/b")
            await wait(lambda: api.watches() == 1)
            pods(api, "c")
            await one.until("pod/default/a", "pod/default/b", "pod/default/c")
        await wait(lambda: api.watches() == 0)
        assert shared.stats() == []

    run(body)


def test_a_watch_outlives_its_last_use_for_a_while():
    async def body(api):
        pods(api, "a")
        shared = Watches(linger_s=0.3)
        async with follow(api, shared=shared) as one:
            await one.until("pod/default/a")
        assert api.watches() == 1
        # As in a reload while the server is away: what is known is there at once.
        await api.stop()
        async with follow(api, shared=shared) as two:
            await two.until("pod/default/a")
            await api.start()
            pods(api, "b")
            await two.until("pod/default/a", "pod/default/b")
            await asyncio.sleep(0.4)
            assert api.watches() == 1
        await wait(lambda: api.watches() == 0)
        assert [r.verb for r in api.requests].count("list") == 1
        async with follow(api, shared=shared) as three:
            await three.until("pod/default/a", "pod/default/b")
        await shared.close()
        assert shared.stats() == []

    run(body)


def test_named_namespaces_are_watched_one_by_one_and_merged():
    async def body(api):
        pods(api, "a", namespace="one")
        pods(api, "a", namespace="two")
        pods(api, "a", namespace="three")
        api.denied = {("list", "pods", ""), ("list", "pods", "two")}
        async with follow(api, namespaces=("one", "two", "three")) as found:
            # A refused namespace costs the others nothing.
            await found.until("pod/one/a", "pod/three/a")
            assert len(found.updates) == 1
            (refused,) = found.failing
            assert refused.path == "/api/v1/namespaces/two/pods"
            assert 'cannot list resource "pods" in API group "" in the namespace "two"' in (
                refused.last_error
            )
            api.denied.clear()
            await found.until("pod/one/a", "pod/two/a", "pod/three/a")
            api.delete("pods", "a", "one")
            await found.until("pod/two/a", "pod/three/a")
            assert not any(r.path == PODS for r in api.requests)

    run(body)


def test_a_namespace_tells_of_itself_with_rights_on_it_alone():
    async def body(api):
        api.put("namespaces", cluster.namespace("one", labels={"team": "x"}))
        pods(api, "a", namespace="one")
        attach = AttachMetadata(namespace=True)
        async with follow(api, namespaces=("one",), attach=attach) as found:
            await found.until("pod/one/a")
            labels = found.groups["pod/one/a"].labels
            assert labels["__meta_kubernetes_namespace_label_team"] == "x"
            (listed,) = [
                r
                for r in api.requests
                if r.path.endswith("namespaces") and not r.query.get("watch")
            ]
            assert listed.query["fieldSelector"] == "metadata.name=one"

    run(body)


def test_neighbours_that_change_build_again_what_was_made_of_them():
    async def body(api):
        api.put("nodes", cluster.node("node-a", labels={"zone": "z1"}))
        pods(api, "a", "b")
        api.put("services", cluster.service("web"))
        at = [{"ip": "10.1.0.0", "targetRef": cluster.to_pod("a"), "nodeName": "node-a"}]
        api.put("endpoints", cluster.endpoints("web", subsets=[cluster.subset(at)]))
        api.put("endpoints", cluster.endpoints("x", subsets=[cluster.subset([{"ip": "9.9.9.9"}])]))
        async with follow(api, "endpoints", attach=AttachMetadata(node=True)) as found:
            await found.until("endpoints/default/web", "endpoints/default/x")

            def seen():
                group = found.groups["endpoints/default/web"]
                return dict(group.labels) | dict(group.targets[0])

            async def tells(name, value):
                await wait(lambda: seen().get("__meta_kubernetes_" + name) == value, seen)

            await tells("node_label_zone", "z1")
            api.put("nodes", cluster.node("node-a", labels={"zone": "z2"}))
            await tells("node_label_zone", "z2")
            api.put("services", cluster.service("web", labels={"l": "m"}))
            await tells("service_label_l", "m")
            api.change("pods", "a", "default", lambda p: p["status"].update(phase="Failed"))
            await tells("pod_phase", "Failed")
            api.delete("services", "web", "default")
            await tells("service_name", None)
            api.delete("pods", "a", "default")
            await tells("pod_name", None)
            api.delete("nodes", "node-a")
            await tells("node_name", None)
            pods(api, "a")
            await tells("pod_name", "a")
            # The pod nobody refers to and the other endpoints were never built again.
            assert all(update == ["endpoints/default/web"] for update in found.updates[1:])

    run(body)


def test_of_nodes_only_the_metadata_is_asked_for():
    async def body(api):
        api.put("nodes", cluster.node("node-a", labels={"zone": "z1"}))
        pods(api, "a")
        async with follow(api, attach=AttachMetadata(node=True)) as found:
            await found.until("pod/default/a")
            api.put("nodes", cluster.node("node-a", labels={"zone": "z2"}))
            name = "__meta_kubernetes_node_label_zone"
            await wait(lambda: found.groups["pod/default/a"].labels[name] == "z2")
            accepted = {r.headers["Accept"] for r in api.requests if r.path.endswith("nodes")}
            assert all("as=PartialObjectMetadata" in accept for accept in accepted)

    run(body)


def test_node_selectors_choose_pods():
    async def body(api):
        api.put("nodes", cluster.node("node-a", labels={"pool": "x"}))
        api.put("nodes", cluster.node("node-b"))
        api.put("pods", cluster.pod("a", on="node-a"))
        api.put("pods", cluster.pod("b", on="node-b"))
        async with follow(api, selectors=(Selector("node", label="pool=x"),)) as found:
            await found.until("pod/default/a")
            api.put("nodes", cluster.node("node-b", labels={"pool": "x"}))
            await found.until("pod/default/a", "pod/default/b")
            api.put("nodes", cluster.node("node-a", labels={"pool": "y"}))
            await found.until("pod/default/b")

    run(body)


def test_an_object_that_leaves_a_selector_goes():
    async def body(api):
        api.put("pods", cluster.pod("a", labels={"app": "web"}))
        api.put("pods", cluster.pod("b", labels={"app": "db"}))
        chosen = Selector("pod", label="app in (web,api)", field="status.phase=Running")
        async with follow(api, selectors=(chosen,)) as found:
            await found.until("pod/default/a")
            api.put("pods", cluster.pod("b", labels={"app": "api"}))
            await found.until("pod/default/a", "pod/default/b")
            api.put("pods", cluster.pod("a", labels={"app": "web"}, phase="Failed"))
            await found.until("pod/default/b")

    run(body)


@pytest.mark.parametrize("missing", ["services", "pods"])
def test_endpoints_wait_for_everything_they_are_made_of(missing):
    async def body(api):
        api.put("endpoints", cluster.endpoints("x", subsets=[cluster.subset([{"ip": "9.9.9.9"}])]))
        api.denied = {("list", missing, "")}
        async with follow(api, "endpoints") as found:
            await wait(lambda: found.failing)
            await asyncio.sleep(0.1)
            assert found.updates == []
            api.denied.clear()
            await found.until("endpoints/default/x")

    run(body)


def test_an_object_against_its_schema_costs_only_itself(caplog):
    async def body(api):
        pods(api, "a")
        odd = cluster.pod("odd")
        odd["spec"]["containers"] = [7]
        async with follow(api) as found:
            await found.until("pod/default/a")
            api.put("pods", odd | {"spec": {"containers": [{"ports": 7}]}})
            pods(api, "b")
            await found.until("pod/default/a", "pod/default/b")
        assert "Kubernetes pod default/odd is malformed" in caplog.text

    run(body)


def test_a_token_file_is_read_anew(tmp_path):
    path = tmp_path / "token"
    path.write_text("one\n")

    async def body(api):
        pods(api, "a")
        http = HttpClientConfig(authorization=Authorization(credentials_file=path))
        async with follow(api, http=http) as found:
            await found.until("pod/default/a")
            api.token = "two"
            pods(api, "b")
            api.cut_all()
            await wait(lambda: found.failing and "401" in found.failing[0].last_error)
            path.write_text("two")
            await found.until("pod/default/a", "pod/default/b")

    run(body, token="one")
