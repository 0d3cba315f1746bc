"""The labels of one block: matchers to rows, rows to label columns.

From: the arrays `table.*`, `column.*`, `distinct.ids`, `codes` of a block's index.
To:   `block.py`.

A column is a short list of distinct ids and a narrow code for each row (none if all rows agree), so
a matcher looks at each distinct value once and at rows only where the distinct values disagree.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import re2

from tsdb.block_kernels import narrow_rows
from tsdb.errors import CorruptFileError
from tsdb.interface import ABSENT, METRIC_NAME, LabelColumns, Matcher, MatchOp
from tsdb.matching import check_matchers, compile_regex
from tsdb.start_times import NO_COMPANION, has_companions, leaves_companions_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tsdb.array_file import ArrayFile
    from tsdb.block_symbols import BlockSymbols
    from tsdb.interface import Ids, Ints

    Mask = npt.NDArray[np.bool_]

_UNKNOWN, _NO, _YES = 0, 1, 2
_VERDICT_BYTES_MAX = 4 << 20
"""What a block remembers of regular expressions, one byte for each symbol and pattern."""
_RANGE_BYTES = 64
_CODE_TYPES = {1: "u1", 2: "<u2", 4: "<u4"}


class BlockRows:
    """Rows of all metric tables of a block, numbered through in series order."""

    def __init__(self, arrays: ArrayFile, symbols: BlockSymbols) -> None:
        """Take the views; reads nothing."""
        self._path = arrays.path
        self.symbols = symbols
        self._patterns = _Patterns(symbols)
        self._table_metric = arrays.array("table.metric")
        self._table_row = arrays.array("table.row")
        self._table_column = arrays.array("table.column")
        self._column_name = arrays.array("column.name")
        self._column_distinct = arrays.array("column.distinct")
        self._column_width = arrays.array("column.width")
        self._column_codes = arrays.array("column.codes")
        self._distinct_ids = arrays.array("distinct.ids")
        self._codes = arrays.array("codes")
        if self._table_row.size != self._table_metric.size + 1:
            raise CorruptFileError(self._path, 0, "table arrays differ in length")

    @property
    def row_count(self) -> int:
        """Series in the block."""
        return int(self._table_row[-1])

    def match(self, matchers: Sequence[Matcher]) -> Ints:
        """Return the rows int64[rows] that satisfy all matchers, in series order.

        Raises `BadMatcherError`.
        """
        check_matchers(matchers)
        on_name = [matcher for matcher in matchers if matcher.name == METRIC_NAME]
        rest = [matcher for matcher in matchers if matcher.name != METRIC_NAME]
        if leaves_companions_out(matchers) and self.has_companions:
            rest.append(NO_COMPANION)
        tables = self._match_tables(on_name)
        if not rest:
            parts = [
                np.arange(self._table_row[at], self._table_row[at + 1], dtype=np.int64)
                for at in tables.tolist()
            ]
            return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        if not tables.size:
            return np.zeros(0, dtype=np.int64)
        chosen = np.zeros(self._table_metric.size, dtype=np.uint8)
        chosen[tables] = 1
        mask = np.repeat(chosen, self._table_sizes())
        for matcher in rest:
            self._narrow(tables, _Test(matcher, self.symbols, self._patterns), mask)
        return np.flatnonzero(mask)

    @cached_property
    def has_companions(self) -> bool:
        """Whether there are start timestamps; asked once."""
        return has_companions(self.symbols)

    def _match_tables(self, matchers: Sequence[Matcher]) -> Ints:
        mask = np.ones(self._table_metric.size, dtype=np.bool_)
        for matcher in matchers:
            mask &= _Test(matcher, self.symbols, self._patterns).of(self._table_metric)
        return np.flatnonzero(mask)

    def _narrow(self, tables: Ints, test: _Test, mask: npt.NDArray[np.uint8]) -> None:
        """Clear the rows of some tables that do not pass a test."""
        column_of = np.full(tables.size, -1, dtype=np.int64)
        if test.name_id is not None:
            column_of = self._columns_of(test.name_id)[tables]
        at, begin = self._distinct_places(column_of[column_of >= 0])
        passes = test.of(self._distinct_ids[at])
        pass_start = np.zeros(tables.size, dtype=np.int64)
        pass_start[column_of >= 0] = begin
        narrow_rows(
            tables,
            self._table_row,
            column_of,
            pass_start,
            passes.view(np.uint8),
            self._column_width,
            self._column_codes,
            self._codes,
            test.of_absent,
            mask,
        )

    def _column_code(self, column: int, rows: int) -> npt.NDArray[np.unsignedinteger]:
        width, at = int(self._column_width[column]), int(self._column_codes[column])
        codes: npt.NDArray[np.unsignedinteger] = self._codes[at : at + width * rows].view(
            _CODE_TYPES[width]
        )
        return codes

    def _column_ids(self, column: int, table_rows: int, rows: Ints) -> Ids:
        """Return the ids of one column for rows numbered within their table."""
        low, high = int(self._column_distinct[column]), int(self._column_distinct[column + 1])
        distinct = self._distinct_ids[low:high]
        if not self._column_width[column]:
            return np.broadcast_to(distinct[:1], rows.size)
        ids: Ids = distinct[self._column_code(column, table_rows)[rows]]
        return ids

    def labels(self, rows: Ints) -> LabelColumns:
        """Return the labels of some rows, which rise, as columns."""
        if not rows.size:
            return LabelColumns((), np.zeros((0, 0), dtype=np.uint32), self.symbols)
        table_of = np.searchsorted(self._table_row, rows, side="right") - 1
        tables, starts = np.unique(table_of, return_index=True)
        edges = [*starts.tolist(), rows.size]
        name_ids = {
            int(name)
            for table in tables.tolist()
            for name in self._column_name[self._table_column[table] : self._table_column[table + 1]]
        }
        metric_id = self.symbols.find(METRIC_NAME)
        if self._table_metric[tables].any():
            assert metric_id is not None
            name_ids.add(metric_id)
        # Ids are in the order of their texts, and so are the columns.
        place = {name: at for at, name in enumerate(sorted(name_ids))}
        ids = np.full((len(place), rows.size), ABSENT, dtype=np.uint32)
        for number, table in enumerate(tables.tolist()):
            start, stop = edges[number], edges[number + 1]
            if self._table_metric[table]:
                ids[place[metric_id or 0], start:stop] = self._table_metric[table]
            first = int(self._table_row[table])
            table_rows = int(self._table_row[table + 1]) - first
            for column in range(int(self._table_column[table]), int(self._table_column[table + 1])):
                at = place[int(self._column_name[column])]
                ids[at, start:stop] = self._column_ids(column, table_rows, rows[start:stop] - first)
        names = self.symbols.texts(np.array(sorted(name_ids), dtype=np.uint32))
        used = np.atleast_1d(ids.any(axis=1))
        if not used.all():
            ids = np.ascontiguousarray(ids[used])
            names = [name for name, keep in zip(names, used.tolist(), strict=True) if keep]
        return LabelColumns(tuple(names), ids, self.symbols)

    def label_names(self, rows: Ints) -> list[str]:
        """Return the names of all labels that some of the rows have, sorted."""
        whole, partial = self._split(rows)
        used = np.zeros(self._table_metric.size, dtype=np.bool_)
        used[whole] = True
        # Every column of a table has a value somewhere.
        edges = self._table_column.astype(np.int64)
        owner = np.repeat(used, edges[1:] - edges[:-1])
        names = set(self.symbols.texts(np.unique(self._column_name[owner])))
        if self._table_metric[whole].any():
            names.add(METRIC_NAME)
        return sorted(names.union(self.labels(partial).names))

    def label_values(self, name: str, rows: Ints) -> list[str]:
        """Return the values of one label among the rows, once each, in no order."""
        whole, partial = self._split(rows)
        table_of = np.searchsorted(self._table_row, partial, side="right") - 1
        if name == METRIC_NAME:
            found = self._table_metric[np.concatenate([whole, table_of])]
            return self.symbols.texts(np.unique(found[found != ABSENT]))
        name_id = self.symbols.find(name)
        if name_id is None:
            return []
        column_of = self._columns_of(name_id)
        columns = column_of[whole]
        columns = columns[columns >= 0]
        parts = [self._distinct_ids[self._distinct_places(columns)[0]]]
        tables, starts = np.unique(table_of, return_index=True)
        edges = [*starts.tolist(), partial.size]
        for number, table in enumerate(tables.tolist()):
            if column_of[table] >= 0:
                first, stop = int(self._table_row[table]), int(self._table_row[table + 1])
                some = partial[edges[number] : edges[number + 1]] - first
                parts.append(self._column_ids(int(column_of[table]), stop - first, some))
        # Millions of ids where pods come and go: marking them takes a tenth of sorting them.
        seen = np.zeros(len(self.symbols), dtype=np.bool_)
        for ids in parts:
            seen[ids] = True
        seen[ABSENT] = False
        return self.symbols.texts(np.flatnonzero(seen).astype(np.uint32))

    def _table_sizes(self) -> Ints:
        edges = self._table_row.astype(np.int64)
        sizes: Ints = edges[1:] - edges[:-1]
        return sizes

    def _split(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return the tables of which all rows are among the given, and the rows of the others."""
        if rows.size == self.row_count:
            return np.arange(self._table_metric.size), rows[:0]
        table_of = np.searchsorted(self._table_row, rows, side="right") - 1
        whole = np.bincount(table_of, minlength=self._table_metric.size) == self._table_sizes()
        return np.flatnonzero(whole), rows[~whole[table_of]]

    def _columns_of(self, name_id: int) -> Ints:
        """Return the column of one label in each table, -1 where it has none."""
        column_of = np.full(self._table_metric.size, -1, dtype=np.int64)
        columns = np.flatnonzero(self._column_name == name_id)
        column_of[np.searchsorted(self._table_column, columns, side="right") - 1] = columns
        return column_of

    def _distinct_places(self, columns: Ints) -> tuple[Ints, Ints]:
        """Return where the distinct ids of some columns lie, and where each one's begin there."""
        start = self._column_distinct[columns].astype(np.int64)
        size = self._column_distinct[columns + 1].astype(np.int64) - start
        stop = np.cumsum(size)
        return np.arange(int(size.sum())) + np.repeat(start - (stop - size), size), stop - size

    def metrics(self) -> list[tuple[str, int, int]]:
        """Return name, first and stop row of every metric, in order."""
        names = self.symbols.texts(self._table_metric)
        ranges = pairwise(self._table_row.tolist())
        return [(name, first, stop) for name, (first, stop) in zip(names, ranges, strict=True)]


class _Patterns:
    """What each regular expression said of each symbol, so that it is asked once a block."""

    def __init__(self, symbols: BlockSymbols) -> None:
        self._symbols = symbols
        self._verdicts: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def mask(self, pattern: str, ids: Ids) -> Mask:
        """Say of each id, uint32[N], whether its text matches. Raises `BadMatcherError`."""
        if pattern == ".*":
            return np.ones(ids.size, dtype=np.bool_)
        if pattern == ".+":
            present: Mask = ids != ABSENT
            return present
        verdicts = self._of(pattern)
        unknown = ids[verdicts[ids] == _UNKNOWN]
        if unknown.size:
            asked = np.unique(unknown)
            answers = map(compile_regex(pattern), self._symbols.texts(asked))
            said = np.fromiter(answers, dtype=np.bool_, count=asked.size)
            # Threads may ask the same at once; they write the same.
            verdicts[asked] = np.where(said, _YES, _NO)
        matched: Mask = verdicts[ids] == _YES
        return matched

    def _of(self, pattern: str) -> npt.NDArray[np.uint8]:
        with self._lock:
            verdicts = self._verdicts.pop(pattern, None)
            if verdicts is None:
                count = len(self._symbols)
                verdicts = np.full(count, _NO, dtype=np.uint8)
                first, stop = self._range(pattern)
                verdicts[first:stop] = _UNKNOWN
                while self._verdicts and (len(self._verdicts) + 1) * count > _VERDICT_BYTES_MAX:
                    self._verdicts.popitem(last=False)
            self._verdicts[pattern] = verdicts
            return verdicts

    def _range(self, pattern: str) -> tuple[int, int]:
        """Return the ids among which all matches are: symbols are sorted, prefixes are ranges."""
        found = re2.compile(f"^(?s:{pattern})$".encode()).possiblematchrange(_RANGE_BYTES)
        if not found:
            return 0, len(self._symbols)
        low, high = found
        # The range includes `high`; nothing lies between it and itself with a zero byte behind.
        return self._symbols.first_from(low), self._symbols.first_from(high + b"\0")


class _Test:
    """One matcher, ready to be asked about ids of one block."""

    def __init__(self, matcher: Matcher, symbols: BlockSymbols, patterns: _Patterns) -> None:
        self._patterns = patterns
        self._negated = matcher.op in (MatchOp.NOT_EQUAL, MatchOp.NOT_MATCHES)
        self._pattern: str | None = None
        self._wanted: int | None = None
        if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
            self._wanted = symbols.find(matcher.value)
            empty = matcher.value == ""
        else:
            self._pattern = matcher.value
            empty = compile_regex(matcher.value)("")
        self.name_id = symbols.find(matcher.name)
        self.of_absent: bool = empty != self._negated

    def of(self, ids: Ids) -> Mask:
        """Say of each id, uint32[N], whether it passes."""
        if self._pattern is not None:
            passes = self._patterns.mask(self._pattern, ids)
        elif self._wanted is None:
            passes = np.zeros(ids.size, dtype=np.bool_)
        else:
            passes = ids == np.uint32(self._wanted)
        return ~passes if self._negated else passes
