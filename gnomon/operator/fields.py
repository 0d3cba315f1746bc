"""What all kinds of objects have in common: clients, secrets, relabelling, selectors, limits.

From: the kinds' own files.   To: the same. Out come fields of a scrape config, under its names.
Source: API reference of prometheus-operator (monitoring.coreos.com/v1 and v1alpha1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gnomon.units import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gnomon.operator.settings import MonitorSettings

Object = dict[str, Any]
Fields = dict[str, Any]
Rule = dict[str, Any]

META = "__meta_kubernetes_"
HASH = "__tmp_hash"

_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")
_LIMITS = {
    "sampleLimit": "sample_limit",
    "targetLimit": "target_limit",
    "labelLimit": "label_limit",
    "labelNameLengthLimit": "label_name_length_limit",
    "labelValueLengthLimit": "label_value_length_limit",
    "keepDroppedTargets": "keep_dropped_targets",
}
_SCRAPE = {
    "scrapeProtocols": "scrape_protocols",
    "fallbackScrapeProtocol": "fallback_scrape_protocol",
    "scrapeClassicHistograms": "always_scrape_classic_histograms",
    "scrapeNativeHistograms": "scrape_native_histograms",
    "nativeHistogramBucketLimit": "native_histogram_bucket_limit",
    "convertClassicHistogramsToNHCB": "convert_classic_histograms_to_nhcb",
}


class MonitorError(ValueError):
    """An object cannot be used; the others are not affected."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An object, and what it is read with.

    `lookup(kind, namespace, name, key)` gives the text of a secret or config map, or raises
    MonitorError.
    """

    kind: str
    namespace: str
    name: str
    settings: MonitorSettings
    lookup: Callable[[str, str, str, str], str]

    def text(self, reference: Mapping[str, Any], kind: str = "Secret") -> str:
        """Return what a key of a secret of the object's own namespace holds."""
        return self.lookup(kind, self.namespace, reference["name"], reference["key"])

    def either(self, source: Mapping[str, Any] | None) -> str:
        """Return what a `{secret}` or a `{configMap}` holds, "" for neither."""
        if source and source.get("secret"):
            return self.text(source["secret"])
        if source and source.get("configMap"):
            return self.text(source["configMap"], "ConfigMap")
        return ""

    def path(self, name: str) -> str:
        """Return the name of a file, if objects may name files of this server."""
        if not self.settings.allow_arbitrary_file_access:
            raise MonitorError(
                f"it names the file {name}, which allow_arbitrary_file_access does not permit"
            )
        return name


def copied(spec: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """Return fields that are taken over as they are, those that are set."""
    return {to: spec[name] for name, to in names.items() if spec.get(name) not in (None, "")}


def sanitised(name: str) -> str:
    """Return a label's name as discovery has it.

    >>> sanitised("app.kubernetes.io/name")
    'app_kubernetes_io_name'
    """
    return _OUTSIDE.sub("_", name)


def client_fields(spec: Mapping[str, Any], origin: Origin) -> Fields:
    """Return how a server is reached: credentials, TLS, proxy, redirects."""
    fields = _proxy(spec, origin) | copied(
        spec,
        {
            "followRedirects": "follow_redirects",
            "enableHttp2": "enable_http2",
            "enableHTTP2": "enable_http2",
        },
    )
    if tls := spec.get("tlsConfig"):
        fields["tls_config"] = _tls(tls, origin)
    if basic := spec.get("basicAuth"):
        fields["basic_auth"] = {
            name: origin.text(basic[name])
            for name in ("username", "password")
            if (basic.get(name) or {}).get("name")
        }
    if authorization := spec.get("authorization"):
        fields["authorization"] = copied(authorization, {"type": "type"})
        if (authorization.get("credentials") or {}).get("name"):
            fields["authorization"]["credentials"] = origin.text(authorization["credentials"])
    if oauth2 := spec.get("oauth2"):
        fields["oauth2"] = _oauth2(oauth2, origin)
    if (spec.get("bearerTokenSecret") or {}).get("name"):
        fields["bearer_token"] = origin.text(spec["bearerTokenSecret"])
    if spec.get("bearerTokenFile"):
        fields["bearer_token_file"] = origin.path(spec["bearerTokenFile"])
    return fields


def _oauth2(spec: Mapping[str, Any], origin: Origin) -> Fields:
    fields = copied(
        spec,
        {"tokenUrl": "token_url", "scopes": "scopes", "endpointParams": "endpoint_params"},
    )
    fields["client_id"] = origin.either(spec.get("clientId"))
    fields["client_secret"] = origin.text(spec["clientSecret"])
    if tls := spec.get("tlsConfig"):
        fields["tls_config"] = _tls(tls, origin)
    return fields | _proxy(spec, origin)


def _tls(spec: Mapping[str, Any], origin: Origin) -> Fields:
    fields = copied(
        spec,
        {
            "serverName": "server_name",
            "insecureSkipVerify": "insecure_skip_verify",
            "minVersion": "min_version",
            "maxVersion": "max_version",
        },
    )
    for name, file in (("ca", "caFile"), ("cert", "certFile"), ("key", "keyFile")):
        if spec.get(file):
            fields[f"{name}_file"] = origin.path(spec[file])
    for name in ("ca", "cert"):
        if text := origin.either(spec.get(name)):
            fields[name] = text
    if spec.get("keySecret"):
        fields["key"] = origin.text(spec["keySecret"])
    return fields


def _proxy(spec: Mapping[str, Any], origin: Origin) -> Fields:
    fields = copied(
        spec,
        {
            "proxyUrl": "proxy_url",
            "noProxy": "no_proxy",
            "proxyFromEnvironment": "proxy_from_environment",
        },
    )
    if header := spec.get("proxyConnectHeader"):
        fields["proxy_connect_header"] = {
            name: [origin.text(value) for value in values] for name, values in header.items()
        }
    return fields


def scrape_fields(spec: Mapping[str, Any], settings: MonitorSettings) -> Fields:
    """Return limits, the smaller of the object's and the enforced, and what to scrape how."""
    fields = copied(spec, _SCRAPE)
    factor = spec.get("nativeHistogramMinBucketFactor")
    if factor is not None:
        fields["native_histogram_min_bucket_factor"] = _quantity(factor)
    for name, to in _LIMITS.items():
        limits = [n for n in (spec.get(name), settings.enforced_limits.get(to)) if n]
        if limits:
            fields[to] = min(limits)
    try:
        sizes = [parse_size(spec["bodySizeLimit"])] if spec.get("bodySizeLimit") else []
    except ValueError as e:
        raise MonitorError(f"bodySizeLimit: {e}") from e
    sizes = [n for n in (*sizes, settings.enforced_limits.get("body_size_limit")) if n]
    if sizes:
        fields["body_size_limit"] = format_size(min(sizes))
    return fields


def _quantity(value: object) -> float:
    """Return a Kubernetes quantity of the few forms a factor has.

    >>> _quantity("1.1"), _quantity("1100m")
    (1.1, 1.1)
    """
    text = str(value)
    try:
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError as e:
        raise MonitorError(f"{text} is no quantity") from e


def relabelling(rules: Iterable[Mapping[str, Any]] | None) -> list[Rule]:
    """Return the rules of an object. An empty replacement is not a missing one."""
    names = {
        "sourceLabels": "source_labels",
        "separator": "separator",
        "targetLabel": "target_label",
        "regex": "regex",
        "modulus": "modulus",
        "replacement": "replacement",
    }
    found = []
    for rule in rules or ():
        out = {to: rule[name] for name, to in names.items() if rule.get(name) is not None}
        if rule.get("action"):
            out["action"] = str(rule["action"]).lower()
        found.append(out)
    return found


def copy(source: str, target: str, *, present: bool = False) -> Rule:
    """Return the rule that copies a label; with `present` only where there is something."""
    rule: Rule = {"source_labels": [source], "target_label": target}
    return rule | ({"regex": "(.+)", "replacement": "${1}"} if present else {})


def own_job() -> Rule:
    """Return the rule that comes first: what the job was called."""
    return copy("job", "__tmp_prometheus_job_name")


def selector_rules(of: str, selector: Mapping[str, Any] | None) -> list[Rule]:
    """Return the rules that keep what a label selector selects; `of`: "service", "pod" ..."""
    selector = selector or {}
    rules = []
    for name, value in sorted((selector.get("matchLabels") or {}).items()):
        rules.append(_keep("keep", of, name, f"({value});true"))
    for each in selector.get("matchExpressions") or ():
        name, operator = each["key"], each["operator"]
        values = "|".join(each.get("values") or ())
        if operator in ("In", "NotIn"):
            action = "keep" if operator == "In" else "drop"
            rules.append(_keep(action, of, name, f"({values});true"))
        elif operator in ("Exists", "DoesNotExist"):
            rule = _keep("keep" if operator == "Exists" else "drop", of, name, "true")
            rule["source_labels"] = rule["source_labels"][1:]
            rules.append(rule)
        else:
            raise MonitorError(f"{operator} is no operator of a label selector")
    return rules


def _keep(action: str, of: str, name: str, regex: str) -> Rule:
    label = sanitised(name)
    return {
        "action": action,
        "source_labels": [f"{META}{of}_label_{label}", f"{META}{of}_labelpresent_{label}"],
        "regex": regex,
    }


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """Return a label selector as the API's query parameter has it."""
    selector = selector or {}
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or ():
        name, values = each["key"], ",".join(each.get("values") or ())
        forms = {
            "In": f"{name} in ({values})",
            "NotIn": f"{name} notin ({values})",
            "Exists": name,
            "DoesNotExist": f"!{name}",
        }
        if each["operator"] not in forms:
            raise MonitorError(f"{each['operator']} is no operator of a label selector")
        parts.append(forms[each["operator"]])
    return ",".join(parts)


def label_copies(of: str, names: Sequence[str] | None) -> list[Rule]:
    """Return the rules that bring labels of a service or pod onto its targets."""
    return [
        copy(f"{META}{of}_label_{sanitised(name)}", sanitised(name), present=True)
        for name in names or ()
    ]


def not_ended() -> Rule:
    """Return the rule that leaves out pods that run no more."""
    return {
        "action": "drop",
        "source_labels": [f"{META}pod_phase"],
        "regex": "(Failed|Succeeded)",
    }


def closing_rules(origin: Origin, by: str) -> list[Rule]:
    """Return the rules after the object's own: the enforced namespace, and the shard."""
    return enforced_namespace(origin) + sharding(origin.settings, by)


def enforced_namespace(origin: Origin) -> list[Rule]:
    """Return the rule by which a tenant cannot name another's namespace."""
    label = origin.settings.enforced_namespace_label
    return [{"target_label": label, "replacement": origin.namespace}] if label else []


def sharding(settings: MonitorSettings, by: str) -> list[Rule]:
    """Return the rules that keep this server's share of targets, by the hash of a label."""
    if settings.shards <= 1:
        return []
    return [
        {
            "source_labels": [by, HASH],
            "target_label": HASH,
            "regex": "(.+);",
            "replacement": "$1",
            "action": "replace",
        },
        {
            "source_labels": [HASH],
            "target_label": HASH,
            "modulus": settings.shards,
            "action": "hashmod",
        },
        {
            "source_labels": [HASH, "__tmp_disable_sharding"],
            "regex": f"{settings.shard};|.+;.+",
            "action": "keep",
        },
    ]


def target_namespaces(origin: Origin, selector: Mapping[str, Any] | None) -> Fields:
    """Return where a monitor looks for targets, as a field of its discovery."""
    selector = selector or {}
    if origin.settings.ignore_namespace_selectors:
        selector = {}
    if selector.get("any"):
        # Without rights to the whole cluster, "any" is what may be seen of it.
        names = list(origin.settings.namespaces)
        return {"namespaces": {"names": names}} if names else {}
    return {"namespaces": {"names": list(selector.get("matchNames") or [origin.namespace])}}


def check_class(spec: Mapping[str, Any]) -> None:
    """Refuse an object that asks for a scrape class: there are none here."""
    if spec.get("scrapeClass"):
        raise MonitorError(f"scrapeClass {spec['scrapeClass']} is not supported")
