"""One scrape's columns become one append; also `up` and its kin, and the markers of what ended.

From: `exposition.py` (columns), `fetch.py` (or why there are none).
To:   `tsdb.interface.Appender`.

Runs in a worker thread, one scrape of a target at a time. Work in Python is done for new series
only; all else is by column. A refused body stores nothing but report series and stale markers.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scraper.exposition import OPENMETRICS, media_type, parse
from scraper.labelling import LabelLimitError
from scraper.metadata import TargetMetadata
from scraper.series_cache import DROPPED, SeriesCache
from scraper.tokens import ParseError, series_labels
from tsdb.interface import AppendStatus, LabelSpans
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from scraper.exposition import Exposition
    from scraper.labelling import Labelling
    from tsdb.interface import Appender

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

FUTURE_MS_MAX = 600_000
"""Explicit timestamps later than this after the scrape are out of bounds."""

_REPORT = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)
_EXTRA_REPORT = ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")

_NO_REFS = np.empty(0, np.int64)
# A cache whose order has drifted from the exposition's by more than this share is put in order.
_DRIFT = 8


class SampleLimitError(ParseError):
    """More samples after relabelling than the job allows; nothing of the scrape is stored."""


class BodySizeError(ParseError):
    """The body is larger than the job allows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scrape; `error` is empty if it was good. Counts are of samples."""

    error: str = ""
    duration_s: float = 0.0
    body_bytes: int = 0
    scraped: int = 0
    post_relabelling: int = 0
    series_added: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    out_of_bounds: int = 0
    exceeded: str = ""
    """The limit that failed the scrape: "sample", "label", "body_size" or ""."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body as text, decompressed."""

    text: bytes
    content_type: str


@dataclass(slots=True)
class _Batch:
    """The samples of one good scrape, ready to append, and the counts for its report."""

    refs: Ints = field(default_factory=lambda: _NO_REFS)
    times_ms: Ints = field(default_factory=lambda: _NO_REFS)
    values: Floats = field(default_factory=lambda: np.empty(0))
    samples: Ints = field(default_factory=lambda: _NO_REFS)
    exposition: Exposition | None = None
    scraped: int = 0
    post_relabelling: int = 0
    series_added: int = 0
    duplicates: int = 0


class TargetIngest:
    """The writing side of one target: its series cache, its metadata, its report series."""

    def __init__(self, appender: Appender, labelling: Labelling, *, timeout_ms: int) -> None:
        self._appender = appender
        self.labelling = labelling
        self.timeout_ms = timeout_ms
        self.cache = SeriesCache()
        self.metadata = TargetMetadata()
        self._report_refs: Ints | None = None
        self._good_generation = 0
        self._good_count = 0
        # Refs that were live under another labelling: marked stale when they do not come back.
        self._inherited = _NO_REFS

    def relabelled(self, labelling: Labelling, *, timeout_ms: int) -> TargetIngest:
        """Return a successor that labels differently and knows which series were live."""
        successor = TargetIngest(self._appender, labelling, timeout_ms=timeout_ms)
        successor._inherited = self._live_refs()
        successor.metadata = self.metadata
        return successor

    def store(
        self,
        time_ms: int,
        read: Callable[[], Body],
        elapsed_s: Callable[[], float],
    ) -> Outcome:
        """Store one scrape and its report; return what became of it.

        `read` gives the decompressed body, or raises ParseError with the reason why there is
        none. Errors of storage pass through: nothing of the scrape is then known to be stored.
        """
        body_bytes, error, exceeded = 0, "", ""
        generation = self.cache.begin()
        try:
            body = read()
            body_bytes = len(body.text)
            batch = self._read(body, time_ms)
        except ParseError as e:
            error = str(e)
            exceeded = _exceeded(e)
            body_bytes = -1 if exceeded == "body_size" else 0
            batch = _Batch(scraped=e.samples, post_relabelling=e.kept)
        stale, live = self._vanished(batch, failed=bool(error))
        report = self._report(error, elapsed_s(), batch, body_bytes)
        report_refs = self._resolve_report(len(report))
        stale_times = np.full(stale.size, time_ms, np.int64)
        statuses = self._appender.append(
            np.concatenate((batch.refs, stale, report_refs)),
            np.concatenate((batch.times_ms, stale_times, np.full(len(report), time_ms, np.int64))),
            np.concatenate((batch.values, np.full(stale.size, STALE_NAN), report)),
            time_max_ms=time_ms + FUTURE_MS_MAX,
        )
        size = batch.refs.size
        sample_statuses = statuses[:size]
        report_statuses = statuses[size + stale.size :]
        if np.any(report_statuses == AppendStatus.UNKNOWN_SERIES):
            self._report_refs = None
            refs = self._resolve_report(len(report))
            self._appender.append(refs, np.full(len(report), time_ms, np.int64), report)
        if np.any(sample_statuses == AppendStatus.UNKNOWN_SERIES):
            sample_statuses, live = self._append_again(batch, sample_statuses, live, time_ms)
        self._end(batch, live, generation, failed=bool(error))
        counts = np.bincount(sample_statuses, minlength=len(AppendStatus))
        return Outcome(
            error=error,
            duration_s=float(report[1]),
            body_bytes=body_bytes,
            scraped=batch.scraped,
            post_relabelling=batch.post_relabelling,
            series_added=batch.series_added,
            duplicates=batch.duplicates + int(counts[AppendStatus.CONFLICT]),
            out_of_order=int(counts[AppendStatus.OUT_OF_ORDER] + counts[AppendStatus.TOO_OLD]),
            out_of_bounds=int(
                counts[AppendStatus.OUT_OF_BOUNDS] + counts[AppendStatus.TOO_FAR_AHEAD]
            ),
            exceeded=exceeded,
        )

    def end(self, time_ms: int) -> None:
        """Mark everything of this target as gone at `time_ms`, its report series included."""
        refs = self._live_refs()
        if self._report_refs is not None:
            refs = np.concatenate((refs, self._report_refs))
        if refs.size:
            times = np.full(refs.size, time_ms, np.int64)
            self._appender.append(refs, times, np.full(refs.size, STALE_NAN))
        self.cache.live[:] = False
        self._inherited = _NO_REFS

    # ------------------------------------------------------------------------ reading a body

    def _read(self, body: Body, time_ms: int) -> _Batch:
        """Return the samples of a body. Raises ParseError; the cache may have learned series."""
        if not body.text:
            return _Batch()
        job = self.labelling.job
        kind = media_type(body.content_type, job.fallback_scrape_protocol)
        before = self.cache.seen.copy()
        exposition = parse(
            body.text,
            openmetrics=kind == OPENMETRICS,
            cache=self.cache,
            metadata=self.metadata,
        )
        self._learn(exposition)
        refs = self.cache.refs[exposition.entries]
        kept = refs != DROPPED
        explicit = exposition.explicit & job.honor_timestamps
        repeated = kept & exposition.duplicate & ~explicit
        samples = np.flatnonzero(kept & ~repeated)
        return _Batch(
            refs=refs[samples],
            times_ms=np.where(explicit, exposition.times_ms, time_ms)[samples],
            values=exposition.values[samples],
            samples=samples,
            exposition=exposition,
            scraped=exposition.sample_count,
            post_relabelling=int(np.count_nonzero(kept)),
            series_added=self._count_added(exposition.entries[samples], before),
            duplicates=int(np.count_nonzero(repeated)),
        )

    def _count_added(self, entries: npt.NDArray[np.int32], before: npt.NDArray[np.int32]) -> int:
        """Count series that the last good scrape did not show."""
        good = self._good_generation
        if good and before.size == self.cache.count and before.min(initial=good) >= good:
            return 0
        known = np.zeros(self.cache.count, np.bool_)
        known[: before.size] = before >= self._good_generation if self._good_generation else False
        return int(np.unique(entries[~known[entries]]).size)

    def _learn(self, exposition: Exposition) -> None:
        """Find the series of samples without an entry; fills `entries` and `duplicate` in place.

        The sample limit is checked before anything is resolved: a target that exceeds it must
        not create series.
        """
        entries = exposition.entries
        missing = np.flatnonzero(entries < 0).tolist()
        type_of = _types_in_effect(exposition, self.metadata) if missing else None
        new: dict[bytes, int] = {}
        labels: list[dict[str, str]] = []
        numbers: list[int] = []
        kept: list[bool] = []
        first: list[int] = []
        for sample in missing:
            text = exposition.series_text(sample)
            number = new.setdefault(text, len(new))
            numbers.append(number)
            if number < len(kept):
                exposition.duplicate[sample] = True
                continue
            first.append(sample)
            try:
                exposed = series_labels(text, openmetrics=exposition.openmetrics)
                assert type_of is not None
                stored = self.labelling.stored_labels(exposed, type_of(sample))
            except ParseError as e:
                before = exposition.entries[:sample]
                stored_before = self.cache.refs[before[before >= 0]] != DROPPED
                now_kept = sum(kept[number] for number in numbers[:-1])
                count = int(np.count_nonzero(stored_before)) + now_kept
                raise type(e)(str(e), sample + 1, count) from None
            kept.append(stored is not None)
            if stored is not None:
                labels.append(stored)
        self._check_sample_limit(exposition, missing, numbers, kept)
        if not new:
            return
        refs = np.full(len(new), DROPPED, np.int64)
        if labels:
            refs[kept] = self._appender.resolve(LabelSpans.from_labels(labels))
        added = self.cache.add(list(new), exposition.hashes[first], refs)
        entries[missing] = added[numbers]

    def _check_sample_limit(
        self, exposition: Exposition, missing: list[int], numbers: list[int], kept: list[bool]
    ) -> None:
        limit = self.labelling.job.limits.sample_limit
        if not limit:
            return
        explicit = exposition.explicit & self.labelling.job.honor_timestamps
        counted = ~exposition.duplicate | explicit
        stored = np.ones(exposition.sample_count, np.bool_)
        known = exposition.entries >= 0
        stored[known] = self.cache.refs[exposition.entries[known]] != DROPPED
        if missing:
            stored[missing] = np.array(kept)[numbers]
        if np.count_nonzero(stored & counted) > limit:
            raise SampleLimitError("sample limit exceeded", exposition.sample_count)

    # -------------------------------------------------------------------- what has vanished

    def _live_refs(self) -> Ints:
        return np.concatenate((self.cache.refs[self.cache.live], self._inherited))

    def _vanished(self, batch: _Batch, *, failed: bool) -> tuple[Ints, Mask]:
        """Return the refs to mark as gone, and which entries are live from now on."""
        cache = self.cache
        live = np.zeros(cache.count, np.bool_)
        exposition = batch.exposition
        if not failed and exposition is not None:
            tracked = exposition.entries[batch.samples]
            job = self.labelling.job
            if job.honor_timestamps and not job.track_timestamps_staleness:
                tracked = tracked[~exposition.explicit[batch.samples]]
            live[tracked] = True
        gone = cache.refs[cache.live & ~live]
        if self._inherited.size:
            gone = np.concatenate((gone, self._inherited))
        if gone.size:
            # Two texts may name one series; and a series may come back under another labelling.
            gone = np.unique(gone[~np.isin(gone, cache.refs[live])])
        return gone, live

    def _end(self, batch: _Batch, live: Mask, generation: int, *, failed: bool) -> None:
        """Take over what the scrape has taught, after it has been stored."""
        cache = self.cache
        cache.live = live
        self._inherited = _NO_REFS
        if failed:
            # A target whose labels vary in scrapes that fail would grow the cache without end.
            if cache.count > 2 * self._good_count + 1000:
                cache.keep(np.flatnonzero(cache.seen == self._good_generation))
            return
        self._good_generation = generation
        exposition = batch.exposition
        if exposition is None:
            cache.keep(_NO_REFS)
        else:
            if not self.metadata.knows(exposition.comment_hash):
                self.metadata.update(
                    exposition.comments(),
                    exposition.comment_hash,
                    openmetrics=exposition.openmetrics,
                )
            seen = cache.seen == generation
            drift = int(np.count_nonzero(~seen)) + max(0, cache.count - self._good_count)
            if drift * _DRIFT > cache.count:
                entries, position = np.unique(exposition.entries, return_index=True)
                cache.keep(entries[np.argsort(position)].astype(np.int64))
                self._good_count = cache.count
        self.metadata.end_scrape()

    # -------------------------------------------------------------- report, refs that are gone

    def _report(self, error: str, duration_s: float, batch: _Batch, body_bytes: int) -> Floats:
        """Return the values of the report series, in the order of their names."""
        job = self.labelling.job
        values = [
            0.0 if error else 1.0,
            duration_s,
            batch.scraped,
            batch.post_relabelling,
            batch.series_added,
        ]
        if job.extra_scrape_metrics:
            values += [self.timeout_ms / 1000, job.limits.sample_limit, body_bytes]
        return np.array(values, np.float64)

    def _resolve_report(self, count: int) -> Ints:
        if self._report_refs is None or self._report_refs.size != count:
            names = (_REPORT + _EXTRA_REPORT)[:count]
            labels = [self.labelling.report_labels(name) for name in names]
            self._report_refs = self._appender.resolve(LabelSpans.from_labels(labels))
        return self._report_refs

    def _append_again(
        self, batch: _Batch, statuses: npt.NDArray[np.uint8], live: Mask, time_ms: int
    ) -> tuple[npt.NDArray[np.uint8], Mask]:
        """Resolve series that storage has collected, and append their samples again.

        Storage collects series that were silent for hours; their text is still known here, so
        they are relabelled anew, as series that were never seen.
        """
        exposition = batch.exposition
        assert exposition is not None
        lost = statuses == AppendStatus.UNKNOWN_SERIES
        lost_entries = np.unique(exposition.entries[batch.samples[lost]])
        type_of = _types_in_effect(exposition, self.metadata)
        shown = exposition.entries[batch.samples].tolist()
        first = dict(zip(shown, batch.samples.tolist(), strict=True))
        labels = []
        for entry in lost_entries.tolist():
            sample = first[entry]
            exposed = series_labels(
                exposition.series_text(sample), openmetrics=exposition.openmetrics
            )
            labels.append(self.labelling.stored_labels(exposed, type_of(sample)) or {})
        self.cache.refs[lost_entries] = self._appender.resolve(LabelSpans.from_labels(labels))
        batch.refs[lost] = self.cache.refs[exposition.entries[batch.samples[lost]]]
        statuses = statuses.copy()
        statuses[lost] = self._appender.append(
            batch.refs[lost],
            batch.times_ms[lost],
            batch.values[lost],
            time_max_ms=time_ms + FUTURE_MS_MAX,
        )
        return statuses, live


def _types_in_effect(exposition: Exposition, metadata: TargetMetadata) -> Callable[[int], str]:
    """Return a function from a sample to the type that was declared last before it."""
    at: list[int] = [-1]
    types: list[str] = ["unknown"]
    for number, sample in enumerate(exposition.comment_sample.tolist()):
        line = metadata.parse(exposition.comment(number), openmetrics=exposition.openmetrics)
        if line.kind == "TYPE":
            at.append(sample)
            types.append(line.text)
    return lambda sample: types[bisect_right(at, sample) - 1]


def _exceeded(error: ParseError) -> str:
    """Return which limit an error is about."""
    if isinstance(error, SampleLimitError):
        return "sample"
    if isinstance(error, LabelLimitError):
        return "label"
    return "body_size" if isinstance(error, BodySizeError) else ""
