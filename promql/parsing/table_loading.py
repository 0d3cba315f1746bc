"""Where this process has its parse table from: the file, or else the grammar.

From: `tables.py`, `grammar_analysis.py`.   To: `parse.py`.
"""

from __future__ import annotations

from functools import cache

from promql.parsing.tables import TABLES_PATH, Tables, unpack


@cache
def load() -> Tables:
    """Return the table, once per process; analyse the grammar if the file is not of it."""
    kept = unpack(TABLES_PATH.read_text(encoding="utf-8")) if TABLES_PATH.is_file() else None
    if kept is not None:
        return kept
    # Here, not above: lark is loaded by who changes the grammar, and by no start.
    from promql.parsing.grammar_analysis import analyse

    return analyse()
