"""Labels during evaluation: columns of ids, and symbols that a query makes of its own.

Storage's symbols are shared and append-only; what `label_replace` or `count_values` invents must
not end there. `QuerySymbols` lays a query's own texts over storage's: ids with the top bit set are
local. Equal ids mean equal text, always, so grouping and joining compare numbers only.
Invariant that makes it true: a query reads all its selections before it interns anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from tsdb.interface import LabelColumns, SymbolSource

    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]


class QuerySymbols:
    """Storage's symbols with a query's own on top. Implements `SymbolSource`. One thread."""

    def __init__(self, base: SymbolSource | None) -> None:
        raise NotImplementedError

    def text(self, symbol: int) -> str:
        """Return the text of one id."""
        raise NotImplementedError

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids."""
        raise NotImplementedError

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None."""
        raise NotImplementedError

    def intern(self, text: str) -> int:
        """Return the id of a text, making a local one where there is none. "" is 0."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SeriesLabels:
    """The labels of S series: `ids` uint32[len(names), S], 0 = absent, `names` sorted."""

    names: tuple[str, ...]
    ids: Ids
    symbols: QuerySymbols

    @staticmethod
    def from_columns(columns: LabelColumns, symbols: QuerySymbols) -> SeriesLabels:
        """Take over what storage selected; `symbols` must lie over the same base."""
        raise NotImplementedError

    @staticmethod
    def empty(series_count: int, symbols: QuerySymbols) -> SeriesLabels:
        """Return S series without any label (S is 0 or 1 in a valid result)."""
        raise NotImplementedError

    @staticmethod
    def from_dicts(rows: Sequence[Mapping[str, str]], symbols: QuerySymbols) -> SeriesLabels:
        """Build from plain dicts, interning; for tests and tiny results."""
        raise NotImplementedError

    @property
    def series_count(self) -> int:
        """S."""
        raise NotImplementedError

    def column(self, name: str) -> Ids:
        """uint32[S] of one label, zeros if no series has it."""
        raise NotImplementedError

    def take(self, rows: Ints) -> SeriesLabels:
        """Return the series at `rows` (indices or a mask), in that order."""
        raise NotImplementedError

    def drop(self, names: Sequence[str]) -> SeriesLabels:
        """Return all but these labels."""
        raise NotImplementedError

    def keep(self, names: Sequence[str]) -> SeriesLabels:
        """Return only these labels."""
        raise NotImplementedError

    def with_column(self, name: str, ids: Ids) -> SeriesLabels:
        """Return all with one label set (or, where the id is 0, deleted) on every series."""
        raise NotImplementedError

    def concat(self, other: SeriesLabels) -> SeriesLabels:
        """Return the series of both, self's first; both over the same symbols."""
        raise NotImplementedError

    def group(self) -> tuple[Ints, Ints]:
        """Return the numbers of the distinct label sets.

        Returns `group_of` int64[S] (numbers 0..G-1 in order of first appearance) and
        `representative` int64[G] (the first series of each group).
        """
        raise NotImplementedError

    def sort_order(self) -> Ints:
        """Return the row order that sorts the series as Prometheus sorts label sets."""
        raise NotImplementedError

    def row(self, series: int) -> dict[str, str]:
        """Return one series' labels as a dict, names sorted."""
        raise NotImplementedError

    def format_row(self, series: int) -> str:
        """Return one series' labels as Prometheus prints them in messages: `{a="b", c="d"}`."""
        raise NotImplementedError
