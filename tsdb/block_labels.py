"""The labels of a block's series while it is written: symbols, tables, columns of codes.

From: `block_writer.py`, chunk by chunk in series order. To: the arrays of the index, see FORMAT.md.

All of it stays in memory to the end, for millions of series where pods come and go. So a column of
a chunk in which all series have one value, as most have, takes no memory at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tsdb import array_file
from tsdb.distinct import distinct
from tsdb.interface import ABSENT, METRIC_NAME, LabelColumns
from tsdb.series_order import is_strictly_ordered
from tsdb.text_order import joined, order_of, ranges_of, ranges_of_texts

if TYPE_CHECKING:
    import numpy.typing as npt

    from tsdb.interface import Bytes, Ids, Ints, SymbolSource


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

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return symbols, tables and columns; check the order of all series."""
        tables = _joined(self._tables)
        name_texts = sorted({name for table in tables for name in table.names})
        used = [_distinct(column) for table in tables for column in table.columns]
        metrics = np.array([table.metric for table in tables], dtype=np.uint32)
        ids = distinct(np.concatenate([*used, metrics, np.zeros(1, dtype=np.uint32)]))
        del used
        symbol_offset, symbol_bytes, new_ids, place = _sorted_symbols(
            self._symbols, ids, [*name_texts, METRIC_NAME, ""]
        )
        table_metric = new_ids[np.searchsorted(ids, metrics)]
        if table_metric.size > 1 and not (np.diff(table_metric.astype(np.int64)) > 0).all():
            raise ValueError("metrics come twice or out of order")
        table_row, table_column, column_name, column_distinct = [0], [0], [], [0]
        column_width, column_codes, codes_bytes = [], [], 0
        distinct_ids, codes = [], []
        for number, table in enumerate(tables):
            varying = [not _is_one(column) for column in table.columns]
            few = [column if varies else column[:1] for column, varies in zip(
                table.columns, varying, strict=True
            )]  # fmt: skip
            columns = [new_ids[np.searchsorted(ids, column)] for column in few]
            keys = [column for column, varies in zip(columns, varying, strict=True) if varies]
            if table.rows > 1 and not (keys and is_strictly_ordered(np.stack(keys))):
                metric = self._symbols.text(table.metric)
                raise ValueError(f"series of {metric!r} come twice or out of order")
            for name, column, varies in zip(table.names, columns, varying, strict=True):
                column_name.append(place[name])
                width = 0
                if varies:
                    in_use, code = np.unique(column, return_inverse=True)
                    packed = array_file.narrow(code.astype(np.uint64))
                    width = packed.itemsize
                    codes_bytes += -codes_bytes % width
                    codes.append((codes_bytes, packed))
                else:
                    in_use = column
                distinct_ids.append(in_use)
                column_distinct.append(column_distinct[-1] + in_use.size)
                column_width.append(width)
                column_codes.append(codes_bytes)
                codes_bytes += width * table.rows
            table_row.append(table_row[-1] + table.rows)
            table_column.append(len(column_name))
            tables[number] = _Table(table.metric, table.rows, (), ())  # its columns are done with
        code_pool = np.zeros(codes_bytes, dtype=np.uint8)
        for at, packed in codes:
            code_pool[at : at + packed.nbytes] = packed.view(np.uint8)
        empty = np.zeros(0, dtype=np.uint32)
        return {
            "symbol.offset": array_file.narrow(symbol_offset.astype(np.uint64)),
            "symbol.bytes": symbol_bytes,
            "table.metric": table_metric.astype(np.uint32),
            "table.row": np.array(table_row, dtype=np.uint32),
            "table.column": np.array(table_column, dtype=np.uint32),
            "column.name": np.array(column_name, dtype=np.uint32),
            "column.distinct": np.array(column_distinct, dtype=np.uint32),
            "column.width": np.array(column_width, dtype=np.uint8),
            "column.codes": np.array(column_codes, dtype=np.uint64),
            "distinct.ids": np.concatenate([empty, *distinct_ids]).astype(np.uint32),
            "codes": code_pool,
        }


def _compact(column: Ids) -> Ids:
    """Return a copy of a column; one that has one value takes the memory of that."""
    if (column == column[0]).all():
        return np.broadcast_to(column[0], column.shape)
    return column.copy()


def _is_one(column: Ids) -> bool:
    """Say whether a column was found to have one value only."""
    return column.size > 0 and column.strides == (0,)


def _distinct(column: Ids) -> Ids:
    return column[:1] if _is_one(column) else distinct(column)


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


def _joined(parts: list[_Table]) -> list[_Table]:
    """Join neighbouring parts of one metric, for chunks cut metrics where they must; take all."""
    tables: list[_Table] = []
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
        tables += same
    return tables
