"""Relabelling: a list of rules turns one label set into another, or drops it.

From: `job.py` (checked rules).   To: `targets.py` (targets), `labelling.py` (samples), and the app,
for alerts and remote writing.
Source: Prometheus documentation, `relabel_config`; regular expressions are RE2, anchored.
Invariant: label sets in and out hold no empty value: empty and absent are the same thing.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import re2

from scraper.job import RelabelAction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scraper.job import RelabelRule

    Step = Callable[[dict[str, str]], bool]

_QUIET = re2.Options()
_QUIET.log_errors = False


class BadRegexError(ValueError):
    """A rule's regular expression does not compile under RE2."""


class CompiledRules(NamedTuple):
    """Rules with their expressions compiled; immutable, shared by threads.

    >>> from scraper.job import RelabelRule
    >>> compile_rules([RelabelRule(source_labels=("a",), target_label="b")]).apply({"a": "x"})
    {'a': 'x', 'b': 'x'}
    """

    steps: tuple[Step, ...]
    by_metric_name: bool = False
    """Whether all they do is keep or drop by the metric's name; that need be asked once a name."""

    def apply(self, labels: Mapping[str, str]) -> dict[str, str] | None:
        """Return the labels after all rules, or None if a rule drops them. The input stays."""
        result = {name: value for name, value in labels.items() if value}
        for step in self.steps:
            if not step(result):
                return None
        return result


def compile_rules(rules: Iterable[RelabelRule], *, legacy_names: bool = False) -> CompiledRules:
    """Compile rules once for many label sets. Raises `BadRegexError`.

    `legacy_names`: a target label that expands to anything but `[a-zA-Z_][a-zA-Z0-9_]*` is not set.
    """
    rules = tuple(rules)
    by_name = all(
        rule.action in (RelabelAction.KEEP, RelabelAction.DROP)
        and rule.source_labels == ("__name__",)
        for rule in rules
    )
    return CompiledRules(tuple(_step(rule, legacy_names) for rule in rules), by_name)


_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def valid_label_name(name: str, *, legacy: bool = False) -> bool:
    """Say whether a text may name a label: any UTF-8 that is not empty, or the legacy set."""
    if legacy:
        return _LEGACY_NAME.fullmatch(name) is not None
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def expand(template: str, match: re2._Match) -> str:
    """Expand `$1`, `${1}`, `$name` and `$$` of Go's `Regexp.Expand` from a match.

    A group that does not exist, or took no part in the match, expands to nothing. The name is as
    long as it can be: `$1x` is the group called `1x`. A `$` that starts no name stands for itself.
    """
    return _expander(template)(match)


def _expander(template: str) -> Callable[[re2._Match], str]:
    """Split a template once into literals and group names."""
    parts: list[tuple[str, str | int | None]] = []
    rest = template
    while True:
        before, dollar, after = rest.partition("$")
        if not dollar:
            break
        if after.startswith("$"):
            parts.append((before + "$", None))
            rest = after[1:]
            continue
        name, tail = _group_name(after)
        if name is None:
            parts.append((before + "$", None))
            rest = after
            continue
        parts.append((before, int(name) if name.isascii() and name.isdigit() else name))
        rest = tail
    last = before
    if not parts:
        return lambda match: last

    def run(match: re2._Match) -> str:
        groups, named = match.re.groups, match.re.groupindex
        out = []
        for literal, group in parts:
            out.append(literal)
            number = named.get(group, -1) if isinstance(group, str) else group
            if number is not None and 0 <= number <= groups:
                out.append(match.group(number) or "")
        out.append(last)
        return "".join(out)

    return run


def _group_name(text: str) -> tuple[str | None, str]:
    """Return the group name at the start of `text` (after a dollar) and what follows it."""
    braced = text.startswith("{")
    start = end = 1 if braced else 0
    while end < len(text) and (text[end] == "_" or text[end].isalnum()):
        end += 1
    if end == start or (braced and text[end : end + 1] != "}"):
        return None, text
    return text[start:end], text[end + 1 if braced else end :]


def _pattern(source: str) -> re2._Regexp:
    try:
        return re2.compile(f"^(?s:{source})$", _QUIET)
    except re2.error as e:
        reason = e.args[0].decode(errors="replace") if isinstance(e.args[0], bytes) else e.args[0]
        raise BadRegexError(f"error parsing regexp: {reason}") from e


def _set(labels: dict[str, str], name: str, value: str) -> None:
    """Set a label; an empty value deletes it."""
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _step(rule: RelabelRule, legacy_names: bool) -> Step:
    """Return a function that changes labels in place and says whether they are kept."""
    action = rule.action
    if action in _BY_NAME:
        return _BY_NAME[action](rule, _pattern(rule.regex))
    names, separator = rule.source_labels, rule.separator

    def joined(labels: dict[str, str]) -> str:
        return separator.join([labels.get(name, "") for name in names])

    if action in (RelabelAction.KEEP, RelabelAction.DROP):
        matches = _pattern(rule.regex).search
        keep = action is RelabelAction.KEEP
        return lambda labels: (matches(joined(labels)) is not None) is keep
    if action is RelabelAction.REPLACE:
        return _replace(rule, joined, legacy_names)
    target = rule.target_label
    if action is RelabelAction.KEEP_EQUAL:
        return lambda labels: labels.get(target, "") == joined(labels)
    if action is RelabelAction.DROP_EQUAL:
        return lambda labels: labels.get(target, "") != joined(labels)
    convert: Callable[[str], str]
    if action is RelabelAction.HASHMOD:
        modulus = rule.modulus

        def convert(text: str) -> str:
            digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
            return str(int.from_bytes(digest[8:16], "big") % modulus)

    else:
        convert = str.lower if action is RelabelAction.LOWERCASE else str.upper

    def store(labels: dict[str, str]) -> bool:
        _set(labels, target, convert(joined(labels)))
        return True

    return store


def _replace(
    rule: RelabelRule, joined: Callable[[dict[str, str]], str], legacy_names: bool
) -> Step:
    matches = _pattern(rule.regex).search
    target, value = _expander(rule.target_label), _expander(rule.replacement)

    def step(labels: dict[str, str]) -> bool:
        match = matches(joined(labels))
        if match is not None:
            name = target(match)
            if valid_label_name(name, legacy=legacy_names):
                _set(labels, name, value(match))
        return True

    return step


_NAMES_KNOWN = 1024
"""Label names whose verdict one rule remembers."""


def _labelmap(rule: RelabelRule, pattern: re2._Regexp) -> Step:
    expanded = _expander(rule.replacement)

    # Ten thousand targets have the same few names.
    @lru_cache(maxsize=_NAMES_KNOWN)
    def new_name(name: str) -> str | None:
        match = pattern.search(name)
        return None if match is None else expanded(match)

    def step(labels: dict[str, str]) -> bool:
        for name, value in list(labels.items()):
            new = new_name(name)
            if new is not None:
                _set(labels, new, value)
        return True

    return step


def _name_filter(rule: RelabelRule, pattern: re2._Regexp) -> Step:
    drop = rule.action is RelabelAction.LABELDROP

    @lru_cache(maxsize=_NAMES_KNOWN)
    def goes(name: str) -> bool:
        return (pattern.search(name) is not None) is drop

    def step(labels: dict[str, str]) -> bool:
        for name in [name for name in labels if goes(name)]:
            del labels[name]
        return True

    return step


_BY_NAME = {
    RelabelAction.LABELMAP: _labelmap,
    RelabelAction.LABELDROP: _name_filter,
    RelabelAction.LABELKEEP: _name_filter,
}
"""Actions whose expression looks at label names rather than at values."""
