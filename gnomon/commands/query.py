"""`gnomon query instant|range|explain|series|labels`: ask a server, or a data directory by itself.

Results go to stdout, warnings and errors to stderr; the exit code is 1 where there is no answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gnomon.commands.arguments import Parser
from gnomon.http_query import AskError, HttpSource
from gnomon.tables import FORMATS, render_label_sets, render_result, render_texts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gnomon.http_query import Answer

DEFAULT_URL = "http://localhost:9090"


class Source(Protocol):
    """Whoever can be asked: a server over HTTP or a data directory."""

    def instant(self, query: str, time: str) -> Answer:
        """Ask a query at one time ("" is now)."""
        ...

    def range(self, query: str, start: str, end: str, step: str) -> Answer:
        """Ask a query at every step."""
        ...

    def explain(self, query: str, times: Sequence[str], *, analyze: bool) -> Answer:
        """Ask for the plan of a query: at one time, or at start, end and step."""
        ...

    def series(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for series."""
        ...

    def label_names(self, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for label names."""
        ...

    def label_values(self, name: str, selectors: Sequence[str], start: str, end: str) -> Answer:
        """Ask for the values of a label."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


def run(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(words)
    try:
        source = _source(options)
        try:
            answer, text = _ask(source, options)
        finally:
            source.close()
    except AskError as error:
        print(f"query error: {error}", file=sys.stderr)
        return 1
    for warning in answer.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for info in answer.infos:
        print(f"info: {info}", file=sys.stderr)
    print(text, end="" if text.endswith("\n") or not text else "\n")
    return 0


def _parser() -> Parser:
    parser = Parser(prog="gnomon query", description="Ask a server or a data directory.")
    common = Parser(add_help=False)
    where = common.add_mutually_exclusive_group()
    where.add_argument("--url", default=DEFAULT_URL, help=f"the server (default {DEFAULT_URL})")
    where.add_argument("--data", type=Path, metavar="DIR", help="a data directory, read only")
    common.add_argument("-o", "--output", choices=FORMATS, default="table")
    common.add_argument(
        "--header", action="append", default=[], metavar="NAME: VALUE", help="sent to the server"
    )
    spans = Parser(add_help=False)
    spans.add_argument("--start", default="", help="Unix seconds or RFC 3339")
    spans.add_argument("--end", default="", help="Unix seconds or RFC 3339")
    what = parser.add_subparsers(dest="what", required=True)
    instant = what.add_parser("instant", parents=[common], help="a query at one time")
    instant.add_argument("expr")
    instant.add_argument("--time", default="", help="Unix seconds or RFC 3339 (default now)")
    ranged = what.add_parser("range", parents=[common, spans], help="a query at every step")
    ranged.add_argument("expr")
    ranged.add_argument("--step", default="", help="seconds or a duration (default 1/250)")
    explain = what.add_parser("explain", parents=[common, spans], help="how a query is answered")
    explain.add_argument("expr")
    explain.add_argument("--time", default="", help="of an instant query (default now)")
    explain.add_argument("--step", default="", help="of a range query, as are --start and --end")
    explain.add_argument("--analyze", action="store_true", help="run it, and tell what it came to")
    series = what.add_parser("series", parents=[common, spans], help="label sets of series")
    series.add_argument("match", nargs="+", help="a selector; any of them will do")
    labels = what.add_parser("labels", parents=[common, spans], help="label names, or values")
    labels.add_argument("name", nargs="?", help="the label whose values are wanted")
    labels.add_argument("--match", action="append", default=[], help="only of these series")
    return parser


def _source(options: argparse.Namespace) -> Source:
    if options.data is not None:
        from gnomon.data_query import DataSource

        return DataSource(options.data)
    headers = {}
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon:
            raise AskError(f"not a header: {header!r}")
        headers[name.strip()] = value.strip()
    return HttpSource(options.url, headers)


def _ask(source: Source, options: argparse.Namespace) -> tuple[Answer, str]:
    style: str = options.output
    if options.what == "instant":
        answer = source.instant(options.expr, options.time)
        return answer, render_result(answer.data, style)
    if options.what == "range":
        start, end, step = _span(options.start, options.end, options.step)
        answer = source.range(options.expr, start, end, step)
        return answer, render_result(answer.data, style)
    if options.what == "explain":
        times: tuple[str, ...] = (options.time,)
        if options.start or options.end or options.step:
            times = _span(options.start, options.end, options.step)
        answer = source.explain(options.expr, times, analyze=options.analyze)
        return answer, json.dumps(answer.data) if style == "json" else answer.data["text"]
    if options.what == "series":
        answer = source.series(options.match, options.start, options.end)
        return answer, render_label_sets(answer.data, style)
    if options.name is None:
        answer = source.label_names(options.match, options.start, options.end)
        return answer, render_texts(answer.data, style, "name")
    answer = source.label_values(options.name, options.match, options.start, options.end)
    return answer, render_texts(answer.data, style, options.name)


def _span(start: str, end: str, step: str) -> tuple[str, str, str]:
    """Fill in a range: the last hour, in 250 steps, as promtool does."""
    import time

    now_s = time.time()
    if not end:
        end = f"{now_s:.3f}"
    if not start:
        try:
            start = f"{float(end) - 3600:.3f}"
        except ValueError as error:
            raise AskError("--start is needed where --end is no Unix time") from error
    if not step:
        try:
            step = str(max(1, int((float(end) - float(start)) / 250)))
        except ValueError:
            step = "15"
    return start, end, step
