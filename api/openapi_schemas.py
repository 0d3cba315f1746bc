"""JSON schemas of answers: the parts of the OpenAPI description that endpoints share.

To: `openapi.py`.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ANYTHING: Schema = {}


def array(items: Schema, **more: int) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **more}


def record(members: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return the schema of an object whose members are known; `members` are all there."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def mapping(values: Schema) -> Schema:
    """Return the schema of an object with free keys."""
    return {"type": "object", "additionalProperties": values}


def named(name: str) -> Schema:
    """Return a reference to a schema of `SHARED`."""
    return {"$ref": f"#/components/schemas/{name}"}


LABELS = mapping(TEXT)
_SAMPLE: Schema = {
    "type": "array",
    "prefixItems": [{"type": "number", "description": "seconds"}, TEXT],
    "items": False,
    "minItems": 2,
}
_HISTOGRAM_POINT: Schema = {
    "type": "array",
    "prefixItems": [NUMBER, named("Histogram")],
    "items": False,
    "minItems": 2,
}
_BUCKET: Schema = {
    "type": "array",
    "prefixItems": [{"type": "integer", "minimum": 0, "maximum": 3}, TEXT, TEXT, TEXT],
    "items": False,
    "minItems": 4,
}
_STATS = record(
    {"timings": mapping(NUMBER), "samples": mapping(ANYTHING)},
)


def _result(kind: str, result: Schema) -> Schema:
    return record({"resultType": {"const": kind}, "result": result}, {"stats": _STATS})


_VECTOR = array(record({"metric": LABELS}, {"value": _SAMPLE, "histogram": _HISTOGRAM_POINT}))
_MATRIX = array(
    record({"metric": LABELS}, {"values": array(_SAMPLE), "histograms": array(_HISTOGRAM_POINT)})
)

SHARED: dict[str, Schema] = {
    "Error": record(
        {
            "status": {"const": "error"},
            "errorType": {
                "enum": ["bad_data", "execution", "canceled", "timeout", "internal",
                         "unavailable", "not_found", "not_acceptable"],
            },
            "error": TEXT,
        }
    ),
    "Histogram": record({"count": TEXT, "sum": TEXT}, {"buckets": array(_BUCKET)}),
    "QueryResult": {
        "oneOf": [
            _result("vector", _VECTOR),
            _result("matrix", _MATRIX),
            _result("scalar", _SAMPLE),
            _result("string", _SAMPLE),
            named("Plan"),
        ]
    },
    "Matrix": _result("matrix", _MATRIX),
    "Plan": record(
        {
            **dict.fromkeys(("start", "end", "step"), NUMBER),
            "steps": WHOLE,
            "keepsSteps": BOOLEAN,
            "reads": array(mapping(ANYTHING)),
            "nodes": array(mapping(ANYTHING)),
            "text": TEXT,
        },
        {"parts": WHOLE},
    ),
}  # fmt: skip

_NAMED_COUNTS = array(record({"name": TEXT, "value": WHOLE}))

TARGETS = record(
    {
        "activeTargets": array(
            record(
                {
                    "discoveredLabels": LABELS,
                    "labels": LABELS,
                    "scrapePool": TEXT,
                    "scrapeUrl": TEXT,
                    "globalUrl": TEXT,
                    "lastError": TEXT,
                    "lastScrape": TEXT,
                    "lastScrapeDuration": NUMBER,
                    "health": {"enum": ["unknown", "up", "down"]},
                    "scrapeInterval": TEXT,
                    "scrapeTimeout": TEXT,
                }
            )
        ),
        "droppedTargets": array(record({"discoveredLabels": LABELS, "scrapePool": TEXT})),
        "droppedTargetCounts": {"anyOf": [mapping(WHOLE), {"type": "null"}]},
    }
)

TSDB = record(
    {
        "headStats": record(
            {
                "numSeries": WHOLE,
                "numLabelPairs": WHOLE,
                "chunkCount": WHOLE,
                "minTime": WHOLE,
                "maxTime": WHOLE,
            }
        ),
        "seriesCountByMetricName": _NAMED_COUNTS,
        "labelValueCountByLabelName": _NAMED_COUNTS,
        "memoryInBytesByLabelName": _NAMED_COUNTS,
        "seriesCountByLabelValuePair": _NAMED_COUNTS,
    }
)

RUNTIME = record(
    {
        **dict.fromkeys(("startTime", "CWD", "hostname", "serverTime"), TEXT),
        "reloadConfigSuccess": BOOLEAN,
        "lastConfigTime": TEXT,
        **dict.fromkeys(("corruptionCount", "goroutineCount", "GOMAXPROCS", "GOMEMLIMIT"), WHOLE),
        **dict.fromkeys(("GOGC", "GODEBUG", "storageRetention"), TEXT),
    }
)
