"""`relabel_configs` and `metric_relabel_configs`: rules checked as Prometheus checks them.

From: `scrape.py`.   To: `scraper/relabel.py`, as `RelabelRule`.
Source: Prometheus documentation, relabel_config; the texts are Prometheus'.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import re2

from gnomon.config.document import go_quote, valid_utf8
from scraper.job import RelabelAction, RelabelRule

if TYPE_CHECKING:
    from gnomon.config.document import Section

_DEFAULT = RelabelRule()
_TEMPLATE_VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+)")
_TEMPLATE_NAME = re.compile(r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+", re.ASCII)
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

_NEED_TARGET = frozenset(
    {
        RelabelAction.REPLACE,
        RelabelAction.KEEP_EQUAL,
        RelabelAction.DROP_EQUAL,
        RelabelAction.HASHMOD,
        RelabelAction.LOWERCASE,
        RelabelAction.UPPERCASE,
    }
)
_CASE = frozenset({RelabelAction.LOWERCASE, RelabelAction.UPPERCASE})
_EQUALITY = frozenset({RelabelAction.KEEP_EQUAL, RelabelAction.DROP_EQUAL})
_BY_NAME = frozenset({RelabelAction.LABELDROP, RelabelAction.LABELKEEP})


def decode_rules(
    section: Section, name: str, kind: str, *, utf8: bool, null_text: str = ""
) -> tuple[RelabelRule, ...]:
    """Read one list of rules. `kind` is how a message names them; `utf8`: any label name goes.

    `null_text` is the whole message of a null rule outside of scrape configs.
    """
    null_text = null_text or f"empty or null {kind} relabeling rule in scrape config"
    items = section.sections(name, "relabel.plain", null_text=null_text)
    return tuple(_rule(item, utf8=utf8) for item in items)


def _rule(section: Section, *, utf8: bool) -> RelabelRule:
    action, written = RelabelAction.REPLACE, section.string("action")
    # A null regular expression is an empty one, and matches nothing but the empty text.
    rule = RelabelRule(
        action=action,
        source_labels=section.strings("source_labels", "model.LabelNames"),
        separator=section.string("separator", _DEFAULT.separator),
        regex=section.string("regex", _DEFAULT.regex),
        modulus=section.integer("modulus"),
        target_label=section.string("target_label"),
        replacement=section.string("replacement", _DEFAULT.replacement),
    )
    section.note_unknown()
    if section.written("action"):
        if written == "":
            section.fail("relabel action cannot be empty", "action")
        try:
            action = RelabelAction(written.lower())
        except ValueError:
            section.fail(f"unknown relabel action {go_quote(written)}", "action")
    for name in rule.source_labels:
        if name == "" or not valid_utf8(name):
            section.fail(f"{go_quote(name)} is not a valid label name", "source_labels")
    rule = replace(rule, action=action)
    _check_regex(rule, section)
    _check(rule, section, utf8=utf8)
    return rule


_GO_REASONS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}
"""Faults of an expression: RE2's words for them, and those of Go, which users look for."""


def _check_regex(rule: RelabelRule, section: Section) -> None:
    options = re2.Options()
    options.log_errors = False
    pattern = f"^(?s:{rule.regex})$"
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        fault, _, where = reason.partition(": ")
        fault = _GO_REASONS.get(fault, fault)
        section.fail(f"error parsing regexp: {fault}: `{where}`", "regex")


def _check(rule: RelabelRule, section: Section, *, utf8: bool) -> None:
    action, name = rule.action, rule.action.value
    target = go_quote(rule.target_label)
    if action is RelabelAction.HASHMOD and rule.modulus == 0:
        section.fail("relabel configuration for hashmod requires non-zero modulus")
    if action in _NEED_TARGET and rule.target_label == "":
        section.fail(f"relabel configuration for {name} action requires 'target_label' value")
    if action in _NEED_TARGET and not _valid_target(rule, utf8=utf8):
        section.fail(f"{target} is invalid 'target_label' for {name} action", "target_label")
    if action in _CASE and rule.replacement != _DEFAULT.replacement:
        section.fail(f"'replacement' can not be set for {name} action", "replacement")
    if action is RelabelAction.LABELMAP and not _valid_template(rule.replacement, utf8=utf8):
        replacement = go_quote(rule.replacement)
        section.fail(f"{replacement} is invalid 'replacement' for {name} action", "replacement")
    plain = (
        rule.modulus == 0
        and rule.separator == _DEFAULT.separator
        and rule.replacement == _DEFAULT.replacement
    )
    if action in _EQUALITY and not (plain and rule.regex == _DEFAULT.regex):
        section.fail(
            f"{name} action requires only 'source_labels' and `target_label`, and no other fields"
        )
    if action in _BY_NAME and not (plain and not rule.source_labels and not rule.target_label):
        section.fail(f"{name} action requires only 'regex', and no other fields")


def _valid_target(rule: RelabelRule, *, utf8: bool) -> bool:
    if rule.action is RelabelAction.REPLACE:
        return _valid_template(rule.target_label, utf8=utf8)
    return _valid_name(rule.target_label, utf8=utf8)


def _valid_template(text: str, *, utf8: bool) -> bool:
    if utf8:
        return text != "" and valid_utf8(text)
    if _TEMPLATE_VARIABLE.search(text):
        return _TEMPLATE_NAME.fullmatch(text) is not None
    return _valid_name(text, utf8=False)


def _valid_name(text: str, *, utf8: bool) -> bool:
    if utf8:
        return text != "" and valid_utf8(text)
    return _LEGACY_NAME.fullmatch(text) is not None
