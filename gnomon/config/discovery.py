"""Where the targets of a job come from: the service discovery sections of a scrape config.

From: `scrape.py`.   To: `wiring.py`, which builds a discoverer for each entry.
Source: Prometheus documentation, configuration; the texts are Prometheus'.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from discovery.groups import TargetGroup
from gnomon.config.document import go_quote
from gnomon.config.http_client import decode_client
from gnomon.config.model import FileDiscovery, HttpDiscovery

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

ADDRESS = "__address__"
_TEXT_TAG = "tag:yaml.org,2002:str"

_UNBUILT_NAMES = """
aws azure digitalocean docker dockerswarm ec2 ecs elasticache eureka gce hetzner ionos
kuma lightsail linode marathon msk nomad oci openstack outscale ovhcloud puppetdb
rds scaleway stackit triton uyuni vultr
"""
UNBUILT = tuple(f"{name}_sd_configs" for name in _UNBUILT_NAMES.split())
"""Mechanisms that Prometheus has and we do not, yet."""

_FILE_PATTERN = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")


def refuse_unbuilt(section: Section) -> None:
    """Refuse every discovery section that is written and not built."""
    for name in UNBUILT:
        if section.written(name):
            section.not_yet(name)


def decode_static(section: Section) -> tuple[TargetGroup, ...]:
    """Read `static_configs`."""
    plain = _plain_groups(section.items("static_configs") or [])
    if plain is not None:
        return plain
    groups = []
    null_text = "empty or null section in static_configs"
    items = section.sections("static_configs", "targetgroup.Group", null_text=null_text)
    for number, item in enumerate(items):
        targets = item.strings("targets")
        groups.append(
            TargetGroup(
                source=str(number),
                targets=tuple({ADDRESS: target} for target in targets),
                labels=item.labels("labels"),
            )
        )
    return tuple(groups)


def _plain_groups(nodes: list[yaml.Node]) -> tuple[TargetGroup, ...] | None:
    """Return groups of the form nearly all have, None if one might have another.

    A large configuration is groups for the most part, which a section each would double the
    time of. What is odd goes the long way, whose messages are the ones that are told.
    """
    groups = []
    for number, node in enumerate(nodes):
        fields = _plain_fields(node)
        if fields is None or not fields.keys() <= {"targets", "labels"}:
            return None
        listed, labels = fields.get("targets"), {}
        if not isinstance(listed, yaml.SequenceNode):
            return None
        texts = [_plain_text(item) for item in listed.value]
        if "labels" in fields:
            written = _plain_fields(fields["labels"])
            if written is None:
                return None
            labels = {name: _plain_text(value) for name, value in written.items()}
        if None in texts or None in labels.values() or "" in labels:
            return None
        groups.append(
            TargetGroup(
                source=str(number),
                targets=tuple({ADDRESS: text} for text in texts if text is not None),
                labels={name: text for name, text in labels.items() if text is not None},
            )
        )
    return tuple(groups)


def _plain_fields(node: yaml.Node) -> dict[str, yaml.Node] | None:
    """Return the entries of a mapping without doubled keys, merges and the like."""
    if not isinstance(node, yaml.MappingNode):
        return None
    fields = {key.value: value for key, value in node.value if key.tag == _TEXT_TAG}
    return fields if len(fields) == len(node.value) else None


def _plain_text(node: yaml.Node) -> str | None:
    tags = (_TEXT_TAG, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    if isinstance(node, yaml.ScalarNode) and node.tag in tags:
        return str(node.value)
    return None


def check_addresses(section: Section, groups: tuple[TargetGroup, ...]) -> None:
    """Refuse URLs among static targets; only where no relabelling could repair them."""
    for group in groups:
        for target in group.targets:
            if "/" in target[ADDRESS]:
                section.fail(
                    f"{go_quote(target[ADDRESS])} is not a valid hostname", "static_configs"
                )


def decode_files(section: Section, folder: Path) -> tuple[FileDiscovery, ...]:
    """Read `file_sd_configs`."""
    entries = []
    null_text = "empty or null section in file_sd_configs"
    for item in section.sections("file_sd_configs", "file.plain", null_text=null_text):
        files = item.strings("files")
        refresh_ms = item.duration_ms("refresh_interval") or 300_000
        item.note_unknown()
        if not files:
            item.fail("file service discovery config must contain at least one path name")
        for name in files:
            if _FILE_PATTERN.fullmatch(name) is None:
                item.fail(f"path name {go_quote(name)} is not valid for file discovery", "files")
        entries.append(
            FileDiscovery(
                files=tuple(folder / name for name in files),
                refresh_interval_ms=refresh_ms,
            )
        )
    return tuple(entries)


def decode_http(section: Section, folder: Path) -> tuple[HttpDiscovery, ...]:
    """Read `http_sd_configs`."""
    entries = []
    null_text = "empty or null section in http_sd_configs"
    for item in section.sections("http_sd_configs", "http.plain", null_text=null_text):
        url, client = item.string("url"), decode_client(item, folder)
        refresh_ms = item.duration_ms("refresh_interval") or 60_000
        item.note_unknown()
        if url == "":
            item.fail("URL is missing")
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError as error:
            item.fail(f"parse {go_quote(url)}: {error}", "url")
        if parts.scheme not in ("http", "https"):
            item.fail("URL scheme must be 'http' or 'https'", "url")
        if not host:
            item.fail("host is missing in URL", "url")
        entries.append(
            HttpDiscovery(
                url=url,
                refresh_interval_ms=refresh_ms,
                http_client=client,
            )
        )
    return tuple(entries)
