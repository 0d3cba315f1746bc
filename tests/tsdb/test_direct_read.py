"""What is decoded straight into the batch is what parts that are merged afterwards come to."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.tsdb.block_models import from_batch
from tsdb import direct_read, select
from tsdb.database import Database, DatabaseOptions
from tsdb.errors import ReadAgainError, TooManySamplesError
from tsdb.interface import LabelSpans, Matcher, MatchOp, Selection
from tsdb.staleness import STALE_NAN

SERIES = 100
STEP_MS = 15_000
HOUR_MS = 3_600_000
STEPS = 1_500
EVERYTHING = (Matcher("__name__", MatchOp.EQUAL, "m"),)
ODD = (Matcher("__name__", MatchOp.EQUAL, "m"), Matcher("half", MatchOp.EQUAL, "1"))


def values_of(rng: np.random.Generator, n: int) -> np.ndarray:
    """Values of one series: every codec has some."""
    match n % 5:
        case 0:
            return rng.integers(0, 50, STEPS).cumsum().astype(np.float64)
        case 1:
            return rng.integers(-900, 900, STEPS) / 100
        case 2:
            return rng.standard_normal(STEPS)
        case 3:
            return np.full(STEPS, 7.0)
    return np.where(rng.random(STEPS) < 0.1, STALE_NAN, rng.integers(0, 5, STEPS))


@pytest.fixture(scope="module", name="database")
def _database(tmp_path_factory):
    """Six hours in two blocks and the head; some series begin late, some end, some have gaps."""
    options = DatabaseOptions(background=False, retention_ms=None, clock_ms=lambda: STEPS * STEP_MS)
    path = tmp_path_factory.mktemp("direct")
    database = Database.open(path, options)
    rng = np.random.default_rng(3)
    names = [
        {"__name__": "m", "n": f"{n:03}", "half": str(n % 2), **({"extra": "x"} if n < 9 else {})}
        for n in range(SERIES)
    ]
    values = np.array([values_of(rng, n) for n in range(SERIES)])
    kept = np.ones((SERIES, STEPS), dtype=bool)
    kept[10:20, :700] = False
    kept[20:30, 800:] = False
    kept[30:40] = rng.random((10, STEPS)) < 0.5
    for first in range(0, STEPS, 50):
        refs = database.resolve(LabelSpans.from_labels(names))
        for step in range(first, min(first + 50, STEPS)):
            for target in range(3):
                there = np.flatnonzero(kept[:, step] & (np.arange(SERIES) % 3 == target))
                times = np.full(there.size, step * STEP_MS + 7 * target)
                database.append(refs[there], times, values[there, step])
        database.maintain()
    assert database.stats().blocks == 2
    yield database
    database.close()


def read(database, *asked, samples_max=None):
    return database.select([Selection(*each) for each in asked], samples_max=samples_max)


@pytest.fixture(name="direct")
def _direct(monkeypatch):
    """What `read_directly` gave, call by call."""
    calls = []
    plain = select.read_directly

    def noted(*args, **options):
        calls.append(plain(*args, **options))
        return calls[-1]

    monkeypatch.setattr(select, "read_directly", noted)
    return calls


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param([(EVERYTHING, 0, STEPS * STEP_MS)], id="all there is"),
        pytest.param([(EVERYTHING, HOUR_MS + 3, 3 * HOUR_MS + 3)], id="across a seam"),
        pytest.param([(EVERYTHING, HOUR_MS, HOUR_MS + 90_000)], id="a little of one block"),
        pytest.param([(EVERYTHING, 8_000_000, 8_000_007)], id="a moment"),
        pytest.param([(ODD, 0, 5 * HOUR_MS)], id="some series, and 50 are few but not in blocks"),
        pytest.param(
            [(EVERYTHING, 0, 5 * HOUR_MS), (ODD, HOUR_MS, 9 * HOUR_MS)], id="two selections"
        ),
        pytest.param(
            [(EVERYTHING, 0, 5 * HOUR_MS), (EVERYTHING, 9, 3), (ODD, 0, 99)],
            id="one of them of an empty range",
        ),
    ],
)
def test_equals_what_is_merged(database, monkeypatch, direct, asked):
    found = read(database, *asked)
    assert len(direct) in (0, 1)
    assert None not in direct
    monkeypatch.setattr(select, "read_directly", lambda *_args, **_options: None)
    for got, expected in zip(found, read(database, *asked), strict=True):
        assert from_batch(got) == from_batch(expected)
        assert got.labels.symbols is expected.labels.symbols


def test_series_that_were_scraped_together_share_their_times(database, direct):
    (batch,) = read(database, (EVERYTHING, 0, STEPS * STEP_MS))
    assert direct[0] is not None
    whole = batch.count == STEPS
    assert np.unique(batch.time_start[whole]).size == 3  # as many as there are targets


def test_the_limit_holds_before_anything_is_decoded(database):
    with pytest.raises(TooManySamplesError):
        read(database, (EVERYTHING, 0, STEPS * STEP_MS), samples_max=100_000)
    read(database, (EVERYTHING, 0, STEPS * STEP_MS), samples_max=SERIES * STEPS)


@pytest.mark.parametrize("what", ["late samples", "a deletion"])
def test_what_needs_a_closer_look_is_merged(tmp_path, direct, what):
    options = DatabaseOptions(background=False, retention_ms=None, clock_ms=lambda: STEPS * STEP_MS)
    database = Database.open(tmp_path, options)
    try:
        names = [{"__name__": "m", "n": str(n)} for n in range(SERIES)]
        refs = database.resolve(LabelSpans.from_labels(names))
        for step in range(0, STEPS, 5):
            database.append(refs, np.full(SERIES, step * STEP_MS), np.full(SERIES, float(step)))
        database.maintain()
        if what == "late samples":
            database.append(refs, np.full(SERIES, 7 * STEP_MS), np.full(SERIES, -1.0))
        else:
            database.delete([EVERYTHING], 5 * STEP_MS, 5 * STEP_MS)
        (batch,) = read(database, (EVERYTHING, 0, STEPS * STEP_MS))
        steps = set(range(0, STEPS, 5))
        steps = steps | {7} if what == "late samples" else steps - {5}
        times = batch.times[batch.time_start[3] :][: batch.count[3]]
        assert times.tolist() == [step * STEP_MS for step in sorted(steps)]
        assert direct == [None]
    finally:
        database.close()


def test_a_damaged_frame_is_left_out_and_counted(tmp_path, direct):
    options = DatabaseOptions(background=False, retention_ms=None, clock_ms=lambda: STEPS * STEP_MS)
    database = Database.open(tmp_path, options)
    try:
        names = [{"__name__": "m", "n": str(n)} for n in range(SERIES)]
        refs = database.resolve(LabelSpans.from_labels(names))
        rng = np.random.default_rng(1)
        for step in range(0, STEPS, 5):
            database.append(refs, np.full(SERIES, step * STEP_MS), rng.standard_normal(SERIES))
        database.maintain()
        pages = next(path for path in tmp_path.rglob("pages") if path.stat().st_size)
        with pages.open("r+b") as file:
            file.seek(pages.stat().st_size // 2)
            file.write(b"\xff" * 64)
        (batch,) = read(database, (EVERYTHING, 0, STEPS * STEP_MS))
        assert direct == [None]
        assert batch.sample_count < SERIES * (STEPS // 5)
        assert database.stats().block_corruptions > 0
    finally:
        database.close()


@pytest.fixture(name="later")
def _later(monkeypatch):
    monkeypatch.setattr(direct_read, "DEFERRED_MIN", 1000)


def read_later(database, *asked):
    return database.select([Selection(*each, deferred=True) for each in asked])


def put_together(batch, *bounds):
    """The batch with the values of some series read after those of others."""
    edges = [0, *bounds, batch.series_count]
    values = [batch.deferred.read(low, high) for low, high in pairwise(edges)]
    return replace(batch, values=np.concatenate(values), deferred=None)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param((EVERYTHING, 0, STEPS * STEP_MS), id="blocks and head"),
        pytest.param((EVERYTHING, HOUR_MS + 3, 3 * HOUR_MS + 3), id="blocks, across a seam"),
        pytest.param((EVERYTHING, HOUR_MS, HOUR_MS + 600_000), id="one block"),
        pytest.param((EVERYTHING, 5 * HOUR_MS, 9 * HOUR_MS), id="the head"),
    ],
)
@pytest.mark.parametrize("bounds", [(), (1,), (7, 8, 31), (25, 25, 49)], ids=str)
@pytest.mark.usefixtures("later")
def test_what_is_read_later_is_what_is_read_at_once(database, asked, bounds):
    (batch,) = read_later(database, asked)
    assert batch.values.size == 0
    assert from_batch(put_together(batch, *bounds)) == from_batch(read(database, asked)[0])


@pytest.mark.usefixtures("later")
def test_what_is_few_is_read_at_once_beside_what_is_read_later(database):
    asked = (EVERYTHING, 0, STEPS * STEP_MS), (ODD, HOUR_MS, HOUR_MS + 60_000), (EVERYTHING, 9, 3)
    many, few, none = read_later(database, *asked)
    assert (few.deferred, none.deferred) == (None, None)
    for found, expected in zip(
        (put_together(many, 3), few, none), read(database, *asked), strict=True
    ):
        assert from_batch(found) == from_batch(expected)


@pytest.mark.usefixtures("later")
def test_later_is_as_of_when_it_was_selected(tmp_path):
    options = DatabaseOptions(background=False, retention_ms=None)
    with_more = Database.open(tmp_path, options)
    try:
        refs = with_more.resolve(
            LabelSpans.from_labels({"__name__": "m", "n": str(n)} for n in range(80))
        )
        for step in range(40):
            with_more.append(refs, np.full(80, step * 1000), np.arange(80.0) + step)
        (batch,) = read_later(with_more, (EVERYTHING, 0, 10_000_000))
        expected = from_batch(with_more.select([Selection(EVERYTHING, 0, 10_000_000)])[0])
        for step in range(40, 400):
            with_more.append(refs, np.full(80, step * 1000), np.arange(80.0) + step)
        with_more.delete([EVERYTHING], 0, 20_000)
        with_more.flush()
        assert from_batch(put_together(batch, 50)) == expected
    finally:
        with_more.close()


@pytest.mark.usefixtures("later")
def test_damage_that_shows_later_asks_for_another_read(tmp_path):
    options = DatabaseOptions(background=False, retention_ms=None)
    damaged = Database.open(tmp_path, options)
    try:
        refs = damaged.resolve(
            LabelSpans.from_labels({"__name__": "m", "n": str(n)} for n in range(80))
        )
        rng = np.random.default_rng(1)
        for step in range(400):
            damaged.append(refs, np.full(80, step * 1000), rng.standard_normal(80))
        damaged.flush()
        (pages,) = tmp_path.glob("*/pages")
        body = bytearray(pages.read_bytes())
        body[len(body) // 2] ^= 1
        pages.write_bytes(bytes(body))
        (batch,) = read_later(damaged, (EVERYTHING, 0, 10_000_000))
        with pytest.raises(ReadAgainError):
            batch.deferred.read(0, batch.series_count)
        assert damaged.stats().block_corruptions == 0
        (batch,) = damaged.select([Selection(EVERYTHING, 0, 10_000_000)])
        assert 0 < batch.sample_count < 80 * 400
    finally:
        damaged.close()
