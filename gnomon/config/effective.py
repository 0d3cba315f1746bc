"""A configuration as YAML text again: defaults filled in, secrets hidden.

From: `model.py`.   To: `/api/v1/status/config`. Fields and their order are Prometheus'.
Invariant: no secret is in the text, and loading it again gives an equal configuration but for
them and for dollars in external labels.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import yaml

from discovery.http_client import TlsConfig
from discovery.redaction import without_password
from gnomon.config.otlp import otlp_fields
from gnomon.units import format_duration, format_size
from scraper.job import RelabelAction, RelabelRule

if TYPE_CHECKING:
    from discovery.consul_settings import ConsulSettings
    from discovery.dns_settings import DnsSettings
    from discovery.groups import TargetGroup
    from discovery.http_client import HttpClientConfig, OAuth2
    from discovery.kubernetes.settings import KubernetesSettings
    from gnomon.config.model import Config, GlobalConfig, HttpDiscovery, JobConfig, StorageConfig
    from gnomon.forwarding.settings import RemoteWriteSettings
    from gnomon.operator.settings import MonitorSettings
    from gnomon.remote_read.settings import RemoteReadSettings
    from scraper.job import ScrapeLimits

SECRET = "<secret>"

Fields = dict[str, Any]


def effective_yaml(config: Config) -> str:
    """Return the text."""
    fields: Fields = {
        "global": _global(config.global_config),
        "runtime": {"gogc": config.gogc},
    }
    if config.scrape_config_files:
        fields["scrape_config_files"] = [str(path) for path in config.scrape_config_files]
    jobs = [_job(job) for job in config.jobs if job.from_file is None]
    if jobs:
        fields["scrape_configs"] = jobs
    tsdb = _storage(config.storage)
    storage: Fields = {"tsdb": tsdb} if tsdb else {}
    if config.storage.exemplars_max is not None:
        storage["exemplars"] = {"max_exemplars": config.storage.exemplars_max}
    if storage:
        fields["storage"] = storage
    if config.monitors:
        fields["kubernetes_monitor_configs"] = [_monitors(entry) for entry in config.monitors]
    if config.remote_write:
        fields["remote_write"] = [_remote_write(entry) for entry in config.remote_write]
    if config.remote_read:
        fields["remote_read"] = [_remote_read(entry) for entry in config.remote_read]
    fields["otlp"] = otlp_fields(config.otlp)
    return _text(fields)


def _text(fields: Fields) -> str:
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**30)


def job_yaml(job: JobConfig) -> str:
    """Return the text of one job alone."""
    return _text(_job(job))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc] # either
    """Lists are indented as Go's YAML does it, nothing is written as an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _global(config: GlobalConfig) -> Fields:
    fields: Fields = {
        "scrape_interval": format_duration(config.scrape_interval_ms),
        "scrape_timeout": format_duration(config.scrape_timeout_ms),
        "scrape_protocols": list(config.scrape_protocols),
        "evaluation_interval": format_duration(config.evaluation_interval_ms),
    }
    for name in ("query_log_file", "scrape_failure_log_file"):
        if path := getattr(config, name):
            fields[name] = str(path)
    if config.external_labels:
        # A dollar is shown as it is, as Prometheus shows it: the text is for reading.
        fields["external_labels"] = dict(sorted(config.external_labels.items()))
    fields |= _limits(config.limits)
    fields["metric_name_validation_scheme"] = config.metric_name_validation_scheme
    fields["metric_name_escaping_scheme"] = config.metric_name_escaping_scheme
    if config.scrape_native_histograms:
        fields["scrape_native_histograms"] = True
    if config.always_scrape_classic_histograms:
        fields["always_scrape_classic_histograms"] = True
    if config.convert_classic_histograms:
        fields["convert_classic_histograms_to_nhcb"] = True
    if config.extra_scrape_metrics:
        fields["extra_scrape_metrics"] = True
    return fields


def _limits(limits: ScrapeLimits) -> Fields:
    fields: Fields = {}
    if limits.body_size_limit:
        fields["body_size_limit"] = format_size(limits.body_size_limit)
    for name in (
        "sample_limit",
        "target_limit",
        "label_limit",
        "label_name_length_limit",
        "label_value_length_limit",
        "keep_dropped_targets",
    ):
        value = getattr(limits, name)
        if value:
            fields[name] = value
    return fields


def _job(config: JobConfig) -> Fields:
    job = config.job
    fields: Fields = {"job_name": job.job_name}
    if job.honor_labels:
        fields["honor_labels"] = True
    fields["honor_timestamps"] = job.honor_timestamps
    fields["track_timestamps_staleness"] = job.track_timestamps_staleness
    if job.params:
        fields["params"] = {name: list(values) for name, values in sorted(job.params.items())}
    fields["scrape_interval"] = format_duration(job.scrape_interval_ms)
    fields["scrape_timeout"] = format_duration(job.scrape_timeout_ms)
    fields["scrape_protocols"] = list(job.scrape_protocols)
    if job.fallback_scrape_protocol:
        fields["fallback_scrape_protocol"] = job.fallback_scrape_protocol
    fields["scrape_native_histograms"] = job.scrape_native_histograms
    fields["always_scrape_classic_histograms"] = job.always_scrape_classic_histograms
    fields["convert_classic_histograms_to_nhcb"] = job.convert_classic_histograms
    fields["extra_scrape_metrics"] = job.extra_scrape_metrics
    if job.failure_log is not None:
        fields["scrape_failure_log_file"] = str(job.failure_log)
    fields["metrics_path"] = job.metrics_path
    fields["scheme"] = job.scheme
    fields["enable_compression"] = job.enable_compression
    fields |= _limits(job.limits)
    for name in ("native_histogram_bucket_limit", "native_histogram_min_bucket_factor"):
        if value := getattr(job, name):
            fields[name] = value
    fields["metric_name_validation_scheme"] = job.metric_name_validation_scheme
    fields["metric_name_escaping_scheme"] = job.metric_name_escaping_scheme
    fields |= _client(job.http_client)
    for name, rules in (
        ("relabel_configs", job.relabel_rules),
        ("metric_relabel_configs", job.metric_relabel_rules),
    ):
        if rules:
            fields[name] = [_rule(rule) for rule in rules]
    if config.files:
        fields["file_sd_configs"] = [
            {
                "files": [str(path) for path in entry.files],
                "refresh_interval": format_duration(entry.refresh_interval_ms),
            }
            for entry in config.files
        ]
    if config.http:
        fields["http_sd_configs"] = [_http_discovery(entry) for entry in config.http]
    if config.dns:
        fields["dns_sd_configs"] = [_dns(entry) for entry in config.dns]
    if config.consul:
        fields["consul_sd_configs"] = [_consul(entry) for entry in config.consul]
    for settings in config.zookeeper:
        fields.setdefault(f"{settings.kind}_sd_configs", []).append(
            {
                "servers": list(settings.servers),
                "paths": list(settings.paths),
                "timeout": format_duration(round(settings.timeout_s * 1000)),
            }
        )
    if config.kubernetes:
        fields["kubernetes_sd_configs"] = [_kubernetes(entry) for entry in config.kubernetes]
    if config.static:
        fields["static_configs"] = [_group(group) for group in config.static]
    return fields


def _group(group: TargetGroup) -> Fields:
    fields: Fields = {"targets": [target["__address__"] for target in group.targets]}
    if group.labels:
        fields["labels"] = dict(sorted(group.labels.items()))
    return fields


def _http_discovery(entry: HttpDiscovery) -> Fields:
    return _client(entry.http_client) | {
        "refresh_interval": format_duration(entry.refresh_interval_ms),
        "url": without_password(entry.url),
    }


def _dns(entry: DnsSettings) -> Fields:
    return {
        "names": list(entry.names),
        "refresh_interval": format_duration(round(entry.refresh_interval_s * 1000)),
        "type": entry.type,
        "port": entry.port,
    }


def _consul(settings: ConsulSettings) -> Fields:
    fields: Fields = {"server": settings.server}
    fields |= _present(
        path_prefix=settings.path_prefix,
        token=SECRET if settings.token else "",
        datacenter=settings.datacenter,
        namespace=settings.namespace,
        partition=settings.partition,
    )
    fields["tag_separator"] = settings.tag_separator
    fields["scheme"] = settings.scheme
    fields["allow_stale"] = settings.allow_stale
    fields["refresh_interval"] = format_duration(round(settings.refresh_interval_s * 1000))
    if settings.services:
        fields["services"] = list(settings.services)
    if settings.tags:
        fields["tags"] = list(settings.tags)
    if settings.node_meta:
        fields["node_meta"] = dict(sorted(settings.node_meta.items()))
    fields |= _present(filter=settings.filter, health_filter=settings.health_filter)
    return fields | _client(settings.client)


def _kubernetes(settings: KubernetesSettings) -> Fields:
    access = settings.access
    fields: Fields = {}
    if access.api_server:
        fields["api_server"] = without_password(access.api_server)
    fields["role"] = settings.role
    fields["kubeconfig_file"] = str(access.kubeconfig_file or "")
    fields |= _client(access.client)
    if settings.namespaces or settings.own_namespace:
        fields["namespaces"] = {"own_namespace": settings.own_namespace}
        if settings.namespaces:
            fields["namespaces"]["names"] = list(settings.namespaces)
    if settings.selectors:
        fields["selectors"] = [
            {
                "role": selector.role,
                **_present(label=selector.label, field=selector.field),
            }
            for selector in settings.selectors
        ]
    attached = {name: True for name, value in asdict(settings.attach).items() if value}
    if attached:
        fields["attach_metadata"] = attached
    return fields


def _remote_read(entry: RemoteReadSettings) -> Fields:
    fields: Fields = {
        "url": without_password(entry.url),
        "remote_timeout": format_duration(entry.remote_timeout_ms),
        "chunked_read_limit": entry.chunked_read_limit_bytes,
    }
    if entry.headers:
        fields["headers"] = dict(sorted(entry.headers.items()))
    if entry.read_recent:
        fields["read_recent"] = True
    fields |= _present(name=entry.name)
    if entry.required_matchers:
        fields["required_matchers"] = dict(sorted(entry.required_matchers.items()))
    fields |= _client(entry.http_client)
    return fields | {"filter_external_labels": entry.filter_external_labels}


def _monitors(settings: MonitorSettings) -> Fields:
    access = settings.access
    fields: Fields = {}
    if access.api_server:
        fields["api_server"] = without_password(access.api_server)
    fields |= _present(kubeconfig_file=access.kubeconfig_file)
    fields |= _client(access.client)
    if settings.files:
        fields["files"] = [str(path) for path in settings.files]
    fields["kinds"] = list(settings.kinds)
    if settings.namespaces or settings.own_namespace:
        fields["namespaces"] = {"own_namespace": settings.own_namespace}
        if settings.namespaces:
            fields["namespaces"]["names"] = list(settings.namespaces)
    fields |= _present(selector=settings.selector, namespace_selector=settings.namespace_selector)
    fields["refresh_interval"] = format_duration(round(settings.refresh_interval_s * 1000))
    fields["service_discovery_role"] = settings.service_discovery_role
    if settings.pod_target_labels:
        fields["pod_target_labels"] = list(settings.pod_target_labels)
    fields |= _present(enforced_namespace_label=settings.enforced_namespace_label)
    if settings.enforced_limits:
        limits = dict(settings.enforced_limits)
        if size := limits.get("body_size_limit"):
            fields["enforced_limits"] = limits | {"body_size_limit": format_size(size)}
        else:
            fields["enforced_limits"] = limits
    for name in (
        "override_honor_labels",
        "override_honor_timestamps",
        "ignore_namespace_selectors",
        "allow_arbitrary_file_access",
    ):
        if getattr(settings, name):
            fields[name] = True
    if settings.shards > 1:
        fields |= {"shards": settings.shards, "shard": settings.shard}
    return fields


def _remote_write(entry: RemoteWriteSettings) -> Fields:
    fields: Fields = {
        "url": without_password(entry.url),
        "remote_timeout": format_duration(entry.remote_timeout_ms),
    }
    if entry.headers:
        fields["headers"] = dict(sorted(entry.headers.items()))
    if entry.write_relabel_rules:
        fields["write_relabel_configs"] = [_rule(rule) for rule in entry.write_relabel_rules]
    fields |= _present(name=entry.name)
    for name in ("send_exemplars", "send_native_histograms", "round_robin_dns"):
        if getattr(entry, name):
            fields[name] = True
    fields["protobuf_message"] = entry.protobuf_message
    fields |= _client(entry.http_client)
    queue = entry.queue
    fields["queue_config"] = {
        "capacity": queue.capacity,
        "max_shards": queue.max_shards,
        "min_shards": queue.min_shards,
        "max_samples_per_send": queue.max_samples_per_send,
        "batch_send_deadline": format_duration(queue.batch_send_deadline_ms),
        "min_backoff": format_duration(queue.min_backoff_ms),
        "max_backoff": format_duration(queue.max_backoff_ms),
    }
    if queue.retry_on_http_429:
        fields["queue_config"]["retry_on_http_429"] = True
    if queue.sample_age_limit_ms:
        fields["queue_config"]["sample_age_limit"] = format_duration(queue.sample_age_limit_ms)
    fields["metadata_config"] = {
        "send": entry.metadata.send,
        "send_interval": format_duration(entry.metadata.send_interval_ms),
        "max_samples_per_send": entry.metadata.max_samples_per_send,
    }
    return fields


def _client(config: HttpClientConfig) -> Fields:
    fields: Fields = {}
    if config.basic_auth is not None:
        basic = config.basic_auth
        fields["basic_auth"] = _present(
            username=basic.username,
            username_file=basic.username_file,
            password=SECRET if basic.password else "",
            password_file=basic.password_file,
        )
    if config.authorization is not None:
        authorization = config.authorization
        fields["authorization"] = _present(
            type=authorization.type,
            credentials=SECRET if authorization.credentials else "",
            credentials_file=authorization.credentials_file,
        )
    if config.oauth2 is not None:
        fields["oauth2"] = _oauth2(config.oauth2)
    fields |= _tls(config.tls_config)
    fields["follow_redirects"] = config.follow_redirects
    fields["enable_http2"] = config.enable_http2
    fields |= _proxy(config)
    names = config.http_headers.keys() | config.http_header_files.keys()
    if names:
        fields["http_headers"] = {name: _header(config, name) for name in sorted(names)}
    return fields


def _oauth2(config: OAuth2) -> Fields:
    fields: Fields = _present(
        client_id=config.client_id,
        client_secret=SECRET if config.client_secret else "",
        client_secret_file=config.client_secret_file,
    )
    if config.scopes:
        fields["scopes"] = list(config.scopes)
    fields["token_url"] = without_password(config.token_url)
    if config.endpoint_params:
        fields["endpoint_params"] = dict(sorted(config.endpoint_params.items()))
    return fields | _tls(config.tls_config) | _proxy(config)


def _tls(tls: TlsConfig) -> Fields:
    if tls == TlsConfig():
        return {}
    fields: Fields = _present(
        ca=tls.ca,
        ca_file=tls.ca_file,
        cert=tls.cert,
        cert_file=tls.cert_file,
        key=SECRET if tls.key else "",
        key_file=tls.key_file,
        server_name=tls.server_name,
    )
    fields["insecure_skip_verify"] = tls.insecure_skip_verify
    fields |= _present(min_version=tls.min_version, max_version=tls.max_version)
    return {"tls_config": fields}


def _proxy(config: HttpClientConfig | OAuth2) -> Fields:
    fields: Fields = _present(
        proxy_url=without_password(config.proxy_url) if config.proxy_url else "",
        no_proxy=config.no_proxy,
    )
    if config.proxy_from_environment:
        fields["proxy_from_environment"] = True
    if config.proxy_connect_header:
        fields["proxy_connect_header"] = {
            name: [SECRET] * len(values)
            for name, values in sorted(config.proxy_connect_header.items())
        }
    return fields


def _header(config: HttpClientConfig, name: str) -> Fields:
    values = config.http_headers.get(name, ())
    secret_count = config.secret_header_counts.get(name, 0)
    shown = list(values[: len(values) - secret_count])
    fields: Fields = {"values": shown} if shown else {}
    if secret_count:
        fields["secrets"] = [SECRET] * secret_count
    if files := config.http_header_files.get(name):
        fields["files"] = [str(path) for path in files]
    return fields


def _present(**values: object) -> Fields:
    return {name: str(value) for name, value in values.items() if value}


def _rule(rule: RelabelRule) -> Fields:
    fields: Fields = {}
    if rule.source_labels:
        fields["source_labels"] = list(rule.source_labels)
    fields["separator"] = rule.separator
    if rule.regex != RelabelRule().regex:
        fields["regex"] = rule.regex or None
    if rule.modulus:
        fields["modulus"] = rule.modulus
    if rule.target_label:
        fields["target_label"] = rule.target_label
    if rule.replacement:
        fields["replacement"] = rule.replacement
    elif rule.action is RelabelAction.REPLACE:
        fields["replacement"] = ""
    fields["action"] = rule.action.value
    return fields


def _storage(config: StorageConfig) -> Fields:
    fields: Fields = {}
    if config.out_of_order_time_window_ms is not None:
        fields["out_of_order_time_window"] = format_duration(config.out_of_order_time_window_ms)
    if config.chunk_encoding_floats:
        fields["chunk_encoding"] = {"floats": config.chunk_encoding_floats}
    retention: Fields = {}
    if config.retention_time_ms is not None:
        retention["time"] = format_duration(config.retention_time_ms)
    if config.retention_size_bytes is not None:
        retention["size"] = format_size(config.retention_size_bytes)
    if config.retention_percentage:
        retention["percentage"] = config.retention_percentage
    if retention:
        fields["retention"] = retention
    return fields
