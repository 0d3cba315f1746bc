"""GET /api/v1/status/self_metrics: what /metrics says, as JSON that pages of a browser can read.

From: `routes.py`.   To: `views.AppView.metrics_text`.
Source: Prometheus 3.12, whose form is ProtoJSON of io.prometheus.client.MetricFamily: 64-bit
integers are strings, and so are the numbers that JSON lacks.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import re2

from api.errors import BadParameterError
from api.params import read_form
from api.parts import PARTS
from api.replies import success

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_MEMBER = {"counter": "counter", "gauge": "gauge", "untyped": "untyped"}


async def self_metrics(request: web.Request) -> web.Response:
    """Answer /api/v1/status/self_metrics; `metric_name_pattern` is a whole name's expression."""
    parts, form = request.app[PARTS], await read_form(request)
    wanted = None
    pattern = form.text("metric_name_pattern")
    if pattern:
        try:
            wanted = re2.compile(pattern)
        except (re2.error, UnicodeEncodeError) as error:
            raise BadParameterError("metric_name_pattern", str(error)) from None
    body = await parts.gate.call(parts.view.metrics_text)
    found = [
        family
        for family in families(body.decode())
        if wanted is None or wanted.fullmatch(family["name"])
    ]
    return success(request, found)


def families(exposition: str) -> list[dict[str, Any]]:
    r"""Return the families of our own exposition, in its order.

    >>> families('# HELP a_total Of a.\n# TYPE a_total counter\na_total{b="c"} 2\n')[0]["metric"]
    [{'label': [{'name': 'b', 'value': 'c'}], 'counter': {'value': 2.0}}]
    """
    found: list[dict[str, Any]] = []
    metrics: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    help_text = ""
    for line in exposition.splitlines():
        if line.startswith("# HELP "):
            help_text = line.split(" ", 3)[3].replace("\\n", "\n").replace("\\\\", "\\")
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            metrics = {}
            found.append({"name": name, "help": help_text, "type": kind.upper(), "metric": []})
        elif line and found:
            _add(found[-1], metrics, line)
    return found


def _add(
    family: dict[str, Any],
    metrics: dict[tuple[tuple[str, str], ...], dict[str, Any]],
    line: str,
) -> None:
    match = _LINE.fullmatch(line)
    assert match is not None, f"our own exposition has {line!r}"
    name, labels, value = match[1], list(_labels(match[2] or "")), float(match[3])
    kind = family["type"].lower()
    own = dict(labels)
    edge = own.pop({"histogram": "le", "summary": "quantile"}.get(kind, ""), None)
    key = tuple(own.items())
    metric = metrics.get(key)
    if metric is None:
        metric = metrics[key] = {"label": [{"name": n, "value": v} for n, v in key]} if key else {}
        family["metric"].append(metric)
    if kind in _MEMBER:
        metric[kind] = {"value": _number(value)}
        return
    parts = metric.setdefault(kind, {})
    suffix = name.removeprefix(family["name"])
    if suffix == "_sum":
        parts["sampleSum"] = _number(value)
    elif suffix == "_count":
        parts["sampleCount"] = str(int(value))
    elif kind == "histogram":
        bucket = {"cumulativeCount": str(int(value)), "upperBound": _number(float(edge or "NaN"))}
        parts.setdefault("bucket", []).append(bucket)
    else:
        quantile = {"quantile": _number(float(edge or "NaN")), "value": _number(value)}
        parts.setdefault("quantile", []).append(quantile)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, re.sub(r'\\[\\"n]', lambda found: _ESCAPES[found[0]], value)


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
