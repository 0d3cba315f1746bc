"""Classic histograms of a body become native ones with custom buckets.

From: `exposition.py`, `protobuf.py`.   To: `ingest.py`, as an exposition like any other.
Source: Prometheus documentation, `convert_classic_histograms_to_nhcb`, and what 3.5 does with it.

What a series is part of is worked out once for its text, and remembered by the text's hash, as the
refs of series are; a scrape of known series is columns only. Buckets, count and sum that stand
together make one histogram. One whose counts contradict each other is left out.
Invariant: a histogram that comes as a native one already is not made of its classic parts as well.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scraper.cache_kernels import DUPLICATE
from scraper.custom_buckets import BUCKET, COUNT, SUM, Parts, histograms_of
from scraper.exposition import Exposition
from scraper.protobuf import ProtobufExposition, text_of_series
from scraper.protobuf_kernels import NATIVE, look_up
from scraper.resolution import SCHEMA_MAX, limit_buckets
from scraper.series_cache import HASH_KEYS, SeriesCache
from scraper.text_kernels import PADDING, hash_wide
from scraper.tokens import ParseError, parse_float, series_labels
from tsdb.histograms.columns import concat, take

if TYPE_CHECKING:
    import numpy.typing as npt

    from scraper.exemplar_text import Exemplar
    from scraper.metadata import TargetMetadata
    from tsdb.interface import HistogramColumns

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

    _BaseKey = tuple[str, tuple[tuple[str, str], ...]]

NONE, EXPONENTIAL = 0, 4
"""What a series is beside BUCKET, COUNT and SUM: nothing of a histogram, or a native one itself."""

_SUFFIXES = (("_bucket", BUCKET), ("_count", COUNT), ("_sum", SUM))
_SPARE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedExposition(Exposition):
    """A body whose classic histograms were made native. `raw` is the body as it came.

    Shapes: `origin` int64[N], the sample of `raw` that a sample is or, for a histogram made here,
    that its first part is; `texts`, the series of these, by sample; `native_samples` and
    `histograms` as in `ProtobufExposition`, both kinds together.
    """

    raw: Exposition
    origin: Ints
    texts: dict[int, bytes]
    exemplar_number: Ints
    native_samples: Ints
    histograms: HistogramColumns | None

    def series_text(self, sample: int) -> bytes:
        """Return the series of one sample."""
        text = self.texts.get(sample)
        return self.raw.series_text(int(self.origin[sample])) if text is None else text

    def exemplar_text(self, number: int) -> bytes:
        """Return one exemplar as it was exposed."""
        return self.raw.exemplar_text(int(self.exemplar_number[number]))

    def read_exemplar(self, text: bytes) -> Exemplar:
        """Return what the text of an exemplar says. Raises ParseError."""
        return self.raw.read_exemplar(text)

    def teach(self, metadata: TargetMetadata) -> None:
        """Tell the metadata of the target what the body says."""
        self.raw.teach(metadata)

    def comment(self, number: int) -> bytes:
        """Return one metadata line, without its end."""
        return self.raw.comment(number)


class ClassicHistograms:
    """What one target's series are of histograms, from scrape to scrape.

    `cache` is for the parser; the other columns are by its entries: `part`, `base` (which
    histogram, -1: none), `bound` (of buckets). Used by one thread at a time.
    """

    def __init__(self) -> None:
        self.cache = SeriesCache()
        self._part = np.empty(0, np.uint8)
        self._base = np.empty(0, np.int32)
        self._bound = np.empty(0)
        self._bases: dict[_BaseKey, int] = {}
        self._texts: list[bytes] = []
        self._hashes = np.empty((2, 0), np.uint64)
        self._comment_hash = -1

    def convert(
        self,
        raw: Exposition,
        cache: SeriesCache,
        metadata: TargetMetadata,
        *,
        keep_classic: bool = False,
        buckets_max: int = 0,
    ) -> ConvertedExposition:
        """Return the converted body, its series looked up in `cache`. Raises ParseError.

        `raw` was parsed with `self.cache`, whose generation had been begun. `buckets_max` refuses
        a histogram with more buckets that are not empty (0: no limit).
        """
        self._learn(raw, metadata)
        entries = raw.entries
        groups = self._groups(raw, entries)
        made, whole = histograms_of(groups)
        if buckets_max and made is not None:
            limit_buckets(made, buckets_max=buckets_max, schema_max=SCHEMA_MAX)
        groups = groups.only(whole)
        is_part = np.zeros(raw.sample_count, np.bool_)
        is_part[groups.tried] = True
        left = np.arange(raw.sample_count) if keep_classic else np.flatnonzero(~is_part)
        converted = self._join(raw, cache, left, groups, made)
        self._prune(raw.sample_count)
        return converted

    # ------------------------------------------------------------------ what series are part of

    def _learn(self, raw: Exposition, metadata: TargetMetadata) -> None:
        """Find out about series that are new, or about all where types have changed."""
        changed = raw.comment_hash != self._comment_hash
        if not changed and not raw.unknown:
            return
        new = np.flatnonzero(raw.entries < 0)
        if new.size:
            order = np.lexsort((new, raw.high[new], raw.low[new]))
            low, high = raw.low[new][order], raw.high[new][order]
            is_first = np.ones(new.size, np.bool_)
            is_first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
            first = new[order][is_first]
            lengths = (raw.spans[1, first] - raw.spans[0, first]).astype(np.int32)
            added = self.cache.add(
                raw.low[first], raw.high[first], lengths, np.zeros(first.size, np.int64)
            )
            raw.entries[new[order]] = added[np.cumsum(is_first) - 1]
            room = self.cache.count
            self._part = np.concatenate((self._part, np.zeros(room - self._part.size, np.uint8)))
            unset = np.full(room - self._base.size, -1, np.int32)
            self._base = np.concatenate((self._base, unset))
            self._bound = np.concatenate((self._bound, np.zeros(room - self._bound.size)))
            new = first
        if changed:
            _, new = np.unique(raw.entries, return_index=True)
        types = _declared(raw, metadata)
        for sample in new.tolist():
            self._take(int(raw.entries[sample]), raw, sample, types)
        if len(self._texts) > self._hashes.shape[1]:
            self._hash()
        self._comment_hash = raw.comment_hash

    def _take(self, entry: int, raw: Exposition, sample: int, types: _Declared) -> None:
        self._part[entry], self._base[entry] = NONE, -1
        text = raw.series_text(sample)
        family, kind = types.at(sample)
        is_native = bool(raw.flags[sample] & NATIVE)
        if kind != "histogram" and not is_native:
            return
        labels = series_labels(text, openmetrics=raw.openmetrics)
        name, rest = labels[0][1], labels[1:]
        part, bound = EXPONENTIAL, 0.0
        if not is_native:
            part = next((p for suffix, p in _SUFFIXES if name == family + suffix), NONE)
            written = [value for label, value in rest if label == "le"]
            if part == NONE or (part == BUCKET and len(written) != 1):
                return
            if part == BUCKET:
                try:
                    bound = parse_float(written[0].encode())
                except ParseError:
                    return
                if bound != bound:
                    return
            name = family
            rest = [(label, value) for label, value in rest if label != "le"]
        key = name, tuple(sorted(rest))
        base = self._bases.get(key)
        if base is None:
            base = self._bases[key] = len(self._texts)
            pairs = [(label.encode(), value.encode()) for label, value in key[1]]
            self._texts.append(text_of_series(name.encode(), pairs))
        self._part[entry], self._base[entry], self._bound[entry] = part, base, bound

    def _hash(self) -> None:
        """Hash the texts of new bases, marked so that no series of a body has the same hash."""
        rows = []
        for text in self._texts[self._hashes.shape[1] :]:
            marked = b"\xff" + text
            data = np.frombuffer(marked + bytes(PADDING), np.uint8)
            rows.append(hash_wide(data, 0, len(marked), HASH_KEYS))
        hashes = np.array(rows, np.uint64).reshape(-1, 2).T
        self._hashes = np.concatenate((self._hashes, hashes), axis=1)

    def _prune(self, shown: int) -> None:
        """Forget what is not shown any more, where that has become the most."""
        cache = self.cache
        if cache.count <= 2 * shown + _SPARE:
            return
        kept = np.flatnonzero(cache.seen == cache.generation)
        self._part, self._bound = self._part[kept], self._bound[kept]
        base = self._base[kept]
        cache.keep(kept)
        used = np.unique(base[base >= 0])
        number = np.full(len(self._texts) + 1, -1, np.int32)
        number[used] = np.arange(used.size)
        self._base = number[base]
        self._texts = [self._texts[old] for old in used.tolist()]
        self._hashes = self._hashes[:, used]
        self._bases = {key: int(number[b]) for key, b in self._bases.items() if number[b] >= 0}

    # ----------------------------------------------------------------------------- one scrape

    def _groups(self, raw: Exposition, entries: npt.NDArray[np.int32]) -> Parts:
        """Return the parts of the body, gathered where they stand together."""
        part, base = self._part[entries], self._base[entries]
        native = part == EXPONENTIAL
        is_part = (part != NONE) & ~native
        if native.any():
            is_part &= ~np.isin(base, base[native])
        samples = np.flatnonzero(is_part)
        base = base[samples]
        starts = np.ones(samples.size, np.bool_)
        starts[1:] = (base[1:] != base[:-1]) | (np.diff(samples) != 1)
        return Parts(
            tried=samples,
            samples=samples,
            group=np.cumsum(starts) - 1,
            first=samples[starts],
            base=base[starts].astype(np.int64),
            part=part[samples],
            bound=self._bound[entries[samples]],
            value=raw.values[samples],
        )

    def _join(
        self,
        raw: Exposition,
        cache: SeriesCache,
        left: Ints,
        groups: Parts,
        made: HistogramColumns | None,
    ) -> ConvertedExposition:
        """Return the samples that are left and the histograms made, in the order of the body."""
        known = self.cache
        ends = np.searchsorted(groups.group, np.arange(groups.first.size), side="right")
        last = groups.samples[ends - 1]
        place = np.concatenate((2 * left, 2 * last + 1))
        order = np.argsort(place, kind="stable")
        place = place[order]
        origin = np.concatenate((left, groups.first))[order]
        is_made = (order >= left.size).astype(np.bool_)
        of_made = order[is_made] - left.size
        entries_raw = raw.entries[origin]
        low, high = known.low[entries_raw], known.high[entries_raw]
        low[is_made], high[is_made] = self._hashes[:, groups.base[of_made]]
        flags = raw.flags[origin] & ~np.uint8(DUPLICATE)
        flags[is_made] |= np.uint8(NATIVE)
        size = origin.size
        entries, seen_before = np.empty(size, np.int32), np.empty(size, np.int32)
        unknown = look_up(
            low,
            high,
            cache.table,
            cache.low,
            cache.high,
            cache.seen,
            np.int32(cache.generation),
            cache.count,
            entries,
            seen_before,
            flags,
        )
        made_at = np.flatnonzero(is_made)
        new = np.flatnonzero(entries[made_at] < 0)
        texts = {
            sample: self._texts[base]
            for sample, base in zip(
                made_at[new].tolist(), groups.base[of_made[new]].tolist(), strict=True
            )
        }
        native_samples, histograms = _together(raw, flags, is_made, origin, made, of_made)
        exemplar_number, exemplar_sample = _exemplars(
            raw, groups, place, made_at[np.argsort(of_made)]
        )
        converted = ConvertedExposition(
            data=raw.data,
            openmetrics=raw.openmetrics,
            spans=np.zeros((2, size), np.int32),
            low=low,
            high=high,
            entries=entries,
            unknown=int(unknown),
            seen_before=seen_before,
            flags=flags,
            values=raw.values[origin],
            times_ms=raw.times_ms[origin],
            comment_start=raw.comment_start,
            comment_stop=raw.comment_stop,
            comment_sample=np.searchsorted(place, 2 * raw.comment_sample).astype(np.int32),
            comment_hash=raw.comment_hash,
            exemplar_start=raw.exemplar_start[exemplar_number],
            exemplar_stop=raw.exemplar_stop[exemplar_number],
            exemplar_sample=exemplar_sample,
            raw=raw,
            origin=origin,
            texts=texts,
            exemplar_number=exemplar_number,
            native_samples=native_samples,
            histograms=histograms,
        )
        return _with_texts(converted) if unknown else converted


def _together(
    raw: Exposition,
    flags: npt.NDArray[np.uint8],
    is_made: Mask,
    origin: Ints,
    made: HistogramColumns | None,
    of_made: Ints,
) -> tuple[Ints, HistogramColumns | None]:
    """Return which samples are native histograms, and these in the order of the samples."""
    samples = np.flatnonzero(flags & NATIVE)
    given = raw.histograms if isinstance(raw, ProtobufExposition) else None
    if given is None or made is None or not is_made.any():
        if is_made.any() and made is not None:
            return samples, take(made, of_made)
        return samples, given
    rows = np.empty(samples.size, np.int64)
    own = is_made[samples]
    assert isinstance(raw, ProtobufExposition)
    rows[~own] = np.searchsorted(raw.native_samples, origin[samples[~own]])
    rows[own] = given.histogram_count + of_made
    return samples, take(concat([given, made]), rows)


def _exemplars(
    raw: Exposition, groups: Parts, place: Ints, made_at: Ints
) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Return number and sample of each exemplar.

    It goes to the part that is left, and to the histogram made of it.
    """
    number = np.arange(raw.exemplar_sample.size)
    if not number.size:
        return number, np.empty(0, np.int32)
    wanted = 2 * raw.exemplar_sample.astype(np.int64)
    at = np.searchsorted(place, wanted)
    there = np.isin(wanted, place)  # nothing may be left at all
    to_part = np.full(raw.sample_count, -1, np.int64)
    to_part[groups.samples] = made_at[groups.group]
    histogram = to_part[raw.exemplar_sample]
    has = histogram >= 0
    numbers = np.concatenate((number[there], number[has]))
    samples = np.concatenate((at[there], histogram[has]))
    order = np.argsort(samples, kind="stable")
    return numbers[order], samples[order].astype(np.int32)


def _with_texts(found: ConvertedExposition) -> ConvertedExposition:
    """Write the text of each new series where the labelling of new series reads it."""
    chunks, at = [], 0
    for sample in np.flatnonzero(found.entries < 0).tolist():
        text = found.series_text(sample)
        chunks.append(text)
        found.spans[:, sample] = at, at + len(text)
        at += len(text)
    return replace(found, data=np.frombuffer(b"".join(chunks) + bytes(PADDING), np.uint8))


class _Declared(Protocol):
    def at(self, sample: int) -> tuple[str, str]:
        """Return the name and type of the family that was declared last before a sample."""


class _DeclaredInText:
    """The family and type declared last before each sample of a text."""

    def __init__(self, raw: Exposition, metadata: TargetMetadata) -> None:
        self._from: list[int] = [-1]
        self._said: list[tuple[str, str]] = [("", "unknown")]
        for number, sample in enumerate(raw.comment_sample.tolist()):
            line = metadata.parse(raw.comment(number), openmetrics=raw.openmetrics)
            if line.kind == "TYPE":
                self._from.append(sample)
                self._said.append((line.family, line.text))

    def at(self, sample: int) -> tuple[str, str]:
        """Return them."""
        return self._said[bisect_right(self._from, sample) - 1]


class _DeclaredFamilies:
    """The family and type of each sample of a protobuf body."""

    def __init__(self, raw: ProtobufExposition) -> None:
        self._raw = raw
        self._said = [raw.family(number) for number in range(raw.families.shape[1])]

    def at(self, sample: int) -> tuple[str, str]:
        """Return them."""
        return self._said[int(self._raw.where[2, sample])]


def _declared(raw: Exposition, metadata: TargetMetadata) -> _Declared:
    if isinstance(raw, ProtobufExposition):
        return _DeclaredFamilies(raw)
    return _DeclaredInText(raw, metadata)
