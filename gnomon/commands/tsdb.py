"""`gnomon tsdb ...`: work on data directories without a server.

Results go to stdout, what went wrong to stderr; exit code 1 where something was refused or damaged.
What writes into a data directory takes its lock, so never beside a running server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.commands import tsdb_arguments
from gnomon.problem_text import problem_text
from gnomon.tsdb_tools.listing import BlockLine, block_line, block_lines, block_table, go_duration

if TYPE_CHECKING:
    import argparse
    import io
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from gnomon.tsdb_tools.analyze import Analysis
    from gnomon.tsdb_tools.dump import DumpCounts
    from tsdb.database import Database
    from tsdb.interface import Matcher


def run(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = tsdb_arguments.parser().parse_args(words)
    if options.what == "list":
        return _list(options)
    from gnomon.compiled import TOOL_PACKAGES, load_kernels

    load_kernels(packages=TOOL_PACKAGES)
    from gnomon.tsdb_tools.backfill import BackfillError
    from gnomon.tsdb_tools.parquet import MissingLibraryError
    from promql.errors import ParseError
    from tsdb.errors import StorageError

    refusals = (StorageError, BackfillError, MissingLibraryError, ParseError, OSError)
    try:
        return _COMMANDS[options.what](options)
    except BrokenPipeError:
        raise
    except refusals as error:
        return _refuse(options, error)


def _refuse(options: argparse.Namespace, error: object) -> int:
    reason = problem_text(error) if isinstance(error, Exception) else error
    print(f"gnomon tsdb {options.what}: {reason}", file=sys.stderr)
    return 1


def _list(options: argparse.Namespace) -> int:
    try:
        lines, damaged = block_lines(options.directory)
    except OSError as error:
        return _refuse(options, error)
    print(block_table(lines, human_readable=options.human_readable), end="")
    for problem in damaged:
        print(f"gnomon tsdb list: {problem}", file=sys.stderr)
    return 1 if damaged else 0


def _import(options: argparse.Namespace) -> int:
    from gnomon.prometheus.importing import import_directory, is_prometheus_directory

    if not is_prometheus_directory(options.source):
        return _refuse(options, f"{options.source} has neither blocks nor a log of Prometheus")
    with _locked(options.directory):
        report = import_directory(
            options.source, options.directory, blocks_only=options.blocks_only
        )
        _print_blocks(
            options, [block_line(options.directory / meta.ulid) for meta in report.written]
        )
    head = report.head
    told = [
        (len(report.skipped), "blocks are there already, or replaced by others: passed over"),
        (len(report.empty), "blocks without samples left: passed over"),
        (head.exemplars, "exemplars of the log taken over"),
        (head.exemplars_refused, "exemplars left out: of no known series, or not newer than ours"),
        (head.unknown_series_samples, "samples of the log that are of no known series: left out"),
        (head.unknown_records, f"records of unknown types {sorted(head.unknown_types)}: left out"),
    ]
    for number, what in told:
        if number:
            print(f"note: {number} {what}", file=sys.stderr)
    damaged = [*report.damaged, *head.damaged]
    for error in damaged:
        print(f"gnomon tsdb import: {error}", file=sys.stderr)
    return 1 if damaged else 0


def _backfill(options: argparse.Namespace) -> int:
    from gnomon.tsdb_tools.backfill import backfill

    labels = dict(options.label)
    # The file first: where there is none, no directory is made.
    with _opened(options.source) as text, _locked(options.directory):
        report = backfill(text, options.directory, window_ms=options.max_block_ms, labels=labels)
        _print_blocks(
            options, [block_line(options.directory / meta.ulid) for meta in report.blocks]
        )
    if report.repeated:
        print(
            f"note: {report.repeated} samples of a time that their series had already: left out",
            file=sys.stderr,
        )
    if report.exemplars:
        print(f"note: {report.exemplars} exemplars left out", file=sys.stderr)
    return 0


def _dump(options: argparse.Namespace) -> int:
    from gnomon.tsdb_tools.dump import DumpCounts, Style, dump
    from gnomon.tsdb_tools.parquet import write_columns
    from gnomon.tsdb_tools.stored_batches import stored_batches

    matchers = _matchers(options.match)
    span = options.min_time, options.max_time
    counts = DumpCounts()
    with _reading(options.directory) as database:
        batches = stored_batches(database, matchers, *span)
        if options.format in ("parquet", "arrow"):
            if options.output is None:
                return _refuse(options, f"--output is needed for {options.format}")
            names = database.label_names(matchers, *span)
            is_arrow = options.format == "arrow"
            write_columns(batches, names, options.output, counts, arrow=is_arrow)
        else:
            _write(dump(batches, Style(options.format), counts), options.output)
    _tell_left_out(counts, options.format)
    return 0


def _tell_left_out(counts: DumpCounts, style: str) -> None:
    if counts.stale:
        print(f"note: {counts.stale} stale markers left out", file=sys.stderr)
    if counts.histograms and style != "promtool":
        print(
            f"note: {counts.histograms} native histograms left out: the format has no place for "
            "them",
            file=sys.stderr,
        )


def _export(options: argparse.Namespace) -> int:
    from gnomon.prometheus.exporting import export_blocks

    matchers = _matchers(options.match)
    with _reading(options.directory) as database:
        report = export_blocks(
            database, options.target, matchers, options.min_time, options.max_time
        )
    _print_blocks(options, [block_line(path) for path in report.blocks])
    print(f"{report.floats} floats, {report.histograms} native histograms", file=sys.stderr)
    return 0


def _snapshot(options: argparse.Namespace) -> int:
    if options.target.exists():
        return _refuse(options, f"{options.target} exists already")
    with _reading(options.directory) as database:
        database.snapshot(options.target)
    lines, _ = block_lines(options.target)
    _print_blocks(options, lines)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from gnomon.tsdb_tools.verify import verify_directory

    verdict = verify_directory(options.directory)
    for note in verdict.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in verdict.problems:
        print(f"damaged: {problem}", file=sys.stderr)
    print(
        f"{verdict.blocks} blocks with {verdict.block_samples} samples, {verdict.segments} log "
        f"segments with {verdict.records} records and {verdict.log_samples} samples: "
        + (f"{len(verdict.problems)} problems" if verdict.problems else "all right")
    )
    return 1 if verdict.problems else 0


def _analyze(options: argparse.Namespace) -> int:
    from gnomon.tsdb_tools.analyze import analyze
    from tsdb.block import Block

    lines, _ = block_lines(options.directory)
    chosen = [line for line in lines if options.block in (None, line.ulid)]
    if not chosen:
        what = f"block {options.block}" if options.block else "block"
        return _refuse(options, f"no {what} in {options.directory}")
    line = chosen[-1]
    block = Block.open(options.directory / line.ulid)
    try:
        matchers = _matchers([options.match])[0] if options.match else ()
        print(_analysis_text(line, analyze(block, matchers, limit=options.limit)), end="")
    finally:
        block.close()
    return 0


def _analysis_text(line: BlockLine, found: Analysis) -> str:
    all_bytes = found.index_bytes + found.value_bytes + found.other_page_bytes
    parts = [
        f"Block ID: {line.ulid}",
        f"Duration: {go_duration(line.max_time_ms - line.min_time_ms)}",
        f"Series: {found.series}",
        f"Samples: {found.samples}",
        f"Label names: {found.label_names}",
        f"Postings (unique label pairs): {found.label_pairs}",
        f"Postings entries (total label pairs): {found.label_pair_entries}",
        f"Bytes: {all_bytes} (values {found.value_bytes}, times and histograms "
        f"{found.other_page_bytes}, index {found.index_bytes})",
        f"Bytes per sample, all: {all_bytes / max(1, line.samples):.3f}",
    ]
    lists = [
        ("Label pairs most involved in churning", found.churn_by_pair),
        ("Label names most involved in churning", found.churn_by_name),
        ("Most common label pairs", found.series_by_pair),
        ("Label names with highest cumulative label value length", found.value_length_by_name),
        ("Highest cardinality labels", found.values_by_name),
        ("Highest cardinality metric names", found.series_by_metric),
    ]
    for title, ranked in lists:
        parts += ["", f"{title}:", *(f"{number:.0f} {text}" for number, text in ranked)]
    parts += ["", "Metrics by bytes of values (bytes, bytes per sample, samples, series):"]
    parts += [
        f"{size.value_bytes:.0f} {size.bytes_per_sample:.3f} {size.samples} {size.series} "
        f"{size.name}"
        for size in found.sizes
    ]
    return "\n".join(parts) + "\n"


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "import": _import,
    "backfill": _backfill,
    "dump": _dump,
    "export": _export,
    "snapshot": _snapshot,
    "verify": _verify,
    "analyze": _analyze,
}


def _matchers(selectors: Sequence[str]) -> list[tuple[Matcher, ...]]:
    from promql.parse import parse_selector

    return [parse_selector(selector) for selector in selectors]


def _locked(directory: Path) -> AbstractContextManager[None]:
    import contextlib

    from tsdb.directory_lock import DirectoryLock

    @contextlib.contextmanager
    def held() -> Iterator[None]:
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(directory)
        try:
            yield
        finally:
            lock.release()

    return held()


def _reading(directory: Path) -> AbstractContextManager[Database]:
    import contextlib

    from tsdb.database import Database
    from tsdb.options import DatabaseOptions

    if not directory.is_dir():
        raise FileNotFoundError(f"no data directory at {directory}")
    options = DatabaseOptions(retention_ms=None, read_only=True, background=False)
    return contextlib.closing(Database.open(directory, options))


def _opened(source: str) -> io.BufferedReader:
    # Not sys.stdin: a test or a caller may have put something else there.
    return Path("/dev/stdin" if source == "-" else source).open("rb")


def _write(text: Iterator[bytes], output: Path | None) -> None:
    if output is None:
        sys.stdout.flush()
        for part in text:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    with output.open("wb") as file:
        for part in text:
            file.write(part)


def _print_blocks(options: argparse.Namespace, lines: Sequence[BlockLine]) -> None:
    if not options.quiet:
        ordered = sorted(lines, key=lambda line: (line.min_time_ms, line.ulid))
        print(block_table(ordered, human_readable=options.human_readable), end="")
