"""The running server as the API may see and command it: implements `api.views.AppView`.

From: `state.py` and the parts.   To: handlers. Everything here is quick; what takes longer says so.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from api.notifications import LIVE
from api.parts import PARTS
from api.receivers.import_receiver import IMPORTS
from api.receivers.otlp import OTLP
from api.receivers.remote_write import WRITES
from api.remote_read import SLOTS
from api.views import (
    BuildView,
    LogLines,
    MetricMetadata,
    Notification,
    RuntimeView,
    TsdbStatsView,
)
from gnomon.config.effective import job_yaml
from gnomon.process_stats import process_stats
from gnomon.receiver_telemetry import Receivers
from gnomon.telemetry import Snapshot, metrics_text
from gnomon.version import PROMETHEUS_VERSION, gnomon_version
from scraper.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web

    from gnomon.config.model import JobConfig
    from gnomon.flags import ServeOptions
    from gnomon.measured import MeasuredEngine
    from gnomon.state import ServerState
    from scraper.job import RelabelRule
    from tsdb.database import Database
    from tsdb.interface import Matcher

SNAPSHOT_TIMEOUT_S = 10.0


class ServerView:
    """Reads the state; commands go to the two callables of the server.

    `attach` hands over the application when it is made: it is made over this view.
    """

    def __init__(
        self,
        state: ServerState,
        options: ServeOptions,
        engine: MeasuredEngine,
        *,
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._state, self._options, self._engine = state, options, engine
        self._reload = reload
        self._app: web.Application | None = None
        self._loop = asyncio.get_running_loop()

    def attach(self, app: web.Application) -> None:
        """Take the application, whose counters belong to the metrics."""
        self._app = app

    def ready(self) -> bool:
        """Say whether storage is open and queries can be answered."""
        return self._state.ready and not self._state.stopping

    def readable(self) -> bool:
        """Say whether queries can be answered, if only from a part of storage."""
        state = self._state
        return not state.stopping and (state.database is not None or state.early is not None)

    def reading_notes(self) -> tuple[str, ...]:
        """Return what goes with every answer as warnings."""
        early = self._state.early
        return () if early is None else (early.warning(),)

    def answers_alone(self) -> bool:
        """Say whether reading waits for nobody."""
        state = self._state
        others = state.fan_out is not None and state.fan_out.remote is not None
        return state.early is None and not others

    def query_log(self) -> LogLines | None:
        """Return the log that the configuration names."""
        return self._state.logs.queries

    def stopping(self) -> bool:
        """Say whether shutdown has begun."""
        return self._state.stopping

    def config_yaml(self) -> str:
        """Return the loaded configuration with defaults filled in."""
        return self._state.config_text()

    def flags(self) -> Mapping[str, str]:
        """Return every flag by name with its value in text."""
        return self._options.shown

    def runtime(self) -> RuntimeView:
        """Return facts of this process."""
        state = self._state
        database = state.database
        return RuntimeView(
            start_time_s=state.start_time_s,
            working_directory=str(Path.cwd()),
            hostname=socket.gethostname(),
            reload_success=state.reload_success,
            last_config_time_s=state.config_time_s,
            corruption_count=database.stats().wal_corruptions if database else 0,
            storage_retention=state.retention.text(),
        )

    def build(self) -> BuildView:
        """Return facts of this build."""
        return BuildView(
            version=PROMETHEUS_VERSION,
            gnomon_version=gnomon_version(),
            python_version=platform.python_version(),
        )

    def targets(self) -> Targets:
        """Return active and dropped targets of all pools."""
        if self._state.scraper is None:
            return Targets([], [], {})
        return self._state.scraper.targets()

    def scrape_pools(self) -> Sequence[str]:
        """Return the names of the pools, sorted."""
        return self._state.scraper.scrape_pools() if self._state.scraper else []

    def relabel_rules(self, pool: str) -> tuple[RelabelRule, ...] | None:
        """Return the rules that a pool's targets pass, None for an unknown pool."""
        found = self._job(pool)
        return found.job.relabel_rules if found else None

    def pool_yaml(self, pool: str) -> str | None:
        """Return a pool's part of the configuration, None for an unknown pool."""
        found = self._job(pool)
        return job_yaml(found) if found else None

    def _job(self, name: str) -> JobConfig | None:
        state = self._state
        jobs = [*state.config.jobs, *(state.monitors.jobs(state.config) if state.monitors else ())]
        return next((each for each in jobs if each.job.job_name == name), None)

    def notifications(self) -> Sequence[Notification]:
        """Return what whoever runs the server should know now; texts are Prometheus'."""
        state = self._state
        told = []
        if not state.reload_success:
            told.append(Notification("Configuration reload has failed.", state.reload_failed_s))
        for one in state.monitors.status() if state.monitors else ():
            if one.error:
                text = f"{one.kind} {one.name} is not used: {one.error}"
                told.append(Notification(text, one.since_s))
        if state.stopping:
            text = "Prometheus is shutting down and gracefully stopping all operations."
            told.append(Notification(text, time.time()))
        return told

    def metadata(self) -> Sequence[tuple[Mapping[str, str], Sequence[MetricMetadata]]]:
        """Return for each active target its labels and what it said of its metrics."""
        if self._state.scraper is None:
            return []
        return [
            (labels, [MetricMetadata(f.family, f.type, f.help, f.unit) for f in families])
            for labels, families in self._state.scraper.metadata()
        ]

    def tsdb_stats(self, limit: int) -> TsdbStatsView:
        """Return cardinality statistics; walks over all series of the head."""
        found = self._database.cardinality(limit)
        return TsdbStatsView(
            series_count=found.series_count,
            label_pair_count=found.label_pair_count,
            chunk_count=found.chunk_count,
            min_time_ms=found.min_time_ms,
            max_time_ms=found.max_time_ms,
            series_by_metric=found.series_by_metric,
            values_by_label=found.values_by_label,
            memory_by_label=found.memory_by_label,
            series_by_label_pair=found.series_by_label_pair,
        )

    def block_metas(self) -> Sequence[bytes]:
        """Return the `meta.json` of each block."""
        return self._database.block_metas()

    def delete_series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> None:
        """Delete samples of series that satisfy any of the sets."""
        self._database.delete(matcher_sets, start_ms, end_ms)

    def clean_tombstones(self) -> None:
        """Take what was deleted from the disk."""
        self._database.clean_tombstones()

    def snapshot(self, *, skip_head: bool) -> str:
        """Write all data to a new directory below snapshots/ and return its name."""
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(8)}"
        target = self._options.data_path / "snapshots" / name
        self._database.snapshot(target, skip_head=skip_head)
        return name

    @property
    def _database(self) -> Database:
        database = self._state.database
        assert database is not None, "the API asks when storage is open only"
        return database

    def wal_replay(self) -> tuple[int, int, int]:
        """Return how far the replay is, in segment numbers: first, last, the one being read."""
        progress = self._state.replay
        return progress.first, progress.last, progress.current

    def metrics_text(self) -> bytes:
        """Return the process' own metrics. Called from a thread; waits for the event loop."""
        on_loop = asyncio.run_coroutine_threadsafe(self._snapshot(), self._loop)
        return metrics_text(on_loop.result(SNAPSHOT_TIMEOUT_S))

    async def _snapshot(self) -> Snapshot:
        """Gather all stats on the loop, whose parts are changed there only."""
        assert self._app is not None
        parts = self._app[PARTS]
        state, scraper = self._state, self._state.scraper
        return Snapshot(
            process=process_stats(),
            connections=state.connections.stats() if state.connections else None,
            notifications=self._app[LIVE].stats(),
            requests=parts.requests.stats(),
            remote_reads=self._app[SLOTS].asked,
            gate=parts.gate.stats(),
            receivers=self._receivers(self._app),
            engine=self._engine.stats(),
            query_log=state.logs.queries is not None,
            query_log_failures=state.logs.query_failures,
            scrape=scraper.stats() if scraper else None,
            discovery={
                job: [part.stats() for part in parts if hasattr(part, "stats")]
                for job, parts in (scraper.discoverers() if scraper else {}).items()
            }
            | ({"": state.monitors.stats()} if state.monitors else {}),
            forwarding=state.forwarder.stats() if state.forwarder else [],
            storage=state.database.stats() if state.database else None,
            ready=self.ready(),
            reload_success=state.reload_success,
            reload_success_time_s=state.config_time_s,
        )

    def _receivers(self, app: web.Application) -> Receivers:
        options = self._options
        remote = self._state.fan_out.remote if self._state.fan_out else None
        return Receivers(
            writes=app[WRITES].stats() if options.enable_remote_write_receiver else None,
            otlp=app[OTLP].stats() if options.enable_otlp_receiver else None,
            imports=app[IMPORTS].stats() if options.enable_import_receivers else None,
            sent_away=app[PARTS].gate.stats().writes_refused,
            remote_reads=remote.stats() if remote else {},
        )

    async def reload(self) -> None:
        """Load the configuration file anew. Raises ValueError with the text for the client."""
        await self._reload()

    def quit(self) -> None:
        """Begin a graceful shutdown."""
        self._state.stop_requested.set()
