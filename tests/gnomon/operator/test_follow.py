"""Objects followed through an API server of the tests, and jobs on a running server."""

import asyncio
import base64

import pytest

from discovery.kubernetes import watches as kubernetes_watches
from discovery.kubernetes.settings import ApiAccess
from discovery.kubernetes.watches import Watches
from gnomon.config.load import load_text
from gnomon.config.model import GlobalConfig, JobConfig
from gnomon.operator import follow
from gnomon.operator.monitors import Monitors
from gnomon.operator.settings import MonitorSettings
from scraper.job import ScrapeJob
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer
from tests.discovery.kubernetes.follower import wait

WEB = {"port": "web"}
AUTH = WEB | {"authorization": {"credentials": {"name": "s", "key": "token"}}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nobody waits for seconds."""
    monkeypatch.setattr(kubernetes_watches, "BACKOFF_S", (0.02, 0.1))
    monkeypatch.setattr(kubernetes_watches, "_SHORT_S", 0.05)
    monkeypatch.setattr(follow, "SETTLE_S", 0.01)
    monkeypatch.setattr(follow, "FILES_S", 0.02)


def monitor(name, *endpoints, namespace="default", **spec):
    return {
        "metadata": cluster.metadata(name, namespace),
        "spec": {"endpoints": list(endpoints or [WEB]), **spec},
    }


def secret(text, name="s"):
    data = {"token": base64.b64encode(text.encode()).decode()}
    return {"metadata": cluster.metadata(name, "default"), "data": data}


def names(monitors):
    return [job.job.job_name for job in monitors.jobs()]


def run(body, **settings):
    async def main():
        api = ApiServer()
        await api.start()
        watches, changes = Watches(), []
        monitors = Monitors(watches, lambda: changes.append(1))
        entry = MonitorSettings(access=ApiAccess(api.url), **settings)
        try:
            await body(api, monitors, entry, changes)
        finally:
            await monitors.close()
            await watches.close()
            await api.stop()

    asyncio.run(main())


DEFAULTS = GlobalConfig()


def test_objects_come_change_and_go():
    async def body(api, monitors, entry, changes):
        api.put("servicemonitors", monitor("a"))
        await monitors.configure([entry], DEFAULTS)
        await wait(lambda: names(monitors) == ["serviceMonitor/default/a/0"])
        first = monitors.jobs()[0]
        assert first.kubernetes[0].access == entry.access
        api.put("servicemonitors", monitor("b", WEB, WEB))
        b = ["serviceMonitor/default/b/0", "serviceMonitor/default/b/1"]
        await wait(lambda: names(monitors) == ["serviceMonitor/default/a/0", *b])
        assert monitors.jobs()[0] is first
        api.delete("servicemonitors", "a", "default")
        await wait(lambda: names(monitors) == b)
        seen = len(changes)
        api.change("servicemonitors", "b", "default", lambda i: i["metadata"].update(labels={}))
        api.put("podmonitors", {"metadata": cluster.metadata("p", "x"), "spec": {}})
        await wait(lambda: len(changes) > seen)
        assert names(monitors) == b

    run(body)


def test_a_broken_object_costs_itself_alone_and_says_why():
    async def body(api, monitors, entry, changes):
        api.put("servicemonitors", monitor("a", WEB | {"interval": "soon"}))
        api.put("servicemonitors", monitor("b"))
        await monitors.configure([entry], DEFAULTS)
        await wait(lambda: names(monitors) == ["serviceMonitor/default/b/0"])
        broken = monitors.status()[0]
        assert (broken.kind, broken.name, broken.jobs) == ("ServiceMonitor", "default/a", ())
        assert "interval" in broken.error
        api.put("servicemonitors", monitor("a"))
        await wait(lambda: len(names(monitors)) == 2)
        assert not any(one.error for one in monitors.status())

    run(body)


def test_secrets_are_read_by_name_and_again_at_each_refresh():
    def token(monitors):
        jobs = monitors.jobs()
        return jobs and jobs[0].job.http_client.authorization.credentials

    async def body(api, monitors, entry, changes):
        api.put("servicemonitors", monitor("a", AUTH))
        await monitors.configure([entry], DEFAULTS)
        error = "Secret default/s does not exist"
        await wait(lambda: [one.error for one in monitors.status()] == [error])
        api.put("secrets", secret("one"))
        await wait(lambda: token(monitors) == "one")
        api.put("secrets", secret("two"))
        await wait(lambda: token(monitors) == "two")
        api.denied.add(("get", "secrets", "default"))
        asked = len(api.requests)
        await wait(lambda: len(api.requests) > asked + 2)
        assert token(monitors) == "two"
        assert not any(r.verb == "list" and "secrets" in r.path for r in api.requests)

    run(body, refresh_interval_s=0.1)


def test_a_server_that_is_away_or_lacks_a_kind_costs_nothing_known():
    async def body(api, monitors, entry, changes):
        api.denied.add(("list", "probes", ""))
        api.put("servicemonitors", monitor("a"))
        await monitors.configure([entry], DEFAULTS)
        await wait(lambda: names(monitors) == ["serviceMonitor/default/a/0"])
        await api.stop()
        (follower,) = monitors.followers()
        await wait(lambda: all(watch.last_error for watch in follower.watch_stats()))
        assert names(monitors) == ["serviceMonitor/default/a/0"]
        api.delete("servicemonitors", "a", "default")
        await api.start()
        await wait(lambda: names(monitors) == [])

    run(body)


def test_namespaces_are_watched_one_by_one_and_selected():
    async def body(api, monitors, entry, changes):
        for name in "abc":
            labels = {"team": "x"} if name != "b" else {}
            api.put("namespaces", {"metadata": cluster.metadata(name, labels=labels)})
            api.put("servicemonitors", monitor("m", namespace=name))
        await monitors.configure([entry], DEFAULTS)
        await wait(lambda: names(monitors) == ["serviceMonitor/a/m/0"])
        paths = {r.path for r in api.requests if "servicemonitors" in r.path}
        start = "/apis/monitoring.coreos.com/v1/namespaces"
        assert paths == {f"{start}/a/servicemonitors", f"{start}/b/servicemonitors"}
        api.put("namespaces", {"metadata": cluster.metadata("b", labels={"team": "x"})})
        await wait(lambda: names(monitors) == ["serviceMonitor/a/m/0", "serviceMonitor/b/m/0"])

    run(body, namespaces=("a", "b"), namespace_selector="team=x", kinds=("ServiceMonitor",))


def test_reloads_keep_what_is_as_before_and_end_what_is_not():
    async def body(api, monitors, entry, changes):
        api.put("servicemonitors", monitor("a"))
        await monitors.configure([entry], DEFAULTS)
        await wait(lambda: names(monitors) == ["serviceMonitor/default/a/0"])
        before = monitors.followers()
        await monitors.configure([entry], DEFAULTS)
        assert monitors.followers()[0] is before[0]
        taken = JobConfig(ScrapeJob("serviceMonitor/default/a/0"))
        assert monitors.jobs([taken]) == []
        await monitors.configure([], DEFAULTS)
        await wait(lambda: api.watches() == 0)
        assert names(monitors) == []

    run(body)


def test_files_are_followed(tmp_path):
    text = """
kind: ScrapeConfig
metadata: {name: a, namespace: n}
spec:
  staticConfigs: [{targets: ["h:1"]}]
  authorization: {credentials: {name: s, key: token}}
"""
    known = "---\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {token: TEXT}\n"

    async def body():
        watches = Watches()
        monitors = Monitors(watches, lambda: None)
        (tmp_path / "m.yml").write_text(text)
        await monitors.configure([MonitorSettings(files=(tmp_path / "*.yml",))], DEFAULTS)
        try:
            error = "Secret n/s does not exist"
            await wait(lambda: [one.error for one in monitors.status()] == [error])
            (tmp_path / "s.yml").write_text(known.replace("TEXT", "one"))
            await wait(lambda: names(monitors) == ["scrapeConfig/n/a"])
            assert monitors.jobs()[0].job.http_client.authorization.credentials == "one"
            (tmp_path / "s.yml").write_text(known.replace("TEXT", "other"))
            await wait(
                lambda: monitors.jobs()[0].job.http_client.authorization.credentials == "other"
            )
        finally:
            await monitors.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("kinds: [Prometheus]", "unknown kind Prometheus"),
        ("selector: 'a in'", "selector"),
        (
            "files: [x.yml]\n  selector: a=b",
            "selectors and own_namespace are for objects",
        ),
        ("service_discovery_role: pods", "service_discovery_role is endpoints or endpointslice"),
        ("shards: 2\n  shard: 2", "shard must be less than shards"),
        ("bearer_token: x", "please provide the 'api_server' URL explicitly"),
        ("nonsense: 1", "field nonsense not found"),
    ],
)
def test_entries_that_are_refused(text, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        load_text(f"kubernetes_monitor_configs:\n- {text}\n", tmp_path)
