"""Protocols for what the app lets the API show; `gnomon/wiring.py` provides them.

Handlers know these and the engines, never the app itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from api.receivers.otlp_settings import OtlpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scraper.job import RelabelRule
    from scraper.targets import Targets
    from tsdb.interface import Matcher


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What a target said of one metric family: type (`counter`, ...), help, unit."""

    family: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class TsdbStatsView:
    """Cardinality, for `/api/v1/status/tsdb`; lists are (name, value), largest first."""

    series_count: int
    label_pair_count: int
    chunk_count: int
    min_time_ms: int
    max_time_ms: int
    series_by_metric: Sequence[tuple[str, int]]
    values_by_label: Sequence[tuple[str, int]]
    memory_by_label: Sequence[tuple[str, int]]
    series_by_label_pair: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class RuntimeView:
    """For `/api/v1/status/runtimeinfo`. Times are seconds since the epoch."""

    start_time_s: float
    working_directory: str
    hostname: str
    reload_success: bool
    last_config_time_s: float
    corruption_count: int
    storage_retention: str


@dataclass(frozen=True, slots=True)
class BuildView:
    """For `/api/v1/status/buildinfo`. `version` is the Prometheus version we are compatible with.

    Grafana decides by `version` what it may send; our own version is `gnomon_version`.
    """

    version: str
    gnomon_version: str
    revision: str = ""
    branch: str = ""
    build_user: str = ""
    build_date: str = ""
    python_version: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that whoever runs the server should know, true since a time in seconds."""

    text: str
    since_s: float


class LogLines(Protocol):
    """Where the lines of a log go."""

    def write(self, message: str, fields: Mapping[str, object]) -> None:
        """Append a line, from any thread; never raises."""
        ...


class AppView(Protocol):
    """The running app, as far as the API shows or commands it. All methods are quick."""

    def ready(self) -> bool:
        """Say whether storage is open and queries can be answered."""
        ...

    def readable(self) -> bool:
        """Say whether queries can be answered, if only from a part of storage."""
        ...

    def reading_notes(self) -> tuple[str, ...]:
        """Return what goes with every answer of storage as warnings: that a part is missing."""
        ...

    def answers_alone(self) -> bool:
        """Say whether reading waits for nobody: no other servers, no log that is replayed."""
        ...

    def query_log(self) -> LogLines | None:
        """Return where queries are logged at this moment, None for nowhere."""
        ...

    def stopping(self) -> bool:
        """Say whether shutdown has begun."""
        ...

    def config_yaml(self) -> str:
        """Return the loaded configuration with defaults filled in and secrets as `<secret>`."""
        ...

    def flags(self) -> Mapping[str, str]:
        """Return every flag by name with its value in text."""
        ...

    def runtime(self) -> RuntimeView:
        """Return facts of this process."""
        ...

    def build(self) -> BuildView:
        """Return facts of this build."""
        ...

    def targets(self) -> Targets:
        """Return active and dropped targets of all pools."""
        ...

    def scrape_pools(self) -> Sequence[str]:
        """Return the names of the pools, sorted."""
        ...

    def relabel_rules(self, pool: str) -> tuple[RelabelRule, ...] | None:
        """Return the rules that a pool's targets pass, None for an unknown pool."""
        ...

    def pool_yaml(self, pool: str) -> str | None:
        """Return a pool's configuration as `config_yaml` shows it, None for an unknown pool."""
        ...

    def notifications(self) -> Sequence[Notification]:
        """Return what whoever runs the server should know now."""
        ...

    def metadata(self) -> Sequence[tuple[Mapping[str, str], Sequence[MetricMetadata]]]:
        """Return for each active target its labels and what it said of its metrics."""
        ...

    def tsdb_stats(self, limit: int) -> TsdbStatsView:
        """Return cardinality statistics, at most `limit` entries a list. May take a moment."""
        ...

    def block_metas(self) -> Sequence[bytes]:
        """Return the `meta.json` of each block, oldest first."""
        ...

    def delete_series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> None:
        """Delete samples of series that satisfy any of the sets. Takes a while.

        Raises StorageError, OSError.
        """
        ...

    def clean_tombstones(self) -> None:
        """Take what was deleted from the disk. Takes a while. Raises StorageError, OSError."""
        ...

    def snapshot(self, *, skip_head: bool) -> str:
        """Write all data to a new directory below snapshots/ and return its name. Takes a while.

        Raises StorageError, OSError.
        """
        ...

    def wal_replay(self) -> tuple[int, int, int]:
        """Return how far the replay is, in segment numbers: first, last, the one being read."""
        ...

    def metrics_text(self) -> bytes:
        """Return the process' own metrics in text exposition format 0.0.4."""
        ...

    async def reload(self) -> None:
        """Load the configuration file anew. Raises ValueError with the text for the client."""
        ...

    def quit(self) -> None:
        """Begin a graceful shutdown."""
        ...


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What flags decide about the API. Times in seconds."""

    query_timeout_s: float = 120.0
    samples_max: int = 50_000_000
    concurrency_max: int = 20
    lookback_ms: int = 300_000
    enable_lifecycle: bool = False
    enable_admin_api: bool = False
    enable_remote_write_receiver: bool = False
    remote_write_messages: tuple[str, ...] = (
        "prometheus.WriteRequest",
        "io.prometheus.write.v2.Request",
    )
    enable_import_receivers: bool = False
    enable_otlp_receiver: bool = False
    otlp: Callable[[], OtlpSettings] = OtlpSettings
    """What the configuration says at this moment."""
    read_samples_max: int = 50_000_000
    read_concurrency_max: int = 10
    read_frame_bytes_max: int = 1 << 20
    """Limits of remote read; 0 is none for the first two."""
    notification_subscribers_max: int = 16
    page_title: str = "Gnomon"
    user_assets: str = ""
    """A directory whose files are served under /user/, empty for none."""
    search: bool = False
    """Whether names may be searched: the feature `search-api`."""
    cors_origin: str = ".*"
    external_url: str = ""
    """Under which clients reach the server, whole; empty where a test does not care."""
    listen_port: int = 0
    route_prefix: str = ""
    external_labels: Mapping[str, str] = field(default_factory=dict)
