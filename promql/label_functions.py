"""label_replace() and label_join(): new labels from old ones.

From: `functions.py`.   Python runs once for each distinct source text, not for each series.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import re2

from promql.errors import ExecutionError
from promql.label_names import is_label_name
from promql.matrix import Matrix, StringValue
from promql.same_labels import merge_same_labels
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from promql.context import EvalContext
    from promql.matrix import Operand
    from promql.syntax import Call

    Ids = npt.NDArray[np.uint32]
    Mask = npt.NDArray[np.bool_]
    Implementation = Callable[[Call, list[Operand], EvalContext], Operand]


class Groups(Protocol):
    """What is known of a compiled expression's groups."""

    groups: int
    groupindex: dict[str, int]


class Match(Protocol):
    """A match of RE2, which has no types of its own."""

    re: Groups

    def group(self, which: int | str, /) -> str | None:
        """Return the text of a group, None if it took no part."""
        ...


class Regex(Protocol):
    """A compiled expression."""

    def search(self, text: str, /) -> Match | None:
        """Return the first match."""
        ...


_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _texts(node: Call, args: list[Operand]) -> list[str]:
    texts = []
    for arg in args[1:]:
        assert isinstance(arg, StringValue)
        texts.append(arg.text)
    refuse_texts(node.func, texts)
    return texts


def refuse_texts(func: str, texts: Sequence[str]) -> None:
    """Raise ExecutionError for texts that are no regular expression or label name.

    `texts` are the call's arguments after the vector, which is not evaluated before they are
    looked at.
    """
    if func == "label_replace":
        _regex(texts[3])
    else:
        for source in texts[2:]:
            if not is_label_name(source):
                raise ExecutionError(f"invalid source label name in label_join(): {source}")
    if not is_label_name(texts[0]):
        raise ExecutionError(f"invalid destination label name in {func}(): {texts[0]}")


def _regex(pattern: str) -> Regex:
    options = re2.Options()
    options.log_errors = False
    try:
        # Anchored at both ends, and the dot matches newlines, as for matchers.
        compiled: Regex = re2.compile(f"^(?s:{pattern})$", options)
    except (re2.error, UnicodeEncodeError):
        raise ExecutionError(f"invalid regular expression in label_replace(): {pattern}") from None
    return compiled


def _label_replace(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    vector = args[0]
    assert isinstance(vector, Matrix)
    target, template, source, pattern = _texts(node, args)
    regex = _regex(pattern)
    column = vector.labels.column(source)
    distinct, inverse = np.unique(column, return_inverse=True)
    made = np.zeros(distinct.size, dtype=np.uint32)
    matched = np.zeros(distinct.size, dtype=np.bool_)
    for at, text in enumerate(vector.labels.symbols.texts(distinct)):
        match = regex.search(text)
        if match is not None:
            matched[at] = True
            made[at] = ctx.symbols.intern(expand(template, match))
    old = vector.labels.column(target)
    changed = matched[inverse]
    return _relabelled(vector, target, np.where(changed, made[inverse], old), changed)


def expand(template: str, match: Match) -> str:
    """Fill a template as Go's regexp does: `$1`, `$name`, `${1}`, `$$`; the longest name counts.

    A group that is not there, or did not take part, is empty; a stray `$` stays.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        if not (name.isascii() and name.isdecimal()):
            return match.group(name) or "" if name in match.re.groupindex else ""
        # Go takes "01" for a name, which no group has.
        plain = name == "0" or name[0] != "0"
        return match.group(int(name)) or "" if plain and int(name) <= match.re.groups else ""

    return _VARIABLE.sub(value, template)


def _label_join(node: Call, args: list[Operand], ctx: EvalContext) -> Operand:
    vector = args[0]
    assert isinstance(vector, Matrix)
    target, separator, *sources = _texts(node, args)
    symbols = vector.labels.symbols
    columns = [vector.labels.column(source) for source in sources]
    series = vector.series_count
    stacked = np.stack(columns) if columns else np.zeros((0, series), dtype=np.uint32)
    if series == 0:
        return vector
    distinct, inverse = np.unique(stacked, axis=1, return_inverse=True)
    made = [
        ctx.symbols.intern(separator.join(symbols.texts(np.ascontiguousarray(ids))))
        for ids in distinct.T
    ]
    new = np.array(made, dtype=np.uint32)[inverse.reshape(-1)]
    return _relabelled(vector, target, new, np.ones(series, dtype=np.bool_))


def _relabelled(vector: Matrix, target: str, ids: Ids, changed: Mask) -> Matrix:
    drop_name = vector.drop_name
    if target == METRIC_NAME:
        drop_name = drop_name & ~changed  # a name that is given anew is one to keep
    return merge_same_labels(
        replace(
            vector,
            labels=vector.labels.with_column(target, ids),
            drop_name=drop_name,
            float_time=None,
        )
    )


FUNCTIONS: dict[str, Implementation] = {
    "label_join": _label_join,
    "label_replace": _label_replace,
}
"""Implementation by function name."""
