"""What discovery tells: which groups, when, made of what, and by how many watches."""

import asyncio

import pytest

from discovery.kubernetes.settings import AttachMetadata, Selector
from discovery.kubernetes.watches import Watches
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.follower import PODS, follow, pods, run, wait


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
            await wait(lambda: api.watches() == 1)
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
