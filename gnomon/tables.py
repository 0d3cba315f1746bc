"""Answers as text: a table for eyes, CSV for sheets, JSON for programs.

From: `commands/query.py`, the `data` of an API answer.   To: stdout.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("table", "json", "csv")

Row = list[str]


def series_text(labels: Mapping[str, str]) -> str:
    """Return labels as PromQL writes a series.

    >>> series_text({"__name__": "up", "job": "a"})
    'up{job="a"}'
    """
    inner = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in sorted(labels.items())
        if name != "__name__"
    )
    name = labels.get("__name__", "")
    return name if name and not inner else f"{name}{{{inner}}}"


def render_result(data: Mapping[str, Any], style: str) -> str:
    """Return the answer of a query, `{"resultType", "result"}`."""
    kind, result = data["resultType"], data["result"]
    if style == "json":
        return json.dumps(result, ensure_ascii=False)
    if kind in ("scalar", "string"):
        rows = [({}, *result)]
    elif kind == "vector":
        rows = [(series["metric"], *_point(series)) for series in result]
    else:
        rows = [
            (series["metric"], time, value) for series in result for time, value in _points(series)
        ]
    if style == "csv":
        return _csv(rows)
    table = [[series_text(labels), _time(time), _value(value)] for labels, time, value in rows]
    return render_table(["series", "time", "value"], table)


def _point(series: Mapping[str, Any]) -> tuple[float, Any]:
    time, value = series["value"] if "value" in series else series["histogram"]
    return time, value


def _points(series: Mapping[str, Any]) -> list[tuple[float, Any]]:
    """Return the floats and the histograms of a series together, by time."""
    points = [*series.get("values", []), *series.get("histograms", [])]
    return sorted(((time, value) for time, value in points), key=lambda point: point[0])


_BRACKETS = (("(", "]"), ("[", ")"), ("(", ")"), ("[", "]"))
"""By the rule of a bucket in the HTTP API."""


def _value(value: Any) -> str:  # noqa: ANN401 what JSON holds: text, or a histogram
    """Return a sample as text.

    >>> _value({"count": "3", "sum": "4", "buckets": [[0, "1", "2", "3"]]})
    '{count:3, sum:4, (1,2]:3}'
    """
    if not isinstance(value, dict):
        return str(value)
    parts = [f"count:{value['count']}", f"sum:{value['sum']}"]
    for rule, lower, upper, count in value.get("buckets", []):
        opening, closing = _BRACKETS[rule]
        parts.append(f"{opening}{lower},{upper}{closing}:{count}")
    return "{" + ", ".join(parts) + "}"


def _csv(rows: Sequence[tuple[Mapping[str, str], float, Any]]) -> str:
    names = sorted({name for labels, _, _ in rows for name in labels})
    table = [[*(labels.get(n, "") for n in names), str(t), _value(v)] for labels, t, v in rows]
    return render_csv([*names, "timestamp", "value"], table)


def render_label_sets(label_sets: Sequence[Mapping[str, str]], style: str) -> str:
    """Return the answer of a question for series."""
    if style == "json":
        return json.dumps(label_sets, ensure_ascii=False)
    if style == "csv":
        names = sorted({name for labels in label_sets for name in labels})
        return render_csv(
            names, [[labels.get(name, "") for name in names] for labels in label_sets]
        )
    return "".join(f"{series_text(labels)}\n" for labels in label_sets)


def render_texts(texts: Sequence[str], style: str, header: str) -> str:
    """Return a list of names or values."""
    if style == "json":
        return json.dumps(texts, ensure_ascii=False)
    if style == "csv":
        return render_csv([header], [[text] for text in texts])
    return "".join(f"{text}\n" for text in texts)


def render_csv(header: Row, rows: Sequence[Row]) -> str:
    """Return rows as CSV (RFC 4180 quoting, plain newlines) with a header line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def render_table(header: Row, rows: Sequence[Row]) -> str:
    """Return rows as columns padded with spaces.

    >>> print(render_table(["a", "b"], [["1", "22"]]), end="")
    A  B
    1  22
    """
    lines = [[name.upper() for name in header], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _time(seconds: float) -> str:
    try:
        moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
