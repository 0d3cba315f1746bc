"""Handlers that explain a scrape pool: its configuration, and what its rules make of labels.

From: `routes.py`.   To: `views.AppView`, `scraper.relabel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from api.errors import BAD_DATA, ApiError
from api.params import read_form
from api.parts import PARTS
from api.replies import success
from promql.quoting import quote
from scraper.relabel import compile_rules

if TYPE_CHECKING:
    from aiohttp import web

    from scraper.job import RelabelRule


async def relabel_steps(request: web.Request) -> web.Response:
    """Answer /api/v1/targets/relabel_steps: the labels after each rule of a pool."""
    parts, form = request.app[PARTS], await read_form(request)
    pool = _pool(form.text("scrapePool"))
    if not form.text("labels"):
        raise ApiError(BAD_DATA, "no labels parameter provided")
    labels = _labels(form.text("labels"))
    rules = parts.view.relabel_rules(pool)
    if rules is None:
        raise ApiError(BAD_DATA, f"error retrieving scrape config: {_unknown(pool)}")
    steps = await parts.gate.call(lambda: _steps(rules, labels))
    return success(request, {"steps": steps})


async def pool_config(request: web.Request) -> web.Response:
    """Answer /api/v1/scrape_pools/config: the pool's part of the configuration, as YAML."""
    form = await read_form(request)
    pool = _pool(form.text("scrapePool"))
    text = request.app[PARTS].view.pool_yaml(pool)
    if text is None:
        raise ApiError(BAD_DATA, f"error retrieving scrape config: {_unknown(pool)}")
    return success(request, {"yaml": text})


def _pool(name: str) -> str:
    if not name:
        raise ApiError(BAD_DATA, "no scrapePool parameter provided")
    return name


def _unknown(pool: str) -> str:
    return f"scrape pool {quote(pool)} not found"


def _labels(text: str) -> dict[str, str]:
    try:
        labels = orjson.loads(text.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError as error:
        raise ApiError(BAD_DATA, f"error parsing labels: {error}") from None
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise ApiError(BAD_DATA, "error parsing labels: an object of strings is expected")
    return labels


def _steps(rules: tuple[RelabelRule, ...], labels: dict[str, str]) -> list[dict[str, Any]]:
    compiled = compile_rules(rules)
    steps = []
    output: dict[str, str] | None = {name: value for name, value in labels.items() if value}
    for rule, step in zip(rules, compiled.steps, strict=True):
        if output is not None:
            output = dict(output)
            output = output if step(output) else None
        shown = dict(sorted((output or {}).items()))
        steps.append({"rule": _rule(rule), "output": shown, "keep": output is not None})
    return steps


def _rule(rule: RelabelRule) -> dict[str, Any]:
    members: dict[str, Any] = {
        "sourceLabels": list(rule.source_labels),
        "separator": rule.separator,
        "regex": rule.regex,
        "modulus": rule.modulus,
        "targetLabel": rule.target_label,
        "replacement": rule.replacement,
        "action": rule.action.value,
    }
    return {name: value for name, value in members.items() if value}
