"""One entry of `scrape_configs`, with what it inherits from `global` resolved.

From: `load.py`.   To: `JobConfig`, and through it `scraper/pool.py`.
Source: Prometheus documentation, scrape_config; the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnomon.config.consul import decode_consul
from gnomon.config.discovery import (
    check_addresses,
    decode_files,
    decode_http,
    decode_static,
    refuse_unbuilt,
)
from gnomon.config.dns import decode_dns
from gnomon.config.document import go_quote
from gnomon.config.http_client import decode_client, joined
from gnomon.config.kubernetes import decode_kubernetes
from gnomon.config.model import GlobalConfig, JobConfig
from gnomon.config.relabel import decode_rules
from gnomon.config.zookeeper import decode_zookeeper
from scraper.job import DEFAULT_PROTOCOLS, PROTOBUF_FIRST, ScrapeJob, ScrapeLimits

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

PROTOCOLS = tuple(sorted(PROTOBUF_FIRST))
VALIDATION_SCHEMES = ("legacy", "utf8")
ESCAPING_SCHEMES = ("allow-utf-8", "underscores", "dots", "values")

_LIMITS = (
    "sample_limit",
    "target_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "keep_dropped_targets",
)


def decode_job(section: Section, defaults: GlobalConfig, folder: Path) -> JobConfig:
    """Read one scrape config; raises ConfigError at the first value that is against a rule."""
    name = section.string("job_name")
    suffix = f" for scrape config with job name {go_quote(name)}"
    refuse_unbuilt(section)
    failure_log = joined(folder, section.string("scrape_failure_log_file"))
    client = decode_client(section, folder)
    files, http = decode_files(section, folder), decode_http(section, folder)
    kubernetes = decode_kubernetes(section, folder)
    dns, consul = decode_dns(section), decode_consul(section, folder)
    zookeeper = decode_zookeeper(section)
    static = decode_static(section)
    utf8 = defaults.metric_name_validation_scheme == "utf8"
    rules = decode_rules(section, "relabel_configs", "target", utf8=utf8)
    metric_rules = decode_rules(section, "metric_relabel_configs", "metric", utf8=utf8)
    if name == "":
        section.fail("job_name is empty")
    interval_ms, timeout_ms = _timing(section, defaults, suffix)
    if not rules:
        check_addresses(section, static)
    validation, escaping = _names(section, defaults)
    native = section.boolean(
        "scrape_native_histograms", defaults.scrape_native_histograms, inherited=True
    )
    job = ScrapeJob(
        job_name=name,
        scrape_interval_ms=interval_ms,
        scrape_timeout_ms=timeout_ms,
        scrape_protocols=decode_protocols(section, suffix)
        or default_protocols(defaults.scrape_protocols, native=native),
        fallback_scrape_protocol=_fallback(section, suffix),
        metrics_path=section.string("metrics_path", "/metrics"),
        scheme=section.string("scheme", "http"),
        params=section.lists_of_texts("params"),
        honor_labels=section.boolean("honor_labels", False),
        honor_timestamps=section.boolean("honor_timestamps", True),
        track_timestamps_staleness=section.boolean("track_timestamps_staleness", False),
        enable_compression=section.boolean("enable_compression", True),
        extra_scrape_metrics=section.boolean(
            "extra_scrape_metrics", defaults.extra_scrape_metrics, inherited=True
        ),
        scrape_native_histograms=native,
        native_histogram_bucket_limit=section.integer("native_histogram_bucket_limit"),
        native_histogram_min_bucket_factor=section.number("native_histogram_min_bucket_factor"),
        always_scrape_classic_histograms=section.boolean(
            "always_scrape_classic_histograms",
            defaults.always_scrape_classic_histograms,
            inherited=True,
        ),
        convert_classic_histograms=section.boolean(
            "convert_classic_histograms_to_nhcb",
            defaults.convert_classic_histograms,
            inherited=True,
        ),
        metric_name_validation_scheme=validation,
        metric_name_escaping_scheme=escaping,
        limits=decode_limits(section, defaults.limits),
        failure_log=failure_log or defaults.scrape_failure_log_file,
        relabel_rules=rules,
        metric_relabel_rules=metric_rules,
        http_client=client,
    )
    return JobConfig(
        job=job,
        static=static,
        files=files,
        http=http,
        kubernetes=kubernetes,
        dns=dns,
        consul=consul,
        zookeeper=zookeeper,
    )


def decode_protocols(section: Section, suffix: str) -> tuple[str, ...]:
    """Read `scrape_protocols`; empty where it is not written."""
    if not section.has("scrape_protocols"):
        section.ignore("scrape_protocols")
        return ()
    protocols = section.strings("scrape_protocols", "[]config.ScrapeProtocol")
    if not protocols:
        section.fail(f"scrape_protocols cannot be empty{suffix}", "scrape_protocols")
    seen: set[str] = set()
    for protocol in protocols:
        if protocol.lower() in seen:
            section.fail(
                f"duplicated protocol in scrape_protocols, got [{' '.join(protocols)}]{suffix}",
                "scrape_protocols",
            )
        if protocol not in PROTOCOLS:
            section.fail(f"scrape_protocols: {_unknown(protocol)}{suffix}", "scrape_protocols")
        seen.add(protocol.lower())
    return protocols


def default_protocols(inherited: tuple[str, ...], *, native: bool) -> tuple[str, ...]:
    """Return the protocols of who writes none: only protobuf brings native histograms."""
    return PROTOBUF_FIRST if native and inherited == DEFAULT_PROTOCOLS else inherited


def _unknown(protocol: str) -> str:
    return f"unknown scrape protocol {protocol}, supported: [{' '.join(PROTOCOLS)}]"


def _fallback(section: Section, suffix: str) -> str:
    name = "fallback_scrape_protocol"
    protocol = section.string(name, into="config.ScrapeProtocol")
    if protocol and protocol not in PROTOCOLS:
        section.fail(f"invalid {name}{suffix}: {_unknown(protocol)}", name)
    return protocol


def decode_limits(section: Section, defaults: ScrapeLimits) -> ScrapeLimits:
    """Read the limits; zero or nothing inherits."""
    values = {name: section.integer(name) or getattr(defaults, name) for name in _LIMITS}
    body = section.size_bytes("body_size_limit") or defaults.body_size_limit
    return ScrapeLimits(body_size_limit=body, **values)


def _timing(section: Section, defaults: GlobalConfig, suffix: str) -> tuple[int, int]:
    interval_ms = section.duration_ms("scrape_interval") or defaults.scrape_interval_ms
    timeout_ms = section.duration_ms("scrape_timeout") or 0
    if timeout_ms > interval_ms:
        section.fail(f"scrape timeout greater than scrape interval{suffix}", "scrape_timeout")
    return interval_ms, timeout_ms or min(defaults.scrape_timeout_ms, interval_ms)


def decode_validation(section: Section, default: str) -> str:
    """Read `metric_name_validation_scheme`."""
    scheme = section.string("metric_name_validation_scheme") or default
    if scheme not in VALIDATION_SCHEMES:
        section.fail(
            f"unrecognized ValidationScheme: {go_quote(scheme)}", "metric_name_validation_scheme"
        )
    return scheme


def decode_escaping(section: Section, validation: str, default: str) -> str:
    """Read `metric_name_escaping_scheme`; it must fit the validation scheme."""
    name = "metric_name_escaping_scheme"
    escaping = section.string(name)
    where = "global" if section.path == "global" else "scrape config"
    if escaping == "":
        escaping = default
        if validation == "legacy" and escaping == "allow-utf-8":
            escaping = "underscores"
    if escaping not in ESCAPING_SCHEMES:
        *most, last = (f"'{scheme}'" for scheme in ESCAPING_SCHEMES)
        section.fail(
            f"unknown {where} name escaping method specified, must be one of"
            f" {', '.join(most)}, or {last}, got {go_quote(escaping)}",
            name,
        )
    if validation == "legacy" and escaping == "allow-utf-8":
        section.fail("utf8 metric names requested but validation scheme is not set to UTF8", name)
    return escaping


def _names(section: Section, defaults: GlobalConfig) -> tuple[str, str]:
    validation = decode_validation(section, defaults.metric_name_validation_scheme)
    return validation, decode_escaping(section, validation, defaults.metric_name_escaping_scheme)
