"""What a metric is: type, unit and help of each metric family, the latest that anybody said.

From: `append.py`, under the head's lock. To: `database.py`, which answers with it.

Families are few and change seldom, so this is a dict, and a change is one small record of the log.
When the head is cut all of it is logged anew, without the families that have no series there any
more, so that the log and this do not grow for ever.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tsdb.interface import MetricMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum")
"""What the series of a family may be called, behind its name: OpenMetrics' suffixes."""


class MetadataTable:
    """Families by name. Not thread-safe: the head's lock guards it."""

    def __init__(self) -> None:
        self._families: dict[str, MetricMetadata] = {}

    def __len__(self) -> int:
        """How many families there are."""
        return len(self._families)

    def news(self, entries: Iterable[MetricMetadata]) -> list[MetricMetadata]:
        """Return the entries that say something new; of several of one family the last."""
        latest = {entry.metric: entry for entry in entries}
        return [entry for entry in latest.values() if self._families.get(entry.metric) != entry]

    def put(self, entries: Iterable[MetricMetadata]) -> None:
        """Take over entries; those of known families replace what was said before."""
        self._families.update((entry.metric, entry) for entry in entries)

    def get(self, metric: str | None) -> list[MetricMetadata]:
        """Return the entry of one family, or of all, by name."""
        if metric is not None:
            found = self._families.get(metric)
            return [] if found is None else [found]
        return sorted(self._families.values(), key=lambda entry: entry.metric)

    def keep_only(self, is_metric: Callable[[str], bool]) -> None:
        """Forget the families of which no series name is a metric."""
        self._families = {
            name: entry
            for name, entry in self._families.items()
            if any(is_metric(name + suffix) for suffix in _SUFFIXES)
        }

    def save(self) -> dict[str, Any]:
        """Return everything, for `restore`."""
        return {"metadata": _rows(self._families.values())}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Become the table that was saved."""
        self._families = {}
        self.put(MetricMetadata(*row) for row in saved["metadata"])


def metadata_payload(entries: Iterable[MetricMetadata]) -> bytes:
    """Return the payload of a record of the log: JSON."""
    return json.dumps(_rows(entries)).encode()


def read_metadata(payload: bytes) -> list[MetricMetadata]:
    """Return the entries of a record. Raises ValueError."""
    try:
        return [MetricMetadata(*map(str, row)) for row in json.loads(payload)]
    except TypeError as error:
        raise ValueError(f"not metadata: {error!r}") from error


def _rows(entries: Iterable[MetricMetadata]) -> list[list[str]]:
    return [[entry.metric, entry.type, entry.unit, entry.help] for entry in entries]
