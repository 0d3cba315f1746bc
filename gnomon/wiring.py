"""Every part of the server and how they hang together: read this file first.

    discovery ─groups─▶ scraper ─samples─▶ storage ◀─selections─ engine ◀─ API ◀─ HTTP
    configuration ─jobs───▲                   ▲                             │
                                              └──────── remote write ───────┘

From: `ServeOptions` (flags) and `Config` (file).   To: `server.py`, which starts and stops them.
Nothing here runs; parts are made and handed to each other, and rules that combine flags and file
(retention, limits) are applied.
"""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from api.receivers.otlp_settings import OtlpSettings
from api.views import ApiOptions
from discovery.consul import ConsulDiscovery
from discovery.files import FileDiscovery
from discovery.http import HttpDiscovery
from discovery.kubernetes.discovery import KubernetesDiscovery
from discovery.static import StaticDiscovery
from gnomon.config.model import EXEMPLARS_DEFAULT
from gnomon.flag_table import (
    OTLP_DELTA_TOTALS,
    OTLP_NATIVE_DELTAS,
    SEARCH,
    START_FEATURES,
    START_STORAGE,
    START_ZEROS,
)
from gnomon.measured import MeasuredEngine
from gnomon.prometheus.recognising import holds_prometheus_data
from gnomon.retention import retention
from promql.engine import EngineOptions
from promql.parse import FEATURES
from scraper.job import DEFAULT_PROTOCOLS, PROTOBUF_FIRST
from scraper.thread import ScraperThread
from tsdb.database import Database
from tsdb.errors import StorageError
from tsdb.options import DatabaseOptions
from tsdb.wal import WAL_SEGMENT_BYTES, Packing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from discovery.groups import Discoverer
    from discovery.kubernetes.watches import Watches
    from gnomon.config.model import Config, JobConfig
    from gnomon.deferred import DeferredStorage
    from gnomon.flags import ServeOptions
    from gnomon.forwarding.forwarder import Forwarder
    from gnomon.json_lines import JsonLogs
    from gnomon.operator.live import LiveMonitors
    from gnomon.remote_read.fan_out import FanOut
    from gnomon.remote_read.reader import RemoteReads
    from gnomon.state import ServerState
    from scraper.job import ScrapeJob
    from tsdb.early_reads import EarlyReads
    from tsdb.replay import ReplayProgress

DELAYED_NAME_REMOVAL = "promql-delayed-name-removal"


_PACKING = {"none": Packing.NONE, "snappy": Packing.TEXT, "zstd": Packing.ALL}
"""What values of `--storage.tsdb.wal-compression-type` mean for a log that is not Prometheus'."""

AGENT_WINDOW_MS = 30 * 60_000
"""How much an agent's head holds before the log is shortened: no block has to be two hours long."""


def database_options(options: ServeOptions, config: Config) -> DatabaseOptions:
    """Return how storage behaves under these flags and this file."""
    kept = retention(options, config)
    log = DatabaseOptions(
        wal_packing=_PACKING[options.wal_compression],
        wal_segment_bytes=options.wal_segment_bytes or WAL_SEGMENT_BYTES,
    )
    configured = config.storage.exemplars_max
    exemplars_max = EXEMPLARS_DEFAULT if configured is None else configured
    if options.agent:
        return replace(
            log,
            retention_ms=None,
            min_block_ms=AGENT_WINDOW_MS,
            out_of_order_window_ms=config.storage.out_of_order_time_window_ms,
            exemplars_max=exemplars_max,
            keep_blocks=False,
            start_times_stored=START_STORAGE in options.features,
            start_zeros=START_ZEROS in options.features,
        )
    return replace(
        log,
        retention_ms=kept.time_ms,
        retention_bytes=kept.size_bytes,
        min_block_ms=options.min_block_ms,
        max_block_ms=options.max_block_ms,
        no_lockfile=options.no_lockfile,
        out_of_order_window_ms=config.storage.out_of_order_time_window_ms,
        exemplars_max=exemplars_max,
        start_times_stored=START_STORAGE in options.features,
        start_zeros=START_ZEROS in options.features,
    )


def open_database(
    options: ServeOptions,
    config: Config,
    on_progress: Callable[[ReplayProgress], None] | None = None,
    on_readable: Callable[[EarlyReads], None] | None = None,
) -> Database:
    """Open the data directory; takes as long as the replay. Raises StorageError, OSError."""
    if holds_prometheus_data(options.data_path):
        raise StorageError(
            f"{options.data_path} is a data directory of Prometheus, which Gnomon does not write; "
            f"choose another and take this one over: gnomon tsdb import {options.data_path} <other>"
        )
    return Database.open(
        options.data_path,
        database_options(options, config),
        on_progress=on_progress,
        on_readable=on_readable,
    )


def forwarder(options: ServeOptions, state: ServerState) -> Forwarder:
    """Make what forwards by remote write; `apply` gives it its queues. Raises OSError."""
    # Not at the top: most servers forward nothing, and need not load it.
    from gnomon.forwarding.forwarder import Forwarder
    from tsdb.interface import MetricMetadata

    def metadata() -> list[MetricMetadata]:
        """Return what was pushed and what targets say; the latter counts where both do."""
        assert state.database is not None
        found = {entry.metric: entry for entry in state.database.metadata()}
        for _, families in state.scraper.metadata() if state.scraper else ():
            for family in families:
                found[family.family] = MetricMetadata(
                    family.family, family.type, family.unit, family.help
                )
        return [*found.values()]

    return Forwarder(options.data_path, metadata, backlog_bytes=options.backlog_bytes)


def apply_storage(database: Database, options: ServeOptions, config: Config) -> None:
    """Give an open database what a reload may change."""
    new = database_options(options, config)
    database.set_limits(
        retention_ms=new.retention_ms,
        retention_bytes=new.retention_bytes,
        out_of_order_window_ms=new.out_of_order_window_ms,
        exemplars_max=new.exemplars_max,
    )


def remote_reads(storage: DeferredStorage, state: ServerState) -> RemoteReads:
    """Make the reader of other servers, which follows the configuration from then on."""
    from gnomon.remote_read.reader import RemoteReads

    def start_ms() -> int | None:
        return None if state.database is None else state.database.stats().lowest_time_ms

    return RemoteReads(storage, lambda: state.config.remote_read, state.external_labels, start_ms)


def engine(options: ServeOptions, reader: FanOut) -> MeasuredEngine:
    """Make the query engine."""
    return MeasuredEngine(
        reader,
        EngineOptions(
            samples_max=options.query_samples_max,
            timeout_s=options.query_timeout_ms / 1000,
            lookback_ms=options.lookback_ms,
            features=options.features & FEATURES,
            delayed_name_removal=DELAYED_NAME_REMOVAL in options.features,
            result_cache_bytes=options.result_cache_bytes,
        ),
        changes=reader,
    )


def scrape_threads() -> ThreadPoolExecutor:
    """Make the threads that parse and append scrapes: the kernels leave the GIL to each other."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="scrape")


def scraper(
    storage: DeferredStorage, threads: ThreadPoolExecutor, config: Config, logs: JsonLogs
) -> ScraperThread:
    """Make the scraper; `apply` gives it its jobs."""
    return ScraperThread(
        storage,
        threads,
        external_labels=config.global_config.external_labels,
        failed=logs.scrape_failed,
    )


def jobs(
    options: ServeOptions,
    config: Config,
    watches: Watches,
    monitored: Sequence[JobConfig] = (),
) -> list[tuple[ScrapeJob, Sequence[Discoverer]]]:
    """Return every job with its discoverers, as `Scraper.apply` takes them.

    `watches` are shared by all jobs, and by the configurations before and after a reload;
    `monitored` are jobs that Kubernetes' monitors ask for.
    """
    start_times = not options.features.isdisjoint(START_FEATURES)
    return [
        (with_start_times(job.job) if start_times else job.job, discoverers(job, watches))
        for job in (*config.jobs, *monitored)
    ]


def monitors(
    scraper: ScraperThread,
    watches: Watches,
    apply: Callable[[], Coroutine[None, None, None]],
) -> LiveMonitors:
    """Make what follows Kubernetes' monitors; called within the server's event loop."""
    # Few configurations have monitors: their translation is not part of every start.
    from gnomon.operator.live import LiveMonitors

    return LiveMonitors(scraper, watches, apply)


def with_start_times(job: ScrapeJob) -> ScrapeJob:
    """Return a job that reads start timestamps; protobuf is the better way to have them."""
    asked = job.scrape_protocols
    return replace(
        job,
        start_times=True,
        scrape_protocols=PROTOBUF_FIRST if asked == DEFAULT_PROTOCOLS else asked,
    )


def discoverers(job: JobConfig, watches: Watches) -> list[Discoverer]:
    """Return a discoverer for each section of a job. Equal sections make equal discoverers."""
    found: list[Discoverer] = []
    if job.static:
        found.append(StaticDiscovery(job.static))
    found += [
        FileDiscovery(
            patterns=tuple(str(path) for path in entry.files),
            refresh_interval_s=entry.refresh_interval_ms / 1000,
        )
        for entry in job.files
    ]
    found += [
        HttpDiscovery(
            url=entry.url,
            client=entry.http_client,
            refresh_interval_s=entry.refresh_interval_ms / 1000,
        )
        for entry in job.http
    ]
    if job.dns:
        # A DNS library is 80 ms of a start, and few configurations need it.
        from discovery.dns import DnsDiscovery

        found += [DnsDiscovery(settings) for settings in job.dns]
    if job.zookeeper:
        # Its client is loaded where it is asked for only, and need not be installed elsewhere.
        from discovery.zookeeper import ZooKeeperDiscovery

        found += [ZooKeeperDiscovery(settings) for settings in job.zookeeper]
    found += [ConsulDiscovery(settings) for settings in job.consul]
    found += [KubernetesDiscovery(settings, watches) for settings in job.kubernetes]
    return found


def otlp_settings(options: ServeOptions, config: Config) -> OtlpSettings:
    """Combine what flags and file say of OTLP."""
    return replace(
        config.otlp,
        native_delta=OTLP_NATIVE_DELTAS in options.features,
        accumulate_deltas=OTLP_DELTA_TOTALS in options.features,
        target_info_interval_ms=max(1, options.lookback_ms // 2),
    )


def api_options(
    options: ServeOptions,
    external_labels: dict[str, str],
    otlp: Callable[[], OtlpSettings] = OtlpSettings,
) -> ApiOptions:
    """Return what flags decide about the API; the labels are a dict that a reload refills."""
    external_url = _external_url(options)
    prefix = options.route_prefix or urlsplit(external_url).path
    return ApiOptions(
        query_timeout_s=options.query_timeout_ms / 1000,
        samples_max=options.query_samples_max,
        concurrency_max=options.query_concurrency_max,
        lookback_ms=options.lookback_ms,
        enable_lifecycle=options.enable_lifecycle,
        enable_admin_api=options.enable_admin_api,
        enable_remote_write_receiver=options.enable_remote_write_receiver,
        remote_write_messages=options.remote_write_messages,
        enable_otlp_receiver=options.enable_otlp_receiver,
        otlp=otlp,
        enable_import_receivers=options.enable_import_receivers,
        read_samples_max=options.read_samples_max,
        read_concurrency_max=options.read_concurrency_max,
        read_frame_bytes_max=options.read_frame_bytes_max,
        notification_subscribers_max=options.notification_subscribers_max,
        page_title=options.page_title,
        user_assets=options.user_assets,
        search=SEARCH in options.features,
        cors_origin=options.cors_origin,
        external_url=external_url,
        listen_port=options.listen[0][1],
        route_prefix="/" + prefix.strip("/") if prefix.strip("/") else "",
        external_labels=external_labels,
    )


def _external_url(options: ServeOptions) -> str:
    """Return the URL under which clients reach the server, without a slash at the end."""
    url = options.external_url or f"http://{socket.gethostname()}:{options.listen[0][1]}"
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts._replace(path=f"/{path}" if path and path[0] != "/" else path).geturl()
