"""Start timestamps: beside their samples from the log to the blocks, and invisible elsewhere."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.histograms.columns import HistogramRow, from_rows
from tsdb.block import Block
from tsdb.database import Database
from tsdb.errors import BadMatcherError, WriteFailedError
from tsdb.interface import (
    AppendStatus,
    LabelSpans,
    Matcher,
    MatchOp,
    ResetHint,
    Selection,
)
from tsdb.options import DatabaseOptions
from tsdb.start_times import COMPANION_LABEL, COMPANION_NAME
from tsdb.wal import WalWriter

OPTIONS = DatabaseOptions(retention_ms=None, background=False, min_block_ms=100)
SERIES = [
    {"__name__": "a", "n": "0"},
    {"__name__": "a", "n": "1"},
    {"__name__": "b", "n": "0"},
    {"n": "0", "z": "ü"},
]
ALL = Selection((), -(1 << 60), 1 << 60, start_times=True)


def refs_of(database):
    return database.resolve(LabelSpans.from_labels(SERIES))


def append(database, rows):
    """Append (series, time, value, start) rows; return the names of their statuses."""
    series, times, values, starts = (list(column) for column in zip(*rows, strict=True))
    status = database.append(
        refs_of(database)[series],
        np.array(times),
        np.array(values, float),
        start_times_ms=np.array(starts),
    )
    return [AppendStatus(code).name for code in status.tolist()]


def read(database, selection=ALL):
    """Return {(series, time): (value, start)} of floats, and of histograms with their count."""
    (batch,) = database.select([selection])
    found, starts = {}, {}
    if batch.start_times is not None:
        known = batch.start_times
        for s in range(batch.series_count):
            part = slice(known.first[s], known.first[s + 1])
            assert (np.diff(known.times[part]) > 0).all()
            for time, start in zip(known.times[part], known.starts[part], strict=True):
                starts[s, int(time)] = int(start)
    for s in range(batch.series_count):
        labels = batch.labels.row(s)
        at = SERIES.index(labels)
        for i in range(batch.count[s]):
            time = int(batch.times[batch.time_start[s] + i])
            value = float(batch.values[batch.value_start[s] + i])
            found[at, time] = (value, starts.get((s, time), 0))
        if batch.histograms is not None:
            runs = batch.histograms
            for i in range(runs.start[s], runs.start[s] + runs.count[s]):
                time = int(runs.times[i])
                found[at, time] = (float(runs.columns.count[i]), starts.get((s, time), 0))
    return found


@pytest.fixture
def database():
    database = Database.in_memory()
    yield database
    database.close()


def test_samples_are_read_with_their_starts_and_without_where_they_have_none(database):
    append(database, [(0, 10, 1, 5), (1, 10, 2, 0), (3, 10, 3, -7), (0, 20, 4, 0), (0, 30, 5, 25)])
    assert read(database) == {
        (0, 10): (1, 5),
        (1, 10): (2, 0),
        (3, 10): (3, -7),
        (0, 20): (4, 0),
        (0, 30): (5, 25),
    }


def test_who_does_not_ask_for_starts_gets_none(database):
    append(database, [(0, 10, 1, 5)])
    (batch,) = database.select([Selection((), 0, 100)])
    assert batch.start_times is None
    assert batch.series_count == 1


@pytest.mark.parametrize("cut", [False, True], ids=["in the head", "in blocks"])
def test_nothing_else_shows_that_there_are_starts(tmp_path, cut):
    database = Database.open(tmp_path, OPTIONS)
    try:
        append(database, [(s, 10, 1, 5) for s in range(4)])
        if cut:
            database.flush()
        assert database.label_names([], 0, 100) == ["__name__", "n", "z"]
        assert sorted(database.label_values("__name__", [], 0, 100)) == ["a", "b"]
        assert database.label_values(COMPANION_LABEL, [], 0, 100) == []
        assert database.series([], 0, 100).series_count == 4
        every = Matcher("__name__", MatchOp.MATCHES, ".*")
        (batch,) = database.select([Selection((every,), 0, 100)])
        assert batch.series_count == 4
        shown = database.cardinality()
        assert not any(COMPANION_NAME in text for text, _ in shown.series_by_metric)
        assert not any(COMPANION_LABEL in text for text, _ in shown.series_by_label_pair)
    finally:
        database.close()


def test_a_series_without_starts_costs_nothing(database):
    append(database, [(0, 10, 1, 0)])
    before = database.stats()
    append(database, [(0, 20, 1, 0), (1, 10, 1, 0)])
    after = database.stats()
    assert after.symbol_count == before.symbol_count
    assert after.series == len(SERIES)


def test_what_holds_starts_is_not_counted_as_series(database):
    append(database, [(0, 20, 1, 5), (1, 10, 1, 7)])
    assert database.stats().series == len(SERIES)
    assert database.stats().appended[AppendStatus.STORED] == 2


@pytest.mark.parametrize(
    ("rows", "statuses", "expected"),
    [
        pytest.param(
            [(0, 10, 1, 0), (0, 10, 2, 5)], "STORED CONFLICT", {(0, 10): (1, 0)},
            id="the start of a refused sample is not kept",
        ),
        pytest.param(
            [(0, 10, 1, 5), (0, 10, 1, 6)], "STORED DUPLICATE", {(0, 10): (1, 5)},
            id="the first start stays",
        ),
        pytest.param(
            [(0, 10, 1, 0), (0, 10, 1, 6)], "STORED DUPLICATE", {(0, 10): (1, 6)},
            id="a repetition may add the start that was missing",
        ),
        pytest.param(
            [(0, 20, 1, 5), (0, 10, 2, 6)], "STORED STORED", {(0, 10): (2, 6), (0, 20): (1, 5)},
            id="late samples have starts",
        ),
        pytest.param(
            [(0, 10, 1, 1 << 60)], "STORED", {(0, 10): (1, 0)},
            id="a start that no float holds is none",
        ),
    ],
)  # fmt: skip
def test_what_is_kept(database, rows, statuses, expected):
    assert append(database, rows) == statuses.split()
    assert read(database) == expected


def test_histograms_have_starts(database):
    columns = from_rows([HistogramRow(schema=0, count=3.0, sum=4.0, positive=((1, 3.0),))] * 2)
    refs = refs_of(database)[[0, 0]]
    database.append_histograms(refs, np.array([10, 20]), columns, start_times_ms=np.array([5, 0]))
    append(database, [(0, 30, 9, 6)])
    assert read(database) == {(0, 10): (3, 5), (0, 20): (3, 0), (0, 30): (9, 6)}


def test_a_log_that_cannot_be_written_stores_neither(tmp_path, monkeypatch):
    def fail(self, kind, payload):
        raise WriteFailedError("no space")

    database = Database.open(tmp_path, OPTIONS)
    try:
        append(database, [(0, 10, 1, 5)])
        with monkeypatch.context() as patch:
            patch.setattr(WalWriter, "write", fail)
            with pytest.raises(WriteFailedError):
                append(database, [(0, 20, 2, 6)])
        assert read(database) == {(0, 10): (1, 5)}
        assert append(database, [(0, 20, 2, 6)]) == ["STORED"]
        assert read(database) == {(0, 10): (1, 5), (0, 20): (2, 6)}
    finally:
        database.close()


def test_starts_whose_histograms_a_crash_has_cut_off_mean_nothing(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    columns = from_rows([HistogramRow(schema=0, count=3.0, sum=4.0, positive=((1, 3.0),))])
    database = Database.open(whole, OPTIONS)
    try:
        append(database, [(0, 10, 1, 5)])
        database.append_histograms(
            refs_of(database)[:1], np.array([20]), columns, start_times_ms=np.array([15])
        )
        shutil.copytree(whole, torn)
    finally:
        database.close()
    (segment,) = (torn / "wal").glob("[0-9]*")
    segment.write_bytes(segment.read_bytes()[:-1])
    database = Database.open(torn, OPTIONS)
    try:
        assert read(database) == {(0, 10): (1, 5)}
        assert append(database, [(0, 20, 2, 15)]) == ["STORED"]
        assert read(database) == {(0, 10): (1, 5), (0, 20): (2, 15)}
    finally:
        database.close()


def test_blocks_with_starts_verify_and_compact(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    try:
        for start in range(0, 3000, 300):
            append(database, [(s, start + 10 * s, 1, start + 1) for s in range(4)])
            database.flush()
        before = read(database)
        database.maintain()
        assert read(database) == before
        assert len(before) == 40
    finally:
        database.close()
    blocks = [path for path in tmp_path.iterdir() if (path / "meta.json").exists()]
    assert 0 < len(blocks) < 10
    for path in blocks:
        block = Block.open(path)
        try:
            assert block.has_start_times
            assert block.verify() == []
        finally:
            block.close()


def test_a_bad_pattern_is_told_as_it_was_written(database):
    append(database, [(0, 10, 1, 5)])
    bad = Matcher("__name__", MatchOp.MATCHES, "a(")
    with pytest.raises(BadMatcherError, match=r"a\("):
        database.delete([[bad]], 0, 100)


def test_series_that_are_collected_take_their_starts_along(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    try:
        append(database, [(0, 10, 1, 5)])
        database.flush()
        append(database, [(1, 500, 1, 400)])
        database.flush()
        append(database, [(1, 900, 1, 800)])
        database.flush()
        database.flush()
        append(database, [(0, 1000, 1, 950), (1, 1000, 2, 800)])
        assert read(database)[0, 1000] == (1, 950)
        assert read(database)[1, 1000] == (2, 800)
    finally:
        database.close()


def row(series, time):
    """One sample of a series: at one time always the same, as what is in blocks is not asked."""
    return series, time, (series + time) % 3, (0, 0, 3, 77, -5, time + 1)[(series + time // 10) % 6]


ROW = st.builds(row, st.integers(0, 3), st.integers(0, 60).map(lambda t: 10 * t))
STEP = st.one_of(
    st.lists(ROW, min_size=1, max_size=8),
    st.sampled_from(["flush", "maintain", "restart", "crash"]),
    st.tuples(st.integers(0, 3), st.integers(0, 600), st.integers(0, 600)),
)


@given(st.lists(STEP, max_size=12))
@settings(max_examples=40, deadline=None)
def test_as_a_dictionary_would_keep_them(steps):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "0"
        database = Database.open(path, OPTIONS)
        try:
            model = {}
            for number, step in enumerate(steps):
                if isinstance(step, list):
                    assert set(append(database, step)) <= {"STORED", "DUPLICATE"}
                    model |= {(at, time): (value, start) for at, time, value, start in step}
                elif isinstance(step, tuple):
                    series, low, high = step
                    wanted = [
                        Matcher(name, MatchOp.EQUAL, SERIES[series].get(name, ""))
                        for name in ("__name__", "n", "z")
                    ]
                    database.delete([wanted], low, high)
                    for key in [k for k in model if k[0] == series and low <= k[1] <= high]:
                        del model[key]
                elif step == "crash":
                    other = Path(directory) / str(number + 1)
                    shutil.copytree(path, other)
                    database.close()
                    database, path = Database.open(other, OPTIONS), other
                elif step == "restart":
                    database.close()
                    database = Database.open(path, OPTIONS)
                else:
                    getattr(database, step)()
                assert read(database) == model
        finally:
            database.close()


# -------------------------------------------------------------------------- zero samples


@pytest.fixture
def zeroing():
    options = DatabaseOptions(
        retention_ms=None, background=False, start_zeros=True, start_times_stored=False
    )
    database = Database.in_memory(options)
    yield database
    database.close()


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        pytest.param([[(100, 7, 50)]], {50: 0, 100: 7}, id="before the first sample"),
        pytest.param([[(100, 7, 50)], [(200, 8, 50)]], {50: 0, 100: 7, 200: 8}, id="once"),
        pytest.param([[(100, 7, 50), (200, 8, 50)]], {50: 0, 100: 7, 200: 8}, id="once a batch"),
        pytest.param(
            [[(100, 7, 50)], [(200, 8, 150)]], {50: 0, 100: 7, 150: 0, 200: 8},
            id="again after a reset",
        ),
        pytest.param(
            [[(100, 7, 50), (200, 8, 150)]], {50: 0, 100: 7, 150: 0, 200: 8},
            id="again after a reset in one batch",
        ),
        pytest.param([[(100, 7, 0)], [(200, 8, 60)]], {100: 7, 200: 8}, id="not behind the last"),
        pytest.param([[(100, 7, 0)], [(200, 8, 100)]], {100: 7, 200: 8}, id="not at the last"),
        pytest.param([[(100, 7, 100)]], {100: 7}, id="not at the sample itself"),
        pytest.param([[(100, 7, 110)]], {100: 7}, id="not after the sample"),
        pytest.param([[(100, 7, 0)]], {100: 7}, id="not where no start is known"),
        pytest.param(
            [[(9_000_000, 7, 0)], [(9_100_000, 8, 9_050_000)]],
            {9_000_000: 7, 9_050_000: 0, 9_100_000: 8},
            id="within an hour of the newest sample",
        ),
    ],
)  # fmt: skip
def test_zero_samples(zeroing, batches, expected):
    for batch in batches:
        status = append(zeroing, [(0, *row) for row in batch])
        assert status == ["STORED"] * len(batch)
    assert read(zeroing) == {(0, time): (value, 0) for time, value in expected.items()}


def test_no_zero_far_behind_the_newest_sample(zeroing):
    append(zeroing, [(1, 9_000_000, 1, 0)])
    append(zeroing, [(0, 9_000_000, 1, 5_000_000)])
    assert (0, 5_000_000) not in read(zeroing)


def test_zero_histograms_are_empty_and_resets(zeroing):
    row = HistogramRow(
        schema=2, count=3.0, sum=4.0, zero_threshold=0.5, positive=((1, 3.0),), is_float=True
    )
    zeroing.append_histograms(
        refs_of(zeroing)[:1], np.array([100]), from_rows([row]), start_times_ms=np.array([50])
    )
    (batch,) = zeroing.select([Selection((), 0, 1000)])
    runs = batch.histograms
    assert runs is not None
    assert runs.times.tolist() == [50, 100]
    columns = runs.columns
    assert columns.count.tolist() == [0, 3]
    assert columns.positive_start.tolist() == [0, 0, 1]
    assert columns.schema.tolist() == [2, 2]
    assert columns.zero_threshold.tolist() == [0.5, 0.5]
    assert columns.hint[0] == ResetHint.RESET


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 45)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_zeros_stand_where_one_sample_after_the_other_would_put_them(rows):
    options = DatabaseOptions(retention_ms=None, background=False, start_zeros=True)
    whole, single = Database.in_memory(options), Database.in_memory(options)
    try:
        rows = [(series, time, 1, start) for series, time, start in rows]
        if rows:
            append(whole, rows)
        for row in rows:
            append(single, [row])
        assert read(whole) == read(single)
    finally:
        whole.close()
        single.close()
