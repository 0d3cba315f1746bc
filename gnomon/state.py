"""What changes while a server runs, in one place: written by `server.py`, shown by `view.py`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gnomon.config.effective import effective_yaml
from gnomon.json_lines import JsonLogs
from tsdb.replay import ReplayProgress

if TYPE_CHECKING:
    from api.listening import Connections
    from gnomon.config.model import Config
    from gnomon.forwarding.forwarder import Forwarder
    from gnomon.operator.live import LiveMonitors
    from gnomon.remote_read.fan_out import FanOut
    from gnomon.retention import Retention
    from scraper.thread import ScraperThread
    from tsdb.database import Database
    from tsdb.early_reads import EarlyReads


@dataclass(slots=True)
class ServerState:
    """Owned by the event loop's thread; others read. Times are seconds since the epoch.

    `external_labels` is refilled in place: the API holds the same dict.
    """

    config: Config
    retention: Retention
    external_labels: dict[str, str]
    logs: JsonLogs = field(default_factory=JsonLogs)
    start_time_s: float = field(default_factory=time.time)
    config_time_s: float = field(default_factory=time.time)
    reload_success: bool = True
    reload_failed_s: float = 0.0
    ready: bool = False
    stopping: bool = False
    replay: ReplayProgress = field(default_factory=ReplayProgress)
    early: EarlyReads | None = None
    """What can be read while the log is replayed; None before and after."""
    database: Database | None = None
    scraper: ScraperThread | None = None
    connections: Connections | None = None
    forwarder: Forwarder | None = None
    monitors: LiveMonitors | None = None
    fan_out: FanOut | None = None
    stop_requested: asyncio.Event = field(default_factory=asyncio.Event)
    _shown: tuple[Config, str] | None = None

    def config_text(self) -> str:
        """Return the configuration as text, written when somebody asks: it may be a megabyte."""
        if self._shown is None or self._shown[0] is not self.config:
            self._shown = self.config, effective_yaml(self.config)
        return self._shown[1]
