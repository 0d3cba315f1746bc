"""Against a real ZooKeeper, from Debian's package."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kazoo.client import KazooClient

from discovery.zookeeper import ZooKeeperDiscovery
from discovery.zookeeper_settings import NERVE, SERVERSET, ZooKeeperSettings
from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_text
from tests.discovery.kubernetes.follower import Follower, wait
from tests.end_to_end.processes import free_port

JAR = Path("/usr/share/java/zookeeper.jar")
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


class ZooKeeper:
    """One server; it may be stopped and started again over the same data."""

    def __init__(self, folder):
        self.port, self.folder, self.process = free_port(), folder, None
        (folder / "zoo.cfg").write_text(
            f"tickTime=500\ndataDir={folder / 'data'}\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
        )

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            ["java", "-Xmx128m", "-cp", str(JAR), MAIN, str(self.folder / "zoo.cfg")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def client(self):
        client = KazooClient(self.address)
        client.start(timeout=60)
        try:
            yield client
        finally:
            client.stop()
            client.close()


@pytest.fixture
def zookeeper(tmp_path):
    if shutil.which("java") is None or not JAR.exists():
        pytest.skip("zookeeper is not installed")
    server = ZooKeeper(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def member(host, port, **more):
    endpoint = {"serviceEndpoint": {"host": host, "port": port}}
    return json.dumps({**endpoint, "status": "ALIVE", **more}).encode()


def run(server, body, *paths, kind=SERVERSET):
    async def main():
        settings = ZooKeeperSettings(kind, (server.address,), paths)
        async with Follower(ZooKeeperDiscovery(settings)) as follower:
            await body(follower)

    asyncio.run(main())


async def until(follower, *sources):
    await wait(lambda: set(follower.groups) == set(sources), lambda: set(follower.groups), 60)


@pytest.mark.peer
def test_members_come_change_and_go(zookeeper):
    async def body(follower):
        with zookeeper.client() as client:
            await wait(lambda: follower.updates == [[]], patience_s=60)
            more = {"additionalEndpoints": {"admin-http": {"host": "h2", "port": 9}}, "shard": 3}
            client.create("/s/a/member_1", member("h", 80, **more), makepath=True)
            client.create("/s/a/broken", b"{", makepath=True)
            await until(follower, "/s/a/member_1")
            (target,) = follower.groups["/s/a/member_1"].targets
            assert target == {
                "__address__": "h:80",
                "__meta_serverset_path": "/s/a/member_1",
                "__meta_serverset_endpoint_host": "h",
                "__meta_serverset_endpoint_port": "80",
                "__meta_serverset_endpoint_host_admin_http": "h2",
                "__meta_serverset_endpoint_port_admin_http": "9",
                "__meta_serverset_status": "ALIVE",
                "__meta_serverset_shard": "3",
            }
            client.create("/s/b", member("i", 81))
            await until(follower, "/s/a/member_1", "/s/b")
            client.set("/s/b", member("j", 82))
            await wait(lambda: follower.groups["/s/b"].targets[0]["__address__"] == "j:82")
            client.set("/s/b", b"nonsense")
            await until(follower, "/s/a/member_1")
            client.delete("/s", recursive=True)
            await until(follower)
            client.create("/s/c", member("k", 83), makepath=True)
            await until(follower, "/s/c")

    run(zookeeper, body, "/s")


@pytest.mark.peer
def test_an_outage_takes_nothing_and_what_went_meanwhile_goes_after_it(zookeeper):
    def fill():
        with zookeeper.client() as client:
            for name in "abc":
                nerve = {"host": f"fd00::{name}", "port": 80, "name": name}
                client.create(f"/n/{name}", json.dumps(nerve).encode(), makepath=True)

    async def body(follower):
        await asyncio.to_thread(fill)
        await until(follower, "/n/a", "/n/b", "/n/c")
        assert follower.groups["/n/a"].targets == (
            {
                "__address__": "[fd00::a]:80",
                "__meta_nerve_path": "/n/a",
                "__meta_nerve_endpoint_host": "fd00::a",
                "__meta_nerve_endpoint_port": "80",
                "__meta_nerve_endpoint_name": "a",
            },
        )
        assert follower.discovery.stats().nodes == 4
        await asyncio.to_thread(zookeeper.stop)
        await asyncio.sleep(0.5)
        assert set(follower.groups) == {"/n/a", "/n/b", "/n/c"}
        zookeeper.start()

        def change():
            with zookeeper.client() as client:
                client.delete("/n/b")
                client.create("/n/d", client.get("/n/a")[0])

        await asyncio.to_thread(change)
        await until(follower, "/n/a", "/n/c", "/n/d")

    run(zookeeper, body, "/n", kind=NERVE)


def test_no_server_is_no_news_and_ends_at_once():
    async def main():
        settings = ZooKeeperSettings(NERVE, (f"127.0.0.1:{free_port()}",), ("/n",))
        async with Follower(ZooKeeperDiscovery(settings)) as follower:
            await asyncio.sleep(0.2)
            assert follower.updates == []

    asyncio.run(asyncio.wait_for(main(), 60))


def test_entries_are_read_and_shown(tmp_path):
    entries = {
        "serverset_sd_configs": [{"servers": ["z:1", "z:2"], "paths": ["/a"]}],
        "nerve_sd_configs": [{"servers": ["z:1"], "paths": ["/n"], "timeout": "5s"}],
    }
    text = yaml.safe_dump({"scrape_configs": [{"job_name": "j", **entries}]})
    config = load_text(text, tmp_path)
    assert config.jobs[0].zookeeper == (
        ZooKeeperSettings(SERVERSET, ("z:1", "z:2"), ("/a",)),
        ZooKeeperSettings(NERVE, ("z:1",), ("/n",), 5.0),
    )
    assert load_text(effective_yaml(config), tmp_path).jobs == config.jobs


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"paths": ["/a"]}, "nerve SD config must contain at least one Zookeeper server"),
        ({"servers": ["z"]}, "nerve SD config must contain at least one path"),
        ({"servers": ["z"], "paths": ["a"]}, "nerve SD config paths must begin with '/': a"),
    ],
)
def test_entries_that_are_refused(entry, error, tmp_path):
    text = yaml.safe_dump({"scrape_configs": [{"job_name": "j", "nerve_sd_configs": [entry]}]})
    with pytest.raises(ConfigError, match=error):
        load_text(text, tmp_path)
