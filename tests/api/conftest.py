"""A storage in plain lists and an app that shows fixed facts, so that the API stands alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
import re2
from aiohttp import ClientSession, web
from yarl import URL

from api.access import Access
from api.routes import RUNNER_OPTIONS, make_app
from api.views import (
    ApiOptions,
    BuildView,
    MetricMetadata,
    Notification,
    RuntimeView,
    TsdbStatsView,
)
from promql.engine import Engine
from scraper.job import RelabelAction, RelabelRule
from scraper.targets import ActiveTarget, DroppedTarget, Targets
from tsdb.database import Database
from tsdb.errors import TooManySamplesError
from tsdb.interface import AppendStatus, ExemplarColumns, LabelColumns, MatchOp, SeriesBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_S = 1_795_470_000.0

PATIENCE_S = 30.0


async def until(condition):
    """Wait, on an event loop, until something is so; fail when it does not come."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - neither threads nor sockets set events
            await asyncio.sleep(0.005)


class ListSymbols:
    def __init__(self):
        self._texts, self._ids = [""], {"": 0}

    def intern(self, text):
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts.append(text)
        return self._ids[text]

    def text(self, symbol):
        return self._texts[symbol]

    def texts(self, symbols):
        return [self._texts[symbol] for symbol in symbols.tolist()]

    def find(self, text):
        return self._ids.get(text)


def _satisfies(labels, matcher):
    value = labels.get(matcher.name, "")
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        return (value == matcher.value) == (matcher.op is MatchOp.EQUAL)
    found = re2.fullmatch(f"(?s:{matcher.value})", value) is not None
    return found == (matcher.op is MatchOp.MATCHES)


class ListStorage:
    """Both sides of storage. Refuses like a head without an out-of-order window."""

    def __init__(self):
        self.symbols = ListSymbols()
        self.refs: dict[tuple, int] = {}
        self.samples: list[dict[int, float]] = []
        self.lost_refs: set[int] = set()
        self.histograms: list[tuple] = []
        self.exemplars: list[tuple] = []
        self.families: dict[str, object] = {}

    def add(self, labels, samples):
        key = tuple(sorted(labels.items()))
        ref = self.refs.setdefault(key, len(self.samples))
        if ref == len(self.samples):
            self.samples.append({})
        self.samples[ref].update(samples)
        return self

    def resolve(self, labels):
        refs = []
        for series in range(labels.series_count):
            rows = labels.spans[labels.first[series] : labels.first[series + 1]].tolist()
            data = labels.data.tobytes()
            pairs = [(data[a:b], data[c:d]) for a, b, c, d in rows]
            names = [name for name, _ in pairs]
            assert names == sorted(set(names))
            assert all(name and value for name, value in pairs)
            key = tuple((name.decode(), value.decode()) for name, value in pairs)
            self.add(dict(key), {})
            refs.append(self.refs[key])
        return np.array(refs, dtype=np.int64)

    def append(self, refs, times_ms, values, *, time_max_ms=None, start_times_ms=None):
        statuses = []
        for ref, time, value in zip(refs.tolist(), times_ms.tolist(), values.tolist(), strict=True):
            held = self.samples[ref]
            if ref in self.lost_refs:
                self.lost_refs.discard(ref)
                statuses.append(AppendStatus.UNKNOWN_SERIES)
            elif time_max_ms is not None and time > time_max_ms:
                statuses.append(AppendStatus.TOO_FAR_AHEAD)
            elif time in held:
                same = np.float64(held[time]).tobytes() == np.float64(value).tobytes()
                statuses.append(AppendStatus.DUPLICATE if same else AppendStatus.CONFLICT)
            elif held and time < max(held):
                statuses.append(AppendStatus.OUT_OF_ORDER)
            else:
                held[time] = value
                statuses.append(AppendStatus.STORED)
        return np.array(statuses, dtype=np.uint8)

    def append_histograms(
        self, refs, times_ms, histograms, *, time_max_ms=None, start_times_ms=None
    ):
        ahead = time_max_ms is not None and times_ms > time_max_ms
        status = np.where(ahead, AppendStatus.TOO_FAR_AHEAD, AppendStatus.STORED)
        self.histograms += zip(refs.tolist(), times_ms.tolist(), status.tolist(), strict=True)
        return status.astype(np.uint8)

    def append_exemplars(self, refs, times_ms, values, labels):
        self.exemplars += zip(refs.tolist(), times_ms.tolist(), values.tolist(), strict=True)
        return np.zeros(refs.size, dtype=np.uint8)

    def append_metadata(self, entries):
        self.families.update((entry.metric, entry) for entry in entries)
        return len(entries)

    def metadata(self, metric=None):
        return [e for e in self.families.values() if metric in (None, e.metric)]

    def select_exemplars(self, matcher_sets, start_ms, end_ms):
        nothing = np.empty(0)
        none = self._columns([])
        first = np.zeros(1, dtype=np.int64)
        return ExemplarColumns(none, first, nothing.astype(np.int64), nothing, none)

    def select(self, selections, *, samples_max=None):
        batches = [self._batch(selection) for selection in selections]
        total = sum(batch.sample_count for batch in batches)
        if samples_max is not None and total > samples_max:
            raise TooManySamplesError(samples_max)
        return batches

    def _batch(self, selection):
        rows, times, values, starts, counts = [], [], [], [], []
        for key, ref in sorted(self.refs.items()):
            if not all(_satisfies(dict(key), matcher) for matcher in selection.matchers):
                continue
            inside = [
                (time, value)
                for time, value in sorted(self.samples[ref].items())
                if selection.start_ms <= time <= selection.end_ms
            ]
            if inside:
                rows.append(dict(key))
                starts.append(len(times))
                counts.append(len(inside))
                times += [time for time, _ in inside]
                values += [value for _, value in inside]
        start = np.array(starts, dtype=np.int64)
        return SeriesBatch(
            labels=self._columns(rows),
            times=np.array(times, dtype=np.int64),
            time_start=start,
            values=np.array(values, dtype=np.float64),
            value_start=start,
            count=np.array(counts, dtype=np.int64),
        )

    def _columns(self, rows):
        names = tuple(sorted({name for row in rows for name in row}))
        ids = np.zeros((len(names), len(rows)), dtype=np.uint32)
        for at, name in enumerate(names):
            for series, row in enumerate(rows):
                ids[at, series] = self.symbols.intern(row.get(name, ""))
        return LabelColumns(names, ids, self.symbols)

    def _matching(self, matcher_sets, start_ms, end_ms):
        for key, ref in sorted(self.refs.items()):
            labels = dict(key)
            sets = matcher_sets or [()]
            chosen = any(all(_satisfies(labels, m) for m in matchers) for matchers in sets)
            if chosen and any(start_ms <= time <= end_ms for time in self.samples[ref]):
                yield labels

    def series(self, matcher_sets, start_ms, end_ms):
        return self._columns(list(self._matching(matcher_sets, start_ms, end_ms)))

    def label_names(self, matcher_sets, start_ms, end_ms):
        found = self._matching(matcher_sets, start_ms, end_ms)
        return sorted({name for labels in found for name in labels})

    def label_values(self, name, matcher_sets, start_ms, end_ms):
        found = self._matching(matcher_sets, start_ms, end_ms)
        return sorted({labels[name] for labels in found if name in labels})


@dataclass
class FixedView:
    """An app that stands still."""

    is_ready: bool = True
    is_stopping: bool = False
    notes: tuple[str, ...] = ()
    reloads: list[str] = field(default_factory=list)
    reload_error: str = ""
    quits: int = 0
    commands: list[tuple] = field(default_factory=list)
    command_error: Exception | None = None
    logged: list[tuple[str, dict]] | None = None

    def ready(self):
        return self.is_ready

    def readable(self):
        return self.is_ready or bool(self.notes)

    def reading_notes(self):
        return self.notes

    def answers_alone(self):
        return not self.notes

    def query_log(self):
        return None if self.logged is None else self

    def write(self, message, fields):
        self.logged.append((message, fields))

    def stopping(self):
        return self.is_stopping

    def config_yaml(self):
        return "global:\n  scrape_interval: 1m\n"

    def flags(self):
        return {"web.enable-lifecycle": "false", "config.file": "gnomon.yml"}

    def runtime(self):
        return RuntimeView(NOW_S, "/srv", "host", True, NOW_S, 0, "15d")

    def build(self):
        return BuildView(version="3.5.0", gnomon_version="0.1.0")

    def targets(self):
        labels = {"instance": "a:9100", "job": "node"}
        active = ActiveTarget(
            discovered_labels={"__address__": "a:9100"},
            labels=labels,
            scrape_pool="node",
            scrape_url="http://a:9100/metrics",
            global_url="http://a:9100/metrics",
            last_error="",
            last_scrape_s=NOW_S + 0.5,
            last_scrape_duration_s=0.01,
            health="up",
            scrape_interval="1m",
            scrape_timeout="10s",
        )
        dropped = DroppedTarget({"__address__": "b:9100"}, "node")
        return Targets([active], [dropped], {"node": 1, "other": 0})

    def scrape_pools(self):
        return ["node", "other"]

    def relabel_rules(self, pool):
        rules = (
            RelabelRule(source_labels=("a", "b"), target_label="c"),
            RelabelRule(action=RelabelAction.DROP, source_labels=("c",), regex="x;y"),
            RelabelRule(target_label="d", replacement="e"),
        )
        return rules if pool == "node" else None

    def pool_yaml(self, pool):
        return "job_name: node\n" if pool == "node" else None

    def notifications(self):
        return [Notification("Configuration reload has failed.", NOW_S)]

    def block_metas(self):
        return [b'{"ulid":"01J","minTime":1}']

    def delete_series(self, matcher_sets, start_ms, end_ms):
        self.commands.append(("delete", matcher_sets, start_ms, end_ms))
        if self.command_error:
            raise self.command_error

    def clean_tombstones(self):
        self.commands.append(("clean",))
        if self.command_error:
            raise self.command_error

    def snapshot(self, *, skip_head):
        self.commands.append(("snapshot", skip_head))
        return "20261123T202647Z-0b06fd428bef36ee"

    def metadata(self):
        up = MetricMetadata("up_total", "counter", "How <often>.", "")
        heat = MetricMetadata("heat", "gauge", "Heat.", "celsius")
        return [
            ({"instance": "a:9100", "job": "node"}, [up, heat]),
            ({"instance": "b:9100", "job": "other"}, [up]),
        ]

    def tsdb_stats(self, limit):
        pairs = [(f"m{i}", 100 - i) for i in range(20)]
        return TsdbStatsView(20, 40, 5, 1000, 2000, pairs, pairs, pairs, pairs)

    def metrics_text(self):
        return b"# TYPE up gauge\nup 1\n"

    async def reload(self):
        if self.reload_error:
            raise ValueError(self.reload_error)
        self.reloads.append("done")

    def wal_replay(self):
        return 0, 0, 0

    def quit(self):
        self.quits += 1


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


class ApiHarness:
    """The application behind a real socket, asked from synchronous tests."""

    def __init__(self):
        self.storage, self.view = ListStorage(), FixedView()
        self.engine = Engine(self.storage)
        self.options = ApiOptions(enable_remote_write_receiver=True)
        self.app = None
        self.rules = None

    def run(self, scenario):
        """Run `scenario(session, address)` against a fresh server."""

        async def main():
            self.app = make_app(
                self.storage,
                self.engine,
                self.view,
                self.options,
                access=Access(self.rules) if self.rules else None,
                now=lambda: NOW_S,
            )
            runner = web.AppRunner(self.app, **RUNNER_OPTIONS)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                host, port = runner.addresses[0][:2]
                async with ClientSession(
                    auto_decompress=False, headers={"Accept-Encoding": "identity"}
                ) as session:
                    return await scenario(session, f"http://{host}:{port}")
            finally:
                await runner.cleanup()

        return asyncio.run(main())

    def ask(self, method, path, **kwargs):
        """Send one request as it is, without following redirects."""
        return self.ask_all([(method, path, kwargs)])[0]

    def ask_all(self, requests):
        """Send requests one after the other to one server."""

        async def scenario(session, address):
            replies = []
            for method, path, kwargs in requests:
                url = URL(address + path, encoded=True)
                async with session.request(
                    method, url, allow_redirects=False, **kwargs
                ) as response:
                    replies.append(Reply(response.status, response.headers, await response.read()))
            return replies

        return self.run(scenario)


@pytest.fixture
def api():
    harness = ApiHarness()
    yield harness
    harness.engine.close()


@pytest.fixture
def real(api):
    """The same over a real database, in memory."""
    api.engine.close()
    api.storage = Database.in_memory()
    api.engine = Engine(api.storage)
    yield api
    api.storage.close()
