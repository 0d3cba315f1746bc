"""Hints that are worked out of neighbours: what is told, and that it holds over every seam."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.block_models import TIME_MAX, bits
from tests.tsdb.histogram_models import (
    GAUGE,
    NOT_RESET,
    RESET,
    STALE,
    UNKNOWN,
    as_read,
    from_mixed_batch,
    hinted,
    mixed_models,
    to_columns,
    to_mixed_batch,
)
from tsdb.database import Database
from tsdb.histograms.reset_hints import BEFORE_MS, since, with_reset_hints
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, AppendStatus, LabelSpans, ResetHint, Selection
from tsdb.options import DatabaseOptions
from tsdb.symbols import SymbolTable

OPTIONS = DatabaseOptions(retention_ms=None, background=False, min_block_ms=7_200_000)


def h(
    count, *, hint=0, floats=False, schema=0, threshold=0.0, zeros=0, plus=(), minus=(), bounds=()
):
    def side(buckets):
        return tuple((index, bits(number)) for index, number in buckets)

    words = (bits(count), bits(count), bits(threshold), bits(zeros))
    return (schema, int(hint), floats, *words, side(plus), side(minus), tuple(map(bits, bounds)))


def custom(count, *bounds):
    return h(count, schema=CUSTOM_BUCKETS_SCHEMA, bounds=bounds)


GONE = (0, 0, False, 0, STALE, 0, 0, (), (), ())
FLOAT = bits(5.0)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([h(1)], "UNKNOWN", id="nothing is known of the first"),
        pytest.param([h(1, hint=NOT_RESET)], "UNKNOWN", id="whatever its writer says of others"),
        pytest.param([h(1), h(2), h(2)], "UNKNOWN NOT_RESET NOT_RESET", id="no count falls"),
        pytest.param([h(2), h(1), h(3)], "UNKNOWN UNKNOWN NOT_RESET", id="a fall says nothing"),
        pytest.param([h(2), h(1, hint=NOT_RESET)], "UNKNOWN UNKNOWN", id="even if it is denied"),
        pytest.param([h(2), h(1, hint=RESET)], "UNKNOWN RESET", id="a reset is taken at its word"),
        pytest.param([h(1), h(2, hint=RESET), h(3)], "UNKNOWN RESET NOT_RESET", id="always"),
        pytest.param([h(1), FLOAT, h(2)], "UNKNOWN UNKNOWN", id="after a float"),
        pytest.param([FLOAT, h(1), h(2), FLOAT], "UNKNOWN NOT_RESET", id="between two floats"),
        pytest.param([h(1), GONE, h(2)], "UNKNOWN UNKNOWN UNKNOWN", id="around a stale marker"),
        pytest.param([h(1, hint=GAUGE), h(2)], "GAUGE UNKNOWN", id="after a gauge"),
        pytest.param([h(2), h(1, hint=GAUGE)], "UNKNOWN GAUGE", id="a gauge may do as it likes"),
        pytest.param([h(1), h(2, floats=True)], "UNKNOWN UNKNOWN", id="counts of another kind"),
        pytest.param([h(1, schema=1), h(1)], "UNKNOWN UNKNOWN", id="another resolution"),
        pytest.param([h(1, threshold=1), h(1)], "UNKNOWN UNKNOWN", id="another zero bucket"),
        pytest.param([h(3, zeros=2), h(3, zeros=1)], "UNKNOWN UNKNOWN", id="fewer zeros"),
        pytest.param([custom(1, 1.0), custom(1, 2.0)], "UNKNOWN UNKNOWN", id="another bound"),
        pytest.param([custom(1, 1.0), custom(1, 1.0)], "UNKNOWN NOT_RESET", id="the same bounds"),
        pytest.param([custom(1, 1.0), custom(1, 1.0, 2.0)], "UNKNOWN UNKNOWN", id="one more bound"),
        pytest.param(
            [h(2, plus=[(1, 2)]), h(3, plus=[(1, 1), (2, 2)])], "UNKNOWN UNKNOWN", id="one bucket"
        ),
        pytest.param([h(2, minus=[(1, 2)]), h(3)], "UNKNOWN UNKNOWN", id="a bucket vanished"),
        pytest.param([h(2, plus=[(1, 0)]), h(3)], "UNKNOWN NOT_RESET", id="an empty one vanished"),
        pytest.param(
            [h(2, plus=[(1, 2)]), h(3, plus=[(2, 2)])], "UNKNOWN UNKNOWN", id="a bucket moved"
        ),
        pytest.param(
            [h(2, plus=[(1, 2)]), h(3, plus=[(-4, 0), (1, 2), (7, 1)])],
            "UNKNOWN NOT_RESET",
            id="more buckets on both sides",
        ),
    ],
)
def test_what_a_reader_is_told(samples, expected):
    model = {(("n", "s"),): dict(enumerate(samples))}
    batch = with_reset_hints(to_mixed_batch(model, SymbolTable()))
    assert [ResetHint(each).name for each in batch.histograms.columns.hint] == expected.split()
    assert from_mixed_batch(batch) == as_read(model)


@settings(max_examples=100, deadline=None)
@given(mixed_models(), st.integers(-1, TIME_MAX))
def test_equals_the_plain_reading_and_a_later_start_changes_nothing(model, start):
    batch = with_reset_hints(to_mixed_batch(model, SymbolTable()))
    read = as_read({labels: samples for labels, samples in model.items() if samples})
    assert from_mixed_batch(batch) == read
    left = {
        labels: kept
        for labels, samples in read.items()
        if (kept := {time: each for time, each in samples.items() if time >= start})
    }
    assert from_mixed_batch(since(batch, start)) == left


def append(database, time, sample, status=AppendStatus.STORED):
    refs = database.resolve(LabelSpans.from_labels([{"n": "s"}]))
    at = np.array([time])
    if isinstance(sample, int):
        value = np.array([sample], np.uint64).view(np.float64)
        assert database.append(refs, at, value) == status
    else:
        assert database.append_histograms(refs, at, to_columns([sample])) == status


def hints(database, start=0, end=1 << 50):
    (batch,) = database.select([Selection((), start, end)])
    if batch.histograms is None:
        return {}
    columns = batch.histograms
    return {
        time: ResetHint(hint).name[0]
        for time, hint in zip(
            columns.times[columns.start[0] :].tolist(),
            columns.columns.hint[columns.start[0] :].tolist(),
            strict=True,
        )
    }


@pytest.fixture(params=["in the head", "in a block", "in two blocks and the head"])
def database(request, tmp_path):
    """Ten hours of a counter, a histogram every minute, in three kinds of places."""
    with_cuts = Database.open(tmp_path / "data", OPTIONS)
    for first, stop in ((0, 201), (201, 401), (401, 600)):
        refs = with_cuts.resolve(LabelSpans.from_labels([{"n": "s"}]))
        minutes = np.arange(first, stop)
        columns = to_columns(h(minute) for minute in range(first, stop))
        with_cuts.append_histograms(np.repeat(refs, minutes.size), minutes * 60_000, columns)
        if request.param == "in two blocks and the head" and stop < 600:
            with_cuts.flush()
    if request.param == "in a block":
        with_cuts.flush()
    yield with_cuts
    with_cuts.close()


def test_seams_are_not_seen(database):
    assert "".join(hints(database).values()) == "U" + 599 * "N"


@pytest.mark.parametrize("minute", [1, 120, 201, 401, 599])
def test_the_first_of_a_range_is_compared_with_the_one_before_it(database, minute):
    assert hints(database, minute * 60_000, minute * 60_000) == {minute * 60_000: "N"}


@pytest.mark.parametrize("minute", [60, 201, 400])
def test_a_late_sample_is_compared_and_compared_with(database, minute):
    at = minute * 60_000
    append(database, at - 30_000, h(minute + 9))
    append(database, at + 30_000, h(minute))
    for _ in range(2):
        found = hints(database)
        near = (found.get(at + after, "") for after in range(-60_000, 120_000, 30_000))
        assert "".join(near) == "NNUNN"
        assert "".join(found.values()).count("U") == 2
        assert hints(database, at, at + 30_000) == {at: "U", at + 30_000: "N"}
        database.flush()


@pytest.mark.parametrize("minute", [60, 201, 400])
def test_a_late_float_parts_two_histograms(database, minute):
    append(database, minute * 60_000 - 1, FLOAT)
    for _ in range(2):
        found = hints(database)
        assert [time for time, hint in found.items() if hint == "U"] == [0, minute * 60_000]
        assert hints(database, minute * 60_000, minute * 60_000) == {minute * 60_000: "U"}
        database.flush()


@pytest.mark.parametrize("minute", [60, 201, 400])
def test_who_was_deleted_is_nobodys_neighbour(database, minute):
    fallen = minute * 60_000 + 30_000
    append(database, fallen, h(minute - 1))
    assert hints(database)[fallen] == "U"
    database.delete([()], minute * 60_000, minute * 60_000)
    assert hints(database)[fallen] == "N"
    assert hints(database, fallen, fallen) == {fallen: "N"}


def test_too_far_before_a_range_nobody_looks():
    database = Database.in_memory()
    append(database, 0, h(1))
    append(database, BEFORE_MS, h(2))
    append(database, 2 * BEFORE_MS + 1, h(3))
    assert list(hints(database).values()) == ["U", "N", "N"]
    assert hints(database, 1) == {BEFORE_MS: "N", 2 * BEFORE_MS + 1: "N"}
    assert hints(database, 2 * BEFORE_MS + 1) == {2 * BEFORE_MS + 1: "U"}
    database.close()


def test_nothing_before_the_range_is_counted_or_given():
    database = Database.in_memory()
    for second in range(10):
        append(database, second * 1000, h(second))
    other = database.resolve(LabelSpans.from_labels([{"n": "floats"}]))
    database.append(np.repeat(other, 10), np.arange(10) * 1000, np.ones(10))
    selection = Selection((), 9000, 9000)
    (batch,) = database.select([selection], samples_max=12)
    assert (batch.series_count, batch.sample_count) == (2, 1)
    assert batch.histograms.count.sum() == 1
    (batch,) = database.select([Selection((), 20_000, 30_000)])
    assert (batch.series_count, batch.histograms) == (0, None)
    database.close()


def test_what_is_told_of_neighbours_cuts_no_page(tmp_path):
    """A sender's chunks begin with UNKNOWN: its histograms lie in one stretch all the same."""
    database = Database.open(tmp_path / "data", OPTIONS)
    for minute in range(100):
        append(database, minute * 60_000, hinted(h(minute), NOT_RESET if minute % 30 else UNKNOWN))
    database.flush()
    assert "".join(hints(database).values()) == "U" + 99 * "N"
    (block,) = database._reader.blocks
    assert block._index.array("hist.layout").size == 1
    database.close()
