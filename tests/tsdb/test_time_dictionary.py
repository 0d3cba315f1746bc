from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.time_dictionary import TimeDictionary, cut_runs

runs = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(runs=runs, page_samples=st.integers(1, 20))
def test_cells_are_the_runs_cut_on_a_grid_that_overlapping_runs_share(runs, page_samples):
    start, count = (np.array(column, dtype=np.int64) for column in zip(*runs, strict=True))
    cells = cut_runs(start, count, page_samples)
    for row, (first, size) in enumerate(runs):
        mine = np.flatnonzero(cells.row == row)
        covered = [
            at for i in mine for at in range(cells.start[i], cells.start[i] + cells.count[i])
        ]
        assert covered == list(range(first, first + size))
        offsets = np.cumsum(cells.count[mine]) - cells.count[mine]
        assert cells.row_offset[mine].tolist() == offsets.tolist()
    assert (cells.count >= 1).all()
    assert (cells.cell_start <= cells.start).all()
    assert (cells.start + cells.count <= cells.cell_stop).all()
    assert (cells.cell_stop - cells.cell_start <= page_samples).all()
    # No two different cells overlap: whoever has a time has it in the same page.
    edges = sorted(set(zip(cells.cell_start.tolist(), cells.cell_stop.tolist(), strict=True)))
    assert all(a[1] <= b[0] for a, b in pairwise(edges))


def test_equal_times_of_other_chunks_are_the_same_page():
    dictionary = TimeDictionary(io.BytesIO())
    times = np.arange(100) * 15_000
    start, count = np.array([0, 0, 40]), np.array([100, 100, 60])
    first = dictionary.slices(times, cut_runs(start, count, 1024))
    again = dictionary.slices(np.concatenate([[7], times]), cut_runs(start + 1, count, 1024))
    dictionary.finish()
    assert first.tolist() == [0, 0, 1]
    assert again.tolist() == first.tolist()
    arrays = dictionary.arrays()
    assert arrays["time_page.samples"].tolist() == [100]
    assert arrays["slice.skip"].tolist() == [0, 40]
    assert arrays["slice.min"].tolist() == [0, 600_000]
    assert arrays["slice.max"].tolist() == [1_485_000, 1_485_000]
