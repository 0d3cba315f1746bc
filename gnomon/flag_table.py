"""Every flag of `gnomon serve`, with default and check, and every feature: Prometheus' own names.

To: `flags.py`, which reads a command line by it. What Prometheus has and we have not is here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gnomon.logs import LEVELS
from gnomon.units import format_duration, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its default in text, what it means, and how a value is checked.

    `check` raises ValueError for a bad value; None with `boolean` means a switch.
    """

    name: str
    default: str
    help: str
    check: Callable[[str], object] = str
    boolean: bool = False
    repeatable: bool = False


def whole(text: str) -> int:
    """Return a number from 0 on. Raises ValueError."""
    # Go's flags of numbers take 5e7 for 50000000.
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None
    if not value.is_integer() or value < 0:
        raise ValueError(f"must be a whole number from 0 on, got {text}")
    return int(value)


def _positive(text: str) -> int:
    value = whole(text)
    if value == 0:
        raise ValueError(f"must be positive, got {text}")
    return value


def _block_duration(text: str) -> int:
    value = parse_duration(text)
    if value < BLOCK_MS_MIN:
        raise ValueError(f"must be at least {format_duration(BLOCK_MS_MIN)}, got {text}")
    return value


def _segment_size(text: str) -> int:
    value = parse_size(text)
    if value and not WAL_SEGMENT_BYTES_MIN <= value <= WAL_SEGMENT_BYTES_MAX:
        raise ValueError(f"must be between 10MB and 256MB, got {text}")
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, got '{text}'")
        return text

    return check


def _url(text: str) -> str:
    if text[:1] in ("'", '"') or text[-1:] in ("'", '"'):
        raise ValueError("URL must not begin or end with quotes")
    urlsplit(text).port  # noqa: B018 - raises ValueError where it is no number
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is not a regular expression: {error}") from error
    return text


def address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{text}' is not host:port")
    return host.strip("[]"), int(port)


BLOCK_MS_MIN = 60_000
"""Shorter blocks would be cut faster than maintenance comes round."""

WAL_SEGMENT_BYTES_MIN, WAL_SEGMENT_BYTES_MAX = 10 << 20, 256 << 20

BLOCK_MS_MAX = 31 * 86_400_000
RETENTION_DEFAULT_MS = 15 * 86_400_000
"""What holds where nothing is said."""

REMOTE_WRITE_MESSAGES = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request")


def remote_write_messages(text: str) -> tuple[str, ...]:
    """Return messages that stand with commas between them. Raises ValueError."""
    messages = tuple(name.strip() for name in text.split(","))
    for name in messages:
        if name not in REMOTE_WRITE_MESSAGES:
            known = ", ".join(REMOTE_WRITE_MESSAGES)
            raise ValueError(f"unknown remote write protobuf message {name}, supported: {known}")
    return messages


PAGE_TITLE = "Prometheus Time Series Collection and Processing Server"

FLAGS = (
    Flag("config.file", "gnomon.yml", "The configuration file."),
    Flag(
        "config.auto-reload",
        "false",
        "Apply changes of the configuration file by itself.",
        boolean=True,
    ),
    Flag(
        "config.auto-reload-interval",
        "30s",
        "How often to look for changes of the configuration file, 1s at least.",
        parse_duration,
    ),
    Flag(
        "web.listen-address",
        "0.0.0.0:9090",
        "Address to listen on, host:port; may be repeated.",
        address,
        repeatable=True,
    ),
    Flag("web.config.file", "", "File with TLS, users and headers of the server's own port."),
    Flag(
        "web.read-timeout",
        "5m",
        "How long a client may take to send a request, and may stay idle.",
        parse_duration,
    ),
    Flag(
        "web.max-connections",
        "512",
        "How many connections may be open at once, over all addresses.",
        whole,
    ),
    Flag(
        "web.max-notifications-subscribers",
        "16",
        "How many clients may follow /api/v1/notifications/live at once.",
        whole,
    ),
    Flag("web.page-title", PAGE_TITLE, "The title of the pages for browsers."),
    Flag("web.user-assets", "", "A directory whose files are served under /user/."),
    Flag("web.external-url", "", "The URL under which clients reach this server.", _url),
    Flag("web.route-prefix", "", "Prefix of all paths; by default the path of the external URL."),
    Flag("web.cors.origin", ".*", "Regular expression of origins that may read answers.", _pattern),
    Flag("web.enable-lifecycle", "false", "Allow reload and quit over HTTP.", boolean=True),
    Flag("web.enable-admin-api", "false", "Allow administration over HTTP.", boolean=True),
    Flag(
        "web.enable-remote-write-receiver",
        "false",
        "Accept remote write at /api/v1/write.",
        boolean=True,
    ),
    Flag(
        "web.remote-write-receiver.accepted-protobuf-messages",
        ",".join(REMOTE_WRITE_MESSAGES),
        "Protobuf messages of remote write that are accepted; may be repeated.",
        remote_write_messages,
        repeatable=True,
    ),
    Flag(
        "web.enable-otlp-receiver",
        "false",
        "Accept OpenTelemetry's metrics at /api/v1/otlp/v1/metrics.",
        boolean=True,
    ),
    Flag(
        "web.enable-import-receivers",
        "false",
        "Accept Prometheus text, InfluxDB's line protocol, Graphite and Open-Falcon over HTTP.",
        boolean=True,
    ),
    Flag("storage.tsdb.path", "data/", "The data directory."),
    Flag(
        "storage.tsdb.retention.time",
        "0s",
        "How long samples are kept; 15d unless a time or a size is given.",
        parse_duration,
    ),
    Flag(
        "storage.tsdb.retention.size",
        "0B",
        "How many bytes blocks may take, for instance 512MB; 0 is no limit.",
        parse_size,
    ),
    Flag("agent", "false", "Only scrape and forward: no queries, no blocks.", boolean=True),
    Flag("storage.agent.path", "data-agent/", "The data directory of an agent."),
    Flag(
        "storage.remote.flush-deadline",
        "1m",
        "How long a stop waits for remote_write to deliver what was read.",
        parse_duration,
    ),
    Flag(
        "storage.remote.backlog-size",
        "8GB",
        "How many bytes of log are kept for remote_write beyond what storage itself needs.",
        parse_size,
    ),
    Flag(
        "storage.tsdb.min-block-duration",
        "2h",
        "The range of time of the blocks that are cut first.",
        _block_duration,
    ),
    Flag(
        "storage.tsdb.max-block-duration",
        "",
        "The longest range of a compacted block; a tenth of the retention by default.",
        lambda text: text and _block_duration(text),
    ),
    Flag(
        "storage.tsdb.no-lockfile",
        "false",
        "Do not lock the data directory.",
        boolean=True,
    ),
    Flag(
        "storage.tsdb.wal-compression",
        "true",
        "Pack records of the log that have labels and buckets.",
        boolean=True,
    ),
    Flag(
        "storage.tsdb.wal-compression-type",
        "snappy",
        "zstd packs samples in the log too, at an eighth more CPU for appends; snappy does not.",
        _one_of("snappy", "zstd"),
    ),
    Flag(
        "storage.tsdb.wal-segment-size",
        "0B",
        "How long a segment of the log is, from 10MB to 256MB; 128MB by default.",
        _segment_size,
    ),
    Flag(
        "storage.agent.wal-compression",
        "true",
        "Pack records of the log that have labels and buckets.",
        boolean=True,
    ),
    Flag(
        "storage.agent.wal-compression-type",
        "snappy",
        "zstd packs samples in the log too, at an eighth more CPU for appends; snappy does not.",
        _one_of("snappy", "zstd"),
    ),
    Flag(
        "storage.agent.wal-segment-size",
        "0B",
        "How long a segment of the log is, from 10MB to 256MB; 128MB by default.",
        _segment_size,
    ),
    Flag(
        "storage.remote.read-sample-limit",
        "50000000",
        "How many samples a remote read may return; 0 is no limit.",
        whole,
    ),
    Flag(
        "storage.remote.read-concurrent-limit",
        "10",
        "How many remote reads may run at once; 0 is no limit.",
        whole,
    ),
    Flag(
        "storage.remote.read-max-bytes-in-frame",
        "1048576",
        "How large a frame of a streamed remote read may become.",
        _positive,
    ),
    Flag(
        "query.lookback-delta",
        "5m",
        "How old a sample may be to count as current.",
        parse_duration,
    ),
    Flag("query.timeout", "2m", "How long a query may take.", parse_duration),
    Flag("query.max-concurrency", "20", "How many queries may run at once.", _positive),
    Flag("query.max-samples", "50000000", "How many samples a query may hold.", _positive),
    Flag(
        "query.result-cache-size",
        "64MB",
        "Memory for finished steps of range queries, for their next refresh; 0B keeps none.",
        parse_size,
    ),
    Flag(
        "enable-feature",
        "",
        "Features to switch on, with commas between; may be repeated.",
        repeatable=True,
    ),
    Flag("log.level", "info", "debug, info, warn, error.", _one_of(*LEVELS)),
    Flag("log.format", "logfmt", "logfmt or json.", _one_of("logfmt", "json")),
)

PROMQL_FEATURES = (
    "promql-experimental-functions",
    "promql-duration-expr",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "promql-per-step-stats",
    "use-start-timestamps",
)
"""What `--enable-feature` may name."""

OTLP_NATIVE_DELTAS = "otlp-native-delta-ingestion"
OTLP_DELTA_TOTALS = "otlp-deltatocumulative"
RECEIVER_FEATURES = (OTLP_NATIVE_DELTAS, OTLP_DELTA_TOTALS)
"""What becomes of OTLP's deltas: stored as they come, or made running totals; not both."""

START_ZEROS = "created-timestamp-zero-ingestion"
START_STORAGE = "st-storage"
START_FEATURES = (START_ZEROS, START_STORAGE)
"""What becomes of start timestamps: zero samples, or stored beside their samples."""

SEARCH = "search-api"
"""Names may be searched at /api/v1/search/..."""

AUTO_RELOAD = "auto-reload-config"
"""How older versions of Prometheus call `--config.auto-reload`."""

HARMLESS_FEATURES = (
    "promql-at-modifier",
    "promql-negative-offset",
    "expand-external-labels",
    "exemplar-storage",
    "memory-snapshot-on-shutdown",
    "native-histograms",
    "metadata-wal-records",
    "no-default-scrape-port",
)
"""Features of Prometheus that are always on; histograms if `scrape_native_histograms` says so."""

UNBUILT_FLAGS = {
    "storage.tsdb.retention": "0s",
    "storage.tsdb.delay-compact-file.path": "",
    "scrape.name-escaping-scheme": "values",
    "scrape.adjust-timestamps": "true",
    "scrape.timestamp-tolerance": "2ms",
}
"""Flags of Prometheus that are not built, with their defaults, at which they are accepted."""

IDLE_FLAGS = {
    "web.console.templates": "consoles",
    "web.console.libraries": "console_libraries",
    "storage.tsdb.head-chunks-write-queue-size": "0",
    "storage.tsdb.samples-per-chunk": "120",
    "storage.tsdb.allow-overlapping-blocks": "true",
    "rules.alert.for-outage-tolerance": "1h",
    "rules.alert.for-grace-period": "10m",
    "rules.alert.resend-delay": "1m",
    "rules.max-concurrent-evals": "4",
    "alertmanager.notification-queue-capacity": "10000",
    "alertmanager.notification-batch-size": "256",
    "alertmanager.drain-notification-queue-on-shutdown": "true",
    "scrape.discovery-reload-interval": "5s",
    "auto-gomemlimit": "true",
    "auto-gomemlimit.ratio": "0.9",
    "auto-gomaxprocs": "true",
    "web.local-assets": "",
}
"""Flags, with their defaults, of what is not here to be set: consoles, rules, Go.

The command lines of packages and images name them; another value than the default is told of.
"""
