"""Labels during evaluation: columns of ids, and symbols that a query makes of its own.

Storage's symbols are shared and append-only; what `label_replace` or `count_values` invents must
not end there. `QuerySymbols` lays a query's own texts over storage's: ids with the top bit set are
local. Equal ids mean equal text, always, so grouping and joining compare numbers only.
Invariant that makes it true: a query reads all its selections before it interns anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promql.matrix_kernels import group_rows
from promql.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tsdb.interface import LabelColumns, SymbolSource

    Ids = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_LOCAL_BIT = 0x8000_0000
_FEW = 24
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
_BARE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

METADATA_LABELS = ("__name__", "__type__", "__unit__")
"""What goes when "the name is dropped": type and unit say nothing of a computed value."""


class QuerySymbols:
    """Storage's symbols with a query's own on top. Implements `SymbolSource`. One thread."""

    def __init__(self, base: SymbolSource | None) -> None:
        self._base = base
        self._local_texts: list[str] = []
        self._local_ids: dict[str, int] = {}

    def text(self, symbol: int) -> str:
        """Return the text of one id. Raises IndexError for an id never given out."""
        if symbol & _LOCAL_BIT:
            return self._local_texts[symbol ^ _LOCAL_BIT]
        if symbol == 0:
            return ""
        if self._base is None:
            raise IndexError(symbol)
        return self._base.text(symbol)

    def texts(self, symbols: Ids) -> list[str]:
        """Return the texts of many ids."""
        local = symbols >= _LOCAL_BIT
        if self._base is not None and not local.any():
            return self._base.texts(symbols)
        return [self.text(symbol) for symbol in symbols.tolist()]

    def find(self, text: str) -> int | None:
        """Return the id of a text, or None."""
        if not text:
            return 0
        # Local first: storage may have learnt the same text since this query interned it.
        local = self._local_ids.get(text)
        if local is not None or self._base is None:
            return local
        return self._base.find(text)

    def intern(self, text: str) -> int:
        """Return the id of a text, making a local one where there is none. "" is 0.

        Bytes of a query's strings that are no UTF-8 become U+FFFD, as they are in JSON.
        """
        if not text.isascii():
            text = _NOT_UTF8.sub("\ufffd", text)
        found = self.find(text)
        if found is not None:
            return found
        symbol = len(self._local_texts) | _LOCAL_BIT
        self._local_texts.append(text)
        self._local_ids[text] = symbol
        return symbol


@dataclass(frozen=True, slots=True)
class SeriesLabels:
    """The labels of S series: `ids` uint32[len(names), S], 0 = absent, `names` sorted.

    A column may be all zeros; that is the same as no column.
    """

    names: tuple[str, ...]
    ids: Ids
    symbols: QuerySymbols

    @staticmethod
    def from_columns(columns: LabelColumns, symbols: QuerySymbols) -> SeriesLabels:
        """Take over what storage selected; `symbols` must lie over the same base."""
        return SeriesLabels(columns.names, np.ascontiguousarray(columns.ids), symbols)

    @staticmethod
    def empty(series_count: int, symbols: QuerySymbols) -> SeriesLabels:
        """Return S series without any label (S is 0 or 1 in a valid result)."""
        return SeriesLabels((), np.zeros((0, series_count), dtype=np.uint32), symbols)

    @staticmethod
    def from_dicts(rows: Sequence[Mapping[str, str]], symbols: QuerySymbols) -> SeriesLabels:
        """Build from plain dicts, interning; for tests and tiny results."""
        names = tuple(sorted({name for row in rows for name, value in row.items() if value}))
        ids = np.zeros((len(names), len(rows)), dtype=np.uint32)
        for at, name in enumerate(names):
            for series, row in enumerate(rows):
                ids[at, series] = symbols.intern(row.get(name, ""))
        return SeriesLabels(names, ids, symbols)

    @property
    def series_count(self) -> int:
        """S."""
        return int(self.ids.shape[1])

    def column(self, name: str) -> Ids:
        """uint32[S] of one label, zeros if no series has it."""
        if name in self.names:
            column: Ids = self.ids[self.names.index(name)]
            return column
        return np.zeros(self.series_count, dtype=np.uint32)

    def take(self, rows: Ints | Mask) -> SeriesLabels:
        """Return the series at `rows` (indices or a mask), in that order."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return SeriesLabels(self.names, np.take(self.ids, at, axis=1), self.symbols)

    def between(self, low: int, high: int) -> SeriesLabels:
        """Return the series [low, high)."""
        return SeriesLabels(self.names, np.ascontiguousarray(self.ids[:, low:high]), self.symbols)

    def drop(self, names: Sequence[str]) -> SeriesLabels:
        """Return all but these labels."""
        return self._choose([name not in names for name in self.names])

    def drop_name(self) -> SeriesLabels:
        """Return all but the metric's name, type and unit."""
        return self.drop(METADATA_LABELS)

    def keep(self, names: Sequence[str]) -> SeriesLabels:
        """Return only these labels."""
        return self._choose([name in names for name in self.names])

    def _choose(self, chosen: list[bool]) -> SeriesLabels:
        if all(chosen):
            return self
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        left = len(chosen) - len(names)
        if not any(chosen[:left]):  # the first ones go, which is what the metric's name mostly is
            return SeriesLabels(names, self.ids[left:], self.symbols)
        return SeriesLabels(names, self.ids[np.array(chosen, dtype=np.bool_)], self.symbols)

    def with_column(self, name: str, ids: Ids) -> SeriesLabels:
        """Return all with one label set (or, where the id is 0, deleted) on every series."""
        without = self.drop((name,))
        if not ids.any():
            return without
        names = tuple(sorted((*without.names, name)))
        column = np.asarray(ids, dtype=np.uint32)
        return SeriesLabels(
            names, np.insert(without.ids, names.index(name), column, axis=0), self.symbols
        )

    def aligned(self, names: tuple[str, ...]) -> SeriesLabels:
        """Return the same labels with a column for each of `names`, sorted, a superset of ours."""
        if names == self.names:
            return self
        ids = np.zeros((len(names), self.series_count), dtype=np.uint32)
        if self.names:
            ids[[names.index(name) for name in self.names]] = self.ids
        return SeriesLabels(names, ids, self.symbols)

    def concat(self, other: SeriesLabels) -> SeriesLabels:
        """Return the series of both, self's first; both over the same symbols."""
        names = tuple(sorted({*self.names, *other.names}))
        ids = np.concatenate((self.aligned(names).ids, other.aligned(names).ids), axis=1)
        return SeriesLabels(names, ids, self.symbols)

    def group(self) -> tuple[Ints, Ints]:
        """Return the numbers of the distinct label sets.

        Returns `group_of` int64[S] (numbers 0..G-1 in order of first appearance) and
        `representative` int64[G] (the first series of each group).
        """
        group_of = np.empty(self.series_count, dtype=np.int64)
        first = np.empty(self.series_count, dtype=np.int64)
        groups = group_rows(np.ascontiguousarray(self.ids), group_of, first)
        return group_of, first[:groups]

    def sort_order(self) -> Ints:
        """Return the row order that sorts the series as Prometheus sorts label sets.

        Prometheus compares the (name, value) pairs one after the other; a prefix comes first.
        Column by column that is: who has the label is ordered by its value; who lacks it comes
        last, for its next name is greater, unless it has no further label: then it comes first.
        """
        if self.series_count <= _FEW:
            return self._order_of_few()
        return self._order_of_many()

    def _order_of_few(self) -> Ints:
        """Compare the pairs as they are: NumPy's calls would cost more than the texts."""
        text = self.symbols.text
        pairs = [
            [(name, text(symbol)) for name, symbol in zip(self.names, row, strict=True) if symbol]
            for row in self.ids.T.tolist()
        ]
        return np.array(sorted(range(len(pairs)), key=pairs.__getitem__), dtype=np.int64)

    def _order_of_many(self) -> Ints:
        keys: list[Ints] = []
        more = np.zeros(self.series_count, dtype=np.bool_)  # has a label right of the column
        for column in self.ids[::-1]:
            rank = text_ranks(column, self.symbols) + 1
            rank[column == 0] = 0
            rank[(column == 0) & more] = self.series_count + 1
            keys.append(rank)
            more |= column != 0
        if not keys:
            return np.arange(self.series_count, dtype=np.int64)
        return np.lexsort(keys).astype(np.int64, copy=False)

    def row(self, series: int) -> dict[str, str]:
        """Return one series' labels as a dict, names sorted."""
        return {
            name: self.symbols.text(symbol)
            for name, symbol in zip(self.names, self.ids[:, series].tolist(), strict=True)
            if symbol
        }

    def format_row(self, series: int) -> str:
        """Return one series' labels as Prometheus prints them in messages: `{a="b", c="d"}`."""
        pairs = (
            f"{name if _BARE_NAME.fullmatch(name) else quote(name)}={quote(value)}"
            for name, value in self.row(series).items()
        )
        return "{" + ", ".join(pairs) + "}"


def text_ranks(column: Ids, symbols: QuerySymbols) -> Ints:
    """Return the place of each id's text among the distinct texts of the column, int64[S].

    Texts are compared by code point, which is the order of their UTF-8 bytes.
    """
    distinct, inverse = np.unique(column, return_inverse=True)
    texts = symbols.texts(distinct)
    ranks = np.empty(distinct.size, dtype=np.int64)
    ranks[sorted(range(distinct.size), key=texts.__getitem__)] = np.arange(distinct.size)
    placed: Ints = ranks[inverse]
    return placed
