"""Body bytes to sample columns: text format 0.0.4 and OpenMetrics 1.0.

From: `fetch.py` (bytes).   To: `ingest.py`.

One kernel pass makes the columns. It leaves alone whatever it does not fully understand, entry by
entry; `read_entry` reads those, and has the last word on what is refused. A refused body gives
nothing at all.
Invariant: columns are those that `read_entry`, called from one entry to the next, would give.
"""

from __future__ import annotations

import email.message
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from scraper.kernels import (
    COMMENT_HASH,
    COMMENTS,
    DUPLICATE,
    EXEMPLARS,
    EXPLICIT,
    GUESS,
    HARD,
    SAMPLES,
    find_entry,
    scan,
)
from scraper.metadata import TargetMetadata
from scraper.openmetrics import read_openmetrics
from scraper.series_cache import HASH_KEY, SeriesCache
from scraper.text_format import read_text
from scraper.text_kernels import PADDING, hash_bytes
from scraper.tokens import EntryKind, ParseError, go_quote
from tsdb.staleness import NORMAL_NAN

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.tokens import Entry

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]

BODY_BYTES_MAX = (1 << 31) - 1 - PADDING
"""Positions are 32 bits wide; a larger body is refused."""

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
PROTOBUF = "application/vnd.google.protobuf"
_FALLBACKS = {
    "PrometheusText0.0.4": TEXT,
    "PrometheusText1.0.0": TEXT,
    "OpenMetricsText0.0.1": OPENMETRICS,
    "OpenMetricsText1.0.0": OPENMETRICS,
    "PrometheusProto": PROTOBUF,
}


@dataclass(frozen=True, slots=True)
class Exposition:
    """One body as columns of N samples, M metadata lines and E exemplars; spans into `data`.

    Shapes: `data` uint8[bytes + padding]. For each sample: `series_start`, `series_stop` int32[N];
    `hashes` uint64[N] (0 where the entry is known); `entries` int32[N], the entry of the cache that
    was passed, -1 if unknown; `duplicate`, `explicit` bool[N]; `values` float64[N]; `times_ms`
    int64[N], set where `explicit`. `comment_sample`, `exemplar_sample` say before (of) which
    sample a metadata line (an exemplar) stands. Units: milliseconds.
    """

    data: npt.NDArray[np.uint8]
    openmetrics: bool
    series_start: Int32s
    series_stop: Int32s
    hashes: npt.NDArray[np.uint64]
    entries: Int32s
    duplicate: npt.NDArray[np.bool_]
    explicit: npt.NDArray[np.bool_]
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

    def series_text(self, sample: int) -> bytes:
        """Return the series of one sample as it was exposed."""
        return self.data[self.series_start[sample] : self.series_stop[sample]].tobytes()

    def comments(self) -> list[bytes]:
        """Return all metadata lines, without their ends."""
        return [self.comment(number) for number in range(self.comment_start.size)]

    def comment(self, number: int) -> bytes:
        """Return one metadata line, without its end."""
        return self.data[self.comment_start[number] : self.comment_stop[number]].tobytes()


@lru_cache(maxsize=256)
def media_type(content_type: str, fallback_protocol: str = "") -> str:
    """Return TEXT or OPENMETRICS for a `Content-Type`, by the rules of Prometheus 3.

    Raises ParseError if the type is blank, malformed or unknown and there is no fallback; and for
    protobuf, which we never ask for.
    """
    fallback = _FALLBACKS.get(fallback_protocol, "")
    if not content_type:
        found, problem = "", "non-compliant scrape target sending blank Content-Type and"
    else:
        found = _parse_media_type(content_type)
        quoted = go_quote(content_type.encode(errors="surrogateescape"))
        if not found:
            if not fallback:
                raise ParseError(
                    f"cannot parse Content-Type {quoted} and no fallback_scrape_protocol for target"
                )
            found = fallback
        problem = f"received unsupported Content-Type {quoted} and"
    if found not in (TEXT, OPENMETRICS, PROTOBUF):
        if not fallback:
            raise ParseError(f"{problem} no fallback_scrape_protocol specified for target")
        found = fallback
    if found == PROTOBUF:
        raise ParseError("the target sent protobuf, which was not asked for and is not supported")
    return found


def _parse_media_type(content_type: str) -> str:
    """Return the type without its parameters, in lower case; "" if it is malformed."""
    message = email.message.Message()
    message["Content-Type"] = content_type
    kind = content_type.partition(";")[0].strip().lower()
    main, slash, sub = kind.partition("/")
    token = str.maketrans("", "", ' \t\r\n()<>@,;:\\"/[]?=')
    if not main or main != main.translate(token) or sub != sub.translate(token):
        return ""
    if slash and not sub:
        return ""
    for parameter in content_type.split(";")[1:]:
        if parameter.strip() and "=" not in parameter:
            return ""
    return kind


def parse(
    body: bytes,
    *,
    openmetrics: bool = False,
    cache: SeriesCache | None = None,
    metadata: TargetMetadata | None = None,
) -> Exposition:
    """Return the columns of a body. Raises ParseError with Prometheus' text.

    With a `cache`, series are looked up in it and marked as seen in its current generation; the
    caller has called `cache.begin()`. With `metadata`, lines that the last scrape had are not
    checked again. An empty body is a valid exposition of nothing, in either format.
    """
    metadata = metadata if metadata is not None else TargetMetadata()
    if len(body) > BODY_BYTES_MAX:
        raise ParseError(f"body of {len(body)} bytes exceeds {BODY_BYTES_MAX}")
    scanned = _Scan(body, openmetrics, cache if cache is not None else SeriesCache())
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
        scanned.check_comments(metadata)
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

    def __init__(self, body: bytes, openmetrics: bool, cache: SeriesCache) -> None:
        self.body, self.openmetrics, self.cache = body, openmetrics, cache
        # As in Prometheus' text parser: the last line need not have an end.
        end = b"" if openmetrics else b"\n"
        self._text = body if openmetrics else b""
        self.data = np.frombuffer(b"".join((body, end, bytes(PADDING))), np.uint8)
        self.stop = len(body) + len(end)
        lines = body.count(b"\n") + 1
        self.state = np.zeros(5, np.uint64)
        # Equal lines of another format are other lines.
        self.state[COMMENT_HASH] = int(openmetrics)
        self.spans = np.empty((4, lines), np.int32)
        self.hashes = np.empty(lines, np.uint64)
        self.entries = np.empty(lines, np.int32)
        self.flags = np.empty(lines, np.uint8)
        self.values = np.empty(lines, np.float64)
        self.times = np.empty(lines, np.int64)
        self.comments = np.empty((3, lines), np.int32)
        # Only OpenMetrics has exemplars.
        self.exemplars = np.empty((3, lines if openmetrics else 0), np.int32)

    @property
    def sample_count(self) -> int:
        return int(self.state[SAMPLES])

    def text(self) -> bytes:
        """Return the body as `read_entry` wants it; copied only when something unusual comes."""
        if not self._text:
            self._text = self.body + b"\n"
        return self._text

    def run(self, at: int) -> int:
        """Let the kernel read from `at`; return where it stopped."""
        cache = self.cache
        return int(
            scan(
                self.data,
                at,
                self.stop,
                self.openmetrics,
                HASH_KEY,
                cache.table,
                cache.hashes,
                cache.text,
                cache.at,
                cache.length,
                cache.seen,
                np.int32(cache.generation),
                cache.count,
                self.state,
                self.spans,
                self.hashes,
                self.entries,
                self.flags,
                self.values,
                self.times,
                self.comments,
                self.exemplars,
            )
        )

    def add(self, entry: Entry) -> None:
        """Append what `read_entry` read; the kernel goes on behind it."""
        data, state, n = self.data, self.state, self.sample_count
        if entry.kind is EntryKind.METADATA:
            m = int(state[COMMENTS])
            self.comments[:, m] = entry.start, entry.stop, n
            state[COMMENTS] += np.uint64(1)
            state[COMMENT_HASH] ^= np.uint64(hash_bytes(data, entry.start, entry.stop, HASH_KEY))
            return
        cache = self.cache
        h = np.uint64(hash_bytes(data, entry.start, entry.stop, HASH_KEY))
        known = find_entry(
            data,
            entry.start,
            entry.stop,
            h,
            cache.table,
            cache.hashes,
            cache.text,
            cache.at,
            cache.length,
        )
        flags = 0
        if known >= 0:
            flags |= DUPLICATE if cache.seen[known] == cache.generation else 0
            cache.seen[known] = cache.generation
            state[GUESS] = known + 1
        if entry.time_ms is not None:
            flags |= EXPLICIT
            self.times[n] = entry.time_ms
        else:
            self.times[n] = 0
        self.spans[:2, n] = entry.start, entry.stop
        self.hashes[n], self.entries[n], self.flags[n] = h, known, flags
        self.values[n] = entry.value
        if entry.exemplar is not None:
            self.exemplars[:, int(state[EXEMPLARS])] = *entry.exemplar, n
            state[EXEMPLARS] += np.uint64(1)
        state[SAMPLES] += np.uint64(1)

    def check_comments(self, metadata: TargetMetadata) -> None:
        """Parse metadata lines that are new. Raises the ParseError of the first bad one."""
        state = self.state
        if metadata.knows(int(state[COMMENT_HASH])):
            return
        starts, stops, samples = self.comments[:, : int(state[COMMENTS])].tolist()
        for start, stop, sample in zip(starts, stops, samples, strict=True):
            try:
                metadata.parse(self.body[start:stop], openmetrics=self.openmetrics)
            except ParseError as e:
                raise ParseError(str(e), sample) from None

    def finish(self) -> Exposition:
        """Return the columns, cut to their length, with every value rounded correctly."""
        n, state = self.sample_count, self.state
        flags, values = self.flags[:n], self.values[:n]
        hard = np.flatnonzero(flags & HARD)
        if hard.size:
            starts, stops = self.spans[2:, hard].tolist()
            body = self.body
            values[hard] = [float(body[a:b]) for a, b in zip(starts, stops, strict=True)]
        # One bit pattern for every NaN that is a value; the stale marker cannot be exposed.
        values[np.isnan(values)] = NORMAL_NAN
        m, e = int(state[COMMENTS]), int(state[EXEMPLARS])
        return Exposition(
            data=self.data,
            openmetrics=self.openmetrics,
            series_start=self.spans[0, :n],
            series_stop=self.spans[1, :n],
            hashes=self.hashes[:n],
            entries=self.entries[:n],
            duplicate=(flags & DUPLICATE) != 0,
            explicit=(flags & EXPLICIT) != 0,
            values=values,
            times_ms=self.times[:n],
            comment_start=self.comments[0, :m],
            comment_stop=self.comments[1, :m],
            comment_sample=self.comments[2, :m],
            comment_hash=int(state[COMMENT_HASH]),
            exemplar_start=self.exemplars[0, :e],
            exemplar_stop=self.exemplars[1, :e],
            exemplar_sample=self.exemplars[2, :e],
        )
