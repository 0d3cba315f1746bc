"""Changes, resets and changes of layout over windows, against one window at a time in Python."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.histograms import windows
from promql.histograms.algebra import Flag
from promql.histograms.columns import HistogramRow, from_rows, row_of
from tests.promql import plain_histograms as plain
from tests.promql.plain_histograms import (
    CUSTOM,
    GAUGE,
    NOT_RESET,
    RESET,
    UNKNOWN,
    assert_same_row,
)

EMPTY = HistogramRow()


def coarsened(row, schema):
    if row.schema in (schema, CUSTOM):
        return row
    sides = [
        tuple(sorted(plain.coarser(side, row.schema - schema).items()))
        for side in (row.positive, row.negative)
    ]
    return replace(row, schema=schema, positive=sides[0], negative=sides[1])


def change(rows, is_counter):
    """The raw change of one window and its flags; None where there is none."""
    if len(rows) < 2:
        return None, Flag(0)
    first, last = rows[0], rows[-1]
    flags = Flag(0)
    if is_counter and GAUGE in (first.hint, last.hint):
        flags |= Flag.NOT_COUNTER
    if not is_counter and (first.hint, last.hint) != (GAUGE, GAUGE):
        flags |= Flag.NOT_GAUGE
    forgotten = is_counter and plain.was_reset(first, rows[1])
    if forgotten:
        first = HistogramRow(schema=rows[1].schema, bounds=rows[1].bounds)
    is_custom = first.schema == CUSTOM
    if (last.schema == CUSTOM) != is_custom:
        return None, flags | Flag.INCOMPATIBLE
    schema = min(first.schema, last.schema)
    if is_counter:
        if any((row.schema == CUSTOM) != is_custom for row in rows[1:-1]):
            return None, Flag.INCOMPATIBLE
        schema = min([schema, *(row.schema for row in rows[1:-1])])
        if any(row.hint == GAUGE for row in rows):
            flags |= Flag.NOT_COUNTER
    result, reconciled = plain.added(coarsened(last, schema), first, -1.0)
    if reconciled:
        flags |= Flag.RECONCILED
    if is_counter:
        before = first
        for row in rows[1:]:
            if plain.was_reset(before, row):
                result, reconciled = plain.added(result, before)
                if reconciled:
                    flags |= Flag.RECONCILED_ADDING
            before = row
    return replace(result, hint=GAUGE), flags


HINTS = [UNKNOWN, UNKNOWN, UNKNOWN, NOT_RESET, RESET, GAUGE]


@st.composite
def histories(draw):
    """Rows of one series: mostly growing counters, sometimes something else."""
    rows = draw(st.lists(plain.any_histogram(hints=HINTS), min_size=1, max_size=8))
    if draw(st.booleans()):
        for at in range(1, len(rows)):
            total, _ = plain.added(rows[at - 1], rows[at])
            if total is not None and draw(st.integers(0, 3)):
                rows[at] = replace(total, hint=rows[at].hint)
    return rows


@st.composite
def windows_of(draw, rows):
    edges = st.integers(0, len(rows))
    runs = draw(st.lists(st.tuples(edges, edges).map(sorted), min_size=1, max_size=6))
    return [np.array([run[i] for run in runs], dtype=np.int64) for i in range(2)]


@settings(deadline=None, max_examples=100)
@given(st.data(), histories(), st.booleans())
def test_change_over_runs(data, rows, is_counter):
    start, stop = data.draw(windows_of(rows))
    found, flags = windows.change_over_runs(from_rows(rows), start, stop, is_counter=is_counter)
    for number, (low, high) in enumerate(zip(start, stop, strict=True)):
        result, expected_flags = change(rows[low:high], is_counter)
        assert flags[number] == expected_flags
        if result is None:
            assert row_of(found, number) == EMPTY
        else:
            assert_same_row(row_of(found, number), result)


def counter(count, **more):
    return HistogramRow(count=count, sum=count, positive=((0, count),), **more)


def custom(count, *bounds):
    return HistogramRow(schema=CUSTOM, count=count, sum=1, bounds=bounds, positive=((0, count),))


@pytest.mark.parametrize(
    ("rows", "count", "flags"),
    [
        pytest.param([counter(1), counter(4), counter(9)], 8, 0, id="last minus first"),
        pytest.param([counter(5), counter(2), counter(3)], 3, 0, id="a reset starts at zero"),
        pytest.param([counter(1), counter(5), counter(2)], 6, 0, id="resets are undone"),
        pytest.param(
            [counter(1), counter(5, hint=RESET)], 5, 0, id="a reset that only the writer saw"
        ),
        pytest.param([counter(5), counter(2, hint=NOT_RESET)], -3, 0, id="none, the writer says"),
        pytest.param([counter(1, hint=GAUGE), counter(2)], 1, Flag.NOT_COUNTER, id="a gauge"),
        pytest.param(
            [counter(1), counter(2, hint=GAUGE), counter(3)],
            2,
            Flag.NOT_COUNTER,
            id="a gauge in the middle",
        ),
        pytest.param([custom(1, 5.0), counter(4)], 4, 0, id="another layout begins anew"),
        pytest.param(
            [counter(1), custom(2, 5.0)], 2, 0, id="so does one of custom bounds, being a reset"
        ),
        pytest.param(
            [counter(1), custom(2, 5.0), counter(4)], 0, Flag.INCOMPATIBLE, id="back and forth"
        ),
        pytest.param(
            [custom(1, 5.0), custom(2, 5.0, 9.0)], 1, Flag.RECONCILED, id="a bound was added"
        ),
        pytest.param([counter(1)], 0, 0, id="one says nothing"),
        pytest.param([], 0, 0, id="nor does none"),
    ],
)
def test_one_counter(rows, count, flags):
    found, found_flags = windows.change_over_runs(
        from_rows(rows), np.array([0]), np.array([len(rows)]), is_counter=True
    )
    assert (row_of(found, 0).count, found_flags.tolist()) == (count, [flags])


def test_resets_known_from_elsewhere():
    columns = from_rows([counter(1), counter(4), counter(9)])
    known = np.array([False, False, True])
    run = np.array([0]), np.array([3])
    found, _ = windows.change_over_runs(columns, *run, is_counter=True, known_resets=known)
    assert row_of(found, 0).count == 12
    assert windows.resets_in_runs(columns, *run, known_resets=known).tolist() == [1]


def test_gauges_may_fall():
    columns = from_rows([counter(5, hint=GAUGE), counter(2, hint=GAUGE)])
    found, flags = windows.change_over_runs(columns, np.array([0]), np.array([2]), is_counter=False)
    assert (row_of(found, 0).count, flags.tolist()) == (-3, [0])


@settings(deadline=None)
@given(histories(), st.booleans())
def test_change_of_last_two(rows, is_counter):
    before = np.arange(len(rows) - 1)
    found, flags = windows.change_of_last_two(
        from_rows(rows), before, before + 1, is_counter=is_counter
    )
    for i in before.tolist():
        first, last = rows[i], rows[i + 1]
        expected_flags = Flag(0)
        if is_counter and GAUGE in (first.hint, last.hint):
            expected_flags |= Flag.NOT_COUNTER
        if not is_counter and (first.hint, last.hint) != (GAUGE, GAUGE):
            expected_flags |= Flag.NOT_GAUGE
        result, reconciled = plain.scaled(last, 1.0), False
        if not (is_counter and plain.was_reset(first, last)):
            result, reconciled = plain.added(last, first, -1.0)
        if result is None:
            assert flags[i] == expected_flags | Flag.INCOMPATIBLE
            assert row_of(found, i) == EMPTY
            continue
        assert flags[i] == expected_flags | (Flag.RECONCILED if reconciled else 0)
        assert_same_row(row_of(found, i), replace(result, hint=GAUGE))


@settings(deadline=None)
@given(st.data(), histories())
def test_resets_and_changes(data, rows):
    start, stop = data.draw(windows_of(rows))
    resets = windows.resets_in_runs(from_rows(rows), start, stop)
    changes = windows.changes_in_runs(from_rows(rows), start, stop)
    for number, (low, high) in enumerate(zip(start, stop, strict=True)):
        pairs = list(zip(rows[low:high], rows[low + 1 : high], strict=False))
        assert resets[number] == sum(plain.was_reset(a, b) for a, b in pairs)
        plainly = [
            tuple(replace(plain.scaled(row, 1.0), hint=UNKNOWN) for row in pair) for pair in pairs
        ]
        assert changes[number] == sum(a != b for a, b in plainly)
