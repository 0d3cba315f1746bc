"""Body bytes to sample columns: text format 0.0.4 and OpenMetrics 1.0.

From: `fetch.py` (bytes).   To: `ingest.py`.

One kernel pass makes the columns. It leaves alone whatever it does not fully understand, entry by
entry; `read_entry` reads those, and has the last word on what is refused. A refused body gives
nothing at all.
Invariant: columns are those that `read_entry`, called from one entry to the next, would give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scraper.cache_kernels import DUPLICATE, EXPLICIT, HARD, find_entry
from scraper.columns import Columns
from scraper.exemplar_text import read_exemplar
from scraper.kernels import (
    COMMENT_HASH,
    COMMENTS,
    EXEMPLARS,
    GUESS,
    NANS,
    ROUNDED,
    SAMPLES,
    UNKNOWN,
    scan,
)
from scraper.metadata import TargetMetadata
from scraper.openmetrics import read_openmetrics
from scraper.series_cache import HASH_KEYS, SeriesCache
from scraper.text_format import read_text
from scraper.text_kernels import PADDING, hash_bytes, hash_wide
from scraper.tokens import EntryKind, ParseError
from tsdb.staleness import NORMAL_NAN

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.exemplar_text import Exemplar
    from scraper.tokens import Entry

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]

BODY_BYTES_MAX = (1 << 31) - 1 - PADDING
"""Positions are 32 bits wide; a larger body is refused."""

_ZEROS = bytes(PADDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """One body as columns of N samples, M metadata lines and E exemplars; spans into `data`.

    Shapes: `data` uint8[bytes + padding]. For each sample: `spans` int32[4, at least N], where the
    series and the value start and stop; `entries` int32[N], the entry of the cache that was passed,
    -1 if unknown (there are `unknown` of them), and only then `low`, `high` uint64[N], the hash of
    the series; `seen_before` int32[N], the generation that showed the entry before; `flags`
    uint8[N], see `cache_kernels.py`; `values` float64[N]; `times_ms` int64[N], set where EXPLICIT.
    `comment_sample`, `exemplar_sample` say before (of) which
    sample a metadata line (an exemplar) stands. Units: milliseconds.
    """

    data: npt.NDArray[np.uint8]
    openmetrics: bool
    spans: Int32s
    low: npt.NDArray[np.uint64]
    high: npt.NDArray[np.uint64]
    entries: Int32s
    unknown: int
    seen_before: Int32s
    flags: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]
    times_ms: Ints
    comment_start: Int32s
    comment_stop: Int32s
    comment_sample: Int32s
    comment_hash: int
    exemplar_start: Int32s
    exemplar_stop: Int32s
    exemplar_sample: Int32s

    @property
    def sample_count(self) -> int:
        """N."""
        return int(self.values.size)

    @property
    def duplicate(self) -> npt.NDArray[np.bool_]:
        """Say of each sample whether its series came before in this body."""
        return (self.flags & DUPLICATE).astype(np.bool_)

    @property
    def explicit(self) -> npt.NDArray[np.bool_]:
        """Say of each sample whether it has a timestamp."""
        return (self.flags & EXPLICIT).astype(np.bool_)

    def series_text(self, sample: int) -> bytes:
        """Return the series of one sample as it was exposed."""
        return self.data[self.spans[0, sample] : self.spans[1, sample]].tobytes()

    def exemplar_text(self, number: int) -> bytes:
        """Return one exemplar as it was exposed."""
        return self.data[self.exemplar_start[number] : self.exemplar_stop[number]].tobytes()

    def read_exemplar(self, text: bytes) -> Exemplar:
        """Return what the text of an exemplar says. Raises ParseError."""
        return read_exemplar(text)

    def teach(self, metadata: TargetMetadata) -> None:
        """Tell the metadata of the target what the metadata lines say."""
        metadata.update(self.comments(), self.comment_hash, openmetrics=self.openmetrics)

    def comments(self) -> list[bytes]:
        """Return all metadata lines, without their ends."""
        return [self.comment(number) for number in range(self.comment_start.size)]

    def comment(self, number: int) -> bytes:
        """Return one metadata line, without its end."""
        return self.data[self.comment_start[number] : self.comment_stop[number]].tobytes()


def parse(
    body: bytes,
    *,
    openmetrics: bool = False,
    cache: SeriesCache | None = None,
    metadata: TargetMetadata | None = None,
    columns: Columns | None = None,
) -> Exposition:
    """Return the columns of a body. Raises ParseError with Prometheus' text.

    With a `cache`, series are looked up in it and marked as seen in its current generation; the
    caller has called `cache.begin()`. With `metadata`, lines that the last scrape had are not
    checked again. With `columns` the result lies in them, until they are used again. An empty body
    is a valid exposition of nothing, in either format.
    """
    metadata = metadata if metadata is not None else TargetMetadata()
    if len(body) > BODY_BYTES_MAX:
        raise ParseError(f"body of {len(body)} bytes exceeds {BODY_BYTES_MAX}")
    scanned = _Scan(
        body,
        openmetrics,
        cache if cache is not None else SeriesCache(),
        columns if columns is not None else Columns(),
    )
    at = 0
    try:
        while body and (at := scanned.run(at)) < scanned.stop + openmetrics:
            entry = read_entry(scanned.text(), at, openmetrics=openmetrics)
            if entry.kind is EntryKind.END:
                break
            if entry.kind is not EntryKind.COMMENT:
                scanned.add(entry)
            at = entry.next
    except ParseError as e:
        scanned.check_comments(metadata, refused=True)
        raise ParseError(str(e), scanned.sample_count + e.samples) from None
    scanned.check_comments(metadata)
    return scanned.finish()


def read_entry(body: bytes, at: int, *, openmetrics: bool) -> Entry:
    """Read the one entry at `at`, by the letter of its format. Raises ParseError.

    A text body ends in a newline; at its end the kind is END. OpenMetrics ends by `# EOF`.
    """
    return read_openmetrics(body, at) if openmetrics else read_text(body, at)


class _Scan:
    """The columns of one body while they are written."""

    def __init__(
        self, body: bytes, openmetrics: bool, cache: SeriesCache, columns: Columns
    ) -> None:
        self.body, self.openmetrics, self.cache = body, openmetrics, cache
        # As in Prometheus' text parser: the last line need not have an end.
        end = b"" if openmetrics else b"\n"
        self._text = body if openmetrics else b""
        self.data = np.frombuffer(b"".join((body, end, _ZEROS)), np.uint8)
        self.stop = len(body) + len(end)
        columns.begin(exemplars=openmetrics)
        self.columns, self.state = columns, columns.state
        # Equal lines of another format are other lines.
        self.state[COMMENT_HASH] = int(openmetrics)

    @property
    def sample_count(self) -> int:
        return int(self.state[SAMPLES])

    def text(self) -> bytes:
        """Return the body as `read_entry` wants it; copied only when something unusual comes."""
        if not self._text:
            self._text = self.body + b"\n"
        return self._text

    def run(self, at: int) -> int:
        """Let the kernel read from `at`; return where it stopped, with room for one entry more."""
        cache, columns = self.cache, self.columns
        place: int | np.int64 = at
        while True:
            place = scan(
                self.data,
                place,
                self.stop,
                self.openmetrics,
                HASH_KEYS,
                cache.table,
                cache.low,
                cache.high,
                cache.length,
                cache.seen,
                np.int32(cache.generation),
                cache.count,
                columns.state,
                columns.spans,
                columns.low,
                columns.high,
                columns.entries,
                columns.seen_before,
                columns.flags,
                columns.values,
                columns.times,
                columns.comments,
                columns.exemplars,
            )
            if max(self.sample_count, int(self.state[COMMENTS])) < columns.room:
                return int(place)
            columns.grow()

    def add(self, entry: Entry) -> None:
        """Append what `read_entry` read; the kernel goes on behind it."""
        data, state, columns, n = self.data, self.state, self.columns, self.sample_count
        if entry.kind is EntryKind.METADATA:
            m = int(state[COMMENTS])
            columns.comments[:, m] = entry.start, entry.stop, n
            state[COMMENTS] += np.uint64(1)
            state[COMMENT_HASH] ^= np.uint64(
                hash_bytes(data, entry.start, entry.stop, HASH_KEYS[0])
            )
            return
        cache = self.cache
        low, high = hash_wide(data, entry.start, entry.stop, HASH_KEYS)
        known = find_entry(np.uint64(low), np.uint64(high), cache.table, cache.low, cache.high)
        flags = before = 0
        if known >= 0:
            before = int(cache.seen[known])
            flags |= DUPLICATE if before == cache.generation else 0
            cache.seen[known] = cache.generation
            state[GUESS] = known + 1
        else:
            columns.low[n], columns.high[n] = low, high
            state[UNKNOWN] += np.uint64(1)
        if entry.time_ms is not None:
            flags |= EXPLICIT
            columns.times[n] = entry.time_ms
        else:
            columns.times[n] = 0
        columns.spans[:2, n] = entry.start, entry.stop
        columns.entries[n], columns.seen_before[n], columns.flags[n] = known, before, flags
        columns.values[n] = entry.value
        state[NANS] += np.uint64(entry.value != entry.value)
        if entry.exemplar is not None:
            columns.exemplars[:, int(state[EXEMPLARS])] = *entry.exemplar, n
            state[EXEMPLARS] += np.uint64(1)
        state[SAMPLES] += np.uint64(1)

    def check_comments(self, metadata: TargetMetadata, *, refused: bool = False) -> None:
        """Parse metadata lines that are new. Raises the ParseError of the first bad one.

        Of a body that is refused the lines before its fault are taken, as Prometheus does.
        """
        state = self.state
        if metadata.knows(int(state[COMMENT_HASH])):
            return
        starts, stops, samples = self.columns.comments[:, : int(state[COMMENTS])].tolist()
        good = []
        for start, stop, sample in zip(starts, stops, samples, strict=True):
            try:
                good.append(metadata.parse(self.body[start:stop], openmetrics=self.openmetrics))
            except ParseError as e:
                metadata.note(good)
                raise ParseError(str(e), sample) from None
        if refused:
            metadata.note(good)

    def finish(self) -> Exposition:
        """Return the columns, cut to their length, with every value rounded correctly."""
        columns = self.columns
        state = self.state.tolist()
        n, m, e = state[SAMPLES], state[COMMENTS], state[EXEMPLARS]
        flags, values = columns.flags[:n], columns.values[:n]
        if state[ROUNDED]:
            hard = np.flatnonzero(flags & HARD)
            starts, stops = columns.spans[2:, hard].tolist()
            body = self.body
            values[hard] = [float(body[a:b]) for a, b in zip(starts, stops, strict=True)]
        if state[NANS]:
            # One bit pattern for every NaN that is a value; the stale marker cannot be exposed.
            values[np.isnan(values)] = NORMAL_NAN
        return Exposition(
            data=self.data,
            openmetrics=self.openmetrics,
            spans=columns.spans,
            low=columns.low[:n],
            high=columns.high[:n],
            entries=columns.entries[:n],
            unknown=state[UNKNOWN],
            seen_before=columns.seen_before[:n],
            flags=flags,
            values=values,
            times_ms=columns.times[:n],
            comment_start=columns.comments[0, :m],
            comment_stop=columns.comments[1, :m],
            comment_sample=columns.comments[2, :m],
            comment_hash=state[COMMENT_HASH],
            exemplar_start=columns.exemplars[0, :e],
            exemplar_stop=columns.exemplars[1, :e],
            exemplar_sample=columns.exemplars[2, :e],
        )
