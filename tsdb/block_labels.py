"""The labels of a block's series while it is written: symbols, tables, columns of codes.

From: `block_writer.py`, chunk by chunk in series order. To: the arrays of the index, see FORMAT.md.

All of it stays in memory to the end, for millions of series where pods come and go. So a column of
a chunk in which all series have one value, as most have, takes no memory at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from tsdb import array_file
from tsdb.interface import ABSENT, METRIC_NAME, LabelColumns
from tsdb.series_order import is_strictly_ordered
from tsdb.text_order import joined, order_of, ranges_of, ranges_of_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints, SymbolSource


_FEW_OF = 16
"""So many times as many symbols as rows: then the rows alone are looked at."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of one metric: label names, and beside them ids in the caller's symbol space."""

    metric: int
    rows: int
    names: tuple[str, ...]
    columns: tuple[Ids, ...]

    def column(self, name: str) -> Ids:
        """Return the ids of a label, absent or not."""
        if name in self.names:
            return self.columns[self.names.index(name)]
        return np.broadcast_to(np.uint32(ABSENT), self.rows)


class LabelTables:
    """The labels of all series that came so far."""

    def __init__(self, symbols: SymbolSource) -> None:
        self._symbols = symbols
        self._tables: list[_Table] = []

    def add(self, labels: LabelColumns, rows: Ints) -> None:
        """Split some rows into their metrics and keep the columns that each has."""
        ids = labels.ids[:, rows]
        if METRIC_NAME in labels.names:
            metric_at = labels.names.index(METRIC_NAME)
            metric = ids[metric_at]
        else:
            metric_at, metric = -1, np.zeros(rows.size, dtype=np.uint32)
        edges = [0, *(np.flatnonzero(np.diff(metric)) + 1).tolist(), rows.size]
        for first, stop in pairwise(edges):
            part = ids[:, first:stop]
            used = [at for at in np.flatnonzero(part.any(axis=1)).tolist() if at != metric_at]
            names = tuple(labels.names[at] for at in used)
            columns = tuple(_compact(part[at]) for at in used)
            self._tables.append(_Table(int(metric[first]), stop - first, names, columns))

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[np.generic] | array_file.Parts]]:
        """Yield symbols, tables and columns; check the order of all series, raising ValueError."""
        parts = self._tables
        name_texts = sorted({name for part in parts for name in part.names})
        metrics = np.array([metric for metric, _ in groupby(p.metric for p in parts)], np.uint32)
        ids = _used_ids(parts, metrics)
        symbol_offset, symbol_bytes, new_ids, place = _sorted_symbols(
            self._symbols, ids, [*name_texts, METRIC_NAME, ""]
        )
        # For as many ids as there are texts; looking each id of a column up takes far longer.
        became = np.zeros(int(ids[-1]) + 1, np.uint32)
        became[ids] = new_ids
        table_metric = became[metrics]
        if table_metric.size > 1 and not (np.diff(table_metric.astype(np.int64)) > 0).all():
            raise ValueError("metrics come twice or out of order")
        symbol_count = symbol_offset.size - 1
        yield "symbol.offset", array_file.narrow(symbol_offset.astype(np.uint64))
        yield "symbol.bytes", symbol_bytes
        del symbol_offset, symbol_bytes, ids, new_ids
        table_row, table_column, column_name, column_distinct = [0], [0], [], [0]
        column_width, column_codes, codes_bytes = [], [], 0
        distinct_ids: list[Ids] = []
        codes: list[Bytes] = []
        for table in _joined(parts):
            varying = [not _is_one(column) for column in table.columns]
            columns = [became[column if varies else column[:1]] for column, varies in zip(
                table.columns, varying, strict=True
            )]  # fmt: skip
            keys = [column for column, varies in zip(columns, varying, strict=True) if varies]
            if table.rows > 1 and not (keys and is_strictly_ordered(np.stack(keys))):
                metric = self._symbols.text(table.metric)
                raise ValueError(f"series of {metric!r} come twice or out of order")
            del keys
            for name, column, varies in zip(table.names, columns, varying, strict=True):
                column_name.append(place[name])
                width = 0
                if varies:
                    in_use, code = _coded(column, symbol_count)
                    packed = array_file.narrow(code)
                    width = packed.itemsize
                    codes += [np.zeros(-codes_bytes % width, np.uint8), packed.view(np.uint8)]
                    codes_bytes += -codes_bytes % width
                else:
                    in_use = column
                distinct_ids.append(in_use)
                column_distinct.append(column_distinct[-1] + in_use.size)
                column_width.append(width)
                column_codes.append(codes_bytes)
                codes_bytes += width * table.rows
            table_row.append(table_row[-1] + table.rows)
            table_column.append(len(column_name))
        yield "table.metric", table_metric
        yield "table.row", np.array(table_row, dtype=np.uint32)
        yield "table.column", np.array(table_column, dtype=np.uint32)
        yield "column.name", np.array(column_name, dtype=np.uint32)
        yield "column.distinct", np.array(column_distinct, dtype=np.uint32)
        yield "column.width", np.array(column_width, dtype=np.uint8)
        yield "column.codes", np.array(column_codes, dtype=np.uint64)
        yield "distinct.ids", array_file.Parts(np.dtype(np.uint32), distinct_ids)
        yield "codes", array_file.Parts(np.dtype(np.uint8), codes)


def _used_ids(parts: list[_Table], metrics: Ids) -> Ids:
    """Return the ids that any column or metric has, and 0: rising."""
    columns = [metrics, *(c[:1] if _is_one(c) else c for part in parts for c in part.columns)]
    seen = np.zeros(1 + max((int(c.max()) for c in columns if c.size), default=0), np.bool_)
    seen[0] = True
    for column in columns:
        seen[column] = True
    return np.flatnonzero(seen).astype(np.uint32)


def _coded(column: Ids, symbol_count: int) -> tuple[Ids, Ids]:
    """Return the distinct ids of a column, rising, and the place of each id among them."""
    if symbol_count > _FEW_OF * column.size:
        in_use, code = np.unique(column, return_inverse=True)
        return in_use, code.astype(np.uint32)
    # A table of all symbols: sorting a large column would hold up everybody for longer.
    seen = np.zeros(symbol_count, np.bool_)
    seen[column] = True
    in_use = np.flatnonzero(seen).astype(np.uint32)
    place = np.empty(symbol_count, np.uint32)
    place[in_use] = np.arange(in_use.size, dtype=np.uint32)
    return in_use, place[column]


def _compact(column: Ids) -> Ids:
    """Return a copy of a column; one that has one value takes the memory of that."""
    if (column == column[0]).all():
        return np.broadcast_to(column[0], column.shape)
    return column.copy()


def _is_one(column: Ids) -> bool:
    """Say whether a column was found to have one value only."""
    return column.size > 0 and column.strides == (0,)


def _sorted_symbols(
    symbols: SymbolSource, ids: Ids, names: list[str]
) -> tuple[Ints, Bytes, Ids, dict[str, int]]:
    """Return offsets and bytes of the block's symbols, what `ids` and `names` become among them."""
    text, starts, stops = ranges_of(symbols, ids)
    own = joined(text, starts, stops)
    lengths = stops - starts
    more, more_starts, more_stops = ranges_of_texts(names)
    text = np.concatenate([own, more])
    starts = np.concatenate([np.cumsum(lengths) - lengths, own.size + more_starts])
    stops = np.concatenate([np.cumsum(lengths), own.size + more_stops])
    order, repeats = order_of(text, starts, stops)
    place = np.empty(order.size, np.uint32)
    place[order] = np.cumsum(~repeats) - 1
    kept = order[~repeats]
    offset = np.zeros(kept.size + 1, np.int64)
    np.cumsum((stops - starts)[kept], out=offset[1:])
    places = dict(zip(names, place[ids.size :].tolist(), strict=True))
    return offset, joined(text, starts[kept], stops[kept]), place[: ids.size], places


def _joined(parts: list[_Table]) -> Iterator[_Table]:
    """Yield tables, neighbouring parts of one metric as one, for chunks cut metrics; take all."""
    parts.reverse()
    while parts:
        same = [parts.pop()]
        while parts and parts[-1].metric == same[0].metric:
            same.append(parts.pop())
        if len(same) > 1:
            names = tuple(sorted({name for part in same for name in part.names}))
            rows = sum(part.rows for part in same)
            columns = tuple(
                _compact(np.concatenate([p.column(name) for p in same])) for name in names
            )
            same = [_Table(same[0].metric, rows, names, columns)]
        yield same.pop()
