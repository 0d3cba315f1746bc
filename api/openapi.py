"""The API described for machines, and the handler that serves the description.

To: clients' generators and testers, at /api/v1/openapi.yaml.
`ENDPOINTS` has one entry for each path of `routes.py` below /api/v1 that answers JSON, and
`openapi_pushes.py` for each other; a test holds the tables together and another asks a server what
the description promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

from api.openapi_pushes import push_paths
from api.openapi_schemas import (
    ANYTHING,
    BOOLEAN,
    LABELS,
    RUNTIME,
    SHARED,
    TARGETS,
    TEXT,
    TSDB,
    WHOLE,
    Schema,
    array,
    mapping,
    named,
    record,
)
from api.params import FORM_TYPE
from api.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the URL or form; `examples` are good values."""

    name: str
    schema: Schema
    text: str
    required: bool = False
    examples: tuple[str, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """Return it as OpenAPI describes a parameter of the URL."""
        out: dict[str, Any] = {"name": self.name, "in": "query", "description": self.text}
        if self.required:
            out["required"] = True
        out["schema"] = self.schema
        if self.schema.get("type") == "array":
            out |= {"style": "form", "explode": True}
        if self.examples:
            out["examples"] = {f"example {n}": {"value": v} for n, v in enumerate(self.examples)}
        return out


TIME_FORM: Schema = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "minimum": -9e11, "maximum": 9e11},
    ]
}
DURATION: Schema = {
    "anyOf": [
        {"type": "string", "pattern": "^[1-9][0-9]{0,3}(ms|s|m|h|d)$"},
        {"type": "number", "minimum": 0.001, "maximum": 1e8},
    ]
}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31}

QUERY = Parameter("query", TEXT, "A PromQL expression.", required=True, examples=("up", "1 + 1"))
TIME = Parameter("time", TIME_FORM, "When; now if missing. Unix seconds or RFC 3339.")
TIMEOUT = Parameter("timeout", DURATION, "How long it may take; never longer than the server's.")
LOOKBACK = Parameter("lookback_delta", DURATION, "How old a sample may be to count as current.")
LIMIT = Parameter("limit", COUNT, "At most so many results; 0 is no limit.")
STATS = Parameter("stats", TEXT, "Anything: answer with statistics; `all`: those of each step too.")
EXPLAIN = Parameter(
    "explain",
    TEXT,
    "`plan`: answer with the plan instead; `analyze`: run it, and tell what it came to.",
)
START = Parameter("start", TIME_FORM, "Begin of the time range.")
END = Parameter("end", TIME_FORM, "End of the time range.")
STEP = Parameter("step", DURATION, "Seconds or duration between points.", required=True)
MATCH = Parameter("match[]", array(TEXT), "A series selector; any may match.")
SOME_MATCH = Parameter("match[]", array(TEXT, minItems=1), MATCH.text, required=True)
POOL = Parameter("scrapePool", TEXT, "A scrape pool: the name of a job.")
METRIC = Parameter("metric", TEXT, "Only this metric.")


def needed(parameter: Parameter) -> Parameter:
    """Return the parameter as one that must be given."""
    return Parameter(
        parameter.name, parameter.schema, parameter.text, required=True, examples=parameter.examples
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path. `data` is the schema of the envelope's data, None where success has no body."""

    path: str
    text: str
    data: Schema | None
    parameters: tuple[Parameter, ...] = ()
    methods: tuple[str, ...] = ("get",)
    may_be_empty: bool = False


BOTH, COMMANDS = ("get", "post"), ("post", "put")
_META = record({"type": TEXT, "unit": TEXT, "help": TEXT})
_RANGE = (START, END)

ENDPOINTS = (
    Endpoint("/query", "Evaluate at one time.", named("QueryResult"),
             (QUERY, TIME, TIMEOUT, LIMIT, LOOKBACK, STATS, EXPLAIN), BOTH),
    Endpoint("/query_range", "Evaluate at many times.",
             {"oneOf": [named("Matrix"), named("Plan")]},
             (QUERY, needed(START), needed(END), STEP, TIMEOUT, LIMIT, LOOKBACK, STATS, EXPLAIN),
             BOTH),
    Endpoint("/query_exemplars", "Exemplars of the series a query selects.",
             array(record({"seriesLabels": LABELS, "exemplars": array(ANYTHING)})),
             (QUERY, *_RANGE), BOTH, may_be_empty=True),
    Endpoint("/format_query", "Lay a query out.", TEXT, (QUERY,), BOTH),
    Endpoint("/parse_query", "The syntax tree of a query.", mapping(ANYTHING), (QUERY,), BOTH),
    Endpoint("/series", "Label sets that match.", array(LABELS), (SOME_MATCH, *_RANGE, LIMIT),
             BOTH),
    Endpoint("/labels", "Label names in use.", array(TEXT), (MATCH, *_RANGE, LIMIT), BOTH),
    Endpoint("/label/{name}/values", "Values of a label in use.", array(TEXT),
             (MATCH, *_RANGE, LIMIT)),
    Endpoint("/targets", "Targets and how their scrapes go.", TARGETS,
             (Parameter("state", {"enum": ["active", "dropped", "any"]}, "Which targets."), POOL)),
    Endpoint("/targets/metadata", "What targets say of their metrics.",
             array(record({"target": LABELS, "type": TEXT, "help": TEXT, "unit": TEXT},
                          {"metric": TEXT})),
             (Parameter("match_target", TEXT, "A selector over the target's labels."), METRIC,
              LIMIT)),
    Endpoint("/targets/relabel_steps", "Labels after each relabelling rule of a pool.",
             record({"steps": array(record({"rule": mapping(ANYTHING), "output": LABELS,
                                            "keep": BOOLEAN}))}),
             (needed(POOL), Parameter("labels", TEXT, "A JSON object of labels.", required=True))),
    Endpoint("/scrape_pools", "Names of the scrape pools.", record({"scrapePools": array(TEXT)})),
    Endpoint("/scrape_pools/config", "A pool's configuration.", record({"yaml": TEXT}),
             (needed(POOL),)),
    Endpoint("/metadata", "Type, unit and help of metrics.", mapping(array(_META)),
             (METRIC, LIMIT, Parameter("limit_per_metric", COUNT, "At most so many a metric."))),
    Endpoint("/rules", "Rule groups.", record({"groups": array(ANYTHING)}),
             (Parameter("type", {"enum": ["alert", "record"]}, "Which rules."), MATCH)),
    Endpoint("/alerts", "Active alerts.", record({"alerts": array(ANYTHING)})),
    Endpoint("/alertmanagers", "Alertmanagers found.",
             record({"activeAlertmanagers": array(ANYTHING),
                     "droppedAlertmanagers": array(ANYTHING)})),
    Endpoint("/notifications", "What whoever runs the server should know.",
             array(record({"text": TEXT, "date": TEXT, "active": BOOLEAN}))),
    Endpoint("/status/self_metrics", "The server's own metrics.",
             array(record({"name": TEXT, "help": TEXT, "type": TEXT, "metric": array(ANYTHING)})),
             (Parameter("metric_name_pattern", TEXT, "A regular expression of whole names."),)),
    Endpoint("/features", "What may be used.", mapping(mapping(BOOLEAN))),
    Endpoint("/status/config", "The loaded configuration.", record({"yaml": TEXT})),
    Endpoint("/status/flags", "Flags and their values.", mapping(TEXT)),
    Endpoint("/status/runtimeinfo", "Facts of the process.", RUNTIME),
    Endpoint("/status/buildinfo", "Facts of the build.", mapping(TEXT)),
    Endpoint("/status/tsdb", "Cardinality.", TSDB,
             (Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 10_000},
                        "Entries a list."),)),
    Endpoint("/status/tsdb/blocks", "Blocks on disk.",
             record({"blocks": array(mapping(ANYTHING))})),
    Endpoint("/status/walreplay", "How far the start has come.",
             record({"min": WHOLE, "max": WHOLE, "current": WHOLE})),
    Endpoint("/admin/tsdb/delete_series", "Delete samples.", None, (SOME_MATCH, *_RANGE),
             COMMANDS),
    Endpoint("/admin/tsdb/clean_tombstones", "Take what was deleted from the disk.", None, (),
             COMMANDS),
    Endpoint("/admin/tsdb/snapshot", "Copy all data to a new directory.", record({"name": TEXT}),
             (Parameter("skip_head", BOOLEAN, "Leave out what is in memory."),), COMMANDS),
)  # fmt: skip


def description(version: str, base_path: str) -> dict[str, Any]:
    """Return the whole OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gnomon HTTP API",
            "description": "Compatible with the HTTP API of Prometheus.",
            "version": version,
        },
        "servers": [{"url": base_path}],
        "paths": {endpoint.path: _path(endpoint) for endpoint in ENDPOINTS} | push_paths(),
        "components": {"schemas": SHARED},
    }


def _path(endpoint: Endpoint) -> dict[str, Any]:
    return {method: _operation(endpoint, method) for method in endpoint.methods}


def _operation(endpoint: Endpoint, method: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "operationId": f"{method}{endpoint.path.replace('{name}', 'name').replace('/', '_')}",
        "summary": endpoint.text,
    }
    parameters = [] if method in COMMANDS else [each.described for each in endpoint.parameters]
    if "{name}" in endpoint.path:
        schema = {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}
        parameters.insert(0, {"name": "name", "in": "path", "required": True, "schema": schema})
    if parameters:
        out["parameters"] = parameters
    if method in COMMANDS and endpoint.parameters:
        out["requestBody"] = _form(endpoint.parameters)
    out["responses"] = _responses(endpoint)
    return out


def _form(parameters: Sequence[Parameter]) -> dict[str, Any]:
    required = [each.name for each in parameters if each.required]
    schema: Schema = {
        "type": "object",
        "properties": {each.name: each.schema for each in parameters},
    }
    if required:
        schema["required"] = required
    return {"required": bool(required), "content": {FORM_TYPE: {"schema": schema}}}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    failed = {"application/json": {"schema": named("Error")}}
    responses: dict[str, Any] = {
        status: {"description": text, "content": failed}
        for status, text in (
            ("400", "A parameter is missing or makes no sense."),
            ("422", "The expression cannot be evaluated."),
            ("499", "The client went away."),
            ("500", "The server failed, or the function is switched off."),
        )
    }
    responses["503"] = {
        "description": "The query took too long, or storage is not open.",
        "content": {**failed, "text/plain": {"schema": TEXT}},
    }
    if endpoint.data is None or endpoint.may_be_empty:
        responses["204"] = {"description": "Done; there is nothing to say."}
    if endpoint.data is not None:
        envelope = record(
            {"status": {"const": "success"}, "data": endpoint.data},
            {"warnings": array(TEXT), "infos": array(TEXT)},
        )
        content = {"application/json": {"schema": envelope}}
        responses["200"] = {"description": "The answer.", "content": content}
    return dict(sorted(responses.items()))


@lru_cache(maxsize=4)
def _text(version: str, base_path: str) -> bytes:
    document = description(version, base_path)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()


async def openapi(request: web.Request) -> web.Response:
    """Answer /api/v1/openapi.yaml."""
    parts = request.app[PARTS]
    base_path = f"{parts.options.route_prefix.rstrip('/')}/api/v1"
    version = parts.view.build().gnomon_version
    body = await parts.gate.call(lambda: _text(version, base_path))
    return web.Response(body=body, content_type="application/yaml", charset="utf-8")
