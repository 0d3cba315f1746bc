"""Read one time range of many series, as columns.

From: `head_view.py` (open samples, sealed pages, late buffer), `block.py` (sealed blocks).
To:   `promql/engine.py` and everybody else, through `SeriesReader` of `interface`.

All selections of a call are matched first, then one moment is fixed under the head's lock, then
columns are read without it. Blocks are only merged in where one overlaps the range.
Invariant: within a series times strictly increase, across every seam between sources.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from tsdb.direct_read import Wanted, may_be_many, read_directly
from tsdb.distinct import distinct
from tsdb.errors import ClosedError, TooManySamplesError
from tsdb.exemplars import exemplar_columns, some_series
from tsdb.few_rows import FEW, FewRows, read_few, take_few
from tsdb.head_view import HeadView, RowSamples, read_view, take_view
from tsdb.histograms.buffer import read_histograms, weigh_histograms
from tsdb.histograms.columns import take_series as take_histograms
from tsdb.histograms.reset_hints import BEFORE_MS, since, with_reset_hints
from tsdb.interface import HistogramRuns, LabelColumns, SeriesBatch
from tsdb.kernels import NO_TIME
from tsdb.label_memory import NOTHING, Answers, LabelMemory, Texts, all_of
from tsdb.match_memory import MatchMemory
from tsdb.matching import RegexMemory, check_matchers, match_series, satisfying
from tsdb.merge import merge_batches, merge_labels
from tsdb.presence import slots_with_samples
from tsdb.series_order import series_order
from tsdb.start_times import companion_selection, has_companions, with_start_times
from tsdb.symbols import SymbolTable
from tsdb.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tsdb.block import Block
    from tsdb.errors import CorruptFileError
    from tsdb.head import Head
    from tsdb.interface import ExemplarColumns, Ints, Matcher, Selection
    from tsdb.label_kernels import Slots
    from tsdb.label_memory import Question
    from tsdb.match_memory import FoundSeries
    from tsdb.metric_table import SeriesRows

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_TIME_MIN_MS = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class _Asked:
    """One selection: its range, the rows of blocks, and whether any of its series has histograms.

    Of these the time before the range is read too, from `from_ms` on:
    see `histograms/reset_hints.py`.
    """

    from_ms: int
    start_ms: int
    end_ms: int
    in_blocks: tuple[tuple[Block, Ints], ...]
    wide: bool


class Reader:
    """Implements `interface.SeriesReader` over a head and sealed blocks.

    `blocks` is a tuple that is replaced under the head's lock.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._memory = RegexMemory(head.symbols)
        self._memory_lock = threading.Lock()
        self._found = MatchMemory(head.rows)
        self._labels = LabelMemory(head.rows)
        self._block_answers: WeakKeyDictionary[Block, Answers] = WeakKeyDictionary()
        self.blocks: tuple[Block, ...] = ()
        self.corruptions = 0
        self.closed = False
        self._workers = Workers()

    def close(self) -> None:
        """Refuse every further read, and end the threads."""
        self.closed = True
        self._workers.close()

    def select(
        self, selections: Sequence[Selection], *, samples_max: int | None = None
    ) -> list[SeriesBatch]:
        """Return one batch per selection; see `interface.SeriesReader`."""
        self._check_open()
        return self._steadily(lambda: self._select_started(selections, samples_max))

    def _select_started(
        self, selections: Sequence[Selection], samples_max: int | None
    ) -> list[SeriesBatch]:
        """Read the selections, and with them the companions that hold their start timestamps."""
        asking = [at for at, each in enumerate(selections) if each.start_times]
        if not asking or not self.has_start_times():
            return self._select(selections, samples_max)
        starts = [companion_selection(selections[at]) for at in asking]
        batches = self._select([*selections, *starts], samples_max)
        result = batches[: len(selections)]
        for at, companions in zip(asking, batches[len(selections) :], strict=True):
            result[at] = with_start_times(result[at], companions)
        return result

    def has_start_times(self) -> bool:
        """Say whether any series may have start timestamps."""
        if has_companions(self._head.rows.symbols):
            return True
        return any(block.has_start_times for block in self.blocks)

    def _select(
        self, selections: Sequence[Selection], samples_max: int | None, *, few: bool = True
    ) -> list[SeriesBatch]:
        """Read the selections; with `few`, in the way of `few_rows.py` where they are."""
        head = self._head
        rows = head.rows
        matched = self._matched(rows, [each.matchers for each in selections])
        sizes = [each.slots.size for each in matched]
        if len(selections) == 1:
            slots = matched[0].slots
            start = np.full(slots.size, selections[0].start_ms)
            end = np.full(slots.size, selections[0].end_ms)
        else:
            slots = np.concatenate([np.empty(0, np.int32), *(each.slots for each in matched)])
            start = np.repeat(np.array([each.start_ms for each in selections], np.int64), sizes)
            end = np.repeat(np.array([each.end_ms for each in selections], np.int64), sizes)
        view: HeadView | FewRows
        with head.lock:
            if few and slots.size <= FEW:
                view = take_few(head, slots, start, end)
            else:
                view = take_view(head, slots)
            blocks = self.blocks
        before = start
        histograms = None
        if view.histogram_runs:
            before = np.maximum(start, _TIME_MIN_MS + BEFORE_MS) - BEFORE_MS
            histograms = read_histograms(view.histogram_runs, slots, start, end, before)
        asked = []
        stop = 0
        for each, size in zip(selections, sizes, strict=True):
            first, stop = stop, stop + size
            holds = histograms is not None and bool(histograms.count[first:stop].any())
            asked.append(self._asked(each, blocks, holds=holds, may_hold=bool(view.histogram_runs)))
        plain = not view.histogram_runs and not any(each.wide for each in asked)
        arranged = any(each.in_blocks for each in asked) or any(
            each.deferred and may_be_many(found.slots.size, each)
            for each, found in zip(selections, matched, strict=True)
        )
        if plain and isinstance(view, HeadView) and arranged:
            wanted = [
                Wanted(
                    each.start_ms,
                    each.end_ms,
                    known,
                    each.in_blocks,
                    one.deferred and not one.start_times,
                )
                for one, each, known in zip(selections, asked, matched, strict=True)
            ]
            direct = read_directly(
                head, view, wanted, start, end, samples_max=samples_max, workers=self._workers
            )
            if direct is not None:
                return direct
        allowed = samples_max
        if allowed is not None:
            for one in asked:
                for block, found in one.in_blocks:
                    allowed -= block.count_samples(
                        found, one.start_ms, one.end_ms, on_corrupt=self._count_corrupt
                    )
            allowed -= weigh_histograms(view.histogram_runs, slots, start, end)
        from_ms = start
        if any(each.wide for each in asked):
            if isinstance(view, FewRows):  # what it took begins too late
                return self._select(selections, samples_max, few=False)
            from_ms = np.repeat(np.array([each.from_ms for each in asked], np.int64), sizes)
        try:
            if isinstance(view, FewRows):
                own = read_few(view, start, end, samples_max=allowed)
            else:
                own = self._own_samples(view, start, from_ms, end, allowed)
        except TooManySamplesError:
            assert samples_max is not None
            raise TooManySamplesError(samples_max) from None
        batches = []
        stop = 0
        for one, known in zip(asked, matched, strict=True):
            first, stop = stop, stop + known.slots.size
            batch = batch_of(known, own, histograms, first)
            parts = [
                part
                for block, found in one.in_blocks
                if (part := self._read_block(block, found, one)) is not None
            ]
            if parts:
                batch = merge_batches([*parts, batch], rows.symbols)
            batches.append(since(with_reset_hints(batch), one.start_ms) if one.wide else batch)
        return batches

    def _asked(
        self, selection: Selection, blocks: Sequence[Block], *, holds: bool, may_hold: bool
    ) -> _Asked:
        """Find what blocks have of a selection; `holds`: the head has histograms of it."""
        start, end = selection.start_ms, selection.end_ms
        if start > end:
            return _Asked(start, start, end, (), wide=False)
        before = max(start, _TIME_MIN_MS + BEFORE_MS) - BEFORE_MS
        near = [block for block in blocks if block.meta.overlaps(before, end)]
        if not may_hold and not any(block.has_histograms for block in near):
            near = [block for block in near if block.meta.overlaps(start, end)]
        found = tuple((block, block.match(selection.matchers)) for block in near)
        wide = holds or any(block.holds_histograms(block_rows) for block, block_rows in found)
        return _Asked(before if wide else start, start, end, found, wide=wide)

    def _own_samples(
        self, view: HeadView, start: Ints, from_ms: Ints, end: Ints, allowed: int | None
    ) -> RowSamples:
        """Return the head's floats in [from, end]; those from `start` on are what is allowed.

        Raises `TooManySamplesError` before memory is taken, but for those before `start`.
        """
        try:
            return read_view(
                self._head, view, from_ms, end, samples_max=allowed, workers=self._workers
            )
        except TooManySamplesError:
            if (start == from_ms).all():
                raise
        # What lies before is not the user's wish: whether the rest is too much, this tells.
        read_view(self._head, view, start, end, samples_max=allowed)
        return read_view(self._head, view, from_ms, end, workers=self._workers)

    def _read_block(self, block: Block, rows: Ints, asked: _Asked) -> SeriesBatch | None:
        return block.select_rows(rows, asked.from_ms, asked.end_ms, on_corrupt=self._count_corrupt)

    def select_exemplars(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> ExemplarColumns:
        """Return exemplars of matching series; see `interface.ExemplarStorage`."""
        self._check_open()
        head = self._head
        rows = head.rows
        memory = self._memory_of(rows)
        sets = list(matcher_sets) or [()]
        slots = np.concatenate([match_series(rows, memory, each) for each in sets])
        with head.lock:
            generation = head.generation.array[: head.slot_count]
            found = head.exemplars.of_slots(slots, generation, start_ms, end_ms)
            collected = head.exemplars.collected
        live = found.refs >= 0
        kept = live.copy()
        kept[~live] = satisfying(collected, sets)[-2 - found.refs[~live]]
        found = found.where(np.flatnonzero(kept))
        live = found.refs >= 0
        owner = np.where(live, found.refs & 0xFFFFFFFF, found.refs)
        having, series = np.unique(owner, return_inverse=True)
        parts = [
            some_series(collected, -2 - having[having < 0]),
            rows.labels(having[having >= 0].astype(np.int32)),
        ]
        # A series that was collected and came back is one.
        labels, group = merge_labels(parts, SymbolTable())
        order = series_order(labels)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        of_series = rank[group[series]]
        # Those of a series came in order, but for what came back.
        by_time = np.lexsort((found.times, of_series))
        return exemplar_columns(found, by_time, of_series[by_time], some_series(labels, order))

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        """Return the labels of matching series; see `interface.SeriesReader`."""
        self._check_open()
        return self._steadily(lambda: self._series(matcher_sets, start_ms, end_ms))

    def _series(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> LabelColumns:
        # The head before the blocks, so that what is cut between the two looks is in one of them.
        rows, slots = self._in_head(matcher_sets, start_ms, end_ms)
        head = self._head
        if slots.size and not (start_ms <= head.oldest_ms and head.newest_ms <= end_ms):
            slots = slots_with_samples(head, slots, start_ms, end_ms)
        parts = []
        for block, found in self._in_blocks(matcher_sets, start_ms, end_ms):
            having = block.rows_with_samples(
                found, start_ms, end_ms, on_corrupt=self._count_corrupt
            )
            if having.size:
                parts.append(block.labels(having))
        if not parts:
            return rows.labels(slots)
        return merge_labels([*parts, rows.labels(slots)], rows.symbols)[0]

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the label names in use; see `interface.SeriesReader`."""
        self._check_open()
        return self._steadily(lambda: self._texts(None, matcher_sets, start_ms, end_ms))

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[str]:
        """Return the values of one label; see `interface.SeriesReader`."""
        self._check_open()
        return self._steadily(lambda: self._texts(name, matcher_sets, start_ms, end_ms))

    def _texts(
        self,
        label: str | None,
        matcher_sets: Sequence[Sequence[Matcher]],
        start_ms: int,
        end_ms: int,
    ) -> list[str]:
        """Return the values of a label, or the names of labels, among all series of a range."""
        questions = [(label, tuple(each)) for each in matcher_sets] or [(label, ())]
        # The head before the blocks, so that what is cut between the two looks is in one of them.
        parts = self._head_texts(questions, start_ms, end_ms)
        for block in self.blocks:
            if block.meta.overlaps(start_ms, end_ms):
                parts += [self._block_texts(block, question) for question in questions]
        return all_of(parts)

    def _block_texts(self, block: Block, question: Question) -> Texts:
        """Return what a block answers to a question, which it does the same way for ever."""
        answers = self._block_answers.setdefault(block, Answers())
        known = answers.get(question)
        if known is not NOTHING:
            return known
        label, matchers = question
        rows = block.match(matchers)
        texts = block.label_names(rows) if label is None else block.label_values(label, rows)
        found = Texts(texts)
        answers.keep(question, found)
        return found

    def _head_texts(self, questions: Sequence[Question], start_ms: int, end_ms: int) -> list[Texts]:
        """Return what the head answers to each question, nothing if it has no such time."""
        head = self._head
        for _, matchers in questions:
            check_matchers(matchers)
        with head.lock:
            rows = head.rows
            overlaps = head.oldest_ms <= end_ms and start_ms <= head.newest_ms
        if not overlaps:
            return []
        known = self._labels
        if known.rows is not rows:
            known = self._labels = LabelMemory(rows)
        memory, newest_time = self._memory_of(rows), head.newest_time.array
        found = []
        for question in questions:
            texts = known.texts(question, memory, newest_time)
            if texts is None:
                label, matchers = question
                rows, slots = self._in_head([matchers], start_ms, end_ms)
                texts = Texts(rows.names(slots) if label is None else rows.values(label, slots))
            found.append(texts)
        return found

    def _steadily(self, read: Callable[[], _Result]) -> _Result:
        """Read again if a block was replaced before its files were opened, which is lazily."""
        while True:
            blocks = self.blocks
            try:
                return read()
            except FileNotFoundError:
                if self.blocks is blocks:
                    raise

    def _in_blocks(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> list[tuple[Block, Ints]]:
        """Return the blocks that overlap the range, with the rows that satisfy any of the sets."""
        sets = list(matcher_sets) or [()]
        result = []
        for block in self.blocks:
            if block.meta.overlaps(start_ms, end_ms):
                found = [block.match(matchers) for matchers in sets]
                rows = found[0] if len(found) == 1 else distinct(np.concatenate(found))
                result.append((block, rows))
        return result

    def _in_head(
        self, matcher_sets: Sequence[Sequence[Matcher]], start_ms: int, end_ms: int
    ) -> tuple[SeriesRows, Slots]:
        """Return the head's series that satisfy any of the sets; none if it has no such time."""
        head = self._head
        sets = list(matcher_sets) or [()]
        for matchers in sets:
            check_matchers(matchers)
        with head.lock:
            rows = head.rows
            overlaps = head.oldest_ms <= end_ms and start_ms <= head.newest_ms
        if not overlaps:
            return rows, np.empty(0, np.int32)
        found = [each.slots for each in self._matched(rows, sets)]
        chosen = found[0] if len(found) == 1 else distinct(np.concatenate(found))
        has = head.newest_time.array[chosen] > NO_TIME
        if has.all():
            return rows, chosen
        # A series that was resolved and never got a sample is none; one may have late ones only.
        with head.lock:
            late = np.concatenate([each.slots() for each in head.buffers])
        return rows, chosen[has | np.isin(chosen, late)]

    def in_head(self, matchers: Sequence[Matcher]) -> Slots:
        """Return the head's series that satisfy all matchers. Raises `BadMatcherError`."""
        rows = self._head.rows
        return match_series(rows, self._memory_of(rows), matchers)

    def _matched(
        self, rows: SeriesRows, matcher_sets: Sequence[Sequence[Matcher]]
    ) -> list[FoundSeries]:
        """Return the head's series that satisfy each of the sets. Raises `BadMatcherError`."""
        memory = self._memory_of(rows)
        found = self._found
        if found.rows is not rows:
            # Two readers may both begin a new one: the other's is as good.
            found = self._found = MatchMemory(rows)
        return [found.find(memory, each) for each in matcher_sets]

    def _memory_of(self, rows: SeriesRows) -> RegexMemory:
        """Return what patterns said of the symbols of these rows."""
        with self._memory_lock:
            if self._memory.symbols is not rows.symbols:
                self._memory = RegexMemory(rows.symbols)
            return self._memory

    def forget_rows(self) -> None:
        """Let go of rows, and what was found among them, that others have taken the place of."""
        rows = self._head.rows
        self._memory_of(rows)
        if self._found.rows is not rows:
            self._found = MatchMemory(rows)
        if self._labels.rows is not rows:
            self._labels = LabelMemory(rows)

    def _count_corrupt(self, error: CorruptFileError) -> None:
        self.corruptions += 1
        _log.error("samples are left out, a frame is damaged: %s", error)

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the database is closed")


def batch_of(
    found: FoundSeries, samples: RowSamples, histograms: HistogramRuns | None, first: int
) -> SeriesBatch:
    """Make a batch of the rows of what was read from `first` on, without those that are empty."""
    stop = first + found.slots.size
    count = samples.count[first:stop]
    if histograms is not None:
        count = count + histograms.count[first:stop]
    if count.all():
        own = slice(first, stop)
        return SeriesBatch(
            found.labels(),
            samples.times,
            samples.time_start[own],
            samples.values,
            samples.value_start[own],
            samples.count[own],
            None if histograms is None else take_histograms(histograms, np.arange(first, stop)),
        )
    kept = first + np.flatnonzero(count)
    return SeriesBatch(
        found.labels_at(kept - first),
        samples.times,
        samples.time_start[kept],
        samples.values,
        samples.value_start[kept],
        samples.count[kept],
        None if histograms is None else take_histograms(histograms, kept),
    )
