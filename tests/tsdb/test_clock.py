"""Samples from the future, and a clock that is set back: the present goes on."""

from __future__ import annotations

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.interface import AppendStatus, LabelSpans, Selection
from tsdb.options import DatabaseOptions

HOUR = 3_600_000
NOW = 500_000 * HOUR
FUTURE = NOW + 24 * 365 * HOUR
STORED = AppendStatus.STORED


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def options(clock: Clock, **more) -> DatabaseOptions:
    return DatabaseOptions(background=False, clock_ms=clock, **more)


def append(database: Database, name: str, times: list[int]) -> list[int]:
    ref = database.resolve(LabelSpans.from_labels([{"__name__": name}]))
    return [int(database.append(ref, np.array([at]), np.array([1.0]))[0]) for at in times]


def times_of(database: Database) -> dict[str, list[int]]:
    (batch,) = database.select([Selection((), -(1 << 60), 1 << 60)])
    found = {}
    for each in range(batch.series_count):
        first, count = batch.time_start[each], batch.count[each]
        name = batch.labels.row(each)["__name__"]
        found[name] = batch.times[first : first + count].tolist()
    return found


@pytest.mark.parametrize("window", [None, 0, HOUR], ids=["any late", "none late", "an hour late"])
def test_one_sample_of_the_future_costs_the_present_nothing(tmp_path, window):
    clock = Clock()
    chosen = options(clock, retention_ms=24 * HOUR, out_of_order_window_ms=window)
    database = Database.open(tmp_path, chosen)
    assert append(database, "future", [FUTURE]) == [STORED]
    expected = []
    for step in range(12):
        at = [NOW + step * HOUR + k for k in range(0, HOUR, HOUR // 4)]
        clock.now = at[-1]
        assert append(database, "now", at) == [STORED] * 4
        expected += at
        database.maintain()
        if step in (3, 8):
            database.close()
            database = Database.open(tmp_path, chosen)
    assert times_of(database) == {"future": [FUTURE], "now": expected}
    stats = database.stats()
    assert stats.cuts > 0
    assert stats.late_appended == 0
    database.flush()
    assert append(database, "now", [clock.now + 1]) == [STORED]
    assert database.stats().late_appended == 0
    assert times_of(database)["future"] == [FUTURE]
    database.close()


def test_a_block_of_the_future_drops_no_block_of_today(tmp_path):
    clock = Clock()
    chosen = options(clock, retention_ms=24 * HOUR)
    database = Database.open(tmp_path, chosen)
    clock.now = FUTURE
    append(database, "future", [FUTURE])
    database.flush()
    clock.now = NOW
    assert append(database, "late", [NOW]) == [STORED]
    database.close()
    database = Database.open(tmp_path, chosen)
    assert append(database, "now", [NOW, NOW + 1]) == [STORED] * 2
    database.flush()
    database.maintain()
    assert times_of(database) == {"future": [FUTURE], "late": [NOW], "now": [NOW, NOW + 1]}
    database.close()


def test_a_clock_that_is_set_back_loses_nothing(tmp_path):
    clock = Clock()
    chosen = options(clock, retention_ms=24 * HOUR)
    database = Database.open(tmp_path, chosen)
    expected = list(range(NOW, NOW + 10 * HOUR, HOUR // 4))
    clock.now = expected[-1]
    append(database, "now", expected)
    database.maintain()
    clock.now = NOW - 5 * HOUR
    database.maintain()
    earlier = [clock.now + k for k in range(10)]
    assert append(database, "then", earlier) == [STORED] * 10
    database.maintain()
    assert times_of(database) == {"now": expected, "then": earlier}
    database.close()
    database = Database.open(tmp_path, chosen)
    assert times_of(database) == {"now": expected, "then": earlier}
    clock.now = expected[-1]
    database.maintain()
    assert times_of(database) == {"now": expected, "then": earlier}
    database.close()


def test_old_data_alone_is_kept_by_its_own_newest_sample(tmp_path):
    clock = Clock()
    database = Database.open(tmp_path, options(clock, retention_ms=24 * HOUR))
    clock.now = NOW + 10_000 * HOUR
    assert append(database, "old", [NOW]) == [STORED]
    database.flush()
    database.maintain()
    assert times_of(database) == {"old": [NOW]}
    database.close()
