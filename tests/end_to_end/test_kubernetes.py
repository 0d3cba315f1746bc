"""A server that finds its targets in Kubernetes, reloads, and tells of an outage."""

import asyncio
import signal

import pytest

from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer
from tests.end_to_end.processes import Server, until

CONFIG = """
global: {scrape_interval: 1h}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs: [{api_server: "URL", role: pod}]
- job_name: endpoints
  kubernetes_sd_configs: [{api_server: "URL", role: endpoints}]
"""


def addresses(server, pool):
    return sorted(
        target["discoveredLabels"]["__address__"]
        for target in server.api("targets")["activeTargets"]
        if target["scrapePool"] == pool
    )


@pytest.mark.timeout(240)
def test_targets_and_metrics_through_a_reload_and_an_outage(tmp_path):
    async def main():
        api = ApiServer()
        api.put("pods", cluster.pod("a"))
        await api.start()
        server = Server(tmp_path, "--web.enable-lifecycle")
        server.config_file.write_text(CONFIG.replace("URL", api.url))

        async def wait(condition, what):
            await asyncio.to_thread(until, condition, what)

        def metric(line):
            return line in server.get("/metrics")[1].decode().splitlines()

        try:
            await asyncio.to_thread(server.start)
            await wait(lambda: addresses(server, "pods") == ["10.1.0.1:8080"], "the first pod")
            assert api.watches("/api/v1/pods") == 1
            labels = f'{{server="{api.url}",path="/api/v1/pods",selectors=""}}'
            await wait(lambda: metric(f"gnomon_sd_kubernetes_watch_objects{labels} 1"), "metrics")
            await api.stop()
            await wait(lambda: metric(f"gnomon_sd_kubernetes_watch_failing{labels} 1"), "failure")
            # A reload that changes how a job discovers, while the server is away.
            text = server.config_file.read_text()
            server.config_file.write_text(
                text.replace(
                    "role: endpoints}]", "role: pod}]\n  static_configs: [{targets: [h:1]}]"
                )
            )
            server.process.send_signal(signal.SIGHUP)
            await wait(
                lambda: addresses(server, "endpoints") == ["10.1.0.1:8080", "h:1"], "the reload"
            )
            api.put("pods", cluster.pod("b", ip="10.1.0.2"))
            await api.start()
            both = ["10.1.0.1:8080", "10.1.0.2:8080"]
            await wait(lambda: addresses(server, "pods") == both, "the second pod")
            await wait(lambda: metric(f"gnomon_sd_kubernetes_watch_failing{labels} 0"), "recovery")
            assert await asyncio.to_thread(server.stop) == 0
            assert "Task was destroyed" not in server.log
            assert "Unclosed" not in server.log
        finally:
            await asyncio.to_thread(server.end)
            await api.stop()

    asyncio.run(main())
