"""ServiceMonitor and PodMonitor become one job for each of their endpoints.

From: `jobs.py`.   To: the same.
Source: what prometheus-operator generates; the order of the rules is its order, and counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.operator.fields import (
    META,
    Fields,
    MonitorError,
    Object,
    Origin,
    Rule,
    check_class,
    client_fields,
    closing_rules,
    copied,
    copy,
    enforced_namespace,
    label_copies,
    not_ended,
    own_job,
    relabelling,
    sanitised,
    scrape_fields,
    selector_rules,
    selector_text,
    target_namespaces,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLES = {"Endpoints": "endpoints", "EndpointSlice": "endpointslice"}


def service_monitor(spec: Object, origin: Origin) -> list[Fields]:
    """Return the scrape configs of a ServiceMonitor. Raises MonitorError."""
    check_class(spec)
    role = spec.get("serviceDiscoveryRole")
    if role is not None and role not in _ROLES:
        raise MonitorError(f"serviceDiscoveryRole {role} is unknown")
    role = _ROLES[role] if role else origin.settings.service_discovery_role
    by_role = spec.get("selectorMechanism") == "RoleSelector"
    discovery = _discovery(spec, origin, role, (role, "service") if by_role else ())
    chosen = [] if by_role else selector_rules("service", spec.get("selector"))
    return [
        _job(spec, endpoint, origin, number, discovery)
        | _rules(
            endpoint,
            origin,
            [own_job(), *chosen, *_service_rules(spec, endpoint, origin, role)],
        )
        for number, endpoint in enumerate(spec.get("endpoints") or ())
    ]


def pod_monitor(spec: Object, origin: Origin) -> list[Fields]:
    """Return the scrape configs of a PodMonitor. Raises MonitorError."""
    check_class(spec)
    by_role = spec.get("selectorMechanism") == "RoleSelector"
    discovery = _discovery(spec, origin, "pod", ("pod",) if by_role else ())
    chosen = [] if by_role else selector_rules("pod", spec.get("selector"))
    return [
        _job(spec, endpoint, origin, number, discovery)
        | _rules(endpoint, origin, [own_job(), *_pod_rules(spec, endpoint, origin, chosen)])
        for number, endpoint in enumerate(spec.get("podMetricsEndpoints") or ())
    ]


def _discovery(spec: Object, origin: Origin, role: str, selected: tuple[str, ...]) -> Fields:
    fields: Fields = {"role": role, **target_namespaces(origin, spec.get("namespaceSelector"))}
    text = selector_text(spec.get("selector"))
    if selected and text:
        fields["selectors"] = [{"role": each, "label": text} for each in selected]
    if (spec.get("attachMetadata") or {}).get("node"):
        fields["attach_metadata"] = {"node": True}
    return fields


def _job(
    spec: Object, endpoint: Mapping[str, Any], origin: Origin, number: int, discovery: Fields
) -> Fields:
    """Return all of a job but its rules."""
    settings = origin.settings
    prefix = origin.kind[0].lower() + origin.kind[1:]
    fields: Fields = {
        "job_name": f"{prefix}/{origin.namespace}/{origin.name}/{number}",
        "honor_labels": bool(endpoint.get("honorLabels")) and not settings.override_honor_labels,
        "kubernetes_sd_configs": [discovery],
    }
    fields |= copied(
        endpoint,
        {
            "honorTimestamps": "honor_timestamps",
            "trackTimestampsStaleness": "track_timestamps_staleness",
            "interval": "scrape_interval",
            "scrapeTimeout": "scrape_timeout",
            "path": "metrics_path",
            "params": "params",
        },
    )
    if settings.override_honor_timestamps:
        fields["honor_timestamps"] = False
    if endpoint.get("scheme"):
        fields["scheme"] = endpoint["scheme"].lower()
    return fields | client_fields(endpoint, origin) | scrape_fields(spec, settings)


def _rules(endpoint: Mapping[str, Any], origin: Origin, first: list[Rule]) -> Fields:
    fields: Fields = {
        "relabel_configs": [
            *first,
            *relabelling(endpoint.get("relabelings")),
            *closing_rules(origin, "__address__"),
        ]
    }
    metric = [*relabelling(endpoint.get("metricRelabelings")), *enforced_namespace(origin)]
    return fields | ({"metric_relabel_configs": metric} if metric else {})


def _service_rules(
    spec: Object, endpoint: Mapping[str, Any], origin: Origin, role: str
) -> list[Rule]:
    at = f"{META}{role if role == 'endpointslice' else 'endpoint'}_"
    target = [f"{at}address_target_kind", f"{at}address_target_name"]
    rules = _port_rules(endpoint, f"{at}port_name")
    rules += [
        {
            "source_labels": target,
            "separator": ";",
            "regex": f"{kind};(.*)",
            "replacement": "${1}",
            "target_label": kind.lower(),
        }
        for kind in ("Node", "Pod")
    ]
    rules += [
        copy(f"{META}namespace", "namespace"),
        copy(f"{META}service_name", "service"),
        copy(f"{META}pod_name", "pod"),
        copy(f"{META}pod_container_name", "container"),
    ]
    if endpoint.get("filterRunning") is not False:
        rules.append(not_ended())
    rules += label_copies("service", spec.get("targetLabels"))
    rules += _pod_labels(spec, origin)
    rules.append(copy(f"{META}service_name", "job") | {"replacement": "${1}"})
    if label := spec.get("jobLabel"):
        rules.append(copy(f"{META}service_label_{sanitised(label)}", "job", present=True))
    named = endpoint.get("port") or endpoint.get("targetPort")
    return rules + ([{"target_label": "endpoint", "replacement": str(named)}] if named else [])


def _pod_rules(
    spec: Object, endpoint: Mapping[str, Any], origin: Origin, chosen: list[Rule]
) -> list[Rule]:
    rules = [not_ended()] if endpoint.get("filterRunning") is not False else []
    rules += chosen
    port = f"{META}pod_container_port_name"
    if not endpoint.get("port") and endpoint.get("portNumber"):
        rules.append(_port("number", endpoint["portNumber"]))
    else:
        rules += _port_rules(endpoint, port)
    rules += [
        copy(f"{META}namespace", "namespace"),
        copy(f"{META}pod_container_name", "container"),
        copy(f"{META}pod_name", "pod"),
        *_pod_labels(spec, origin),
        {"target_label": "job", "replacement": f"{origin.namespace}/{origin.name}"},
    ]
    if label := spec.get("jobLabel"):
        rules.append(copy(f"{META}pod_label_{sanitised(label)}", "job", present=True))
    named = endpoint.get("port") or endpoint.get("targetPort")
    return rules + ([{"target_label": "endpoint", "replacement": str(named)}] if named else [])


def _pod_labels(spec: Object, origin: Origin) -> list[Rule]:
    names = [*(spec.get("podTargetLabels") or ()), *origin.settings.pod_target_labels]
    return label_copies("pod", names)


def _port_rules(endpoint: Mapping[str, Any], named: str) -> list[Rule]:
    if endpoint.get("port"):
        return [{"action": "keep", "source_labels": [named], "regex": endpoint["port"]}]
    target = endpoint.get("targetPort")
    if target in (None, "", 0):
        return []
    return [_port("number" if isinstance(target, int) else "name", target)]


def _port(what: str, value: object) -> Rule:
    label = f"{META}pod_container_port_{what}"
    return {"action": "keep", "source_labels": [label], "regex": str(value)}
