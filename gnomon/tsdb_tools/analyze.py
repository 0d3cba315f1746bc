"""What a block spends its series and bytes on: cardinality, churn, bytes a sample by metric.

From: one block, read-only. To: `commands/tsdb.py`, lists of (number, text), largest first.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from tsdb import frames
from tsdb.array_file import ArrayFile
from tsdb.block_writer import INDEX_FILE, PAGES_FILE
from tsdb.interface import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tsdb.block import Block
    from tsdb.interface import Floats, Ids, Ints, Matcher

    Ranked = list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class MetricSize:
    """What one metric takes: bytes of its values in `pages`, as compressed, shared out by page."""

    name: str
    series: int
    samples: int
    value_bytes: float

    @property
    def bytes_per_sample(self) -> float:
        """Bytes of values for each sample; times and index are shared and not counted."""
        return self.value_bytes / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class Analysis:
    """A block taken apart. Churn: for how much of the block a pair's series were not there."""

    series: int
    samples: int
    label_names: int
    label_pairs: int
    label_pair_entries: int
    index_bytes: int
    value_bytes: int
    other_page_bytes: int
    churn_by_pair: Ranked
    churn_by_name: Ranked
    series_by_pair: Ranked
    value_length_by_name: Ranked
    values_by_name: Ranked
    series_by_metric: Ranked
    sizes: list[MetricSize]


def analyze(block: Block, matchers: Sequence[Matcher] = (), *, limit: int = 20) -> Analysis:
    """Take a block apart; lists have `limit` entries. Raises `CorruptFileError`, OSError."""
    rows = block.match(matchers)
    index = ArrayFile(block.path / INDEX_FILE)
    uncovered = 1.0 - _coverage(block, index)
    page_bytes, value_bytes = _page_bytes(index, block.path / PAGES_FILE)
    row_page = index.array("row.page").astype(np.int64)
    of_page = page_bytes[index.array("page.number").astype(np.int64)]
    row_bytes = np.diff(np.concatenate(([0.0], np.cumsum(of_page)))[row_page])
    row_samples = block.row_samples()

    pairs: dict[tuple[str, str], list[float]] = {}
    names: dict[str, list[float]] = {}
    sizes: list[MetricSize] = []
    for metric, first, stop in block.metrics():
        mine = rows[(rows >= first) & (rows < stop)]
        if not mine.size:
            continue
        labels = block.labels(mine)
        samples, size = int(row_samples[mine].sum()), float(row_bytes[mine].sum())
        sizes.append(MetricSize(metric, mine.size, samples, size))
        for name, column in zip(labels.names, labels.ids, strict=True):
            for symbol, count, absent in _by_value(column, uncovered[mine]):
                of_pair = pairs.setdefault((name, labels.symbols.text(symbol)), [0.0, 0.0])
                of_pair[0] += count
                of_pair[1] += absent
    for (name, value), (_, gone) in pairs.items():
        of_name = names.setdefault(name, [0.0, 0.0, 0.0])
        of_name[0] += 1
        of_name[1] += len(value.encode())
        of_name[2] += gone

    def top(ranked: Iterable[tuple[float, str]]) -> Ranked:
        return sorted(ranked, key=lambda item: (-item[0], item[1]))[:limit]

    file_bytes = (block.path / PAGES_FILE).stat().st_size
    return Analysis(
        series=int(rows.size),
        samples=int(row_samples[rows].sum()),
        label_names=len(names),
        label_pairs=len(pairs),
        label_pair_entries=int(sum(entry[0] for entry in pairs.values())),
        index_bytes=(block.path / INDEX_FILE).stat().st_size,
        value_bytes=value_bytes,
        other_page_bytes=file_bytes - value_bytes,
        churn_by_pair=top((entry[1], f"{name}={value}") for (name, value), entry in pairs.items()),
        churn_by_name=top((entry[2], name) for name, entry in names.items()),
        series_by_pair=top((entry[0], f"{name}={value}") for (name, value), entry in pairs.items()),
        value_length_by_name=top((entry[1], name) for name, entry in names.items()),
        values_by_name=top((entry[0], name) for name, entry in names.items()),
        series_by_metric=top((float(size.series), size.name) for size in sizes),
        sizes=sorted(sizes, key=lambda size: -size.value_bytes)[:limit],
    )


def _by_value(column: Ids, uncovered: Floats) -> Iterable[tuple[int, int, float]]:
    values, code, count = np.unique(column, return_inverse=True, return_counts=True)
    gone = np.bincount(code, weights=uncovered, minlength=values.size)
    for value, series, part in zip(values.tolist(), count.tolist(), gone.tolist(), strict=True):
        if value != ABSENT:
            yield value, series, part


def _coverage(block: Block, index: ArrayFile) -> Floats:
    """Return from its first to its last sample how much of the block each series covers."""
    covered = np.zeros(block.meta.stats.num_series)
    length = max(1, block.meta.max_time_ms - block.meta.min_time_ms - 1)
    low, high = index.array("slice.min"), index.array("slice.max")
    for first, slices in (("row.page", "page.slice"), ("hist.row", "hist.slice")):
        if first not in index or slices not in index:
            continue
        edges, of_entry = index.array(first).astype(np.int64), index.array(slices)
        if edges.size != covered.size + 1:
            continue
        has = np.flatnonzero(np.diff(edges))
        begin, end = low[of_entry[edges[has]]], high[of_entry[edges[has + 1] - 1]]
        covered[has] = np.maximum(covered[has], (end - begin) / length)
    return np.minimum(covered, 1.0)


def _page_bytes(index: ArrayFile, path: Path) -> tuple[Floats, int]:
    """Return what each page of values takes in the file, its frame's bytes shared out; and all."""
    frame_page = index.array("frame.page").astype(np.int64)
    sizes = np.zeros(int(frame_page[-1]))
    total = 0
    zstd = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        if not sizes.size:
            return sizes, 0
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for number, offset in enumerate(index.array("frame.offset").tolist()):
        frame = frames.unpack(path, mapped, offset, zstd)
        stored = _stored_bytes(mapped, offset)
        weight = np.diff(frame.offset).astype(np.float64)
        if frame.noise.size:
            weight += np.diff(np.append(frame.noise_offset, frame.noise.size))
        first, stop = int(frame_page[number]), int(frame_page[number + 1])
        sizes[first:stop] = stored * weight / max(1.0, float(weight.sum()))
        total += stored
    return sizes, total


def _stored_bytes(mapped: memoryview, offset: int) -> int:
    """Return the length of a frame: its header, its plain part as stored, its noise."""
    words: Ints = np.frombuffer(mapped, "<u4", 5, offset=offset).astype(np.int64)
    return frames.HEADER_BYTES + int(words[3]) + int(words[4])
