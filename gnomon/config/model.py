"""What a configuration says, checked and with its defaults filled in.

From: `load.py`.   To: `wiring.py`, `effective.py`. Units: `_ms` and `_bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api.receivers.otlp_settings import OtlpSettings
from discovery.http_client import HttpClientConfig
from scraper.job import ScrapeJob, ScrapeLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from discovery.consul_settings import ConsulSettings
    from discovery.dns_settings import DnsSettings
    from discovery.groups import TargetGroup
    from discovery.kubernetes.settings import KubernetesSettings
    from discovery.zookeeper_settings import ZooKeeperSettings
    from gnomon.forwarding.settings import RemoteWriteSettings
    from gnomon.operator.settings import MonitorSettings
    from gnomon.remote_read.settings import RemoteReadSettings

GOGC_DEFAULT = 75
EXEMPLARS_DEFAULT = 100_000

RETENTION_DEFAULT_MS = 15 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class FileDiscovery:
    """One entry of `file_sd_configs`; `files` are globs, joined to the configuration's folder."""

    files: tuple[Path, ...]
    refresh_interval_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class HttpDiscovery:
    """One entry of `http_sd_configs`."""

    url: str
    refresh_interval_ms: int = 60_000
    http_client: HttpClientConfig = field(default_factory=HttpClientConfig)


@dataclass(frozen=True, slots=True)
class JobConfig:
    """A scrape job and where its targets come from.

    `from_file` names the file of `scrape_config_files` that brought it, None for the main file.
    """

    job: ScrapeJob
    static: tuple[TargetGroup, ...] = ()
    files: tuple[FileDiscovery, ...] = ()
    http: tuple[HttpDiscovery, ...] = ()
    kubernetes: tuple[KubernetesSettings, ...] = ()
    dns: tuple[DnsSettings, ...] = ()
    consul: tuple[ConsulSettings, ...] = ()
    zookeeper: tuple[ZooKeeperSettings, ...] = ()
    from_file: Path | None = None


@dataclass(frozen=True, slots=True)
class GlobalConfig:
    """Defaults for jobs and the labels this server adds towards others."""

    scrape_interval_ms: int = 60_000
    scrape_timeout_ms: int = 10_000
    scrape_protocols: tuple[str, ...] = ScrapeJob("").scrape_protocols
    evaluation_interval_ms: int = 60_000
    external_labels: Mapping[str, str] = field(default_factory=dict)
    limits: ScrapeLimits = field(default_factory=ScrapeLimits)
    metric_name_validation_scheme: str = "utf8"
    metric_name_escaping_scheme: str = "allow-utf-8"
    query_log_file: Path | None = None
    scrape_failure_log_file: Path | None = None
    scrape_native_histograms: bool = False
    always_scrape_classic_histograms: bool = False
    convert_classic_histograms: bool = False
    extra_scrape_metrics: bool = False


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """What the file says of storage; None where it says nothing and flags decide.

    `out_of_order_time_window_ms` None: samples of any time within retention are taken.
    """

    out_of_order_time_window_ms: int | None = None
    retention_time_ms: int | None = None
    retention_size_bytes: int | None = None
    retention_percentage: float = 0.0
    """Of the disk that holds the data directory; 0 where the file does not say."""
    chunk_encoding_floats: str = ""
    exemplars_max: int | None = None
    """How many exemplars are kept; 0: none."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. `warnings` are for the log, they do not stop a load."""

    global_config: GlobalConfig = field(default_factory=GlobalConfig)
    jobs: tuple[JobConfig, ...] = ()
    scrape_config_files: tuple[Path, ...] = ()
    storage: StorageConfig = field(default_factory=StorageConfig)
    monitors: tuple[MonitorSettings, ...] = ()
    remote_write: tuple[RemoteWriteSettings, ...] = ()
    remote_read: tuple[RemoteReadSettings, ...] = ()
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    gogc: int = GOGC_DEFAULT
    warnings: tuple[str, ...] = ()
