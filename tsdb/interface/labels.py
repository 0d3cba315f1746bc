"""Label sets of many series: as columns of ids (reading), as spans into one buffer (writing).

From: `tsdb/select.py` and its kin (columns); scrapers, receivers, rules (spans).
To:   `promql/`, `api/` (columns); `tsdb/append.py` (spans).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from tsdb.interface.arrays import Bytes, Ids, Ints

METRIC_NAME = "__name__"
"""The label that names the metric; a column like every other."""

ABSENT = 0
"""Symbol id of "this series has no such label"; its text is the empty string."""


class SymbolSource(Protocol):
    """Text by id and id by text; append-only while anyone holds it. Id 0 is the empty string."""

    def text(self, symbol: int) -> str:
        """Return the text of one id. Raises IndexError for an id never given out."""
        ...

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids, in their order."""
        ...

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None if it has none (yet)."""
        ...


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The labels of S series: row l of `ids` is the column of label `names[l]`.

    Shapes: `ids` uint32[len(names), S]; 0 where the series lacks the label. `names` is sorted by
    code point and holds no name twice. Every column has at least one id that is not 0, or S is 0.
    """

    names: tuple[str, ...]
    ids: Ids
    symbols: SymbolSource

    @property
    def series_count(self) -> int:
        """S, also where there is no column."""
        return int(self.ids.shape[1])

    def row(self, series: int) -> dict[str, str]:
        """Return one series' labels as a dict, for errors, tests and small answers."""
        ids = self.ids[:, series]
        return {
            name: self.symbols.text(int(symbol))
            for name, symbol in zip(self.names, ids, strict=True)
            if symbol != ABSENT
        }


@dataclass(frozen=True, slots=True)
class LabelSpans:
    """The labels of N series as spans into one buffer; nothing is copied or decoded.

    Shapes: `data` uint8[bytes]; `spans` int32[labels, 4] with rows (name start, name stop, value
    start, value stop); `first` int64[N + 1]: series n has the spans first[n] to first[n + 1].
    Within a series names are sorted by their bytes and differ, no name and no value is empty,
    and all text is valid UTF-8. The producer sees to that.
    """

    data: Bytes
    spans: npt.NDArray[np.int32]
    first: Ints

    @property
    def series_count(self) -> int:
        """N."""
        return int(self.first.size - 1)

    @staticmethod
    def from_labels(label_sets: Iterable[Mapping[str, str]]) -> LabelSpans:
        """Build spans from plain dicts: for tests, rules and other small writers.

        >>> spans = LabelSpans.from_labels([{"__name__": "up", "job": "a", "none": ""}])
        >>> spans.series_count, spans.spans.shape
        (1, (2, 4))
        """
        chunks: list[bytes] = []
        rows: list[tuple[int, int, int, int]] = []
        first = [0]
        at = 0
        for labels in label_sets:
            encoded = sorted((n.encode(), v.encode()) for n, v in labels.items() if v)
            for name, value in encoded:
                middle = at + len(name)
                rows.append((at, middle, middle, middle + len(value)))
                chunks += (name, value)
                at = middle + len(value)
            first.append(len(rows))
        return LabelSpans(
            data=np.frombuffer(b"".join(chunks), dtype=np.uint8),
            spans=np.array(rows, dtype=np.int32).reshape(-1, 4),
            first=np.array(first, dtype=np.int64),
        )
