"""One scrape job as the scraper needs it: the checked, filled-in form of a `scrape_configs` entry.

From: `gnomon/config/scrape.py`, which validates and fills in.   To: `targets.py`, `pool.py`.
Units: seconds are floats with `_s`, milliseconds ints with `_ms`; limits are 0 for "none".
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RelabelAction(enum.Enum):
    """What a relabel rule does; the value is the config's spelling."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEP_EQUAL = "keepequal"
    DROP_EQUAL = "dropequal"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"


@dataclass(frozen=True, slots=True)
class RelabelRule:
    """One checked `relabel_config`; the regex is RE2 source, matched as `^(?s:regex)$`."""

    action: RelabelAction = RelabelAction.REPLACE
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = "(.*)"
    modulus: int = 0
    target_label: str = ""
    replacement: str = "$1"


@dataclass(frozen=True, slots=True)
class ScrapeLimits:
    """Bounds on what one scrape may bring; 0 means none."""

    sample_limit: int = 0
    target_limit: int = 0
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    body_size_limit: int = 0
    keep_dropped_targets: int = 0


DEFAULT_PROTOCOLS = (
    "OpenMetricsText1.0.0",
    "OpenMetricsText0.0.1",
    "PrometheusText1.0.0",
    "PrometheusText0.0.4",
)

PROTOBUF_PROTOCOL = "PrometheusProto"
PROTOBUF_FIRST = (PROTOBUF_PROTOCOL, *DEFAULT_PROTOCOLS)
"""The default of jobs that want native histograms."""


@dataclass(frozen=True, slots=True)
class ScrapeJob:
    """A job: what to ask of each target, how often, and what to make of the answer."""

    job_name: str
    scrape_interval_ms: int = 60_000
    scrape_timeout_ms: int = 10_000
    scrape_protocols: tuple[str, ...] = DEFAULT_PROTOCOLS
    fallback_scrape_protocol: str = ""
    metrics_path: str = "/metrics"
    scheme: str = "http"
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    enable_compression: bool = True
    extra_scrape_metrics: bool = False
    scrape_native_histograms: bool = False
    always_scrape_classic_histograms: bool = False
    convert_classic_histograms: bool = False
    """Classic histograms become native ones with custom buckets."""
    native_histogram_bucket_limit: int = 0
    native_histogram_min_bucket_factor: float = 0.0
    start_times: bool = False
    """Start timestamps are read; `_created` lines of OpenMetrics are not series then."""
    metric_name_validation_scheme: str = "utf8"
    metric_name_escaping_scheme: str = "allow-utf-8"
    limits: ScrapeLimits = field(default_factory=ScrapeLimits)
    relabel_rules: tuple[RelabelRule, ...] = ()
    metric_relabel_rules: tuple[RelabelRule, ...] = ()
    http_client: HttpClientConfig = field(default_factory=HttpClientConfig)
    failure_log: Path | None = None
    """The file that is told of scrapes whose request failed."""
