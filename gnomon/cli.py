"""The `gnomon` program: one word for what to do, then that command's own arguments.

Each command group is a module under `commands/` and is imported only when asked for: what needs no
kernels (checks, versions, queries to a server) must not wait for Numba.
Exit codes: 0 done, 1 refused or failed, 2 a configuration that a start cannot use.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "serve": ("gnomon.commands.serve", "scrape, store and answer queries over HTTP"),
    "query": ("gnomon.commands.query", "ask a server or a data directory"),
    "check": ("gnomon.commands.check", "check configuration files"),
    "test": ("gnomon.commands.test", "run PromQL test scripts"),
    "tsdb": ("gnomon.commands.tsdb", "work on data directories without a server"),
}


def usage() -> str:
    """Return the text of `gnomon --help`."""
    lines = ["usage: gnomon <command> [<args>]", "", "commands:"]
    lines += [f"  {name:<9}{text}" for name, (_, text) in COMMANDS.items()]
    lines += [f"  {'version':<9}print the version", "", "`gnomon <command> --help` says more."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(usage(), file=sys.stderr)  # what to type next belongs to no output
        return 1
    word, rest = words[0], words[1:]
    if word in ("-h", "--help", "help"):
        print(usage())
        return 0
    if word in ("version", "--version"):
        # Not at the top: Ctrl-C before `main` would show where in it the program was.
        from gnomon.version import version_text

        print(version_text())
        return 0
    if word not in COMMANDS:
        print(f"gnomon: unknown command {word!r}; see `gnomon --help`", file=sys.stderr)
        return 1
    # Ctrl-C while modules load ends the program, without a traceback from the middle of NumPy.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    module = importlib.import_module(COMMANDS[word][0])
    signal.signal(signal.SIGINT, handler)
    try:
        code: int = module.run(rest)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours. What is still
        # buffered must go nowhere, or the interpreter complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
