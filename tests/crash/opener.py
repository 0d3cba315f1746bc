"""Opens a directory, reads while the log is replayed, and says what it saw, until it is killed.

Run as: opener.py DIRECTORY. Prints, each time the replay comes to another segment, how many samples
every series had then, "half" if these were not the same; "open" at the end. It waits to be told to
go on each time, so that it can be killed anywhere in between.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from tests.crash.writer import OPTIONS
from tsdb.database import Database
from tsdb.interface import Matcher, MatchOp, Selection

if TYPE_CHECKING:
    from tsdb.early_reads import EarlyReads
    from tsdb.replay import ReplayProgress

WRITTEN = Selection((Matcher("__name__", MatchOp.EQUAL, "written"),), 0, 1 << 50)


def main() -> None:
    """Open until killed."""
    found: list[EarlyReads] = []

    def progress(_progress: ReplayProgress) -> None:
        for early in found:
            (batch,) = early.select([WRITTEN])
            assert batch.warnings
            counts = np.unique(
                [
                    np.count_nonzero(batch.times[start : start + count] % 1000 == 0)
                    for start, count in zip(batch.time_start, batch.count, strict=True)
                ]
            )
            tell("half" if counts.size > 1 else str(int(counts.sum())))

    Database.open(sys.argv[1], OPTIONS, on_progress=progress, on_readable=found.append)
    tell("open")


def tell(text: str) -> None:
    """Say something and wait."""
    print(text, flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
