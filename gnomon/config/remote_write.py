"""The entries of `remote_write`: where what comes in is sent on to.

From: `load.py`.   To: `RemoteWriteSettings`, and through it `gnomon/forwarding/`.
Source: Prometheus documentation, remote_write; the texts are Prometheus'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gnomon.config.document import go_quote
from gnomon.config.http_client import decode_client
from gnomon.config.relabel import decode_rules
from gnomon.config.remote_headers import decode_headers
from gnomon.forwarding.settings import (
    V1_MESSAGE,
    V2_MESSAGE,
    MetadataSettings,
    QueueSettings,
    RemoteWriteSettings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from discovery.http_client import HttpClientConfig
    from gnomon.config.document import Section

_CREDENTIALS = ("basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam")
_CLOUDS = ("sigv4", "azuread", "google_iam")


def decode_remote_writes(
    top: Section, folder: Path, *, utf8: bool
) -> tuple[RemoteWriteSettings, ...]:
    """Read all entries; two of one name are refused, as are two that say the same."""
    items = top.sections(
        "remote_write",
        "config.plain",
        null_text="empty or null remote write config section",
    )
    found: list[RemoteWriteSettings] = []
    for item in items:
        entry = _entry(item, folder, utf8=utf8)
        if entry.name and any(entry.name == other.name for other in found):
            item.fail(
                f"found multiple remote write configs with job name {go_quote(entry.name)}", "name"
            )
        if entry in found:
            item.fail(
                "duplicate remote write configs are not allowed, found duplicate for URL:"
                f" {entry.url}"
            )
        found.append(entry)
    return tuple(found)


def _entry(section: Section, folder: Path, *, utf8: bool) -> RemoteWriteSettings:
    url = section.string("url")
    if not url:
        section.fail("url for remote_write is empty")
    _check_url(section, url)
    rules = decode_rules(
        section,
        "write_relabel_configs",
        "",
        utf8=utf8,
        null_text="empty or null relabeling rule in remote write config",
    )
    headers = decode_headers(section)
    message = section.string("protobuf_message", V1_MESSAGE) or V1_MESSAGE
    if message not in (V1_MESSAGE, V2_MESSAGE):
        section.fail(
            "invalid protobuf_message value: unknown type for remote write protobuf message"
            f" {message}, supported: {V1_MESSAGE}, {V2_MESSAGE}",
            "protobuf_message",
        )
    client = _client(section, folder)
    timeout_ms = section.duration_ms("remote_timeout")
    return RemoteWriteSettings(
        url=url,
        remote_timeout_ms=30_000 if timeout_ms is None else timeout_ms,
        headers=headers,
        write_relabel_rules=rules,
        name=section.string("name"),
        send_exemplars=section.boolean("send_exemplars", False),
        send_native_histograms=section.boolean("send_native_histograms", False),
        round_robin_dns=section.boolean("round_robin_dns", False),
        protobuf_message=message,
        http_client=client,
        queue=_queue(section.section("queue_config", "config.QueueConfig")),
        metadata=_metadata(section.section("metadata_config", "config.MetadataConfig")),
    )


def _check_url(section: Section, url: str) -> None:
    """Refuse what is no URL. One of another scheme is told when something is sent."""
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        section.fail(f"parse {go_quote(url)}: {error}", "url")


def _client(section: Section, folder: Path) -> HttpClientConfig:
    used = [name for name in _CREDENTIALS if section.has(name)]
    if len(used) > 1:
        section.fail(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must"
            f" be configured. Currently configured: [{' '.join(used)}]"
        )
    for name in _CLOUDS:
        if section.has(name):
            section.not_yet(name, f"remote_write {name}")
        else:
            section.ignore(name)
    client = decode_client(section, folder)
    return client if section.has("enable_http2") else replace(client, enable_http2=False)


def _queue(section: Section | None) -> QueueSettings:
    if section is None:
        return QueueSettings()
    default = QueueSettings()
    counts = {
        name: section.integer(name, getattr(default, name), signed=True)
        for name in ("capacity", "max_shards", "min_shards", "max_samples_per_send")
    }
    for name, count in counts.items():
        if count <= 0:
            section.fail(f"remote write queue {name} must be positive", name)
    if counts["min_shards"] > counts["max_shards"]:
        section.fail("remote write queue min_shards must not be greater than max_shards")
    times = {}
    for name in ("batch_send_deadline", "min_backoff", "max_backoff"):
        duration_ms = section.duration_ms(name)
        times[name] = getattr(default, f"{name}_ms") if duration_ms is None else duration_ms
        if times[name] <= 0:
            section.fail(f"remote write queue {name} must be positive", name)
    if times["max_backoff"] < times["min_backoff"]:
        section.fail("remote write queue max_backoff must not be less than min_backoff")
    return QueueSettings(
        capacity=counts["capacity"],
        max_shards=counts["max_shards"],
        min_shards=counts["min_shards"],
        max_samples_per_send=counts["max_samples_per_send"],
        batch_send_deadline_ms=times["batch_send_deadline"],
        min_backoff_ms=times["min_backoff"],
        max_backoff_ms=times["max_backoff"],
        retry_on_http_429=section.boolean("retry_on_http_429", False),
        sample_age_limit_ms=section.duration_ms("sample_age_limit") or 0,
    )


def _metadata(section: Section | None) -> MetadataSettings:
    if section is None:
        return MetadataSettings()
    interval_ms = section.duration_ms("send_interval")
    return MetadataSettings(
        send=section.boolean("send", True),
        send_interval_ms=60_000 if interval_ms is None else interval_ms,
        max_samples_per_send=section.integer("max_samples_per_send", 2000, signed=True),
    )
