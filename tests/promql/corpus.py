"""The cases of Prometheus' own test scripts, run once a script."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from gnomon.promqltest.embedded import make_evaluator, make_store
from gnomon.promqltest.runner import Outcome, run
from tests.conftest import corpora_root


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
