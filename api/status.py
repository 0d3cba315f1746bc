"""Handlers of what the app is and does: targets, metadata, rules, configuration, health.

From: `routes.py`.   To: `views.AppView`.
There are no rules and no Alertmanagers yet, so their lists are truly empty.
"""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import orjson
import re2

from api.errors import BAD_DATA, ApiError, BadParameterError
from api.params import (
    Form,
    int_problem,
    matcher_sets,
    parse_bool,
    parse_int,
    read_form,
    selector,
)
from api.parts import PARTS
from api.replies import large, success
from api.target_urls import global_url
from api.times import format_rfc3339
from api.views import MetricMetadata
from promql.errors import ParseError
from promql.quoting import quote
from tsdb.interface import Matcher, MatchOp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiohttp import web

    from api.views import ApiOptions, BuildView
    from scraper.targets import Targets

TSDB_LIMIT_DEFAULT, TSDB_LIMIT_MAX = 10, 10_000


async def targets(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/targets; `state` and `scrapePool` narrow it."""
    form = await read_form(request)
    state, pool = form.text("state").lower(), form.text("scrapePool")
    parts = request.app[PARTS]
    view, options = parts.view, parts.options
    return await large(request, lambda: _target_members(view.targets(), state, pool, options))


def _target_members(view: Targets, state: str, pool: str, options: ApiOptions) -> dict[str, object]:
    active: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    if state in ("", "any", "active"):
        active = [
            {
                "discoveredLabels": dict(sorted(target.discovered_labels.items())),
                "labels": dict(sorted(target.labels.items())),
                "scrapePool": target.scrape_pool,
                "scrapeUrl": target.scrape_url,
                "globalUrl": global_url(
                    target.global_url, options.external_url, options.listen_port
                ),
                "lastError": target.last_error,
                "lastScrape": format_rfc3339(target.last_scrape_s),
                "lastScrapeDuration": target.last_scrape_duration_s,
                "health": target.health,
                "scrapeInterval": target.scrape_interval,
                "scrapeTimeout": target.scrape_timeout,
            }
            for target in view.active
            if pool in ("", target.scrape_pool)
        ]
    counts = None
    if state in ("", "any", "dropped"):
        dropped = [
            {
                "discoveredLabels": dict(sorted(target.discovered_labels.items())),
                "scrapePool": target.scrape_pool,
            }
            for target in view.dropped
            if pool in ("", target.scrape_pool)
        ]
        counts = dict(sorted(view.dropped_counts.items()))  # of all pools, as Prometheus' are
    return {"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts}


async def scrape_pools(request: web.Request) -> web.Response:
    """Answer /api/v1/scrape_pools."""
    return success(request, {"scrapePools": list(request.app[PARTS].view.scrape_pools())})


async def targets_metadata(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/targets/metadata: what each target said of its metrics."""
    form = await read_form(request)
    limit = form.count("limit")
    metric = form.text("metric")
    matchers: tuple[Matcher, ...] = ()
    if form.text("match_target"):
        try:
            matchers = selector(form.text("match_target"))
        except ParseError as error:
            raise BadParameterError("match_target", str(error)) from None
    view = request.app[PARTS].view
    return await large(request, lambda: _metadata_rows(view.metadata(), matchers, metric, limit))


def _metadata_rows(
    targets: Iterable[tuple[Mapping[str, str], Iterable[MetricMetadata]]],
    matchers: Sequence[Matcher],
    metric: str,
    limit: int | None,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for labels, entries in targets:
        if not all(_matches(matcher, labels) for matcher in matchers):
            continue
        for entry in entries:
            if limit is not None and 0 <= limit <= len(rows):
                return rows
            if metric and entry.family != metric:
                continue
            row: dict[str, Any] = {"target": dict(labels)}
            if not metric:
                row["metric"] = entry.family
            row |= {"type": entry.type, "help": entry.help, "unit": entry.unit}
            rows.append(row)
    return rows


def _matches(matcher: Matcher, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    match matcher.op:
        case MatchOp.EQUAL:
            return value == matcher.value
        case MatchOp.NOT_EQUAL:
            return value != matcher.value
    found = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    return found if matcher.op is MatchOp.MATCHES else not found


async def metadata(request: web.Request) -> web.StreamResponse:
    """Answer /api/v1/metadata: metric -> distinct descriptions.

    Prometheus tells what targets say alone; here what was pushed is told of all other metrics.
    """
    form = await read_form(request)
    limit, per_metric = form.count("limit"), form.count("limit_per_metric")
    wanted, parts = form.text("metric"), request.app[PARTS]

    def work() -> dict[str, list[dict[str, str]]]:
        told = parts.view.metadata()
        scraped = {entry.family for _, entries in told for entry in entries}
        pushed = [
            MetricMetadata(entry.metric, entry.type, entry.help, entry.unit)
            for entry in parts.storage.metadata(wanted or None)
            if entry.metric not in scraped
        ]
        return _metadata_by_family([*told, ({}, pushed)], wanted, limit, per_metric)

    return await large(request, work)


def _metadata_by_family(
    targets: Iterable[tuple[Mapping[str, str], Iterable[MetricMetadata]]],
    wanted: str,
    limit: int | None,
    per_metric: int | None,
) -> dict[str, list[dict[str, str]]]:
    found: dict[str, dict[MetricMetadata, None]] = {}
    for _, entries in targets:
        for entry in entries:
            if wanted and entry.family != wanted:
                continue
            if entry.family not in found:
                if limit is not None and 0 <= limit <= len(found):
                    continue
                found[entry.family] = {}
            known = found[entry.family]
            if per_metric is None or per_metric <= 0 or len(known) < per_metric:
                known[entry] = None
    return {
        family: [{"type": e.type, "unit": e.unit, "help": e.help} for e in entries]
        for family, entries in found.items()
    }


async def rules(request: web.Request) -> web.Response:
    """Answer /api/v1/rules: no groups, since no rules are evaluated; parameters are checked."""
    form = await read_form(request)
    if form.text("type").lower() not in ("", "alert", "record"):
        raise BadParameterError("type", f"not supported value {quote(form.text('type'))}")
    matcher_sets(form.all("match[]"))
    _check_exclude_alerts(form)
    _check_paging(form)
    return success(request, {"groups": []})


def _check_exclude_alerts(form: Form) -> None:
    flag = form.text("exclude_alerts")
    if not flag:
        return
    try:
        parse_bool(flag)
    except ValueError as error:
        reason = f"error converting exclude_alerts: {error}"
        raise BadParameterError("exclude_alerts", reason) from None


def _check_paging(form: Form) -> None:
    limit, token = form.text("group_limit"), form.text("group_next_token")
    if limit:
        number = parse_int(limit)
        if number is None:
            reason = f"strconv.ParseInt: parsing {quote(limit)}: {int_problem(limit)}"
            raise BadParameterError(
                "group_limit", f"group_limit needs to be a valid number: {reason}"
            )
        if number <= 0:
            raise BadParameterError("group_limit", "group_limit needs to be greater than 0")
    elif token:
        reason = "group_limit needs to be present in order to paginate over the groups"
        raise BadParameterError("group_next_token", reason)
    if token:
        reason = f"invalid group_next_token '{token}'. were rule groups changed?"
        raise BadParameterError("group_next_token", reason)


async def alerts(request: web.Request) -> web.Response:
    """Answer /api/v1/alerts: none, since no rules are evaluated."""
    return success(request, {"alerts": []})


async def alertmanagers(request: web.Request) -> web.Response:
    """Answer /api/v1/alertmanagers: none, since no alerts are sent."""
    return success(request, {"activeAlertmanagers": [], "droppedAlertmanagers": []})


async def config(request: web.Request) -> web.Response:
    """Answer /api/v1/status/config."""
    return success(request, {"yaml": request.app[PARTS].view.config_yaml()})


async def flags(request: web.Request) -> web.Response:
    """Answer /api/v1/status/flags."""
    return success(request, dict(sorted(request.app[PARTS].view.flags().items())))


async def runtimeinfo(request: web.Request) -> web.Response:
    """Answer /api/v1/status/runtimeinfo; Go's members are there for those who read them."""
    runtime = request.app[PARTS].view.runtime()
    loaded = dt.datetime.fromtimestamp(runtime.last_config_time_s, dt.UTC)
    return success(
        request,
        {
            "startTime": format_rfc3339(runtime.start_time_s),
            "CWD": runtime.working_directory,
            "hostname": runtime.hostname,
            "serverTime": format_rfc3339(time.time()),
            "reloadConfigSuccess": runtime.reload_success,
            "lastConfigTime": f"{loaded:%Y-%m-%dT%H:%M:%SZ}",
            "corruptionCount": runtime.corruption_count,
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOMEMLIMIT": 0,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": runtime.storage_retention,
        },
    )


def build_members(build: BuildView) -> dict[str, str]:
    """Return the members of /api/v1/status/buildinfo; all are strings, or Grafana fails."""
    return {
        "version": build.version,
        "revision": build.revision,
        "branch": build.branch,
        "buildUser": build.build_user,
        "buildDate": build.build_date,
        "goVersion": "",
        "gnomonVersion": build.gnomon_version,
        "pythonVersion": build.python_version,
    }


async def buildinfo(request: web.Request) -> web.Response:
    """Answer /api/v1/status/buildinfo."""
    return success(request, build_members(request.app[PARTS].view.build()))


async def tsdb(request: web.Request) -> web.Response:
    """Answer /api/v1/status/tsdb: cardinality."""
    parts, form = request.app[PARTS], await read_form(request)
    limit = TSDB_LIMIT_DEFAULT
    if form.text("limit"):
        number = parse_int(form.text("limit"))
        if number is None or number < 1:
            raise ApiError(BAD_DATA, "limit must be a positive number")
        limit = min(number, TSDB_LIMIT_MAX)
    stats = await parts.gate.call(lambda: parts.view.tsdb_stats(limit))
    return success(
        request,
        {
            "headStats": {
                "numSeries": stats.series_count,
                "numLabelPairs": stats.label_pair_count,
                "chunkCount": stats.chunk_count,
                "minTime": stats.min_time_ms,
                "maxTime": stats.max_time_ms,
            },
            "seriesCountByMetricName": _named(stats.series_by_metric, limit),
            "labelValueCountByLabelName": _named(stats.values_by_label, limit),
            "memoryInBytesByLabelName": _named(stats.memory_by_label, limit),
            "seriesCountByLabelValuePair": _named(stats.series_by_label_pair, limit),
        },
    )


def _named(pairs: Sequence[tuple[str, int]], limit: int) -> list[dict[str, object]]:
    return [{"name": name, "value": value} for name, value in pairs[:limit]]


async def blocks(request: web.Request) -> web.Response:
    """Answer /api/v1/status/tsdb/blocks: the meta.json of each block."""
    parts = request.app[PARTS]
    metas = await parts.gate.call(parts.view.block_metas)
    return success(request, {"blocks": [orjson.loads(meta) for meta in metas]})


async def walreplay(request: web.Request) -> web.Response:
    """Answer /api/v1/status/walreplay, also while storage opens."""
    first, last, current = request.app[PARTS].view.wal_replay()
    return success(request, {"min": first, "max": last, "current": current})
