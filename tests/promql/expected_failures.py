"""The cases of the corpus that do not pass yet; the list may only shrink.

`python -m tests.promql.expected_failures` drops from the list what passes by now; `--reset` writes
it anew (for a new corpus only). A line is: id, file:line, and what is wrong today.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gnomon.promqltest.embedded import make_evaluator, make_store
from gnomon.promqltest.runner import Outcome, run
from tests.conftest import corpora_root

LIST = Path(__file__).with_name("expected_failures.txt")
REASON_CHARS_MAX = 100


@dataclass(frozen=True)
class Case:
    id: str
    file: str
    line: int
    expr: str


def cases() -> list[Case]:
    path = corpora_root() / "promqltest" / "cases.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text())
    return [Case(entry["id"], entry["file"], entry["line"], entry["expr"]) for entry in entries]


@cache
def outcomes(file: str) -> dict[int, Outcome]:
    """Run one script once; its outcomes by line."""
    text = (corpora_root() / "promqltest" / file).read_text()
    return {outcome.line: outcome for outcome in run(text, make_store, make_evaluator)}


def expected() -> set[str]:
    lines = LIST.read_text().splitlines() if LIST.exists() else []
    return {line.split()[0] for line in lines if line and not line.startswith("#")}


def main() -> None:
    listed = expected()
    reset = "--reset" in sys.argv
    failing = [(case, outcomes(case.file)[case.line].problem) for case in cases()]
    failing = [(case, problem) for case, problem in failing if problem is not None]
    new = [case for case, _ in failing if case.id not in listed]
    lines = [
        "# id, file:line, what is wrong. This list only ever shrinks; see expected_failures.py"
    ]
    for case, problem in failing:
        if reset or case.id in listed:
            reason = " ".join(problem.split())[:REASON_CHARS_MAX]
            lines.append(f"{case.id} {case.file}:{case.line} {reason}")
    LIST.write_text("\n".join(lines) + "\n")
    print(f"{len(cases())} cases, {len(failing)} fail, {len(new)} of them not listed before")


if __name__ == "__main__":
    main()
