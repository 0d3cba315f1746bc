"""Exemplars against a plain ring: order, repetition, overwriting, restart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.database import Database
from tsdb.errors import WriteFailedError
from tsdb.interface import ExemplarStatus, LabelSpans, Matcher, MatchOp
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=None, background=False, exemplars_max=5)
SERIES = [{"__name__": "up", "n": str(number)} for number in range(3)]
LABEL_SETS = [{}, {"trace_id": "a"}, {"trace_id": "b"}, {"trace_id": "ü" * 20, "span_id": "1"}]
LONG = {"trace_id": "x" * 111, "n": "u" * 8}
EVERYTHING = (-(1 << 62), 1 << 62)


def put(database: Database, batch) -> list[ExemplarStatus]:
    """Append (series, time, value, labels) and return the statuses."""
    refs = database.resolve(LabelSpans.from_labels(SERIES[series] for series, *_ in batch))
    status = database.append_exemplars(
        refs,
        np.array([time for _, time, _, _ in batch]),
        np.array([value for _, _, value, _ in batch], dtype=np.float64),
        LabelSpans.from_labels(labels for *_, labels in batch),
    )
    return [ExemplarStatus(each) for each in status.tolist()]


def read(database: Database, matchers=(), span=EVERYTHING):
    """All exemplars as (series, time, value, labels), as they come."""
    found = database.select_exemplars([matchers], *span)
    assert found.first[-1] == found.times.size == found.labels.series_count
    result = []
    for series in range(found.series.series_count):
        number = int(found.series.row(series)["n"])
        assert found.first[series] < found.first[series + 1]
        for at in range(found.first[series], found.first[series + 1]):
            labels = found.labels.row(at)
            result.append((number, int(found.times[at]), float(found.values[at]), labels))
    return result


@pytest.fixture
def database(tmp_path):
    opened = Database.open(tmp_path, OPTIONS)
    yield opened
    opened.close()


STORED, DUPLICATE, OUT_OF_ORDER = (
    ExemplarStatus.STORED,
    ExemplarStatus.DUPLICATE,
    ExemplarStatus.OUT_OF_ORDER,
)


@pytest.mark.parametrize(
    ("then", "status"),
    [
        pytest.param((0, 10, 1.0, {"trace_id": "b"}), DUPLICATE, id="the newest again"),
        pytest.param((0, 11, 1.0, {"trace_id": "b"}), STORED, id="the same, later"),
        pytest.param((0, 9, 5.0, {"trace_id": "b"}), OUT_OF_ORDER, id="earlier"),
        pytest.param((0, 10, 0.5, {"trace_id": "b"}), OUT_OF_ORDER, id="of one time, smaller"),
        pytest.param((0, 10, 2.0, {"trace_id": "b"}), STORED, id="of one time, greater"),
        pytest.param((0, 10, 1.0, {"trace_id": "a"}), OUT_OF_ORDER, id="of labels before"),
        pytest.param((0, 10, 1.0, {"trace_id": "c"}), STORED, id="of labels behind"),
        pytest.param((1, 1, 0.0, {}), STORED, id="of another series"),
        pytest.param((0, 20, 1.0, LONG), ExemplarStatus.STORED, id="labels of 128 characters"),
        pytest.param(
            (0, 20, 1.0, {**LONG, "n": "u" * 9}),
            ExemplarStatus.LABELS_TOO_LONG,
            id="labels of 129 characters",
        ),
        pytest.param(
            (0, 20, 1.0, {"trace_id": "é" * 120}), STORED, id="characters count, not bytes"
        ),
    ],
)
def test_one_after_another(database, then, status):
    first = (0, 10, 1.0, {"trace_id": "b"})
    assert put(database, [first, then]) == [STORED, status]
    kept = [first, then] if status is STORED else [first]
    assert sorted(read(database), key=str) == sorted(kept, key=str)


def test_the_oldest_makes_room(database):
    for time in range(8):
        put(database, [(time % 3, time, 1.0, {"trace_id": str(time)})])
    assert sorted(time for _, time, _, _ in read(database)) == [3, 4, 5, 6, 7]
    database.set_limits(
        retention_ms=None, retention_bytes=None, out_of_order_window_ms=None, exemplars_max=2
    )
    assert sorted(time for _, time, _, _ in read(database)) == [6, 7]
    assert put(database, [(0, 5, 1.0, {})]) == [OUT_OF_ORDER]
    stats = database.stats()
    assert (stats.exemplars, stats.exemplars_max) == (2, 2)


def test_none_are_kept_where_there_is_no_room(tmp_path):
    database = Database.open(tmp_path, replace(OPTIONS, exemplars_max=0))
    assert put(database, [(0, 1, 1.0, {})]) == [ExemplarStatus.DISABLED]
    assert read(database) == []
    database.close()


def test_a_series_that_nobody_made(database):
    status = database.append_exemplars(
        np.array([1 << 40]), np.array([1]), np.array([1.0]), LabelSpans.from_labels([{}])
    )
    assert status.tolist() == [ExemplarStatus.UNKNOWN_SERIES]


def test_a_query_chooses_series_and_range(database):
    put(database, [(series, 10 * series + k, 1.0, {}) for series in range(2) for k in range(2)])
    chosen = (Matcher("n", MatchOp.EQUAL, "1"),)
    assert [each[:2] for each in read(database, chosen)] == [(1, 10), (1, 11)]
    assert [each[:2] for each in read(database, (), (1, 10))] == [(0, 1), (1, 10)]


def test_what_cannot_be_logged_is_not_kept(database, monkeypatch):
    def fail(*_):
        raise WriteFailedError("no space")

    put(database, [(0, 1, 1.0, {})])
    monkeypatch.setattr(database._wal, "write_exemplars", fail)
    with pytest.raises(WriteFailedError):
        put(database, [(0, 2, 1.0, {}), (1, 2, 1.0, {})])
    assert [each[:2] for each in read(database)] == [(0, 1)]
    monkeypatch.undo()
    assert put(database, [(0, 2, 1.0, {}), (1, 2, 1.0, {})]) == [STORED, STORED]


def collected(database) -> None:
    """Cut the head until it has forgotten every series: of what is new the first cut does not."""
    for _ in range(2):
        database.append(
            database.resolve(LabelSpans.from_labels([{"__name__": "other"}])),
            np.array([database.stats().cuts]),
            np.array([1.0]),
        )
        database.flush()
    assert database.stats().series == 0


def test_who_was_collected_is_still_found(database):
    put(database, [(0, 1, 1.0, {"trace_id": "a"}), (1, 1, 2.0, {}), (0, 2, 3.0, {})])
    before = read(database)
    collected(database)
    assert read(database) == before
    chosen = (Matcher("n", MatchOp.EQUAL, "0"),)
    assert read(database, chosen) == [each for each in before if each[0] == 0]
    assert read(database, (Matcher("n", MatchOp.NOT_MATCHES, "0|1"),)) == []
    assert read(database, (), (2, 5)) == [(0, 2, 3.0, {})]


def test_who_was_collected_and_came_back_is_one_series(database):
    put(database, [(0, 1, 1.0, {}), (0, 7, 2.0, {})])
    collected(database)
    assert put(database, [(0, 5, 3.0, {})]) == [STORED]
    assert [each[1] for each in read(database)] == [1, 5, 7]
    assert database.select_exemplars([()], *EVERYTHING).series.series_count == 1
    collected(database)
    assert [each[1] for each in read(database)] == [1, 5, 7]
    assert database.select_exemplars([()], *EVERYTHING).series.series_count == 1


def test_who_was_collected_makes_room_like_all_others(database):
    put(database, [(0, time, 1.0, {}) for time in range(3)])
    collected(database)
    put(database, [(1, time, 1.0, {}) for time in range(4)])
    assert [each[:2] for each in read(database)] == [(0, 2), *((1, time) for time in range(4))]
    put(database, [(1, 4, 1.0, {})])
    assert [each[0] for each in read(database)] == [1] * 5
    collected(database)
    assert [each[:2] for each in read(database)] == [(1, time) for time in range(5)]


def test_who_was_collected_survives_a_restart_and_another_size(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    put(database, [(0, 1, 1.0, {"trace_id": "a"}), (0, 2, 1.0, {}), (1, 3, 1.0, {})])
    collected(database)
    before = read(database)
    database.close()
    database = Database.open(tmp_path, OPTIONS)
    assert read(database) == before
    database.set_limits(
        retention_ms=None, retention_bytes=None, out_of_order_window_ms=None, exemplars_max=2
    )
    assert read(database) == before[1:]
    put(database, [(1, 4, 1.0, {})])
    assert [each[:2] for each in read(database)] == [(1, 3), (1, 4)]
    database.close()


exemplar = st.tuples(
    st.integers(0, 2), st.integers(0, 6), st.integers(0, 2), st.sampled_from(LABEL_SETS)
)


def text(labels: dict[str, str]) -> bytes:
    """What orders exemplars of one time and value."""
    return b"".join(
        len(n.encode()).to_bytes(2, "little")
        + len(v.encode()).to_bytes(2, "little")
        + n.encode()
        + v.encode()
        for n, v in sorted(labels.items())
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.lists(exemplar, max_size=6), st.none()), max_size=8))
def test_equals_a_plain_ring_through_restarts(tmp_path_factory, batches):
    directory = tmp_path_factory.mktemp("data")
    database = Database.open(directory, OPTIONS)
    ring: list = []
    newest: dict[int, tuple] = {}
    for batch in batches:
        if batch is None:
            database.close()
            database = Database.open(directory, OPTIONS)
            continue
        for each, status in zip(batch, put(database, batch), strict=True):
            series, time, value, labels = each
            key = (time, value, text(labels))
            kept = {s: k for s, k in newest.items() if any(r[:2] == (s, k) for r in ring)}
            last = kept.get(series)
            if last == key:
                assert status is DUPLICATE
            elif last is not None and key < last:
                assert status is OUT_OF_ORDER
            else:
                assert status is STORED
                newest[series] = key
                ring = [*ring, (series, key, each)][-5:]
    expected = [each for _, _, each in sorted(ring, key=lambda entry: (entry[0], entry[1]))]
    assert read(database) == expected
    database.close()
