"""The list of target groups that files and HTTP services give: strict JSON or YAML.

From: `files.py`, `http.py`.   To: target groups.
Source: Prometheus documentation, `file_sd_config`: `[{"targets": [...], "labels": {...}}]`.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import yaml

from discovery.groups import TargetGroup


class GroupFormatError(ValueError):
    """The document is not a list of target groups."""


def parse_json(text: str) -> list[TargetGroup]:
    """Return the groups of a JSON document; their sources are numbers. Raises GroupFormatError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise GroupFormatError(str(e)) from e
    return _groups(document)


def parse_yaml(text: str) -> list[TargetGroup]:
    """Return the groups of a YAML document, as `parse_json` does. An empty one has none.

    By libyaml where it is there: a tenth of the time. What it refuses is read again by Python's
    reader, whose messages are the ones that are told.
    """
    if _QuickLoader is not None:
        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
            return _groups(yaml.load(text, Loader=_QuickLoader))
    try:
        document = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise GroupFormatError(str(e)) from e
    return _groups(document)


def _groups(document: object) -> list[TargetGroup]:
    if document is None:
        return []
    if not isinstance(document, list):
        raise GroupFormatError("expected a list of target groups")
    return [_group(number, item) for number, item in enumerate(document)]


def _group(number: int, item: object) -> TargetGroup:
    where = f"target group {number}"
    if not isinstance(item, dict):
        raise GroupFormatError(f"nil or malformed target group item found (index {number})")
    for key in item:
        if key not in ("targets", "labels"):
            raise GroupFormatError(f"{where}: field {key} not found")
    targets = item.get("targets") or []
    labels = item.get("labels") or {}
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        raise GroupFormatError(f"{where}: targets is not a list of strings")
    if not isinstance(labels, dict):
        raise GroupFormatError(f"{where}: labels is not a mapping")
    texts = {}
    for name, value in labels.items():
        if not isinstance(name, str) or not name:
            raise GroupFormatError(f"{where}: {name!r} is not a valid label name")
        texts[name] = _label_value(where, name, value)
    return TargetGroup(
        source=str(number),
        targets=tuple({"__address__": target} for target in targets),
        labels=texts,
    )


def _label_value(where: str, name: str, value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    raise GroupFormatError(f"{where}: value of label {name} is not a string")


_TEXT_BUT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


_RESOLVERS = {
    start: [(tag, pattern) for tag, pattern in resolvers if tag in _TEXT_BUT]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Strict(yaml.constructor.SafeConstructor):
    """Refuses a key that occurs twice; reads every plain scalar but null as text.

    Go decodes YAML into strings by their source text: `version: 1.10` is the label "1.10".
    """

    yaml_implicit_resolvers = _RESOLVERS

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing doubles (keys merged in by `<<` may be overridden)."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            double = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"key {double} already set in map")
        return super().construct_mapping(node, deep=deep)


class _StrictLoader(_Strict, yaml.SafeLoader):
    """By PyYAML's own reader."""


_QuickLoader: Any = None
if hasattr(yaml, "CSafeLoader"):
    _QuickLoader = type("_QuickLoader", (_Strict, yaml.CSafeLoader), {})
