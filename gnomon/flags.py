"""The command line of `gnomon serve`, read as Prometheus reads its own, with its errors.

From: the words of the command line, `flag_table.py`.
To:   `ServeOptions`, which `server.py` runs by, and `/api/v1/status/flags`.
A flag that Prometheus has and we do not is refused by name, unless it asks for what we do anyway
or sets what we have not, which is warned of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.flag_table import (
    AUTO_RELOAD,
    BLOCK_MS_MAX,
    FLAGS,
    HARMLESS_FEATURES,
    IDLE_FLAGS,
    OTLP_DELTA_TOTALS,
    OTLP_NATIVE_DELTAS,
    PAGE_TITLE,
    PROMQL_FEATURES,
    RECEIVER_FEATURES,
    REMOTE_WRITE_MESSAGES,
    RETENTION_DEFAULT_MS,
    SEARCH,
    START_FEATURES,
    UNBUILT_FLAGS,
    Flag,
    address,
    remote_write_messages,
    whole,
)
from gnomon.units import format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence


class FlagError(ValueError):
    """The command line makes no sense; the text is the whole line for stderr."""

    exit_code = 1


class ModeError(FlagError):
    """Flags of a server given to an agent, or the other way round."""

    exit_code = 3


_SWITCHES = frozenset(
    {flag.name for flag in FLAGS if flag.boolean}
    | {
        name
        for name, default in {**IDLE_FLAGS, **UNBUILT_FLAGS}.items()
        if default in ("true", "false")
    }
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
    user_assets: str = ""
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
    wal_compression: str = "snappy"
    """`none`, `snappy` or `zstd`."""
    wal_segment_bytes: int = 0
    """0: as long as storage makes them."""
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
    warnings: tuple[str, ...] = ()
    """What was asked for and has no effect, a sentence each."""


def parse_flags(words: Sequence[str]) -> ServeOptions:
    """Read a command line; raises FlagError with Prometheus' line for what is wrong."""
    flags = {flag.name: flag for flag in FLAGS}
    given: dict[str, list[str]] = {}
    warnings: list[str] = []
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
        elif name in IDLE_FLAGS:
            if value != IDLE_FLAGS[name]:
                warnings.append(f"flag '--{name}' has no effect in Gnomon")
        else:
            raise _error(f"unknown long flag '--{name}'")
    _check_mode(given, agent=given.get("agent", ["false"])[-1] == "true")
    return _options(flags, given, warnings)


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
    if name.startswith("no-") and name.removeprefix("no-") in _SWITCHES and not equals:
        return name.removeprefix("no-"), "false"
    if name in _SWITCHES:
        value = value if equals else "true"
        if value not in ("true", "false"):
            raise _error(f"flag '--{name}' is a switch, it cannot be '{value}'")
        return name, value
    known = any(flag.name == name for flag in FLAGS) or name in {**UNBUILT_FLAGS, **IDLE_FLAGS}
    if not known:
        raise _error(f"unknown long flag '--{name}'")
    if equals:
        return name, value
    if not queue:
        raise _error(f"expected argument for flag '--{name}'")
    return name, queue.pop(0)


def _options(
    flags: dict[str, Flag], given: dict[str, list[str]], warnings: list[str]
) -> ServeOptions:
    texts = {name: given.get(name, [flag.default]) for name, flag in flags.items()}
    one = {name: values[-1] for name, values in texts.items()}
    agent = one["agent"] == "true"
    log = "storage.agent.wal" if agent else "storage.tsdb.wal"
    retention_ms = parse_duration(one["storage.tsdb.retention.time"])
    retention_bytes = parse_size(one["storage.tsdb.retention.size"])
    features = _features(texts["enable-feature"], warnings)
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
        listen=tuple(address(text) for text in texts["web.listen-address"]),
        auto_reload=one["config.auto-reload"] == "true" or AUTO_RELOAD in features,
        auto_reload_interval_ms=max(1000, parse_duration(one["config.auto-reload-interval"])),
        web_config_file=Path(one["web.config.file"]) if one["web.config.file"] else None,
        read_timeout_ms=parse_duration(one["web.read-timeout"]),
        connections_max=whole(one["web.max-connections"]),
        notification_subscribers_max=whole(one["web.max-notifications-subscribers"]),
        page_title=one["web.page-title"],
        user_assets=one["web.user-assets"],
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
            for message in remote_write_messages(text)
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
        wal_compression=one[f"{log}-compression-type"]
        if one[f"{log}-compression"] == "true"
        else "none",
        wal_segment_bytes=parse_size(one[f"{log}-segment-size"]),
        read_samples_max=whole(one["storage.remote.read-sample-limit"]),
        read_concurrency_max=whole(one["storage.remote.read-concurrent-limit"]),
        read_frame_bytes_max=whole(one["storage.remote.read-max-bytes-in-frame"]),
        lookback_ms=parse_duration(one["query.lookback-delta"]),
        query_timeout_ms=parse_duration(one["query.timeout"]),
        query_concurrency_max=whole(one["query.max-concurrency"]),
        query_samples_max=whole(one["query.max-samples"]),
        result_cache_bytes=parse_size(one["query.result-cache-size"]),
        features=features,
        log_level=one["log.level"],
        log_format=one["log.format"],
        shown=shown,
        warnings=tuple(warnings),
    )


def _features(values: list[str], warnings: list[str]) -> frozenset[str]:
    """Return the features that we have; the others are warned of, as Prometheus warns of them."""
    names = {name.strip() for value in values for name in value.split(",") if name.strip()}
    known = (
        *PROMQL_FEATURES,
        *RECEIVER_FEATURES,
        *START_FEATURES,
        AUTO_RELOAD,
        SEARCH,
        *HARMLESS_FEATURES,
    )
    warnings += [
        f"feature '{name}' is not known to Gnomon and has no effect"
        for name in sorted(names - set(known))
    ]
    if names.issuperset(RECEIVER_FEATURES):
        raise _error(
            f"cannot enable {OTLP_DELTA_TOTALS} and {OTLP_NATIVE_DELTAS} features at the same time"
        )
    return frozenset(names & set(known))


def help_text() -> str:
    """Return the text of `gnomon serve --help`."""
    lines = ["usage: gnomon serve [<flags>]", "", "Flags:", "  --help, --version"]
    for flag in FLAGS:
        value = f"--[no-]{flag.name}" if flag.boolean else f"--{flag.name}={flag.default!r}"
        lines += [f"  {value}", f"      {flag.help}"]
    return "\n".join(lines)
