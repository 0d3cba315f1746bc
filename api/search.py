"""/api/v1/search/{metric_names,label_names,label_values}: names found while somebody types.

From: `routes.py`.   To: `tsdb.interface.SeriesReader`, in a thread; `search_score.py`.

Answers are lines of JSON: batches of results, then how it ended. Behind the feature `search-api`.
Source: Prometheus 3.13, HTTP API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from api.errors import BAD_DATA, ApiError
from api.json_text import dumps
from api.params import Form, matcher_sets, parse_bool, parse_int, read_form
from api.parts import PARTS
from api.replies import text, whole
from api.search_score import ALGORITHMS, SUBSEQUENCE, scorer
from promql.quoting import quote
from tsdb.interface import METRIC_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from api.parts import Parts
    from tsdb.interface import LabelColumns, Matcher

LINES = "application/x-ndjson; charset=utf-8"
LIMIT_DEFAULT = BATCH_DEFAULT = 100
ALPHA, SCORE, CARDINALITY, FREQUENCY = "alpha", "score", "cardinality", "frequency"


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked for. Times in milliseconds."""

    sets: list[tuple[Matcher, ...]]
    start_ms: int
    end_ms: int
    score: Callable[[str], float | None]
    sort_by: str
    descending: bool
    limit: int
    batch: int
    include: frozenset[str]


def _read(form: Form, what: str, orders: tuple[str, ...]) -> Search:
    """Return the parameters that all three have. Raises ApiError."""
    start_ms, end_ms = form.time_range_ms()
    sets = matcher_sets(form.all("match[]"))
    threshold = parse_int(form.text("fuzz_threshold") or "0")
    if threshold is None or not 0 <= threshold <= 100:
        raise _bad(f"invalid fuzz_threshold {quote(form.text('fuzz_threshold'))}: must be 0-100")
    algorithm = form.text("fuzz_alg") or SUBSEQUENCE
    if algorithm not in ALGORITHMS:
        known = " or ".join(quote(name) for name in ALGORITHMS)
        raise _bad(f"unsupported fuzz_alg {quote(algorithm)}: must be {known}")
    try:
        case_sensitive = parse_bool(form.text("case_sensitive") or "true")
    except ValueError:
        given = quote(form.text("case_sensitive"))
        raise _bad(f"invalid case_sensitive {given}: must be boolean") from None
    sort_by, sort_dir = form.text("sort_by"), form.text("sort_dir")
    if sort_by and sort_by not in orders:
        listed = ", ".join(orders[:-1]) + f", or {orders[-1]}"
        raise _bad(f"invalid sort_by {quote(sort_by)} for {what}: must be {listed}")
    if sort_dir and not sort_by:
        raise _bad("sort_dir is only valid when sort_by is set")
    if sort_dir not in ("", "asc", "dsc"):
        raise _bad(f'invalid sort_dir {quote(sort_dir)}: must be "asc" or "dsc"')
    terms = [term for term in (*form.all("search[]"), *form.all("search")) if term]
    names = (CARDINALITY, FREQUENCY, SCORE, "metadata")
    include = {name for name in names if form.text(f"include_{name}") == "true"}
    return Search(
        sets=sets,
        start_ms=start_ms,
        end_ms=end_ms,
        score=scorer(terms, algorithm, threshold / 100, case_sensitive=case_sensitive),
        sort_by=sort_by or ALPHA,
        # Whoever sorts by score wants the best first.
        descending=(sort_dir == "dsc") != (sort_by == SCORE),
        limit=_count(form, "limit") or LIMIT_DEFAULT,
        batch=_count(form, "batch_size") or BATCH_DEFAULT,
        include=frozenset(include | ({sort_by} & {CARDINALITY, FREQUENCY})),
    )


def _count(form: Form, name: str) -> int:
    given = form.text(name)
    number = parse_int(given or "0")
    if number is None or number < 0:
        raise _bad(f"invalid {name} {quote(given)}: must be non-negative integer")
    return number


def _bad(reason: str) -> ApiError:
    return ApiError(BAD_DATA, reason)


async def metric_names(request: web.Request) -> web.Response:
    """Answer /api/v1/search/metric_names."""
    orders = (ALPHA, CARDINALITY, SCORE)

    def counts(series: LabelColumns) -> dict[str, Mapping[str, int]]:
        return {CARDINALITY: _values(series, METRIC_NAME)}

    return await _answer(request, "metric_names", orders, (CARDINALITY,), counts, METRIC_NAME)


async def label_names(request: web.Request) -> web.Response:
    """Answer /api/v1/search/label_names; a label's cardinality is how many values it has."""
    orders = (ALPHA, CARDINALITY, FREQUENCY, SCORE)

    def counts(series: LabelColumns) -> dict[str, Mapping[str, int]]:
        return {
            CARDINALITY: {
                name: np.unique(ids[ids != 0]).size
                for name, ids in zip(series.names, series.ids, strict=True)
            },
            FREQUENCY: {
                name: int(np.count_nonzero(ids))
                for name, ids in zip(series.names, series.ids, strict=True)
            },
        }

    return await _answer(request, "label_names", orders, (CARDINALITY, FREQUENCY), counts, None)


async def label_values(request: web.Request) -> web.Response:
    """Answer /api/v1/search/label_values."""
    label = (await read_form(request)).text("label")
    if not label:
        raise _bad('missing required parameter "label"')
    orders = (ALPHA, FREQUENCY, SCORE)

    def counts(series: LabelColumns) -> dict[str, Mapping[str, int]]:
        return {FREQUENCY: _values(series, label)}

    return await _answer(request, "label_values", orders, (FREQUENCY,), counts, label)


async def _answer(
    request: web.Request,
    what: str,
    orders: tuple[str, ...],
    countable: tuple[str, ...],
    counts: Callable[[LabelColumns], dict[str, Mapping[str, int]]],
    label: str | None,
) -> web.Response:
    """Answer one of the three: values of `label`, or all names of labels where it is None."""
    parts = request.app[PARTS]
    if not parts.options.search:
        return text("404 page not found\n", 404)
    search = _read(await read_form(request), what, orders)

    def run() -> bytes:
        reader, asked = parts.storage, (search.sets, search.start_ms, search.end_ms)
        names = reader.label_names(*asked) if label is None else reader.label_values(label, *asked)
        found = [(name, score) for name in names if (score := search.score(name)) is not None]
        known: dict[str, Mapping[str, int]] = {}
        if search.include & set(countable):
            known = counts(reader.series(*asked))
        metadata = label == METRIC_NAME and "metadata" in search.include
        return _lines(search, found, known, _metadata(parts) if metadata else {})

    return whole(request, await parts.gate.read(run), content_type=LINES)


def _lines(
    search: Search,
    found: list[tuple[str, float]],
    counts: dict[str, Mapping[str, int]],
    metadata: Mapping[str, Mapping[str, str]],
) -> bytes:
    """Return the lines of an answer."""
    by = counts.get(search.sort_by)
    found.sort()
    if by is not None:
        found.sort(key=lambda each: by.get(each[0], 0), reverse=search.descending)
    elif search.sort_by == SCORE:
        found.sort(key=lambda each: each[1], reverse=search.descending)
    elif search.descending:
        found.reverse()
    rows: list[dict[str, Any]] = []
    for name, score in found[: search.limit]:
        row: dict[str, Any] = {"name": name}
        if SCORE in search.include:
            row["score"] = score
        for kind in (FREQUENCY, CARDINALITY):
            if kind in search.include and kind in counts:
                row[kind] = counts[kind].get(name, 0)
        row.update(metadata.get(name, {}))
        rows.append(row)
    starts = range(0, max(len(rows), 1), search.batch)
    lines: list[dict[str, Any]] = [{"results": rows[at : at + search.batch]} for at in starts]
    lines.append({"status": "success", "has_more": len(found) > search.limit})
    return b"".join(dumps(line) + b"\n" for line in lines)


def _values(series: LabelColumns, label: str) -> dict[str, int]:
    """Return how many series have each value of a label."""
    if label not in series.names:
        return {}
    ids, counts = np.unique(series.ids[series.names.index(label)], return_counts=True)
    there = ids != 0
    texts = series.symbols.texts(ids[there])
    return dict(zip(texts, counts[there].tolist(), strict=True))


def _metadata(parts: Parts) -> dict[str, dict[str, str]]:
    """Return what targets say of their metrics, by name; what is not known is left out."""
    found: dict[str, dict[str, str]] = {}
    for _, entries in parts.view.metadata():
        for entry in entries:
            members = {"type": entry.type, "help": entry.help, "unit": entry.unit}
            found.setdefault(entry.family, {name: told for name, told in members.items() if told})
    return found
