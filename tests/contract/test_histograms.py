"""Native histograms in everything that implements `interface.Storage`, whatever they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.tsdb.block_models import bits
from tests.tsdb.histogram_models import from_mixed_batch, to_columns
from tsdb.database import Database
from tsdb.errors import TooManySamplesError
from tsdb.interface import (
    CUSTOM_BUCKETS_SCHEMA,
    AppendStatus,
    LabelSpans,
    Matcher,
    MatchOp,
    ResetHint,
    Selection,
)
from tsdb.options import DatabaseOptions
from tsdb.staleness import STALE_NAN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tsdb.interface import Storage

OPTIONS = DatabaseOptions(retention_ms=None, background=False)
STEPS, STEP_MS = 300, 120_000
"""Ten hours, a sample each two minutes."""
SERIES = [
    {"__name__": "latency", "job": "integers"},
    {"__name__": "latency", "job": "floats"},
    {"__name__": "latency", "job": "custom"},
    {"__name__": "latency", "job": "mixed"},
]
STALE = int(STALE_NAN.view(np.uint64))
EVERYTHING = (-(1 << 62), 1 << 62)


def sample(series: int, step: int):
    """A histogram, or the bits of a float in every second step of the last series."""
    if series == 0:
        if step == 200:
            return (0, 0, False, 0, STALE, 0, 0, (), (), ())
        hint = ResetHint.UNKNOWN if step in (0, 201) else ResetHint.NOT_RESET
        positive = tuple((index, bits(step)) for index in range(-2, 3 + step // 100))
        return (3, hint, False, bits(6 * step), bits(step / 3), bits(1e-128), 0, positive,
                ((7, bits(1)),), ())  # fmt: skip
    if series == 1:
        return (-2, ResetHint.GAUGE, True, bits(step / 7), bits(-step), 0, bits(0.5),
                ((1, bits(step / 9)),), (), ())  # fmt: skip
    bounds = (bits(0.1), bits(0.5), bits(1.0))
    if series == 2:
        hint = ResetHint.NOT_RESET if step else ResetHint.UNKNOWN
        return (CUSTOM_BUCKETS_SCHEMA, hint, False, bits(step), bits(step), 0, 0,
                ((0, bits(step)), (3, 0)), (), bounds)  # fmt: skip
    return bits(step) if step % 2 else unhinted(sample(2, step))


def unhinted(histogram):
    """Return a histogram as it is read back where nothing is known of the one before."""
    return (histogram[0], int(ResetHint.UNKNOWN), *histogram[2:])


def fill(storage: Storage) -> None:
    refs = storage.resolve(LabelSpans.from_labels(SERIES))
    for step in range(STEPS):
        time = step * STEP_MS
        samples = [sample(series, step) for series in range(len(SERIES))]
        chosen = [at for at, each in enumerate(samples) if not isinstance(each, int)]
        # Nothing that a reader is told of neighbours comes from what the writer said of them.
        columns = to_columns(samples[at] for at in chosen)
        columns.hint[columns.hint != ResetHint.GAUGE] = step % 2 * ResetHint.NOT_RESET
        status = storage.append_histograms(refs[chosen], np.full(len(chosen), time), columns)
        assert (status == AppendStatus.STORED).all()
        for at, each in enumerate(samples):
            if isinstance(each, int):
                value = np.array([each], np.uint64).view(np.float64)
                assert storage.append(refs[[at]], np.array([time]), value) == AppendStatus.STORED


@pytest.fixture(
    scope="module",
    params=["in memory", "in the head", "in blocks", "in both", "after a restart", "after a crash"],
)
def storage(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Database]:
    path: Path = tmp_path_factory.mktemp("data")
    if request.param == "in memory":
        database = Database.in_memory()
    else:
        database = Database.open(path, OPTIONS)
    fill(database)
    if request.param == "in blocks":
        database.flush()
    elif request.param == "in both":
        database.maintain()
        assert database.stats().blocks
    elif request.param == "after a restart":
        database.close()
        database = Database.open(path, OPTIONS)
    elif request.param == "after a crash":
        database._wal.sync()
        copy = tmp_path_factory.mktemp("copy") / "data"
        copy.mkdir()
        (copy / "wal").mkdir()
        for source in (path / "wal").iterdir():
            (copy / "wal" / source.name).write_bytes(source.read_bytes())
        database.close()
        database = Database.open(copy, OPTIONS)
        assert database.stats().replay_samples == STEPS * len(SERIES)
    yield database
    database.close()


def expected(start: int, end: int, series=(0, 1, 2, 3)):
    steps = [step for step in range(STEPS) if start <= step * STEP_MS <= end]
    return {
        tuple(sorted(SERIES[at].items())): {step * STEP_MS: sample(at, step) for step in steps}
        for at in series
        if steps
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(*EVERYTHING, id="everything"),
        pytest.param(0, 0, id="the first sample only"),
        pytest.param(1, STEP_MS - 1, id="between two samples there is nothing"),
        pytest.param(59 * STEP_MS, 181 * STEP_MS + 1, id="over the seams of blocks"),
        pytest.param(199 * STEP_MS, 201 * STEP_MS, id="around a stale marker"),
    ],
)
def test_ranges(storage, start, end):
    (batch,) = storage.select([Selection((), start, end)])
    assert from_mixed_batch(batch) == expected(start, end)


def test_series_of_histograms_only_are_series(storage):
    matchers = (Matcher("job", MatchOp.MATCHES, "int.*"),)
    (batch,) = storage.select([Selection(matchers, *EVERYTHING)])
    assert batch.count.tolist() == [0]
    assert from_mixed_batch(batch) == expected(*EVERYTHING, series=[0])
    assert storage.series([matchers], *EVERYTHING).series_count == 1
    assert storage.label_values("job", [matchers], *EVERYTHING) == ["integers"]


def test_selections_of_one_call_keep_their_own(storage):
    first = (Matcher("job", MatchOp.EQUAL, "floats"),)
    batches = storage.select(
        [Selection(first, 0, 10 * STEP_MS), Selection((), 5 * STEP_MS, 6 * STEP_MS)]
    )
    assert [from_mixed_batch(batch) for batch in batches] == [
        expected(0, 10 * STEP_MS, series=[1]),
        expected(5 * STEP_MS, 6 * STEP_MS),
    ]


def test_histograms_count_as_the_samples_that_they_take_the_room_of(storage):
    found = [sample(series, step) for series in range(len(SERIES)) for step in range(STEPS)]
    rows = [each for each in found if not isinstance(each, int)]
    buckets = sum(len(row[7]) + len(row[8]) for row in rows)
    total = len(found) - len(rows) + 11 * len(rows) + buckets // 2
    (batch,) = storage.select([Selection((), *EVERYTHING)], samples_max=total)
    assert batch.sample_count == STEPS // 2
    with pytest.raises(TooManySamplesError):
        storage.select([Selection((), *EVERYTHING)], samples_max=total - 20)


def test_a_time_holds_one_sample(storage):
    """Of the newest time, the one that is surely in the head."""
    refs = storage.resolve(LabelSpans.from_labels(SERIES[:1]))
    at = np.array([STEPS * STEP_MS])
    first, other = unhinted(sample(0, 7)), sample(0, 8)
    hinted = (first[0], int(ResetHint.RESET), *first[2:])
    for histogram, status in (
        (first, {AppendStatus.STORED, AppendStatus.DUPLICATE}),
        (first, {AppendStatus.DUPLICATE}),
        (hinted, {AppendStatus.DUPLICATE}),
        (other, {AppendStatus.CONFLICT}),
    ):
        assert storage.append_histograms(refs, at, to_columns([histogram]))[0] in status
    assert storage.append(refs, at, np.array([1.0])) == AppendStatus.CONFLICT
    (batch,) = storage.select([Selection((), STEPS * STEP_MS, STEPS * STEP_MS)])
    assert from_mixed_batch(batch) == {tuple(sorted(SERIES[0].items())): {STEPS * STEP_MS: first}}
    storage.delete([()], STEPS * STEP_MS, STEPS * STEP_MS)
    (batch,) = storage.select([Selection((), STEPS * STEP_MS, STEPS * STEP_MS)])
    assert batch.series_count == 0
