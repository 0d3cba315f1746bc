"""OpenMetrics text to blocks: any times, any order, more than memory holds.

From: a file or a pipe, plain or gzip. To: blocks in a data directory, through `spool.py`.
The text is read in parts that end with a line. Whatever a scrape would refuse is refused, and then
no block is written; so is a sample without a timestamp. Labels are taken as they are written: a
scrape would make `le="1.0"` of `le="1"`, but history should come back as it was dumped.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from gnomon.tsdb_tools.series_table import SeriesTable, join_tables
from gnomon.tsdb_tools.spool import Spool
from scraper.cache_kernels import number_texts
from scraper.columns import Columns
from scraper.exposition import Exposition, parse
from scraper.series_cache import SeriesCache
from scraper.tokens import ParseError, series_labels
from tsdb.block_meta import BlockMeta
from tsdb.interface import LabelSpans
from tsdb.symbols import SymbolTable

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tsdb.interface import Ints

PART_BYTES = 16 << 20
END = b"# EOF"


class BackfillError(Exception):
    """The text cannot be taken over; the message says what and about where."""


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What was written. `repeated`: samples of a time that the series had in the text already."""

    blocks: tuple[BlockMeta, ...]
    series: int
    samples: int
    repeated: int
    exemplars: int


def backfill(
    text: io.BufferedReader,
    target: Path,
    *,
    window_ms: int,
    labels: Mapping[str, str] | None = None,
    on_block: Callable[[BlockMeta], None] = lambda _: None,
) -> BackfillReport:
    """Write all samples of OpenMetrics text into blocks of `window_ms` in `target`.

    `labels` are added to every series, in place of its own of that name. The caller has the lock of
    `target`. Raises `BackfillError`, OSError.
    """
    reader = _Reader(labels or {})
    metas: list[BlockMeta] = []
    samples = 0
    with Spool(target, window_ms=window_ms) as spool:
        for rows, exposition in reader.read(_unpacked(text)):
            samples += rows.size
            spool.add(rows, exposition.times_ms.copy(), exposition.values.copy())
        table, row_of = reader.table()
        for window in spool.windows():
            path = spool.write(target, table, row_of.__getitem__, window)
            if path is not None:
                metas.append(BlockMeta.read(path))
                on_block(metas[-1])
    kept = sum(meta.stats.num_samples for meta in metas)
    return BackfillReport(tuple(metas), table.series_count, kept, samples - kept, reader.exemplars)


def _unpacked(text: io.BufferedReader) -> IO[bytes]:
    """Return the text itself, unpacked if it begins like gzip."""
    if text.peek(2)[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=text))
    return text


class _Reader:
    """Text to rows: which series each sample is of."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._cache = SeriesCache()
        self._columns = Columns()
        self._symbols = SymbolTable()
        self._parts: list[SeriesTable] = []
        self._series = 0
        self.exemplars = 0

    def read(self, text: IO[bytes]) -> Iterator[tuple[Ints, Exposition]]:
        """Yield the samples of one part after the other; rows are those of the text's series."""
        line = 1
        for body, lines in _parts(text):
            try:
                exposition = self._parse(body)
            except ParseError as error:
                where = f"in lines {line} to {line + lines}"
                raise BackfillError(f"{where}: {error}") from error
            self.exemplars += exposition.exemplar_start.size
            yield self._rows(exposition), exposition
            line += lines

    def table(self) -> tuple[SeriesTable, Ints]:
        """Return each label set once, and which one each row became."""
        return join_tables(self._parts, self._symbols).distinct()

    def _parse(self, body: bytes) -> Exposition:
        self._cache.begin()
        exposition = parse(body, openmetrics=True, cache=self._cache, columns=self._columns)
        bare = np.flatnonzero(~exposition.explicit)
        if bare.size:
            series = exposition.series_text(int(bare[0])).decode()
            raise ParseError(f"expected timestamp for series {series}, got none")
        samples = np.flatnonzero(exposition.entries < 0)
        numbers, first = np.empty(samples.size, np.int64), np.empty(samples.size, np.int64)
        count = number_texts(
            exposition.low, exposition.high, samples, exposition.flags, numbers, first
        )
        if count:
            first = first[:count].copy()
            self._add_series(exposition, samples, numbers, first)
        return exposition

    def _add_series(
        self, exposition: Exposition, samples: Ints, numbers: Ints, first: Ints
    ) -> None:
        label_sets = [self._labels_of(exposition.series_text(at)) for at in first.tolist()]
        spans = LabelSpans.from_labels(label_sets)
        names, values = self._symbols.intern_spans(spans)
        self._parts.append(SeriesTable(spans.first, names, values, self._symbols))
        length = exposition.spans[1, first] - exposition.spans[0, first]
        entries = self._cache.add(
            exposition.low[first],
            exposition.high[first],
            length.astype(np.int32),
            np.arange(self._series, self._series + first.size, dtype=np.int64),
        )
        self._series += first.size
        exposition.entries[samples] = entries[numbers]

    def _labels_of(self, text: bytes) -> dict[str, str]:
        pairs = series_labels(text, openmetrics=True)
        labels = dict(pairs)
        if len(labels) != len(pairs):
            raise ParseError(f"a label name comes twice in {text.decode()}")
        labels.update(self._labels)
        if not labels.get("__name__"):
            raise ParseError(f"no metric name in {text.decode()}")
        return labels

    def _rows(self, exposition: Exposition) -> Ints:
        rows: Ints = self._cache.refs[exposition.entries]
        return rows


def _parts(text: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield bodies that end with a line and `# EOF`, and how many lines each has."""
    rest, ended = b"", False
    while part := text.read(PART_BYTES):
        if ended:
            raise BackfillError("unexpected data after # EOF")
        rest += part
        body, newline, rest = rest.rpartition(b"\n")
        if not newline:
            continue
        if body.endswith(END) and body[-len(END) - 1 : -len(END)] in (b"\n", b""):
            ended = True
            if rest:
                raise BackfillError("unexpected data after # EOF")
            yield body + b"\n", body.count(b"\n")
        else:
            yield body + b"\n" + END + b"\n", body.count(b"\n") + 1
    if not ended:
        if rest != END:
            raise BackfillError("data does not end with # EOF")
        yield END, 1
