"""One scrape's batch becomes one append; also `up` and its kin, and the markers of what ended.

From: `batch.py` (samples), `fetch.py` (or why there are none).
To:   `tsdb.interface.Appender`.

Runs in a worker thread, one scrape of a target at a time. A refused body stores nothing but report
series and stale markers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from scraper.batch import Batch, BatchReader, give_back_columns
from scraper.cache_kernels import (
    DUPLICATE,
)
from scraper.exemplars import TargetExemplars
from scraper.metadata import TargetMetadata
from scraper.native import NativeSamples, stale_histograms
from scraper.new_series import TypesInEffect
from scraper.outcome import Outcome, exceeded_limit
from scraper.report import ReportSeries, report_values
from scraper.series_cache import SeriesCache
from scraper.tokens import ParseError, series_labels
from tsdb.interface import (
    Appender,
    AppendStatus,
    ExemplarStorage,
    HistogramAppender,
    LabelSpans,
)
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from scraper.labelling import Labelling
    from scraper.outcome import Body

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

FUTURE_MS_MAX = 600_000
"""Explicit timestamps later than this after the scrape are out of bounds."""

_NO_REFS = np.empty(0, np.int64)
_NONE_LIVE = np.empty(0, np.bool_)
# A cache whose order has drifted from the exposition's by more than this share is put in order.
_DRIFT = 8


class ScrapeAppender(Appender, HistogramAppender, ExemplarStorage, Protocol):
    """What a scrape writes to: floats, native histograms, exemplars."""


class TargetIngest:
    """The writing side of one target: its series cache, its metadata, its report series."""

    def __init__(
        self,
        appender: ScrapeAppender,
        labelling: Labelling,
        *,
        timeout_ms: int,
        metadata: TargetMetadata | None = None,
    ) -> None:
        self._appender = appender
        self.labelling = labelling
        self.timeout_ms = timeout_ms
        self.cache = SeriesCache()
        self._report = ReportSeries(appender)
        self._good_generation = 0
        self._good_count = 0
        # Refs that were live under another labelling: marked stale when they do not come back.
        self._inherited = _NO_REFS
        # Those that were native histograms in the last good scrape: so are their markers.
        self._native_refs = _NO_REFS
        self._exemplars = TargetExemplars()
        self.metadata = TargetMetadata() if metadata is None else metadata
        self._reader = BatchReader(appender, labelling, self.cache, self.metadata, self._exemplars)

    def relabelled(self, labelling: Labelling, *, timeout_ms: int) -> TargetIngest:
        """Return a successor that labels differently and knows which series were live."""
        successor = TargetIngest(
            self._appender, labelling, timeout_ms=timeout_ms, metadata=self.metadata
        )
        successor._inherited = self._live_refs()
        successor._native_refs = self._native_refs
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
            batch = self._reader.read(body, time_ms, self._good_generation)
        except ParseError as e:
            error = str(e)
            exceeded = exceeded_limit(e)
            body_bytes = -1 if exceeded == "body_size" else 0
            batch = Batch(scraped=e.samples, post_relabelling=e.kept)
        stale, stale_native = self._part_native(self._vanished(batch))
        counts_told = (batch.scraped, batch.post_relabelling, batch.series_added)
        report = report_values(
            self.labelling.job, self.timeout_ms, error, elapsed_s(), counts_told, body_bytes
        )
        refs, times, values = self._rows(batch, stale, report, time_ms)
        statuses = self._appender.append(
            refs,
            times,
            values,
            time_max_ms=time_ms + FUTURE_MS_MAX,
            start_times_ms=_starts_of_rows(batch, refs.size),
        )
        counts = np.bincount(statuses, minlength=len(AppendStatus)).tolist()
        if counts[AppendStatus.STORED] != statuses.size:
            counts = self._look_again(batch, statuses, stale.size, report, time_ms)
        self._mark_native(stale_native, time_ms)
        if batch.native is not None:
            found = self._store_native(batch, batch.native, time_ms)
            counts = [a + b for a, b in zip(counts, found, strict=True)]
        late_exemplars = self._store_exemplars(batch, statuses)
        self._end(batch, generation, failed=bool(error))
        give_back_columns()
        return Outcome(
            error=error,
            duration_s=float(report[1]),
            body_bytes=body_bytes,
            scraped=batch.scraped,
            post_relabelling=batch.post_relabelling,
            series_added=batch.series_added,
            duplicates=batch.duplicates + counts[AppendStatus.CONFLICT],
            out_of_order=counts[AppendStatus.OUT_OF_ORDER] + counts[AppendStatus.TOO_OLD],
            out_of_bounds=counts[AppendStatus.OUT_OF_BOUNDS] + counts[AppendStatus.TOO_FAR_AHEAD],
            exemplars_out_of_order=late_exemplars,
            exceeded=exceeded,
        )

    def _store_exemplars(self, batch: Batch, statuses: npt.NDArray[np.uint8]) -> int:
        """Keep the exemplars of what was stored; return how many of them came too late."""
        exposition, columns = batch.exposition, batch.columns
        if exposition is None or columns is None or not exposition.exemplar_sample.size:
            return 0
        stored = np.flatnonzero(statuses[: batch.size] <= AppendStatus.DUPLICATE)
        samples, refs = columns.out_samples[stored], columns.out_refs[stored]
        times, native = columns.out_times[stored], _NO_REFS
        if batch.native is not None:
            native = batch.native.samples
            samples = np.concatenate((samples, native))
            order = np.argsort(samples, kind="stable")
            samples = samples[order]
            refs = np.concatenate((refs, batch.native.refs))[order]
            times = np.concatenate((times, batch.native.times_ms))[order]
        return self._exemplars.store(self._appender, samples, refs, times, native)

    # -------------------------------------------------------------------- native histograms

    def _part_native(self, refs: Ints) -> tuple[Ints, Ints]:
        """Return which of the refs were floats and which native histograms."""
        if not self._native_refs.size or not refs.size:
            return refs, _NO_REFS
        native = np.isin(refs, self._native_refs)
        return refs[~native], refs[native]

    def _mark_native(self, refs: Ints, time_ms: int) -> None:
        if refs.size:
            times = np.full(refs.size, time_ms, np.int64)
            self._appender.append_histograms(refs, times, stale_histograms(refs.size))

    def _store_native(self, batch: Batch, native: NativeSamples, time_ms: int) -> list[int]:
        """Append the native histograms of a scrape; return the count of each `AppendStatus`."""
        limit = time_ms + FUTURE_MS_MAX
        starts = batch.starts
        statuses = self._appender.append_histograms(
            native.refs,
            native.times_ms,
            native.histograms,
            time_max_ms=limit,
            start_times_ms=None if starts is None else starts[native.samples],
        )
        lost = np.flatnonzero(statuses == AppendStatus.UNKNOWN_SERIES)
        if lost.size:
            again = native.rows(lost)
            refs = self._resolve_again(batch, again.samples)
            statuses = statuses.copy()
            statuses[lost] = self._appender.append_histograms(
                refs,
                again.times_ms,
                again.histograms,
                time_max_ms=limit,
                start_times_ms=None if starts is None else starts[again.samples],
            )
        counts: list[int] = np.bincount(statuses, minlength=len(AppendStatus)).tolist()
        return counts

    def end(self, time_ms: int) -> None:
        """Mark everything of this target as gone at `time_ms`, its report series included."""
        refs = self._live_refs()
        if self._report.refs is not None:
            refs = np.concatenate((refs, self._report.refs))
        refs, native = self._part_native(refs)
        if refs.size:
            times = np.full(refs.size, time_ms, np.int64)
            self._appender.append(refs, times, np.full(refs.size, STALE_NAN))
        self._mark_native(native, time_ms)
        self.cache.live[:] = False
        self._inherited = _NO_REFS

    # -------------------------------------------------------------------- what has vanished

    def _live_refs(self) -> Ints:
        return np.concatenate((self.cache.refs[self.cache.live], self._inherited))

    def _vanished(self, batch: Batch) -> Ints:
        """Return the refs to mark as gone."""
        if batch.gone == 0 and not self._inherited.size:
            return _NO_REFS
        cache = self.cache
        if batch.gone < 0:
            # There is no exposition: nothing is live any more.
            batch.live = np.zeros(cache.count, np.bool_)
        gone = np.concatenate((cache.refs[cache.live & ~batch.live], self._inherited))
        # Two texts may name one series; and a series may come back under another labelling.
        return np.unique(gone[~np.isin(gone, cache.refs[batch.live])])

    def _rows(
        self, batch: Batch, stale: Ints, report: Floats, time_ms: int
    ) -> tuple[Ints, Ints, Floats]:
        """Return refs, times and values of samples, stale markers and report, in this order."""
        size, more = batch.size, len(report)
        report_refs = self._report.resolve(self.labelling, more)
        columns = batch.columns
        if columns is None or stale.size:
            refs, times, values = _NO_REFS, _NO_REFS, np.empty(0)
            if columns is not None:
                refs, times = columns.out_refs[:size], columns.out_times[:size]
                values = columns.out_values[:size]
            return (
                np.concatenate((refs, stale, report_refs)),
                np.concatenate((times, np.full(stale.size + more, time_ms, np.int64))),
                np.concatenate((values, np.full(stale.size, STALE_NAN), report)),
            )
        end = size + more
        columns.out_refs[size:end] = report_refs
        columns.out_times[size:end] = time_ms
        columns.out_values[size:end] = report
        return columns.out_refs[:end], columns.out_times[:end], columns.out_values[:end]

    def _look_again(
        self,
        batch: Batch,
        statuses: npt.NDArray[np.uint8],
        stale_count: int,
        report: Floats,
        time_ms: int,
    ) -> list[int]:
        """Append again what storage does not know any more; return the statuses of samples."""
        of_samples = statuses[: batch.size]
        of_report = statuses[batch.size + stale_count :]
        if np.any(of_report == AppendStatus.UNKNOWN_SERIES):
            self._report.refs = None
            refs = self._report.resolve(self.labelling, len(report))
            self._appender.append(refs, np.full(len(report), time_ms, np.int64), report)
        if np.any(of_samples == AppendStatus.UNKNOWN_SERIES):
            of_samples = self._append_again(batch, of_samples, time_ms)
        counts: list[int] = np.bincount(of_samples, minlength=len(AppendStatus)).tolist()
        return counts

    def _end(self, batch: Batch, generation: int, *, failed: bool) -> None:
        """Take over what the scrape has taught, after it has been stored."""
        cache = self.cache
        cache.live = (
            batch.live if batch.live.size == cache.count else np.zeros(cache.count, np.bool_)
        )
        self._inherited = _NO_REFS
        if failed:
            # A target whose labels vary in scrapes that fail would grow the cache without end.
            if cache.count > 2 * self._good_count + 1000:
                self._reader.keep(np.flatnonzero(cache.seen == self._good_generation))
            return
        self._good_generation = generation
        self._native_refs = _NO_REFS
        exposition = batch.exposition
        if exposition is None:
            self._reader.keep(_NO_REFS)
        else:
            if batch.native is not None:
                self._native_refs = cache.refs[exposition.entries[batch.native.samples]]
            if not self.metadata.knows(exposition.comment_hash):
                exposition.teach(self.metadata)
            drift = cache.count - batch.shown + max(0, cache.count - self._good_count)
            if drift * _DRIFT > cache.count:
                order = exposition.entries[(exposition.flags & DUPLICATE) == 0].astype(np.int64)
                if not np.array_equal(order, np.arange(cache.count)):
                    self._reader.keep(order)
                self._good_count = cache.count
        self.metadata.end_scrape()

    # ------------------------------------------------------------------- refs that are gone

    def _append_again(
        self, batch: Batch, statuses: npt.NDArray[np.uint8], time_ms: int
    ) -> npt.NDArray[np.uint8]:
        """Resolve series that storage has collected, and append their samples again.

        Storage collects series that were silent for hours; their text is still shown, so they are
        relabelled anew, as series that were never seen.
        """
        columns = batch.columns
        assert columns is not None
        lost = np.flatnonzero(statuses == AppendStatus.UNKNOWN_SERIES)
        samples, starts = columns.out_samples[lost], batch.starts
        refs = self._resolve_again(batch, samples)
        statuses = statuses.copy()
        statuses[lost] = self._appender.append(
            refs,
            columns.out_times[lost],
            columns.out_values[lost],
            time_max_ms=time_ms + FUTURE_MS_MAX,
            start_times_ms=None if starts is None else starts[samples],
        )
        return statuses

    def _resolve_again(self, batch: Batch, samples: Ints) -> Ints:
        """Return refs of samples whose series are gone from storage."""
        exposition = batch.exposition
        assert exposition is not None
        entries, first = np.unique(exposition.entries[samples], return_index=True)
        types = TypesInEffect(exposition, self.metadata)
        labels = []
        for sample in samples[first].tolist():
            exposed = series_labels(
                exposition.series_text(sample), openmetrics=exposition.openmetrics
            )
            labels.append(self.labelling.stored_labels(exposed, types.at(sample)) or {})
        self.cache.refs[entries] = self._appender.resolve(LabelSpans.from_labels(labels))
        return self.cache.refs[exposition.entries[samples]]


def _starts_of_rows(batch: Batch, rows: int) -> Ints | None:
    """Return the start of each row that is appended: samples first, then what has none."""
    if batch.starts is None or batch.columns is None:
        return None
    starts = np.zeros(rows, np.int64)
    starts[: batch.size] = batch.starts[batch.columns.out_samples[: batch.size]]
    return starts
