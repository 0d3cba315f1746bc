"""The parse table of `grammar.lark` as plain numbers, with default reductions.

From: `grammar_analysis.py`, through `grammar_tables.json`.   To: `parse.py`, by `table_loading.py`.

Prometheus' parser comes from yacc, and its error messages depend on how yacc behaves: a state
reduces by its most common rule when the next token fits nowhere, and a state that can only reduce
does so before the next token is even read. Lark's own driver does neither, so the table is taken
from lark and driven in `parse.py`. Invariant: a default reduction never changes what is accepted,
only what is on the stack when a wrong token is noticed.

The table is kept in a file, since every start would wait for lark to make the same one. The file
names the grammar and the tokens that it is of; one that is of others is not used.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from promql.parsing.lexing import TERMINALS

GRAMMAR_PATH = Path(__file__).with_name("grammar.lark")
TABLES_PATH = Path(__file__).with_name("grammar_tables.json")


@dataclass(frozen=True, slots=True)
class Tables:
    """What `parse.py` needs to run.

    `actions[state]` maps a terminal to state + 1 (shift), to -(rule + 1) (reduce) or to 0 (done).
    `defaults[state]` is -(rule + 1), or 0 if a wrong token is an error there. `hasty[state]` says
    that the state reduces by its default without looking. `gotos[state]` maps a rule's left side.
    `rules[rule]` is (left side, length, alias or None). `faults[state]` is the alias of the error
    alternative that the state could go on with, or None.
    """

    actions: list[dict[int, int]]
    defaults: list[int]
    hasty: list[bool]
    gotos: list[dict[int, int]]
    rules: list[tuple[int, int, str | None]]
    faults: list[str | None]
    starts: dict[str, int]


def pack(tables: Tables) -> str:
    """Return the text that `unpack` reads; equal rows are written once."""
    packed = asdict(tables)
    for name in ("actions", "gotos"):
        rows = [json.dumps([*row.items()], separators=(",", ":")) for row in packed[name]]
        distinct = list(dict.fromkeys(rows))
        place = {row: at for at, row in enumerate(distinct)}
        packed[name] = {"rows": list(map(json.loads, distinct)), "of": [place[row] for row in rows]}
    return json.dumps({"made_of": _made_of(), **packed}, separators=(",", ":")) + "\n"


def unpack(text: str) -> Tables | None:
    """Return the table that a text holds, None if it is of another grammar or other tokens."""
    packed = json.loads(text)
    if packed.pop("made_of") != _made_of():
        return None
    for name in ("actions", "gotos"):
        rows = [dict(row) for row in packed[name]["rows"]]
        packed[name] = [rows[at] for at in packed[name]["of"]]
    packed["rules"] = [(left, length, alias) for left, length, alias in packed["rules"]]
    return Tables(**{field.name: packed[field.name] for field in fields(Tables)})


def _made_of() -> str:
    """Return what tells the grammar and the numbers of its tokens from all others."""
    source = GRAMMAR_PATH.read_bytes() + "\n".join(TERMINALS).encode()
    return hashlib.sha256(source).hexdigest()


assert len(set(TERMINALS)) == len(TERMINALS), "a terminal is named twice"
