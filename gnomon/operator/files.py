"""Objects from YAML files on disk: monitors, and the secrets and config maps they name.

From: the files of `kubernetes_monitor_configs`.   To: `follow.py`.
Invariant: a file that cannot be read or parsed keeps what it said last.
"""

from __future__ import annotations

import base64
import binascii
import glob
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gnomon.operator.settings import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gnomon.operator.fields import Object
    from gnomon.operator.jobs import Reference
    from gnomon.operator.settings import MonitorSettings

    Key = tuple[str, str]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileObjects:
    """What files hold: monitors by (kind, namespace/name), and secrets."""

    monitors: Mapping[Key, Object]
    secrets: Mapping[Reference, Mapping[str, str]]


@dataclass(slots=True)
class ObjectFiles:
    """The files of one entry, read anew where they changed. Blocking."""

    settings: MonitorSettings
    _read: dict[Path, tuple[tuple[int, int], list[Object]]] = field(default_factory=dict)

    def read(self) -> FileObjects | None:
        """Return what the files hold, None if nothing changed since the last time."""
        names = [name for each in self.settings.files for name in glob.glob(str(each))]  # noqa: PTH207 - absolute patterns too
        before, self._read = self._read, {}
        changed = False
        for path in map(Path, sorted(set(names))):
            known = before.pop(path, None)
            entry = self._entry(path, known)
            if entry is not None:
                self._read[path] = entry
                changed |= entry is not known
        if not changed and not before:
            return None
        items = [item for _, found in self._read.values() for item in found]
        return FileObjects(dict(self._monitors(items)), dict(_secrets(items)))

    def _entry(
        self, path: Path, known: tuple[tuple[int, int], list[Object]] | None
    ) -> tuple[tuple[int, int], list[Object]] | None:
        try:
            stat = path.stat()
            version = stat.st_mtime_ns, stat.st_size
            if known is not None and known[0] == version:
                return known
            return version, list(_objects(yaml.safe_load_all(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, yaml.YAMLError) as e:
            _log.error("Monitors cannot be read: file=%s %s", path, e)
            # Taken as read, so that it is told once.
            return (version, known[1] if known else []) if "version" in locals() else known

    def _monitors(self, items: list[Object]) -> Iterator[tuple[Key, Object]]:
        names = self.settings.namespaces
        for item in items:
            metadata = item["metadata"]
            namespace = metadata.get("namespace") or "default"
            if item.get("kind") in self.settings.kinds and (not names or namespace in names):
                yield (item["kind"], f"{namespace}/{metadata['name']}"), item


def _objects(documents: Any) -> Iterator[Object]:  # noqa: ANN401 - YAML
    for document in documents:
        if not isinstance(document, dict):
            continue
        items = document.get("items") if str(document.get("kind")).endswith("List") else [document]
        for item in items or ():
            metadata = item.get("metadata") if isinstance(item, dict) else None
            kinds = (*KINDS, "Secret", "ConfigMap")
            if isinstance(metadata, dict) and metadata.get("name") and item.get("kind") in kinds:
                yield item


def _secrets(items: list[Object]) -> Iterator[tuple[Reference, Mapping[str, str]]]:
    for item in items:
        if item["kind"] in ("Secret", "ConfigMap"):
            metadata = item["metadata"]
            namespace = metadata.get("namespace") or "default"
            yield (item["kind"], namespace, metadata["name"]), texts_of(item["kind"], item)


def texts_of(kind: str, item: Object) -> dict[str, str]:
    """Return what a Secret or ConfigMap holds, as text. What is no text is left out."""
    found = {}
    for name, value in (item.get("data") or {}).items():
        text = _decoded(value) if kind == "Secret" else value
        if isinstance(text, str):
            found[name] = text
    plain = (item.get("stringData") or {}) if kind == "Secret" else {}
    return found | {name: str(value) for name, value in plain.items()}


def _decoded(value: object) -> str | None:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
