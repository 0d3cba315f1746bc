"""A ScrapeConfig becomes one job: it is a scrape config in other words.

From: `jobs.py`.   To: the same.
Source: API reference of prometheus-operator, monitoring.coreos.com/v1alpha1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.operator.fields import (
    Fields,
    MonitorError,
    Object,
    Origin,
    check_class,
    client_fields,
    copied,
    enforced_namespace,
    own_job,
    relabelling,
    scrape_fields,
    sharding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REFRESH = {"refreshInterval": "refresh_interval"}
_CONSUL = {
    "server": "server",
    "pathPrefix": "path_prefix",
    "datacenter": "datacenter",
    "namespace": "namespace",
    "partition": "partition",
    "services": "services",
    "tags": "tags",
    "tagSeparator": "tag_separator",
    "nodeMeta": "node_meta",
    "filter": "filter",
    "healthFilter": "health_filter",
    "allowStale": "allow_stale",
    **_REFRESH,
}
_JOB = {
    "metricsPath": "metrics_path",
    "scrapeInterval": "scrape_interval",
    "scrapeTimeout": "scrape_timeout",
    "honorTimestamps": "honor_timestamps",
    "honorLabels": "honor_labels",
    "trackTimestampsStaleness": "track_timestamps_staleness",
    "params": "params",
    "enableCompression": "enable_compression",
}
_SCHEMES = {
    "nameValidationScheme": "metric_name_validation_scheme",
    "nameEscapingScheme": "metric_name_escaping_scheme",
}
_ESCAPING = {"allowutf8": "allow-utf-8"}


def scrape_config(spec: Object, origin: Origin) -> list[Fields]:
    """Return the scrape config. Raises MonitorError."""
    check_class(spec)
    settings = origin.settings
    fields: Fields = {"job_name": f"scrapeConfig/{origin.namespace}/{origin.name}"}
    fields |= copied(spec, _JOB)
    if settings.override_honor_labels:
        fields["honor_labels"] = False
    if settings.override_honor_timestamps:
        fields["honor_timestamps"] = False
    for name, to in _SCHEMES.items():
        if spec.get(name):
            text = str(spec[name]).lower()
            fields[to] = _ESCAPING.get(text, text)
    if spec.get("scheme"):
        fields["scheme"] = spec["scheme"].lower()
    fields |= client_fields(spec, origin) | scrape_fields(spec, settings)
    for name, items in spec.items():
        if items and (name.endswith("SDConfigs") or name == "staticConfigs"):
            if name not in _DISCOVERIES:
                raise MonitorError(f"{name} are not supported")
            to, translate = _DISCOVERIES[name]
            fields[to] = [translate(item, origin) for item in items]
    own = relabelling(spec.get("relabelings"))
    named = {"target_label": "job", "action": "replace", "replacement": spec.get("jobName")}
    sharded = any(rule.get("action") == "hashmod" for rule in own)
    fields["relabel_configs"] = [
        own_job(),
        *([named] if spec.get("jobName") else []),
        *own,
        *enforced_namespace(origin),
        *([] if sharded else sharding(settings, "__address__")),
    ]
    metric = [*relabelling(spec.get("metricRelabelings")), *enforced_namespace(origin)]
    return [fields | ({"metric_relabel_configs": metric} if metric else {})]


def _static(item: Mapping[str, Any], _origin: Origin) -> Fields:
    return copied(item, {"targets": "targets", "labels": "labels"})


def _files(item: Mapping[str, Any], origin: Origin) -> Fields:
    names = [origin.path(name) for name in item.get("files") or ()]
    return {"files": names, **copied(item, _REFRESH)}


def _http(item: Mapping[str, Any], origin: Origin) -> Fields:
    return client_fields(item, origin) | copied(item, {"url": "url", **_REFRESH})


def _dns(item: Mapping[str, Any], _origin: Origin) -> Fields:
    return copied(item, {"names": "names", "type": "type", "port": "port", **_REFRESH})


def _consul(item: Mapping[str, Any], origin: Origin) -> Fields:
    fields = client_fields(item, origin) | copied(item, _CONSUL)
    if item.get("scheme"):
        fields["scheme"] = item["scheme"].lower()
    if item.get("tokenRef"):
        fields["token"] = origin.text(item["tokenRef"])
    return fields


def _kubernetes(item: Mapping[str, Any], origin: Origin) -> Fields:
    fields = client_fields(item, origin) | copied(item, {"apiServer": "api_server"})
    fields["role"] = str(item.get("role", "")).lower()
    if namespaces := item.get("namespaces"):
        fields["namespaces"] = copied(
            namespaces, {"ownNamespace": "own_namespace", "names": "names"}
        )
    if selectors := item.get("selectors"):
        fields["selectors"] = [
            {"role": str(each.get("role", "")).lower()}
            | copied(each, {"label": "label", "field": "field"})
            for each in selectors
        ]
    if (item.get("attachMetadata") or {}).get("node"):
        fields["attach_metadata"] = {"node": True}
    return fields


_DISCOVERIES: dict[str, tuple[str, Callable[[Mapping[str, Any], Origin], Fields]]] = {
    "staticConfigs": ("static_configs", _static),
    "fileSDConfigs": ("file_sd_configs", _files),
    "httpSDConfigs": ("http_sd_configs", _http),
    "dnsSDConfigs": ("dns_sd_configs", _dns),
    "consulSDConfigs": ("consul_sd_configs", _consul),
    "kubernetesSDConfigs": ("kubernetes_sd_configs", _kubernetes),
}
