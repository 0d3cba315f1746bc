"""`gnomon test promql FILE|DIR...`: run `.test` scripts and say what fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.commands.arguments import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def run(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = Parser(prog="gnomon test", description="Run tests on the built-in engine.")
    groups = parser.add_subparsers(dest="what", required=True, metavar="promql")
    promql = groups.add_parser("promql", help="run .test scripts (load, eval, expect)")
    promql.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR")
    promql.add_argument("-q", "--quiet", action="store_true", help="print the last line only")
    return _promql(parser.parse_args(words))


def _promql(options: argparse.Namespace) -> int:
    from gnomon.compiled import load_kernels
    from gnomon.promqltest.embedded import make_evaluator, make_store
    from gnomon.promqltest.runner import run as run_script
    from gnomon.promqltest.script import ScriptError

    try:
        files = list(script_files(options.paths))
    except OSError as error:
        print(f"gnomon test promql: {error}", file=sys.stderr)
        return 1
    load_kernels()
    passed = failed = 0
    for path in files:
        try:
            for outcome in run_script(path.read_text(encoding="utf-8"), make_store, make_evaluator):
                if outcome.problem is None:
                    passed += 1
                    continue
                failed += 1
                if not options.quiet:
                    print(f"{path}:{outcome.line}: {outcome.expr}\n    {outcome.problem}")
        except (ScriptError, UnicodeDecodeError) as error:
            failed += 1
            line = error.line if isinstance(error, ScriptError) else 1
            reason = error.reason if isinstance(error, ScriptError) else str(error)
            print(f"{path}:{line}: not a test script\n    {reason}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def script_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and for a directory the `.test` files below it, sorted.

    Raises FileNotFoundError for a path that is not there or a directory without scripts.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.rglob("*.test"))
            if not found:
                raise FileNotFoundError(f"no .test files below {path}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise FileNotFoundError(f"no such file or directory: {path}")
    return files
