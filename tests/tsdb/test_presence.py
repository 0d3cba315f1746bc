"""Which series have a sample in a range, against the samples that were appended."""

from __future__ import annotations

import tempfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.histogram_models import histograms, to_columns
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(
    retention_ms=None,
    background=False,
    min_block_ms=1000,
    max_block_ms=9000,
)
SERIES = 4


def spans() -> LabelSpans:
    return LabelSpans.from_labels([{"__name__": "m", "n": str(n)} for n in range(SERIES)])


def named(database: Database, start_ms: int, end_ms: int) -> set[str]:
    found = database.series([], start_ms, end_ms)
    rows = [found.row(at)["n"] for at in range(found.series_count)]
    assert len(rows) == len(set(rows))
    return set(rows)


samples = st.lists(
    st.tuples(
        st.integers(0, SERIES - 1),
        st.integers(0, 9000),
        # How many, one after the other: pages are sealed, and shared by series of the same times.
        st.sampled_from([1, 1, 2, 40, 300]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)
ranges = st.lists(st.tuples(st.integers(-10, 9500), st.integers(0, 900)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(samples, ranges, histograms(), st.sampled_from(["", "maintain", "flush"]))
def test_series_are_named_where_they_have_samples(appended, asked, histogram, then):
    times_of: dict[int, set[int]] = {n: set() for n in range(SERIES)}
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(folder, OPTIONS)
        try:
            refs = database.resolve(spans())
            for series, begin, size, is_histogram in appended:
                times = [at for at in range(begin, begin + size) if at not in times_of[series]]
                times_of[series].update(times)
                who, when = np.repeat(refs[series], len(times)), np.array(times, np.int64)
                if is_histogram:
                    columns = to_columns([histogram] * len(times))
                    statuses = database.append_histograms(who, when, columns)
                else:
                    statuses = database.append(who, when, np.ones(when.size))
                assert not statuses.any()
            if then == "maintain":
                database.maintain()
            elif then == "flush":
                database.flush()
            for low, width in asked:
                expected = {
                    str(n)
                    for n, times in times_of.items()
                    if any(low <= at <= low + width for at in times)
                }
                assert named(database, low, low + width) == expected
        finally:
            database.close()
