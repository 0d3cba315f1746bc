"""Every part's stats() as metrics, under Prometheus' names where it has one.

From: the parts' frozen stats, gathered by `view.py`.   To: `/metrics`.
No part knows the metrics format; this module knows no part's inside.
"""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.discovery_telemetry import write_discovery
from gnomon.forwarding_telemetry import write_forwarding
from gnomon.metrics_text import MetricsText
from gnomon.receiver_telemetry import write_receivers
from gnomon.storage_telemetry import storage_metrics
from gnomon.version import PROMETHEUS_VERSION, gnomon_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from api.gate import GateStats
    from api.listening import ConnectionStats
    from api.notifications import NotificationStats
    from api.request_stats import RequestStats
    from gnomon.forwarding.stats import QueueCounts
    from gnomon.measured import EngineStats
    from gnomon.process_stats import ProcessStats
    from gnomon.receiver_telemetry import Receivers
    from scraper.stats import ScrapeStats
    from tsdb.database import DatabaseStats


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All stats of one moment. Scraping and storage are None until they began.

    `discovery` has the stats of each job's discoverers, of whatever kind they are.
    """

    process: ProcessStats
    connections: ConnectionStats | None
    notifications: NotificationStats
    requests: RequestStats
    remote_reads: int
    gate: GateStats
    receivers: Receivers
    engine: EngineStats
    query_log: bool
    query_log_failures: int
    scrape: ScrapeStats | None
    discovery: Mapping[str, Sequence[object]]
    forwarding: Sequence[QueueCounts]
    storage: DatabaseStats | None
    ready: bool
    reload_success: bool
    reload_success_time_s: float


def metrics_text(snapshot: Snapshot) -> bytes:
    """Return all metrics as text exposition 0.0.4."""
    out = MetricsText()
    _build(out)
    _process(out, snapshot.process)
    _server(out, snapshot)
    if snapshot.connections is not None:
        _connections(out, snapshot.connections)
    _notifications(out, snapshot.notifications)
    _requests(out, snapshot.requests)
    _pages(out, snapshot.requests)
    out.gauge(
        "prometheus_remote_read_handler_queries",
        "The current number of remote reads that run or wait.",
        snapshot.remote_reads,
    )
    _notifier(out)
    _queries(out, snapshot.engine, snapshot.gate)
    out.gauge("prometheus_engine_query_log_enabled", "State of the query log.", snapshot.query_log)
    out.counter(
        "prometheus_engine_query_log_failures_total",
        "The number of query log failures.",
        snapshot.query_log_failures,
    )
    write_receivers(out, snapshot.receivers)
    if snapshot.scrape is not None:
        _scrapes(out, snapshot.scrape)
    write_discovery(out, [part for stats in snapshot.discovery.values() for part in stats])
    write_forwarding(out, snapshot.forwarding, snapshot.storage)
    if snapshot.storage is not None:
        storage_metrics(out, snapshot.storage)
    return out.text()


def _build(out: MetricsText) -> None:
    labels = {
        "version": PROMETHEUS_VERSION,
        "gnomon_version": gnomon_version(),
        "revision": "",
        "branch": "",
        "goversion": "",
        "goos": "",
        "goarch": "",
        "tags": "",
        "pythonversion": platform.python_version(),
    }
    help_text = "A metric with a constant '1' value labeled by what was built."
    out.family("prometheus_build_info", "gauge", help_text, [(labels, 1)])


def _process(out: MetricsText, stats: ProcessStats) -> None:
    for name, help_text, value in (
        ("cpu_seconds", "Total user and system CPU time spent in seconds.", stats.cpu_s),
        (
            "network_receive_bytes",
            "Number of bytes received by the process over the network.",
            stats.received_bytes,
        ),
        (
            "network_transmit_bytes",
            "Number of bytes sent by the process over the network.",
            stats.sent_bytes,
        ),
    ):
        out.counter(f"process_{name}_total", help_text, value)
    for name, help_text, value in (
        ("resident_memory_bytes", "Resident memory size in bytes.", stats.resident_bytes),
        ("virtual_memory_bytes", "Virtual memory size in bytes.", stats.virtual_bytes),
        (
            "virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            stats.virtual_bytes_max,
        ),
        ("open_fds", "Number of open file descriptors.", stats.open_fds),
        ("max_fds", "Maximum number of open file descriptors.", stats.fds_max),
        ("threads", "Number of operating system threads.", stats.threads),
        (
            "start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            stats.start_time_s,
        ),
    ):
        out.gauge(f"process_{name}", help_text, value)
    out.gauge("python_threads", "Number of Python threads.", threading.active_count())


def _server(out: MetricsText, snapshot: Snapshot) -> None:
    out.gauge("prometheus_ready", "Whether queries are answered.", snapshot.ready)
    out.gauge(
        "prometheus_config_last_reload_successful",
        "Whether the last configuration reload attempt was successful.",
        snapshot.reload_success,
    )
    out.gauge(
        "prometheus_config_last_reload_success_timestamp_seconds",
        "Timestamp of the last successful configuration reload.",
        snapshot.reload_success_time_s,
    )


def _connections(out: MetricsText, stats: ConnectionStats) -> None:
    labels = {"listener_name": "http"}
    out.family(
        "net_conntrack_listener_conn_accepted_total",
        "counter",
        "Total number of connections opened to the listener of a given name.",
        [(labels, stats.accepted)],
    )
    out.family(
        "net_conntrack_listener_conn_closed_total",
        "counter",
        "Total number of connections closed that were made to the listener of a given name.",
        [(labels, stats.closed)],
    )
    out.counter(
        "gnomon_http_connections_cut_off_total",
        "Connections ended because the client was too slow, or its headers too large.",
        stats.cut_off,
    )


def _notifications(out: MetricsText, stats: NotificationStats) -> None:
    out.gauge(
        "prometheus_api_notification_active_subscribers",
        "The current number of active notification subscribers.",
        stats.subscribers,
    )
    out.counter(
        "prometheus_api_notification_updates_sent_total",
        "Total number of notification updates sent.",
        stats.sent,
    )
    out.counter(
        "prometheus_api_notification_updates_dropped_total",
        "Total number of notification updates dropped.",
        stats.dropped,
    )


def _notifier(out: MetricsText) -> None:
    """Add what alerts about Prometheus ask of its notifier: there is none, so nothing waits."""
    for name, kind, help_text in (
        ("alertmanagers_discovered", "gauge", "The number of alertmanagers discovered: none."),
        ("queue_length", "gauge", "The number of alert notifications in the queue: none."),
        ("queue_capacity", "gauge", "The capacity of the alert notifications queue: none."),
        ("dropped_total", "counter", "Total number of alerts dropped: none."),
    ):
        out.family(f"prometheus_notifications_{name}", kind, help_text, [({}, 0)])


def _requests(out: MetricsText, stats: RequestStats) -> None:
    out.family(
        "prometheus_http_requests_total",
        "counter",
        "Counter of HTTP requests.",
        [({"handler": h, "code": str(code)}, count) for h, code, count in stats.by_code],
    )
    out.histogram(
        "prometheus_http_request_duration_seconds",
        "Histogram of latencies for HTTP requests.",
        [
            ({"handler": h.handler}, h.duration_bounds_s, h.duration_counts, h.duration_total_s)
            for h in stats.handlers
        ],
    )
    out.histogram(
        "prometheus_http_response_size_bytes",
        "Histogram of response size for HTTP requests.",
        [
            ({"handler": h.handler}, h.size_bounds_bytes, h.size_counts, h.size_total_bytes)
            for h in stats.handlers
        ],
    )


def _pages(out: MetricsText, stats: RequestStats) -> None:
    """Add what is counted of single pages under names of their own."""
    of_metrics = {code: n for handler, code, n in stats.by_code if handler == "/metrics"}
    out.family(
        "promhttp_metric_handler_requests_total",
        "counter",
        "Total number of scrapes by HTTP status code.",
        [({"code": str(code)}, n) for code, n in ({200: 0, 500: 0, 503: 0} | of_metrics).items()],
    )
    out.counter(
        "prometheus_web_federation_errors_total",
        "Total number of errors that occurred while sending federation responses.",
        sum(n for handler, code, n in stats.by_code if handler == "/federate" and code >= 500),
    )
    out.counter(
        "prometheus_web_federation_warnings_total",
        "Total number of warnings that occurred while sending federation responses.",
        0,
    )


def _queries(out: MetricsText, engine: EngineStats, gate: GateStats) -> None:
    out.gauge(
        "prometheus_engine_queries",
        "The current number of queries being executed or waiting.",
        gate.running + gate.waiting,
    )
    out.gauge(
        "prometheus_engine_queries_concurrent_max",
        "The max number of concurrent queries.",
        gate.concurrency_max,
    )
    out.counter(
        "prometheus_engine_query_samples_total",
        "The total number of samples loaded by all queries.",
        engine.samples,
    )
    out.summary(
        "prometheus_engine_query_duration_seconds",
        "Query timings.",
        [
            ({"slice": name}, part.quantiles_s, part.total_s, part.count)
            for name, part in engine.slices.items()
        ],
    )
    for name, help_text, value in (
        ("evaluated", "Queries that were evaluated.", gate.evaluated),
        ("canceled", "Queries whose client went away.", gate.canceled),
        ("timed_out_waiting", "Queries that waited too long for a slot.", gate.timed_out_waiting),
    ):
        out.counter(f"gnomon_queries_{name}_total", help_text, value)
    cache = engine.result_cache
    for name, help_text, value in (
        ("hits", "Range queries whose first steps were known.", cache.hits),
        ("misses", "Range queries of which no step was known.", cache.misses),
    ):
        out.counter(f"gnomon_query_result_cache_{name}_total", help_text, value)
    out.gauge("gnomon_query_result_cache_bytes", "Memory of kept steps.", cache.bytes_held)
    out.gauge("gnomon_query_result_cache_entries", "Answers kept.", cache.entries)


def _scrapes(out: MetricsText, stats: ScrapeStats) -> None:
    out.summary(
        "prometheus_target_interval_length_seconds",
        "Actual intervals between scrapes.",
        [
            ({"interval": interval}, part.quantiles, part.sum_s, part.count)
            for interval, part in stats.intervals.items()
        ],
    )
    pools = sorted(stats.pools.items())
    out.summary(
        "prometheus_target_sync_length_seconds",
        "Actual interval to sync the scrape pool.",
        [
            ({"scrape_job": n}, p.sync_length.quantiles, p.sync_length.sum_s, p.sync_length.count)
            for n, p in pools
        ],
    )
    for name, kind, help_text, member in (
        ("targets", "gauge", "Current number of targets in this scrape pool.", "targets"),
        (
            "target_limit",
            "gauge",
            "Maximum number of targets allowed in this scrape pool.",
            "target_limit",
        ),
        ("sync_total", "counter", "Total number of syncs that were executed.", "syncs"),
        (
            "exceeded_target_limit_total",
            "counter",
            "Total number of times scrape pools hit the target limit, during sync or reload.",
            "exceeded_target_limit",
        ),
    ):
        rows = [({"scrape_job": job}, float(getattr(pool, member))) for job, pool in pools]
        out.family(f"prometheus_target_scrape_pool_{name}", kind, help_text, rows)
    out.counter(
        "prometheus_target_scrape_pools_total",
        "Total number of scrape pool creation attempts.",
        stats.pools_begun,
    )
    out.counter(
        "prometheus_target_scrape_pool_reloads_total",
        "Total number of scrape pool reloads.",
        stats.pool_reloads,
    )
    out.counter(
        "prometheus_target_scrape_pool_reloads_failed_total",
        "Total number of failed scrape pool reloads.",
        stats.pool_reloads_failed,
    )
    out.family(
        "prometheus_target_sync_failed_total",
        "counter",
        "Total number of target sync failures.",
        [({"scrape_job": job}, pool.sync_failed) for job, pool in pools],
    )
    out.family(
        "prometheus_target_metadata_cache_entries",
        "gauge",
        "Total number of metric metadata entries in the cache.",
        [({"scrape_job": job}, pool.metadata_families) for job, pool in pools],
    )
    out.family(
        "gnomon_scrape_cache_series",
        "gauge",
        "Series texts that the caches of a scrape pool hold.",
        [({"scrape_job": job}, pool.series_cached) for job, pool in pools],
    )
    out.family(
        "gnomon_scrape_cache_bytes",
        "gauge",
        "Memory of the series caches of a scrape pool.",
        [({"scrape_job": job}, pool.cache_bytes) for job, pool in pools],
    )
    out.counter(
        "prometheus_target_scrape_pools_failed_total",
        "Total number of scrape pool creations that failed.",
        stats.pools_failed,
    )
    out.counter(
        "prometheus_target_scrape_pool_exceeded_label_limits_total",
        "Total number of times scrape pools hit the label limits, during sync or reload.",
        stats.exceeded_label_limits,
    )
    for name, help_text, value in (
        (
            "exceeded_sample_limit",
            "Total number of scrapes that hit the sample limit and were rejected.",
            stats.exceeded_sample_limit,
        ),
        (
            "exceeded_body_size_limit",
            "Total number of scrapes that hit the body size limit",
            stats.exceeded_body_size,
        ),
        (
            "exceeded_native_histogram_bucket_limit",
            "Total number of scrapes that hit the native histogram bucket limit.",
            stats.exceeded_bucket_limit,
        ),
        (
            "cache_flush_forced",
            "How many times a scrape cache was flushed as it grew while scrapes failed: never.",
            0,
        ),
        (
            "sample_duplicate_timestamp",
            "Total number of samples rejected due to duplicate timestamps but different values.",
            stats.duplicate_samples,
        ),
        (
            "sample_out_of_bounds",
            "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            stats.out_of_bounds_samples,
        ),
        (
            "sample_out_of_order",
            "Total number of samples rejected due to not being out of the expected order.",
            stats.out_of_order_samples,
        ),
        (
            "exemplar_out_of_order",
            "Total number of exemplars rejected due to not being out of the expected order.",
            stats.out_of_order_exemplars,
        ),
    ):
        out.counter(f"prometheus_target_scrapes_{name}_total", help_text, value)
    for name, help_text, value in (
        ("scrapes", "Scrapes done.", stats.scrapes),
        ("scrapes_failed", "Scrapes that failed.", stats.scrapes_failed),
        ("samples_scraped", "Samples read from scrapes.", stats.samples_scraped),
    ):
        out.counter(f"gnomon_{name}_total", help_text, value)
    out.family(
        "prometheus_sd_discovered_targets",
        "gauge",
        "Current number of discovered targets.",
        [({"name": "scrape", "config": job}, pool.discovered_targets) for job, pool in pools],
    )
    out.family(
        "prometheus_sd_received_updates_total",
        "counter",
        "Total number of update events received from the SD providers.",
        [({"name": "scrape"}, sum(pool.updates_received for _, pool in pools))],
    )
    out.family(
        "prometheus_sd_updates_total",
        "counter",
        "Total number of update events sent to the SD consumers.",
        [({"name": "scrape"}, sum(pool.syncs for _, pool in pools))],
    )
    out.family(
        "prometheus_sd_updates_delayed_total",
        "counter",
        "Total number of update events that couldn't be sent immediately: none waits.",
        [({"name": "scrape"}, 0)],
    )
