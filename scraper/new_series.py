"""The series of a scrape that its cache does not know: numbered, labelled, resolved to refs.

From: `exposition.py`, through `ingest.py`.   To: `Appender.resolve`.

Plain ones, nearly all, are labelled by a kernel; Python does those that are not, and all where
rules relabel more than by metric names. Which way a series goes makes no difference to what is
stored.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scraper.cache_kernels import DROPPED, number_texts
from scraper.exposition import BODY_BYTES_MAX
from scraper.label_kernels import HISTOGRAM, LABELS_MAX, NO_BOUND, SUMMARY, plain_labels
from scraper.tokens import ParseError, series_labels
from tsdb.interface import LabelSpans

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.cache_kernels import Int
    from scraper.exposition import Exposition
    from scraper.labelling import Labelling
    from scraper.metadata import TargetMetadata
    from tsdb.interface import Appender

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

_KINDS = {"histogram": HISTOGRAM, "summary": SUMMARY}
_NO_LIMIT = np.iinfo(np.int64).max
# A number that lacks `.0` takes this much at most; only bucket bounds and quantiles do.
_REWRITTEN_BYTES = 8
_LABELS_GUESS = 8
"""Labels of a series as a rule; where they are more, the kernel is called again."""


@dataclass(slots=True)
class NewSeries:
    """The K texts that are new, with the M samples that show them.

    Shapes: `samples`, `numbers` int64[M], the samples and the number of the text of each; for each
    text `first` int64[K], the sample that shows it first, `kept` bool[K] by relabelling, `plain`
    bool[K]: its labels are among `spans`, otherwise, if it is kept, among `others`.
    """

    samples: Ints
    numbers: Ints
    first: Ints
    kept: Mask
    plain: Mask
    spans: LabelSpans | None
    others: list[dict[str, str]]

    def leave_out(self, skipped: Mask) -> None:
        """Drop some of the texts, as if relabelling had: bool[K]."""
        if not (skipped & self.kept).any():
            return
        plain = np.flatnonzero(self.plain & self.kept)
        if self.spans is not None:
            left = np.flatnonzero(~skipped[plain])
            begin, sizes = self.spans.first[left], np.diff(self.spans.first)[left]
            first = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
            rows = np.arange(first[-1]) + np.repeat(begin - first[:-1], sizes)
            spans = np.ascontiguousarray(self.spans.spans[rows])
            self.spans = LabelSpans(self.spans.data, spans, first) if left.size else None
        others = np.flatnonzero(~self.plain & self.kept).tolist()
        pairs = zip(others, self.others, strict=True)
        self.others = [labels for number, labels in pairs if not skipped[number]]
        self.kept = self.kept & ~skipped

    def resolve(self, appender: Appender) -> Ints:
        """Return the ref of each text, DROPPED where it is not kept: int64[K]."""
        refs = np.full(self.first.size, DROPPED, np.int64)
        if self.spans is not None:
            refs[self.plain & self.kept] = appender.resolve(self.spans)
        if self.others:
            refs[self.kept & ~self.plain] = appender.resolve(LabelSpans.from_labels(self.others))
        return refs


def find_new(
    exposition: Exposition, labelling: Labelling, metadata: TargetMetadata, known_refs: Ints
) -> NewSeries:
    """Label what the cache does not know; flags repeated ones DUPLICATE in `exposition`.

    Raises ParseError where Prometheus fails the scrape, with the samples that came before.
    """
    samples = np.flatnonzero(exposition.entries < 0)
    numbers, first = np.empty(samples.size, np.int64), np.empty(samples.size, np.int64)
    count = number_texts(exposition.low, exposition.high, samples, exposition.flags, numbers, first)
    first = first[:count].copy()
    types = TypesInEffect(exposition, metadata)
    kept, plain = np.ones(count, np.bool_), np.zeros(count, np.bool_)
    spans = None
    if labelling.rules.by_metric_name:
        kinds = types.kinds(first)
        spans = _plain(exposition, labelling, first, kinds, plain)
        dropped = _dropped(exposition, labelling, first, plain)
        if dropped.any():
            kept, chosen = ~dropped, np.flatnonzero(plain & ~dropped)
            spans = _plain(exposition, labelling, first[chosen], kinds[chosen], plain[chosen])
    others: list[dict[str, str]] = []
    for number in np.flatnonzero(~plain).tolist():
        sample = int(first[number])
        try:
            exposed = series_labels(
                exposition.series_text(sample), openmetrics=exposition.openmetrics
            )
            stored = labelling.stored_labels(exposed, types.at(sample))
        except ParseError as e:
            before = exposition.entries[:sample]
            known = np.count_nonzero(known_refs[before[before >= 0]] != DROPPED)
            new = np.count_nonzero(kept[numbers[: np.searchsorted(samples, sample)]])
            raise type(e)(str(e), sample + 1, int(known + new)) from None
        kept[number] = stored is not None
        if stored is not None:
            others.append(stored)
    return NewSeries(samples, numbers, first, kept, plain, spans, others)


def _dropped(exposition: Exposition, labelling: Labelling, first: Ints, plain: Mask) -> Mask:
    """Say which of the plain series are dropped by the name of their metric."""
    dropped = np.zeros(first.size, np.bool_)
    if labelling.rules.steps:
        verdicts: dict[bytes, bool] = {}
        for number in np.flatnonzero(plain).tolist():
            name = exposition.series_text(int(first[number])).partition(b"{")[0].rstrip(b" \t")
            if name not in verdicts:
                verdicts[name] = labelling.rules.apply({"__name__": name.decode()}) is None
            dropped[number] = verdicts[name]
    return dropped


def _plain(
    exposition: Exposition,
    labelling: Labelling,
    first: Ints,
    kinds: npt.NDArray[np.uint8],
    plain: Mask,
) -> LabelSpans | None:
    """Label the plain ones among the series of samples `first`; say in `plain` which they are."""
    at = exposition.data.size
    texts, target = [], [(0, 0, 0, 0)]
    for name, value in [("__name__", ""), *sorted(labelling.target_labels.items())]:
        middle, stop = at + len(name.encode()), at + len(name.encode()) + len(value.encode())
        texts.append(name + value)
        target.append((at, middle, middle, stop))
        at = stop
    free = at + _REWRITTEN_BYTES * int(np.count_nonzero(kinds))
    if free > BODY_BYTES_MAX or len(target) > LABELS_MAX // 2:
        return None
    data = np.empty(free, np.uint8)
    added = np.frombuffer("".join(texts).encode(), np.uint8)
    data[: exposition.data.size] = exposition.data
    data[exposition.data.size : at] = added
    limits = labelling.job.limits
    bounds = (
        limits.label_limit,
        limits.label_name_length_limit,
        limits.label_value_length_limit,
    )
    limit = np.array([bound or _NO_LIMIT for bound in bounds], np.int64)
    state = np.array([0, 0, at], np.int64)
    rows = np.empty((first.size * (len(target) + _LABELS_GUESS) + LABELS_MAX, 4), np.int32)
    starts = np.zeros(first.size + 1, np.int64)
    target_rows = np.array(target[1:], np.int32)
    done: Int = 0
    while True:
        done = plain_labels(
            data,
            exposition.spans,
            first,
            kinds,
            done,
            target_rows,
            limit,
            state,
            rows,
            starts,
            plain,
        )
        if done == first.size:
            break
        rows = np.concatenate((rows, np.empty_like(rows)))
    count = int(state[0])
    return LabelSpans(data, rows[: int(state[1])], starts[: count + 1]) if count else None


class TypesInEffect:
    """The type that was declared last before each sample."""

    def __init__(self, exposition: Exposition, metadata: TargetMetadata) -> None:
        self._from: list[int] = [-1]
        self._types: list[str] = ["unknown"]
        for number, sample in enumerate(exposition.comment_sample.tolist()):
            line = metadata.parse(exposition.comment(number), openmetrics=exposition.openmetrics)
            if line.kind == "TYPE":
                self._from.append(sample)
                self._types.append(line.text)

    def at(self, sample: int) -> str:
        """Return the type in effect at a sample."""
        return self._types[bisect_right(self._from, sample) - 1]

    def kinds(self, samples: Ints) -> npt.NDArray[np.uint8]:
        """Return for each sample which of its labels is a number, as `plain_labels` takes it."""
        kinds = np.array([_KINDS.get(text, NO_BOUND) for text in self._types], np.uint8)
        return kinds[np.searchsorted(self._from, samples, side="right") - 1]
