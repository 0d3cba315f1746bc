"""What one `consul_sd_configs` entry says, without what asks the agent.

From: `gnomon/config/consul.py`.   To: `consul.py`.
Apart from it so that checking a configuration loads no HTTP client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """One entry. No `services`: all of the catalog that have all `tags`.

    `filter` is for the catalog, `health_filter` for the instances of a service.
    """

    server: str = "localhost:8500"
    scheme: str = "http"
    path_prefix: str = ""
    token: str = ""
    datacenter: str = ""
    namespace: str = ""
    partition: str = ""
    tag_separator: str = ","
    services: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    node_meta: Mapping[str, str] = field(default_factory=dict)
    filter: str = ""
    health_filter: str = ""
    allow_stale: bool = True
    refresh_interval_s: float = 30.0
    client: HttpClientConfig = field(default_factory=HttpClientConfig)

    @property
    def follows_catalog(self) -> bool:
        """Say whether the catalog decides which services are followed."""
        return not self.services or bool(self.tags) or bool(self.filter)
