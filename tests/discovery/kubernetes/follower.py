"""A discovery followed as `combine` does it, against the API server of these tests."""

import asyncio
import contextlib

from discovery.http_client import HttpClientConfig
from discovery.kubernetes.discovery import KubernetesDiscovery
from discovery.kubernetes.settings import ApiAccess, KubernetesSettings
from discovery.kubernetes.watches import Watches
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer

PODS = "/api/v1/pods"


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
