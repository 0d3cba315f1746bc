"""A database against a dict, through restarts, crashes, cuts, compactions and deletions."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.tsdb.histogram_models import as_read, to_histogram
from tsdb.database import Database
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions
from tsdb.staleness import STALE_NAN

OPTIONS = DatabaseOptions(
    retention_ms=None,
    min_block_ms=1000,
    max_block_ms=9000,
    background=False,
    wal_segment_bytes=2000,
    head_save_wal_bytes=1000,
)
SERIES = [
    {"__name__": "up", "job": "a"},
    {"__name__": "up", "job": "b", "instance": "1"},
    {"__name__": "up", "job": "b", "instance": "2"},
    {"__name__": "load", "job": "a"},
    {"__name__": "load", "mode": "idle"},
    {"job": "a"},
]
VALUES = [0.0, -0.0, 1.0, 2.5, 1e300, float("nan"), float("inf"), float(STALE_NAN)]
MATCHERS = [
    (),
    (Matcher("__name__", MatchOp.EQUAL, "up"),),
    (Matcher("__name__", MatchOp.EQUAL, "up"), Matcher("job", MatchOp.NOT_EQUAL, "a")),
    (Matcher("job", MatchOp.MATCHES, "a|c"),),
    (Matcher("job", MatchOp.EQUAL, ""),),
    (Matcher("__name__", MatchOp.MATCHES, "l.*"),),
]

times = st.one_of(st.integers(-3000, 12_000), st.integers(0, 100_000))
samples = st.lists(
    st.tuples(st.integers(0, len(SERIES) - 1), times, st.sampled_from(VALUES)),
    min_size=1,
    max_size=40,
)


def bits(value: float) -> int:
    return int(np.float64(value).view(np.uint64))


def satisfies(labels: dict[str, str], matchers: tuple[Matcher, ...]) -> bool:
    for matcher in matchers:
        text = labels.get(matcher.name, "")
        if matcher.op is MatchOp.EQUAL:
            good = text == matcher.value
        elif matcher.op is MatchOp.NOT_EQUAL:
            good = text != matcher.value
        elif matcher.value == "l.*":
            good = text.startswith("l")
        else:
            good = text in matcher.value.split("|")
        if not good:
            return False
    return True


def read(database: Database, matchers: tuple[Matcher, ...], start: int, end: int):
    """All series and samples of a selection, as a dict of dicts of bits, or of histograms."""
    (batch,) = database.select([Selection(matchers, start, end)])
    found = {}
    for series in range(batch.series_count):
        first, value, count = (
            int(column[series]) for column in (batch.time_start, batch.value_start, batch.count)
        )
        at = batch.times[first : first + count]
        assert (np.diff(at) > 0).all()
        stored = batch.values[value : value + count].view(np.uint64)
        labels = frozenset(batch.labels.row(series).items())
        assert labels not in found
        found[labels] = dict(zip(at.tolist(), stored.tolist(), strict=True))
        if (runs := batch.histograms) is not None:
            start, size = int(runs.start[series]), int(runs.count[series])
            assert (np.diff(runs.times[start : start + size]) > 0).all()
            for place in range(start, start + size):
                assert int(runs.times[place]) not in found[labels]
                found[labels][int(runs.times[place])] = to_histogram(runs.columns, place)
        assert found[labels]
    return found


class DatabaseMachine(RuleBasedStateMachine):
    """The model is `{labels: {time: bits}}`; the first value of a time stays."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.generation = 0
        self.model: dict[frozenset, dict[int, int]] = {}

    @initialize()
    def begin(self) -> None:
        self.database = Database.open(self.directory / "0", OPTIONS)

    @rule(batch=samples)
    def append(self, batch: list[tuple[int, int, float]]) -> None:
        refs = self.database.resolve(LabelSpans.from_labels(SERIES[s] for s, _, _ in batch))
        values = np.array([value for _, _, value in batch])
        got = self.database.append(refs, np.array([time for _, time, _ in batch]), values)
        for (series, time, _), status, word in zip(
            batch, got.tolist(), values.view(np.uint64).tolist(), strict=True
        ):
            stored = self.model.setdefault(frozenset(SERIES[series].items()), {})
            if time not in stored:
                assert status == AppendStatus.STORED
                stored[time] = word
            elif stored[time] == word:
                # A repetition of what only a block has is found out when it is read.
                assert status in (AppendStatus.DUPLICATE, AppendStatus.STORED)
            else:
                assert status in (AppendStatus.CONFLICT, AppendStatus.STORED)

    @rule(first=st.integers(0, 5), step=st.integers(1, 40), count=st.integers(1, 90))
    def scrape(self, first: int, step: int, count: int) -> None:
        newest = max((max(s) for s in self.model.values() if s), default=0)
        for k in range(1, count + 1):
            self.append([(s, newest + k * step, float(k)) for s in range(first, len(SERIES))])

    @rule()
    def flush(self) -> None:
        self.database.flush()

    @rule()
    def save_head(self) -> None:
        self.database.save_head()

    @rule()
    def maintain(self) -> None:
        self.database.maintain()

    @rule()
    def restart(self) -> None:
        self.database.close()
        self.database = Database.open(self.directory / str(self.generation), OPTIONS)

    @rule()
    def crash(self) -> None:
        here = self.directory / str(self.generation)
        self.generation += 1
        there = self.directory / str(self.generation)
        shutil.copytree(here, there)
        self.database.close()
        self.database = Database.open(there, OPTIONS)
        assert self.database.stats().clean_start == 0

    @rule(matchers=st.sampled_from(MATCHERS), start=times, size=st.integers(0, 5000))
    def delete(self, matchers: tuple[Matcher, ...], start: int, size: int) -> None:
        self.database.delete([matchers], start, start + size)
        for labels, stored in self.model.items():
            if satisfies(dict(labels), matchers):
                for time in [t for t in stored if start <= t <= start + size]:
                    del stored[time]

    @rule()
    def clean_tombstones(self) -> None:
        self.database.clean_tombstones()

    @rule()
    def snapshot(self) -> None:
        self.generation += 1
        copy = self.directory / str(self.generation)
        self.database.snapshot(copy)
        self.generation -= 1
        other = Database.open(copy, OPTIONS)
        assert read(other, (), -(1 << 40), 1 << 40) == self.expected((), -(1 << 40), 1 << 40)
        other.close()
        shutil.rmtree(copy)

    def expected(self, matchers: tuple[Matcher, ...], start: int, end: int):
        found = {}
        for labels, stored in as_read(self.model).items():
            inside = {time: word for time, word in stored.items() if start <= time <= end}
            if inside and satisfies(dict(labels), matchers):
                found[labels] = inside
        return found

    @rule(matchers=st.sampled_from(MATCHERS), start=times, size=st.integers(0, 20_000))
    def select(self, matchers: tuple[Matcher, ...], start: int, size: int) -> None:
        got = read(self.database, matchers, start, start + size)
        assert got == self.expected(matchers, start, start + size)

    @invariant()
    def holds_everything(self) -> None:
        if hasattr(self, "database"):
            low, high = -(1 << 40), 1 << 40
            assert read(self.database, (), low, high) == self.expected((), low, high)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
        shutil.rmtree(self.directory)


TestDatabase = DatabaseMachine.TestCase
TestDatabase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
