"""Start, reload, drain, stop: the life of a server, on one event loop.

From: `commands/serve.py`.   To: the parts that `wiring.py` makes.
Order of a start: configuration, kernels, listening, storage, scraping; probes are answered from
the moment of listening, queries once storage can be read, all else once it is open. Order of a
stop: scraping, requests, engine, storage. Exit codes: 0 asked to stop, 1 cannot run, 2 the
configuration is bad.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from typing import TYPE_CHECKING

from aiohttp import web

from api.listening import Connections, Site
from api.parts import PARTS
from api.routes import RUNNER_OPTIONS, make_app
from discovery.kubernetes.watches import Watches
from gnomon import auto_reload, wiring
from gnomon.agent import check_config, refuse_queries
from gnomon.compiled import load_remaining_kernels, release_compiler
from gnomon.config.document import ConfigError
from gnomon.config.load import load_file
from gnomon.deferred import DeferredStorage
from gnomon.forwarding.positions import forget
from gnomon.problem_text import problem_text
from gnomon.remote_read.fan_out import FanOut
from gnomon.retention import retention
from gnomon.state import ServerState
from gnomon.version import PROMETHEUS_VERSION, gnomon_version
from gnomon.view import ServerView
from gnomon.web_access import WebAccess
from tsdb.errors import StorageError

if TYPE_CHECKING:
    from api.gate import Gate
    from gnomon.config.model import Config
    from gnomon.flags import ServeOptions
    from tsdb.early_reads import EarlyReads
    from tsdb.replay import ReplayProgress

_log = logging.getLogger(__name__)

_SETTLE_S = 1.0
"""How long after the start the compiler is let go of."""

WATCH_LINGER_S = 10.0
"""How long what is known of a Kubernetes API server outlives its last use: over a reload."""

DRAIN_S = 10.0
"""How long a stop waits for requests that run; then their queries are cancelled."""

_GIVE_UP_S = 5.0
"""How long it waits then for their answers to leave."""


class Server:
    """One server. `run` returns the exit code."""

    def __init__(self, options: ServeOptions, config: Config) -> None:
        self._options, self._config = options, config
        self._storage = DeferredStorage()
        self._fan_out = FanOut(self._storage)
        self._watches = Watches(linger_s=WATCH_LINGER_S)
        self._reload_lock = asyncio.Lock()

    async def run(self) -> int:
        """Serve until asked to stop."""
        options = self._options
        began = time.monotonic()
        self._state = ServerState(
            config=self._config,
            retention=retention(options, self._config),
            external_labels=dict(self._config.global_config.external_labels),
        )
        _log.info(
            "Starting Gnomon",
            extra={"fields": {"version": gnomon_version(), "compatible": PROMETHEUS_VERSION}},
        )
        try:
            self._web = WebAccess(options.web_config_file) if options.web_config_file else None
        except (ConfigError, OSError, ValueError) as error:
            fields = {"file": options.web_config_file, "err": problem_text(error)}
            _log.error("Unable to validate web configuration file", extra={"fields": fields})
            return 1
        try:
            self._state.logs.follow(self._config)
        except OSError as error:
            fields = {"file": options.config_file, "err": problem_text(error)}
            _log.error("Unable to open a log of the configuration", extra={"fields": fields})
            return 1
        self._state.fan_out = self._fan_out
        engine = wiring.engine(options, self._fan_out)
        view = ServerView(self._state, options, engine, reload=self.reload)
        app = make_app(
            self._storage,
            engine,
            view,
            wiring.api_options(
                options,
                self._state.external_labels,
                lambda: wiring.otlp_settings(options, self._state.config),
            ),
            reader=self._fan_out,
            access=self._web.access if self._web else None,
        )
        if options.agent:
            refuse_queries(app, wiring.api_options(options, {}).route_prefix)
        view.attach(app)
        runner = web.AppRunner(app, shutdown_timeout=DRAIN_S + _GIVE_UP_S, **RUNNER_OPTIONS)
        self._watch_signals()
        config_digest = auto_reload.digest(options.config_file, self._config)
        code = 1
        watching: list[asyncio.Task[None]] = []
        try:
            await runner.setup()
            assert runner.server is not None
            self._state.connections = Connections(
                runner.server,
                connections_max=options.connections_max,
                read_timeout_s=options.read_timeout_ms / 1000,
            )
            if self._web is not None:
                watching.append(asyncio.create_task(self._web.watch()))
            if await self._listen(runner) and await self._open_storage():
                if not self._state.stop_requested.is_set():
                    await self._forward(self._config)
                    await self._read_remotely(self._config)
                    # The parser makes its tables when it is first used: not in a user's query.
                    await asyncio.to_thread(engine.instant, "vector(1)", 0)
                    await self._scrape(began)
                if options.auto_reload:
                    watching.append(asyncio.create_task(self._watch_config(config_digest)))
                await self._state.stop_requested.wait()
                code = 0
        finally:
            for task in watching:
                task.cancel()
            await self._stop(runner)
            engine.close()
            await asyncio.to_thread(self._fan_out.close)
            await self._close_storage()
            self._state.logs.close()
        return code

    async def reload(self) -> None:
        """Apply the configuration file as it is now; a bad one changes nothing.

        Raises ValueError with Prometheus' text.
        """
        path = self._options.config_file
        state = self._state
        async with self._reload_lock:
            _log.info("Loading configuration file", extra={"fields": {"filename": path}})
            try:
                config = await asyncio.to_thread(load_file, path)
                if self._options.agent:
                    check_config(path)
            except (ConfigError, OSError) as error:
                state.reload_success, state.reload_failed_s = False, time.time()
                reason = problem_text(error)
                text = f"couldn't load configuration (--config.file={str(path)!r}): {reason}"
                _log.error("Error reloading config", extra={"fields": {"err": text}})
                raise ValueError(text) from error
            try:
                await asyncio.to_thread(state.logs.follow, config)
            except OSError as error:
                state.reload_success, state.reload_failed_s = False, time.time()
                text = f"couldn't open a log that {str(path)!r} names: {problem_text(error)}"
                _log.error("Error reloading config", extra={"fields": {"err": text}})
                raise ValueError(text) from error
            _tell_warnings(config)
            if self._web is not None:
                await asyncio.to_thread(self._web.refresh)
            if state.database is not None:
                wiring.apply_storage(state.database, self._options, config)
            if state.database is not None:
                await self._forward(config)
            await self._read_remotely(config)
            if state.scraper is not None:
                await self._apply_jobs(config)
            state.config = config
            state.retention = retention(self._options, config)
            state.external_labels.clear()
            state.external_labels.update(config.global_config.external_labels)
            state.reload_success, state.config_time_s = True, time.time()
            _log.info(
                "Completed loading of configuration file", extra={"fields": {"filename": path}}
            )

    async def _watch_config(self, before: bytes) -> None:
        options = self._options
        interval_s = options.auto_reload_interval_ms / 1000
        await auto_reload.watch(
            options.config_file, lambda: self._state.config, interval_s, self.reload, before
        )

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)

    def _asked_to_stop(self, number: signal.Signals) -> None:
        _log.warning(
            "Received an OS signal, exiting gracefully...",
            extra={"fields": {"signal": signal.Signals(number).name}},
        )
        self._state.stop_requested.set()

    def _asked_to_reload(self) -> None:
        async def reload() -> None:
            # The text is in the log already; nobody waits for an answer to a signal.
            with contextlib.suppress(ValueError):
                await self.reload()

        self._reloading = asyncio.create_task(reload(), name="reload")

    async def _listen(self, runner: web.AppRunner) -> bool:
        for host, port in self._options.listen:
            assert self._state.connections is not None
            site = Site(
                runner,
                self._state.connections,
                host or None,
                port,
                ssl_context=self._web.context if self._web else None,
            )
            try:
                await site.start()
            except OSError as error:
                _log.error(
                    "Unable to start web listener",
                    extra={"fields": {"address": f"{host}:{port}", "err": error}},
                )
                return False
        for address in runner.addresses:
            shown = f"{address[0]}:{address[1]}"
            _log.info("Listening on", extra={"fields": {"address": shown}})
        return True

    async def _open_storage(self) -> bool:
        """Open the data directory in a thread; False if it cannot be opened."""
        began = time.monotonic()
        state = self._state

        def note(progress: ReplayProgress) -> None:
            state.replay = progress

        def read_early(early: EarlyReads) -> None:
            self._storage.read_early(early)
            state.early = early

        try:
            database = await asyncio.to_thread(
                wiring.open_database, self._options, self._config, note, read_early
            )
        except (StorageError, OSError) as error:
            _log.error("Fatal error", extra={"fields": {"err": f"opening storage failed: {error}"}})
            return False
        self._storage.open(database)
        state.database, state.early = database, None
        _log.info(
            "TSDB started",
            extra={
                "fields": {
                    "path": self._options.data_path,
                    "duration": f"{time.monotonic() - began:.3f}s",
                    "retention": self._state.retention.text(),
                }
            },
        )
        return True

    async def _read_remotely(self, config: Config) -> None:
        """Have queries read from other servers as well, once the configuration names any."""
        if config.remote_read and self._fan_out.remote is None:
            self._fan_out.remote = await asyncio.to_thread(
                wiring.remote_reads, self._storage, self._state
            )

    async def _forward(self, config: Config) -> None:
        """Have the queues that a configuration asks for; they begin before anything comes in."""
        state = self._state
        assert state.database is not None
        if state.forwarder is None and config.remote_write:
            state.forwarder = wiring.forwarder(self._options, state)
        elif state.forwarder is None:
            forget(self._options.data_path)
        if state.forwarder is not None:
            labels = config.global_config.external_labels
            await state.forwarder.apply(config.remote_write, labels)

    async def _scrape(self, began: float) -> None:
        self._threads = wiring.scrape_threads()
        scraper = wiring.scraper(self._storage, self._threads, self._config, self._state.logs)
        self._state.scraper = scraper
        await self._apply_jobs(self._state.config)
        self._state.ready = True
        _log.info(
            "Server is ready to receive web requests.",
            extra={"fields": {"duration": f"{time.monotonic() - began:.3f}s"}},
        )
        await asyncio.to_thread(load_remaining_kernels)
        # A tenth of a second of collecting, which nobody who waits for the start needs to wait for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._state.stop_requested.wait(), _SETTLE_S)
            return
        release_compiler()
        # What a start made lives as long as the process: the collector need not look at it again.
        gc.freeze()

    async def _apply_jobs(self, config: Config) -> None:
        """Scrape what a configuration names, and what Kubernetes' monitors ask for."""
        state = self._state
        assert state.scraper is not None
        if state.monitors is None and config.monitors:
            state.monitors = wiring.monitors(state.scraper, self._watches, self._apply_monitors)
        monitored = []
        if state.monitors is not None:
            await state.monitors.configure(config)
            monitored = state.monitors.jobs(config)
        await state.scraper.apply(wiring.jobs(self._options, config, self._watches, monitored))

    async def _apply_monitors(self) -> None:
        async with self._reload_lock:
            if not self._state.stopping:
                await self._apply_jobs(self._state.config)

    async def _stop(self, runner: web.AppRunner) -> None:
        self._state.stopping = True
        if self._state.scraper is not None:
            _log.info("Stopping scrape manager...")
            # Watches live on the scraper's event loop, as the discoverers that use them.
            monitors = [self._state.monitors.close] if self._state.monitors else []
            await self._state.scraper.stop(*monitors, self._watches.close)
            await asyncio.to_thread(self._threads.shutdown)
        _log.info("Stopping requests...")
        if self._state.connections is not None:
            self._state.connections.close()
        cancelling = asyncio.create_task(_cancel_late(runner.app[PARTS].gate))
        await runner.cleanup()
        cancelling.cancel()

    async def _close_storage(self) -> None:
        if self._state.forwarder is not None:
            _log.info("Stopping remote storage...")
            await self._state.forwarder.stop(self._options.flush_deadline_ms / 1000)
        if self._state.database is not None:
            _log.info("Closing storage...")
            await asyncio.to_thread(self._state.database.close)
        _log.info("See you next time!")


async def _cancel_late(gate: Gate) -> None:
    """Cancel the queries that still run, and those that begin, once the time to drain is over."""
    await asyncio.sleep(DRAIN_S)
    while True:
        gate.cancel_all()
        await asyncio.sleep(0.1)


def _tell_warnings(config: Config) -> None:
    for warning in config.warnings:
        _log.warning(warning)
