"""One body becomes a batch: known series by a kernel, new ones labelled and resolved, limits kept.

From: `exposition.py`, `protobuf.py`, `classic.py` (columns).   To: `ingest.py`, which stores it.

Work in Python is done for new series only; all else is by column.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scraper.cache_kernels import (
    ADDED,
    COUNTS_SIZE,
    DROPPED,
    GONE,
    KEPT,
    REPEATED,
    SHOWN,
    STORED,
    settle,
)
from scraper.classic import ClassicHistograms, ConvertedExposition
from scraper.columns import ROOM_KEPT_MAX, Columns
from scraper.exposition import parse
from scraper.media_type import OPENMETRICS, PROTOBUF, media_type
from scraper.native import part_native
from scraper.new_series import TypesInEffect, find_new
from scraper.outcome import SampleLimitError
from scraper.protobuf import ProtobufExposition, parse_protobuf
from scraper.start_times import CreatedLines
from scraper.tokens import ParseError

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.exemplars import TargetExemplars
    from scraper.exposition import Exposition
    from scraper.labelling import Labelling
    from scraper.metadata import TargetMetadata
    from scraper.native import NativeSamples
    from scraper.new_series import NewSeries
    from scraper.outcome import Body
    from scraper.series_cache import SeriesCache
    from tsdb.interface import Appender

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_NO_REFS = np.empty(0, np.int64)
_NONE_LIVE = np.empty(0, np.bool_)


@dataclass(slots=True)
class Batch:
    """The samples of one good scrape, ready to append, and the counts for its report.

    The first `size` of `columns.out_*` are to be stored; `live` says of each entry of the cache
    whether it is live from now on, `gone` counts those that were and are not.
    """

    columns: Columns | None = None
    size: int = 0
    native: NativeSamples | None = None
    live: Mask = field(default_factory=lambda: _NONE_LIVE)
    gone: int = -1
    exposition: Exposition | None = None
    scraped: int = 0
    post_relabelling: int = 0
    series_added: int = 0
    shown: int = 0
    duplicates: int = 0
    starts: Ints | None = None
    """The start timestamp of each sample of the exposition, 0 for none."""


class _Thread(threading.local):
    """Columns that each thread uses for one scrape after the other."""

    def __init__(self) -> None:
        self.columns = Columns()


_thread = _Thread()


def give_back_columns() -> None:
    """Let go of this thread's columns if a large scrape made them large; its batch is stored."""
    if _thread.columns.room > ROOM_KEPT_MAX:
        _thread.columns = Columns()


class BatchReader:
    """The reading side of one target: what it shows, by what its cache and metadata know."""

    def __init__(
        self,
        appender: Appender,
        labelling: Labelling,
        cache: SeriesCache,
        metadata: TargetMetadata,
        exemplars: TargetExemplars,
    ) -> None:
        self._appender = appender
        self._labelling = labelling
        self._cache = cache
        self._metadata = metadata
        self._exemplars = exemplars
        self._classic = ClassicHistograms() if labelling.job.convert_classic_histograms else None
        self._created = CreatedLines() if labelling.job.start_times else None

    def read(self, body: Body, time_ms: int, good_generation: int) -> Batch:
        """Return the samples of a body, scraped at `time_ms`.

        `good_generation` is that of the last scrape that was stored. Raises ParseError; the cache
        may have learned series all the same.
        """
        if not body.text:
            return Batch()
        job, cache, columns = self._labelling.job, self._cache, _thread.columns
        exposition = self._parse(body, columns)
        if exposition.unknown or job.limits.sample_limit:
            try:
                self._learn(exposition)
            except ParseError:
                # The families are known, as in Prometheus, though none of their samples is stored.
                if not self._metadata.knows(exposition.comment_hash):
                    exposition.teach(self._metadata)
                raise
        if exposition.exemplar_sample.size:
            try:
                self._exemplars.read(exposition, cache.refs[exposition.entries])
            except ParseError as e:
                raise ParseError(str(e), exposition.sample_count) from None
        live, counts = np.zeros(cache.count, np.bool_), np.empty(COUNTS_SIZE, np.int64)
        settle(
            exposition.entries,
            exposition.seen_before,
            exposition.flags,
            exposition.values,
            exposition.times_ms,
            time_ms,
            good_generation,
            job.honor_timestamps,
            job.track_timestamps_staleness,
            cache.refs,
            cache.live,
            columns.out_refs,
            columns.out_times,
            columns.out_values,
            columns.out_samples,
            live,
            counts,
        )
        count = counts.tolist()
        starts, scraped = self._start_times(exposition)
        native, size = None, count[STORED]
        if isinstance(exposition, ProtobufExposition | ConvertedExposition):
            native, size = part_native(exposition, columns, size)
        return Batch(
            columns=columns,
            size=size,
            native=native,
            live=live,
            gone=count[GONE],
            exposition=exposition,
            scraped=scraped,
            starts=starts,
            post_relabelling=count[KEPT],
            series_added=count[ADDED],
            shown=count[SHOWN],
            duplicates=count[REPEATED],
        )

    def keep(self, order: Ints) -> None:
        """Follow `SeriesCache.keep`, with all that is known of the entries."""
        self._cache.keep(order)
        if self._created is not None:
            self._created.keep(order)

    def _parse(self, body: Body, columns: Columns) -> Exposition:
        """Return the columns of a body, classic histograms converted where the job wants it."""
        job = self._labelling.job
        kind = media_type(body.content_type, job.fallback_scrape_protocol)
        cache, classic = self._cache, self._classic
        if classic is not None:
            cache = classic.cache
            cache.begin()
        exposition: Exposition
        if kind == PROTOBUF:
            exposition = parse_protobuf(
                body.text,
                native=job.scrape_native_histograms,
                classic=job.always_scrape_classic_histograms,
                buckets_max=job.native_histogram_bucket_limit,
                bucket_factor_min=job.native_histogram_min_bucket_factor,
                cache=cache,
                metadata=self._metadata,
                columns=columns,
            )
        else:
            exposition = parse(
                body.text,
                openmetrics=kind == OPENMETRICS,
                cache=cache,
                metadata=self._metadata,
                columns=columns,
            )
        if classic is not None:
            exposition = classic.convert(
                exposition,
                self._cache,
                self._metadata,
                keep_classic=job.always_scrape_classic_histograms,
                buckets_max=job.native_histogram_bucket_limit,
            )
            while columns.room < exposition.sample_count:
                columns.grow()
        return exposition

    def _start_times(self, exposition: Exposition) -> tuple[Ints | None, int]:
        """Return the starts of all samples, None for none, and how many samples there are.

        `_created` lines are none. Raises ParseError.
        """
        if self._created is None:
            return None, exposition.sample_count
        raw = exposition.raw if isinstance(exposition, ConvertedExposition) else exposition
        if isinstance(raw, ProtobufExposition):
            starts = raw.start_times_ms()
            if starts is not None and isinstance(exposition, ConvertedExposition):
                starts = starts[exposition.origin]
            return starts, exposition.sample_count
        entries = exposition.entries.astype(np.int64)
        lines = int(np.count_nonzero(self._created.created[entries]))
        starts = self._created.starts(entries, exposition.values)
        return starts, exposition.sample_count - lines

    def _learn(self, exposition: Exposition) -> None:
        """Find the series of samples without an entry; fills `entries` in place.

        The sample limit is checked before anything is resolved: a target that exceeds it must
        not create series.
        """
        new = find_new(exposition, self._labelling, self._metadata, self._cache.refs)
        group, created = _NO_REFS, _NONE_LIVE
        if self._created is not None:
            types = TypesInEffect(exposition, self._metadata)
            kinds = [types.at(sample) for sample in new.first.tolist()]
            if not exposition.openmetrics:
                kinds = [""] * len(kinds)
            group, created = self._created.look_at(exposition, new.first, kinds)
            new.leave_out(created)
        self._check_sample_limit(exposition, new)
        if not new.first.size:
            return
        spans = exposition.spans
        added = self._cache.add(
            exposition.low[new.first],
            exposition.high[new.first],
            spans[1, new.first] - spans[0, new.first],
            new.resolve(self._appender),
        )
        exposition.entries[new.samples] = added[new.numbers]
        if self._created is not None:
            self._created.add(group, created)

    def _check_sample_limit(self, exposition: Exposition, new: NewSeries) -> None:
        limit = self._labelling.job.limits.sample_limit
        if not limit:
            return
        explicit = exposition.explicit & self._labelling.job.honor_timestamps
        counted = ~exposition.duplicate | explicit
        stored = np.ones(exposition.sample_count, np.bool_)
        known = exposition.entries >= 0
        stored[known] = self._cache.refs[exposition.entries[known]] != DROPPED
        stored[new.samples] = new.kept[new.numbers]
        if np.count_nonzero(stored & counted) > limit:
            raise SampleLimitError("sample limit exceeded", exposition.sample_count)
