"""Consul discovery against an agent of our own: blocking questions with an index."""

import asyncio
import json

import pytest
from aiohttp import web

from discovery import consul
from discovery.consul import ConsulDiscovery, health
from discovery.consul_settings import ConsulSettings


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(consul, "RETRY_S", 0.02)


class Agent:
    """Services by name: lists of entries as `/v1/health/service` shows them.

    Each answer has an index; a question with that index is held until it is no longer true.
    """

    def __init__(self):
        self.services, self.index = {}, 10
        self.requests, self.refuse = [], 0
        self.changed = asyncio.Condition()

    async def change(self, index=None, **services):
        async with self.changed:
            for name, entries in services.items():
                if entries is None:
                    del self.services[name]
                else:
                    self.services[name] = entries
            self.index = self.index + 1 if index is None else index
            self.changed.notify_all()

    async def handle(self, request):
        self.requests.append(request)
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=500, text="No cluster leader")
        path = request.path.removeprefix("/prefix").removeprefix("/v1/")
        if path == "agent/self":
            return web.json_response({"Config": {"Datacenter": "dc1"}})
        if "index" in request.query:
            known = int(request.query["index"])
            async with self.changed:
                await self.changed.wait_for(lambda: self.index != known)
        if path == "catalog/services":
            body = {
                name: sorted({tag for entry in entries for tag in entry["Service"]["Tags"]})
                for name, entries in self.services.items()
            }
        else:
            wanted = set(request.query.getall("tag", []))
            entries = self.services.get(path.removeprefix("health/service/"), [])
            body = [entry for entry in entries if wanted <= set(entry["Service"]["Tags"])]
        return web.Response(
            text=json.dumps(body),
            headers={"X-Consul-Index": str(self.index), "Content-Type": "application/json"},
        )


def entry(name, port=80, *, address="", tags=("a", "b"), checks=("passing",), node="n1"):
    return {
        "Node": {
            "Node": node,
            "Address": "10.0.0.1",
            "Datacenter": "dc1",
            "Meta": {"rack-id": "r1"},
            "TaggedAddresses": {"lan": "10.0.0.1"},
        },
        "Service": {
            "ID": f"{name}-{port}",
            "Service": name,
            "Address": address,
            "Port": port,
            "Tags": list(tags),
            "Meta": {"v": "1"},
        },
        "Checks": [{"CheckID": f"c{i}", "Status": each} for i, each in enumerate(checks)],
    }


def run(body, *, first=None, **settings):
    async def main():
        agent = Agent()
        agent.services = first if first is not None else {"web": [entry("web")]}
        app = web.Application()
        app.router.add_get("/{path:.*}", agent.handle)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = f"127.0.0.1:{runner.addresses[0][1]}"
        options = {"server": server, "refresh_interval_s": 0.01, **settings}
        discovery = ConsulDiscovery(ConsulSettings(**options))
        changes = discovery.changes()
        try:
            await body(agent, discovery, lambda: asyncio.wait_for(anext(changes), 5))
        finally:
            await changes.aclose()
            await runner.cleanup()

    asyncio.run(main())


def test_an_instance_and_its_labels():
    async def body(_, __, following):
        (group,) = await following()
        assert group.source == "web"
        assert group.labels == {"__meta_consul_service": "web", "__meta_consul_dc": "dc1"}
        (target,) = group.targets
        assert {name: value for name, value in target.items() if value} == {
            "__address__": "10.0.0.1:80",
            "__meta_consul_address": "10.0.0.1",
            "__meta_consul_node": "n1",
            "__meta_consul_tags": ",a,b,",
            "__meta_consul_service_port": "80",
            "__meta_consul_service_id": "web-80",
            "__meta_consul_health": "passing",
            "__meta_consul_metadata_rack_id": "r1",
            "__meta_consul_service_metadata_v": "1",
            "__meta_consul_tagged_address_lan": "10.0.0.1",
        }

    run(body)


@pytest.mark.parametrize(
    ("address", "expected"), [("10.9.9.9", "10.9.9.9:80"), ("fd00::1", "[fd00::1]:80")]
)
def test_a_service_may_have_an_address_of_its_own(address, expected):
    async def body(_, __, following):
        (group,) = await following()
        assert group.targets[0]["__address__"] == expected
        assert group.targets[0]["__meta_consul_service_address"] == address

    run(body, first={"web": [entry("web", address=address)]})


def test_services_come_change_and_go():
    async def body(agent, _, following):
        assert sorted(group.source for group in await following()) == ["db", "web"]
        await agent.change(web=[entry("web"), entry("web", 81)])
        (group,) = await following()
        assert (group.source, len(group.targets)) == ("web", 2)
        await agent.change(new=[entry("new")])
        (group,) = await following()
        assert (group.source, len(group.targets)) == ("new", 1)
        await agent.change(db=None)
        (group,) = await following()
        assert (group.source, group.targets) == ("db", ())
        waits = [r for r in agent.requests if "index" in r.query]
        assert all(r.query["wait"] == "120s" and "stale" in r.query for r in waits)

    run(body, first={"web": [entry("web")], "db": [entry("db")]})


def test_an_empty_catalog_is_told_at_once():
    async def body(_, __, following):
        assert await following() == []

    run(body, first={})


def test_an_index_that_falls_begins_anew():
    async def body(agent, _, following):
        await following()
        await agent.change(index=3, web=[entry("web", 99)])
        (group,) = await following()
        assert group.targets[0]["__address__"] == "10.0.0.1:99"
        await agent.change(web=[entry("web", 98)])
        (group,) = await following()
        assert group.targets[0]["__address__"] == "10.0.0.1:98"

    run(body)


def test_a_failure_keeps_what_was_known(caplog):
    async def body(agent, discovery, following):
        await following()
        agent.refuse = 4
        await agent.change(index=agent.index + 1)  # ends the questions that are held
        await agent.change(web=[entry("web", 81)])
        (group,) = await following()
        assert group.targets[0]["__address__"] == "10.0.0.1:81"
        assert discovery.stats().failures == 4

    run(body)
    assert "Unexpected response code: 500 (No cluster leader)" in caplog.text


@pytest.mark.parametrize(
    ("settings", "sources", "catalog"),
    [
        pytest.param({"services": ("web",)}, ["web"], False, id="services by name"),
        pytest.param({"tags": ("b",)}, ["db", "web"], True, id="a tag that both have"),
        pytest.param({"tags": ("a", "b")}, ["web"], True, id="tags that one has"),
        pytest.param({"services": ("db",), "tags": ("a",)}, [], True, id="name and tag"),
    ],
)
def test_which_services_are_followed(settings, sources, catalog):
    async def body(agent, _, following):
        assert sorted(group.source for group in await following()) == sources
        assert any("catalog" in r.path for r in agent.requests) is catalog

    first = {"web": [entry("web")], "db": [entry("db", tags=("b",))]}
    run(body, first=first, **settings)


def test_requests_carry_what_was_configured():
    async def body(agent, _, following):
        await following()
        listed = next(r for r in agent.requests if "catalog" in r.path)
        asked = next(r for r in agent.requests if "health" in r.path)
        for request in (listed, asked):
            assert request.path.startswith("/prefix/v1/")
            assert request.headers["X-Consul-Token"] == "t"
            assert (request.query["dc"], request.query["ns"]) == ("dc9", "n")
            assert request.query["partition"] == "p"
            assert "stale" not in request.query
        assert listed.query["node-meta"] == "k:v"
        assert listed.query["filter"] == "F"
        assert asked.query["filter"] == "H"
        assert not any("agent" in r.path for r in agent.requests)

    run(
        body,
        path_prefix="/prefix/",
        token="t",
        datacenter="dc9",
        namespace="n",
        partition="p",
        node_meta={"k": "v"},
        filter="F",
        health_filter="H",
        allow_stale=False,
    )


def test_an_answer_of_another_shape_is_told_and_waited_out(caplog):
    async def body(agent, _, following):
        agent.services["web"] = [{"Node": None, "Service": {"Tags": []}}]
        assert await following() == []
        await agent.change(web=[entry("web")])
        (group,) = await following()
        assert len(group.targets) == 1

    run(body)
    assert "malformed" in caplog.text


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "passing"),
        (["passing", "warning"], "warning"),
        (["warning", "critical", "passing"], "critical"),
        (["odd"], ""),
    ],
)
def test_the_worst_check_counts(statuses, expected):
    checks = [{"CheckID": "c", "Status": status} for status in statuses]
    assert health(checks) == expected
    for name in ("_node_maintenance", "_service_maintenance:web"):
        assert health([*checks, {"CheckID": name, "Status": "critical"}]) == "maintenance"
