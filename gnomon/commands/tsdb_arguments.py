"""The arguments of `gnomon tsdb ...`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gnomon.commands.arguments import Parser
from gnomon.units import parse_duration

DEFAULT_DIRECTORY = Path("data")
FORMATS = ("openmetrics", "promtool", "parquet", "arrow")
_FAR_MS = 2**62


def parser() -> Parser:
    """Return the parser; the name of the command is in `what`."""
    whole = Parser(prog="gnomon tsdb", description="Work on data directories without a server.")
    what = whole.add_subparsers(dest="what", required=True)
    table = Parser(add_help=False)
    table.add_argument(
        "-r", "--human-readable", action="store_true", help="print times and sizes for eyes"
    )
    table.add_argument(
        "-q", "--quiet", action="store_true", help="do not print the table of blocks"
    )
    chosen = Parser(add_help=False)
    chosen.add_argument("--min-time", type=int, default=-_FAR_MS, metavar="MS", help="first time")
    chosen.add_argument("--max-time", type=int, default=_FAR_MS, metavar="MS", help="last time")
    chosen.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="SELECTOR",
        help="only these; may be repeated",
    )

    one = what.add_parser("list", parents=[table], help="the blocks of a directory")
    _directory(one)

    one = what.add_parser("analyze", help="cardinality, churn and bytes of a block")
    _directory(one)
    one.add_argument("block", nargs="?", metavar="ULID", help="a block (default: the newest)")
    one.add_argument("--limit", type=int, default=20, help="entries of each list")
    one.add_argument("--match", metavar="SELECTOR", help="only these series")

    one = what.add_parser(
        "import", parents=[table], help="take over a data directory, or a snapshot, of Prometheus"
    )
    one.add_argument("source", type=Path, metavar="SOURCE", help="read only")
    _directory(one)
    one.add_argument("--blocks-only", action="store_true", help="leave out its log")

    one = what.add_parser("backfill", parents=[table], help="OpenMetrics text to blocks")
    one.add_argument("source", metavar="FILE", help="plain or gzip; - is stdin")
    _directory(one)
    one.add_argument(
        "--max-block-duration",
        dest="max_block_ms",
        type=_block_ms,
        default="2h",
        metavar="DURATION",
        help="length of the blocks (default 2h)",
    )
    one.add_argument(
        "--label",
        action="append",
        type=_label,
        default=[],
        metavar="NAME=VALUE",
        help="added to all",
    )

    one = what.add_parser("dump", parents=[chosen], help="write samples as text or columns")
    _directory(one)
    one.add_argument("--format", choices=FORMATS, default="openmetrics")
    one.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of stdout")

    one = what.add_parser(
        "export", parents=[chosen, table], help="write blocks that Prometheus and Thanos read"
    )
    _directory(one, optional=False)
    one.add_argument("target", type=Path, metavar="TARGET")

    one = what.add_parser(
        "snapshot", parents=[table], help="copy a directory, blocks by hard links"
    )
    _directory(one, optional=False)
    one.add_argument("target", type=Path, metavar="TARGET", help="a new directory")

    one = what.add_parser("verify", help="check every checksum and order; exit code 1 if damaged")
    _directory(one)
    return whole


def _directory(one: argparse.ArgumentParser, *, optional: bool = True) -> None:
    if optional:
        one.add_argument(
            "directory",
            nargs="?",
            type=Path,
            default=DEFAULT_DIRECTORY,
            metavar="DIR",
            help="the data directory (default data)",
        )
    else:
        one.add_argument("directory", type=Path, metavar="DIR", help="the data directory")


def _block_ms(text: str) -> int:
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if length < 60_000:
        raise argparse.ArgumentTypeError("a block is one minute long at least")
    return length


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text!r}")
    return name, value
