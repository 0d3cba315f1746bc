"""A Probe becomes one job: its targets are parameters, what is scraped is the prober.

From: `jobs.py`.   To: the same.
Source: what prometheus-operator generates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gnomon.operator.fields import (
    META,
    Fields,
    Object,
    Origin,
    Rule,
    check_class,
    client_fields,
    closing_rules,
    copied,
    copy,
    enforced_namespace,
    own_job,
    relabelling,
    scrape_fields,
    selector_rules,
    target_namespaces,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_TARGET = "__param_target"


def probe(spec: Object, origin: Origin) -> list[Fields]:
    """Return the scrape config of a Probe. Raises MonitorError."""
    check_class(spec)
    prober = spec.get("prober") or {}
    fields: Fields = {
        "job_name": f"probe/{origin.namespace}/{origin.name}",
        "honor_timestamps": True,
        "metrics_path": prober.get("path") or "/probe",
    }
    fields |= copied(spec, {"interval": "scrape_interval", "scrapeTimeout": "scrape_timeout"})
    if prober.get("scheme"):
        fields["scheme"] = prober["scheme"].lower()
    params = {each["name"]: list(each.get("values") or ()) for each in spec.get("params") or ()}
    if spec.get("module"):
        params = {**params, "module": [spec["module"]]}
    if params:
        fields["params"] = params
    fields |= client_fields({**spec, **prober}, origin) | scrape_fields(spec, origin.settings)
    rules, own = [own_job()], []
    if spec.get("jobName"):
        rules.append({"target_label": "job", "replacement": spec["jobName"]})
    targets = spec.get("targets") or {}
    address = {"target_label": "__address__", "replacement": prober.get("url", "")}
    if static := targets.get("staticConfig"):
        labels = {"namespace": origin.namespace, **(static.get("labels") or {})}
        fields["static_configs"] = [{"targets": list(static.get("static") or ()), "labels": labels}]
        rules += [copy("__address__", _TARGET), copy(_TARGET, "instance"), address]
        own = relabelling(static.get("relabelingConfigs"))
    elif ingress := targets.get("ingress"):
        discovery = {
            "role": "ingress",
            **target_namespaces(origin, ingress.get("namespaceSelector")),
        }
        fields["kubernetes_sd_configs"] = [discovery]
        rules += [*_ingress_rules(ingress), address]
        own = relabelling(ingress.get("relabelingConfigs"))
    fields["relabel_configs"] = [*rules, *own, *closing_rules(origin, _TARGET)]
    metric = [*relabelling(spec.get("metricRelabelings")), *enforced_namespace(origin)]
    return [fields | ({"metric_relabel_configs": metric} if metric else {})]


def _ingress_rules(ingress: Mapping[str, Any]) -> list[Rule]:
    return [
        *selector_rules("ingress", ingress.get("selector")),
        {
            "source_labels": [f"{META}ingress_scheme", "__address__", f"{META}ingress_path"],
            "separator": ";",
            "regex": "(.+);(.+);(.+)",
            "target_label": _TARGET,
            "replacement": "${1}://${2}${3}",
            "action": "replace",
        },
        copy(f"{META}namespace", "namespace"),
        copy(f"{META}ingress_name", "ingress"),
        copy("__address__", "__tmp_ingress_address"),
        copy(_TARGET, "instance"),
    ]
