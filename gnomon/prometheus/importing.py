"""A data directory of Prometheus, or a snapshot of one, to blocks of ours.

From: `commands/tsdb.py`. To: blocks in a data directory that no server has open.
A block keeps its ULID, so an import that is repeated passes over what is there; logs become blocks
of two hours. The source is only read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gnomon.prometheus.block import PrometheusBlock
from gnomon.prometheus.block_meta import block_directories, read_meta
from gnomon.prometheus.head import HeadCounts, import_head
from tsdb.block_meta import BlockMeta, is_ulid
from tsdb.block_writer import write_block
from tsdb.errors import CorruptFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gnomon.prometheus.block_meta import PrometheusMeta
    from gnomon.prometheus.chunks import OnCorrupt

WINDOW_MS = 2 * 3_600_000


@dataclass(slots=True)
class ImportReport:
    """What an import did. `skipped`: blocks that are there already, or that others replace."""

    written: list[BlockMeta] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    head: HeadCounts = field(default_factory=HeadCounts)
    damaged: list[CorruptFileError] = field(default_factory=list)


def is_prometheus_directory(source: Path) -> bool:
    """Return whether a directory has blocks or a log of Prometheus."""
    return source.is_dir() and bool(block_directories(source) or (source / "wal").is_dir())


def import_directory(
    source: Path,
    target: Path,
    *,
    blocks_only: bool = False,
    on_block: Callable[[BlockMeta], None] = lambda _: None,
) -> ImportReport:
    """Write what `source` holds into blocks in `target`, whose lock the caller has.

    What is damaged is reported and left out: of a block single chunks, or all of it if its meta,
    index or tombstones are damaged. The rest is taken. Raises OSError.
    """
    report = ImportReport()

    def written(path: Path) -> None:
        meta = BlockMeta.read(path)
        report.written.append(meta)
        on_block(meta)

    metas: list[tuple[Path, PrometheusMeta]] = []
    for path in block_directories(source):
        try:
            metas.append((path, read_meta(path)))
        except CorruptFileError as error:
            report.damaged.append(error)
        except OSError as error:
            reason = f"the meta cannot be read: {error}"
            report.damaged.append(CorruptFileError(path, 0, reason))
    have = _known_ulids(target)
    gone = {ulid for _, meta in metas for ulid in meta.parents}
    for path, meta in metas:
        if meta.ulid in have or meta.ulid in gone or meta.deletable:
            report.skipped.append(meta.ulid)
            continue
        try:
            block = _opened(path, report.damaged.append)
            new = write_block(
                target,
                block.symbols,
                block.pieces(),
                min_time_ms=meta.min_time_ms,
                max_time_ms=meta.max_time_ms,
                level=meta.level,
                ulid=meta.ulid,
            )
        except CorruptFileError as error:
            report.damaged.append(error)
            continue
        if new is None:
            report.empty.append(meta.ulid)
        else:
            written(new)
    if not blocks_only:
        in_order = [meta.max_time_ms for _, meta in metas if not meta.is_out_of_order]
        for new in import_head(
            source,
            target,
            first_ms=max(in_order, default=-(2**62)),
            window_ms=WINDOW_MS,
            counts=report.head,
            have=have,
        ):
            written(new)
        report.skipped += report.head.skipped
    return report


def _opened(path: Path, on_corrupt: OnCorrupt) -> PrometheusBlock:
    try:
        return PrometheusBlock(path, on_corrupt)
    except OSError as error:
        raise CorruptFileError(path, 0, f"the block cannot be read: {error}") from error


def _known_ulids(target: Path) -> set[str]:
    """Return the blocks of a directory and those that have been compacted into them."""
    known: set[str] = set()
    for path in target.iterdir() if target.is_dir() else ():
        if is_ulid(path.name):
            try:
                meta = BlockMeta.read(path)
            except (CorruptFileError, OSError):
                continue
            known.update((meta.ulid, *meta.sources))
    return known
