import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from promql.matrix_kernels import any_present, first_collision, group_rows, merge_rows

MASKS = npst.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(1, 4)))


@st.composite
def grouped(draw):
    present = draw(MASKS)
    rows = present.shape[0]
    group_of = draw(npst.arrays(np.int64, rows, elements=st.integers(0, 3)))
    return present, group_of


@given(
    npst.arrays(
        np.uint32, st.tuples(st.integers(0, 3), st.integers(0, 8)), elements=st.integers(0, 2)
    )
)
def test_group_rows_numbers_columns_by_first_appearance(ids):
    group_of = np.empty(ids.shape[1], dtype=np.int64)
    first = np.empty(ids.shape[1], dtype=np.int64)
    groups = group_rows(ids, group_of, first)
    numbers = {}
    columns = [tuple(ids[:, s].tolist()) for s in range(ids.shape[1])]
    assert group_of.tolist() == [numbers.setdefault(c, len(numbers)) for c in columns]
    assert groups == len(numbers)
    assert [columns[s] for s in first[:groups]] == list(numbers)


@settings(deadline=None)
@given(grouped())
def test_first_collision_is_the_first_step_with_two_of_a_group(case):
    present, group_of = case
    expected = -1
    for step in reversed(range(present.shape[1])):
        there = group_of[present[:, step]].tolist()
        if len(set(there)) < len(there):
            expected = step
    assert first_collision(present, group_of, 4) == expected


@settings(deadline=None)
@given(grouped())
def test_any_present_joins_the_rows_of_a_group(case):
    present, group_of = case
    out = np.zeros((4, present.shape[1]), dtype=np.bool_)
    any_present(present, group_of, out)
    for group in range(4):
        np.testing.assert_array_equal(out[group], present[group_of == group].any(axis=0))


@settings(deadline=None)
@given(grouped())
def test_merge_rows_lays_them_over_each_other_or_names_a_collision(case):
    present, group_of = case
    values = np.arange(present.size, dtype=np.float64).reshape(present.shape)
    out = np.full((4, present.shape[1]), -1.0)
    out_present = np.zeros(out.shape, dtype=np.bool_)
    step = merge_rows(values, present, group_of, out, out_present)
    if step >= 0:
        there = group_of[present[:, step]].tolist()
        assert len(set(there)) < len(there)
        return
    assert first_collision(present, group_of, 4) == -1
    for s, t in zip(*np.nonzero(present), strict=True):
        assert out[group_of[s], t] == values[s, t]
    assert out_present.sum() == present.sum()
