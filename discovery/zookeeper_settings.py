"""What one `serverset_sd_configs` or `nerve_sd_configs` entry says, and what is told of it.

From: `gnomon/config/zookeeper.py`.   To: `zookeeper.py`; back, as numbers, to
`gnomon/discovery_telemetry.py`. Apart from it so that other starts load no ZooKeeper client.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVERSET, NERVE = "serverset", "nerve"
KINDS = (SERVERSET, NERVE)


@dataclass(frozen=True, slots=True)
class ZooKeeperSettings:
    """Trees of znodes that hold endpoints, in the JSON of one `kind`."""

    kind: str
    servers: tuple[str, ...]
    paths: tuple[str, ...]
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ZooKeeperStats:
    """Znodes known, reads of the tree that failed since the start, and the last reason."""

    nodes: int
    failures: int
    last_error: str
