"""Type, unit and help of metric families, in and out.

From: receivers.   To: `tsdb/metadata.py`; from there `api/` and forwarding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What a metric family is; `unit` and `help` may be empty.

    `type` is counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.
    """

    metric: str
    type: str
    unit: str = ""
    help: str = ""


class MetadataStorage(Protocol):
    """Type, unit and help of metric families. Thread-safe."""

    def append_metadata(self, entries: Sequence[MetricMetadata]) -> int:
        """Log and keep what is new in the entries; return how many families that concerns.

        The latest counts. Raises `WriteFailedError`; then nothing was stored.
        """
        ...

    def metadata(self, metric: str | None = None) -> list[MetricMetadata]:
        """Return what is known of one family, or of all, by name."""
        ...
