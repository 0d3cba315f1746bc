"""The flags of `gnomon serve`: Prometheus' own names, defaults and errors.

From: the command line.   To: `ServeOptions`, which `server.py` runs by, and `/api/v1/status/flags`.
A flag that Prometheus has and we do not is refused by name, unless it asks for what we do anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.logs import LEVELS
from gnomon.units import format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FlagError(ValueError):
    """The command line makes no sense; the text is the whole line for stderr."""

    exit_code = 1


class ModeError(FlagError):
    """Flags of a server given to an agent, or the other way round."""

    exit_code = 3


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


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError(f"must be positive, got {text}")
    return value


def _whole(text: str) -> int:
    # Go's flags of numbers take 5e7 for 50000000.
    value = float(text)
    if not value.is_integer() or value < 0:
        raise ValueError(f"must be a whole number from 0 on, got {text}")
    return int(value)


def _block_duration(text: str) -> int:
    value = parse_duration(text)
    if value < BLOCK_MS_MIN:
        raise ValueError(f"must be at least {format_duration(BLOCK_MS_MIN)}, got {text}")
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, got '{text}'")
        return text

    return check


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"'{text}' is not host:port")
    return host.strip("[]"), int(port)


BLOCK_MS_MIN = 60_000
"""Shorter blocks would be cut faster than maintenance comes round."""

BLOCK_MS_MAX = 31 * 86_400_000
RETENTION_DEFAULT_MS = 15 * 86_400_000
"""What holds where nothing is said."""

REMOTE_WRITE_MESSAGES = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request")


def _remote_write_messages(text: str) -> tuple[str, ...]:
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
        _address,
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
        _whole,
    ),
    Flag(
        "web.max-notifications-subscribers",
        "16",
        "How many clients may follow /api/v1/notifications/live at once.",
        _whole,
    ),
    Flag("web.page-title", PAGE_TITLE, "The title of the page of links."),
    Flag("web.external-url", "", "The URL under which clients reach this server."),
    Flag("web.route-prefix", "", "Prefix of all paths; by default the path of the external URL."),
    Flag("web.cors.origin", ".*", "Regular expression of origins that may read answers."),
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
        _remote_write_messages,
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
        "storage.remote.read-sample-limit",
        "50000000",
        "How many samples a remote read may return; 0 is no limit.",
        _whole,
    ),
    Flag(
        "storage.remote.read-concurrent-limit",
        "10",
        "How many remote reads may run at once; 0 is no limit.",
        _whole,
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
    "use-start-timestamps",
)
"""What `--enable-feature` may name."""

RECEIVER_FEATURES = ("otlp-native-delta-ingestion",)
"""What else it may name."""

START_ZEROS = "created-timestamp-zero-ingestion"
START_STORAGE = "st-storage"
START_FEATURES = (START_ZEROS, START_STORAGE)
"""What becomes of start timestamps: zero samples, or stored beside their samples."""

SEARCH = "search-api"
"""Names may be searched at /api/v1/search/..."""

AUTO_RELOAD = "auto-reload-config"
"""How older versions of Prometheus call `--config.auto-reload`."""

HARMLESS_FEATURES = ("promql-at-modifier", "promql-negative-offset", "expand-external-labels")
"""Features of older Prometheus versions that are always on."""

UNBUILT_FLAGS = {
    "web.user-assets": "",
    "web.console.templates": "consoles",
    "web.console.libraries": "console_libraries",
    "storage.tsdb.retention": "0s",
    "storage.tsdb.wal-compression": "true",
    "storage.tsdb.wal-compression-type": "",
    "storage.tsdb.wal-segment-size": "0B",
    "storage.tsdb.head-chunks-write-queue-size": "0",
    "storage.tsdb.samples-per-chunk": "120",
    "storage.tsdb.allow-overlapping-blocks": "true",
    "storage.tsdb.delay-compact-file.path": "",
    "rules.alert.for-outage-tolerance": "1h",
    "rules.alert.for-grace-period": "10m",
    "rules.alert.resend-delay": "1m",
    "rules.max-concurrent-evals": "4",
    "alertmanager.notification-queue-capacity": "10000",
    "alertmanager.notification-batch-size": "256",
    "alertmanager.drain-notification-queue-on-shutdown": "true",
    "scrape.adjust-timestamps": "true",
    "scrape.timestamp-tolerance": "2ms",
    "scrape.discovery-reload-interval": "5s",
    "scrape.name-escaping-scheme": "values",
    "auto-gomemlimit": "true",
    "auto-gomemlimit.ratio": "0.9",
    "auto-gomaxprocs": "true",
}
"""Flags of Prometheus that are not built, with their defaults, at which they are accepted."""

_SWITCHES = frozenset(
    {flag.name for flag in FLAGS if flag.boolean}
    | {name for name, default in UNBUILT_FLAGS.items() if default in ("true", "false")}
)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the flags say. `shown` holds every flag with its value in text."""

    config_file: Path = Path("gnomon.yml")
    listen: tuple[tuple[str, int], ...] = (("0.0.0.0", 9090),)
    auto_reload: bool = False
    auto_reload_interval_ms: int = 30_000
    web_config_file: Path | None = None
    read_timeout_ms: int = 300_000
    connections_max: int = 512
    notification_subscribers_max: int = 16
    page_title: str = PAGE_TITLE
    external_url: str = ""
    route_prefix: str = ""
    cors_origin: str = ".*"
    enable_lifecycle: bool = False
    enable_admin_api: bool = False
    enable_remote_write_receiver: bool = False
    enable_otlp_receiver: bool = False
    enable_import_receivers: bool = False
    remote_write_messages: tuple[str, ...] = REMOTE_WRITE_MESSAGES
    data_path: Path = Path("data/")
    agent: bool = False
    flush_deadline_ms: int = 60_000
    backlog_bytes: int = 8 << 30
    retention_time_ms: int = 0
    retention_size_bytes: int = 0
    min_block_ms: int = 7_200_000
    max_block_ms: int | None = None
    no_lockfile: bool = False
    read_samples_max: int = 50_000_000
    read_concurrency_max: int = 10
    read_frame_bytes_max: int = 1 << 20
    lookback_ms: int = 300_000
    query_timeout_ms: int = 120_000
    query_concurrency_max: int = 20
    query_samples_max: int = 50_000_000
    result_cache_bytes: int = 64 << 20
    features: frozenset[str] = frozenset()
    log_level: str = "info"
    log_format: str = "logfmt"
    shown: dict[str, str] = field(default_factory=dict)


def parse_flags(words: Sequence[str]) -> ServeOptions:
    """Read a command line; raises FlagError with Prometheus' line for what is wrong."""
    flags = {flag.name: flag for flag in FLAGS}
    given: dict[str, list[str]] = {}
    queue = list(words)
    while queue:
        name, value = _take(queue)
        if name in flags:
            given.setdefault(name, []).append(value)
            if len(given[name]) > 1 and not flags[name].repeatable:
                raise _error(f"flag '{name}' cannot be repeated")
            try:
                flags[name].check(value)
            except ValueError as error:
                raise _error(f"flag '--{name}': {error}") from error
        elif name in UNBUILT_FLAGS:
            if value != UNBUILT_FLAGS[name]:
                raise _error(
                    f"flag '--{name}' is known to Prometheus but not supported by Gnomon yet"
                )
        else:
            raise _error(f"unknown long flag '--{name}'")
    _check_mode(given, agent=given.get("agent", ["false"])[-1] == "true")
    return _options(flags, given)


_SERVER_ONLY = ("storage.tsdb.", "storage.remote.read-", "rules.", "alertmanager.", "query.")


def _check_mode(given: dict[str, list[str]], *, agent: bool) -> None:
    """Refuse what the other mode has, as Prometheus does."""
    if agent:
        wrong = [name for name in given if name.startswith(_SERVER_ONLY)]
        text = "The following flag(s) can not be used in agent mode"
    else:
        wrong = [name for name in given if name.startswith("storage.agent.")]
        text = "The following flag(s) can only be used in agent mode"
    if wrong:
        quoted = " ".join(f'"--{name}"' for name in wrong)
        raise ModeError(f"{text}: [{quoted}]")


def _error(text: str) -> FlagError:
    return FlagError(f"Error parsing command line arguments: {text}")


def _take(queue: list[str]) -> tuple[str, str]:
    """Take one flag with its value from the front of the queue."""
    word = queue.pop(0)
    if not word.startswith("--"):
        if word.startswith("-") and len(word) > 1:
            raise _error(f"unknown short flag '{word[:2]}'")
        raise _error(f"unexpected {word}")
    name, equals, value = word[2:].partition("=")
    if name.startswith("no-") and name.removeprefix("no-") in _SWITCHES:
        return name.removeprefix("no-"), "false"
    if name in _SWITCHES:
        value = value if equals else "true"
        if value not in ("true", "false"):
            raise _error(f"flag '--{name}' is a switch, it cannot be '{value}'")
        return name, value
    known = any(flag.name == name for flag in FLAGS) or name in UNBUILT_FLAGS
    if not known:
        raise _error(f"unknown long flag '--{name}'")
    if equals:
        return name, value
    if not queue:
        raise _error(f"expected argument for flag '--{name}'")
    return name, queue.pop(0)


def _options(flags: dict[str, Flag], given: dict[str, list[str]]) -> ServeOptions:
    texts = {name: given.get(name, [flag.default]) for name, flag in flags.items()}
    one = {name: values[-1] for name, values in texts.items()}
    agent = one["agent"] == "true"
    retention_ms = parse_duration(one["storage.tsdb.retention.time"])
    retention_bytes = parse_size(one["storage.tsdb.retention.size"])
    features = _features(texts["enable-feature"])
    min_block_ms = parse_duration(one["storage.tsdb.min-block-duration"])
    longest = one["storage.tsdb.max-block-duration"]
    max_block_ms = parse_duration(longest) if longest else None
    if max_block_ms is not None and max_block_ms < min_block_ms:
        raise _error(
            "flag '--storage.tsdb.max-block-duration': must not be shorter than "
            "--storage.tsdb.min-block-duration"
        )
    shown = {name: ",".join(value for value in values if value) for name, values in texts.items()}
    if max_block_ms is None:
        kept_ms = retention_ms or (0 if retention_bytes else RETENTION_DEFAULT_MS)
        longest_ms = min(kept_ms // 10 or BLOCK_MS_MAX, BLOCK_MS_MAX)
        shown["storage.tsdb.max-block-duration"] = format_duration(longest_ms)
    shown["storage.tsdb.retention.time"] = format_duration(retention_ms)
    shown["storage.tsdb.retention.size"] = format_size(retention_bytes)
    return ServeOptions(
        config_file=Path(one["config.file"]),
        listen=tuple(_address(text) for text in texts["web.listen-address"]),
        auto_reload=one["config.auto-reload"] == "true" or AUTO_RELOAD in features,
        auto_reload_interval_ms=max(1000, parse_duration(one["config.auto-reload-interval"])),
        web_config_file=Path(one["web.config.file"]) if one["web.config.file"] else None,
        read_timeout_ms=parse_duration(one["web.read-timeout"]),
        connections_max=_whole(one["web.max-connections"]),
        notification_subscribers_max=_whole(one["web.max-notifications-subscribers"]),
        page_title=one["web.page-title"],
        external_url=one["web.external-url"],
        route_prefix=one["web.route-prefix"],
        cors_origin=one["web.cors.origin"],
        enable_lifecycle=one["web.enable-lifecycle"] == "true",
        enable_admin_api=one["web.enable-admin-api"] == "true",
        enable_remote_write_receiver=one["web.enable-remote-write-receiver"] == "true",
        enable_otlp_receiver=one["web.enable-otlp-receiver"] == "true",
        enable_import_receivers=one["web.enable-import-receivers"] == "true",
        remote_write_messages=tuple(
            message
            for text in texts["web.remote-write-receiver.accepted-protobuf-messages"]
            for message in _remote_write_messages(text)
        ),
        data_path=Path(one["storage.agent.path" if agent else "storage.tsdb.path"]),
        agent=agent,
        flush_deadline_ms=parse_duration(one["storage.remote.flush-deadline"]),
        backlog_bytes=parse_size(one["storage.remote.backlog-size"]),
        retention_time_ms=retention_ms,
        retention_size_bytes=retention_bytes,
        min_block_ms=min_block_ms,
        max_block_ms=max_block_ms,
        no_lockfile=one["storage.tsdb.no-lockfile"] == "true",
        read_samples_max=_whole(one["storage.remote.read-sample-limit"]),
        read_concurrency_max=_whole(one["storage.remote.read-concurrent-limit"]),
        read_frame_bytes_max=int(one["storage.remote.read-max-bytes-in-frame"]),
        lookback_ms=parse_duration(one["query.lookback-delta"]),
        query_timeout_ms=parse_duration(one["query.timeout"]),
        query_concurrency_max=int(one["query.max-concurrency"]),
        query_samples_max=int(one["query.max-samples"]),
        result_cache_bytes=parse_size(one["query.result-cache-size"]),
        features=features,
        log_level=one["log.level"],
        log_format=one["log.format"],
        shown=shown,
    )


def _features(values: list[str]) -> frozenset[str]:
    names = {name.strip() for value in values for name in value.split(",") if name.strip()}
    known = (
        *PROMQL_FEATURES,
        *RECEIVER_FEATURES,
        *START_FEATURES,
        AUTO_RELOAD,
        SEARCH,
        *HARMLESS_FEATURES,
    )
    for name in sorted(names):
        if name not in known:
            raise _error(f"feature '{name}' is not supported by Gnomon yet")
    return frozenset(names)


def help_text() -> str:
    """Return the text of `gnomon serve --help`."""
    lines = ["usage: gnomon serve [<flags>]", "", "Flags:", "  --help, --version"]
    for flag in FLAGS:
        value = f"--[no-]{flag.name}" if flag.boolean else f"--{flag.name}={flag.default!r}"
        lines += [f"  {value}", f"      {flag.help}"]
    return "\n".join(lines)
