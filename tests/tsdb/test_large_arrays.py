import numpy as np
import pytest

from tsdb.large_arrays import LARGE_BYTES, large_empty


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param(0, np.float64, id="nothing"),
        pytest.param(10, np.int64, id="little"),
        pytest.param(LARGE_BYTES // 8, np.float64, id="just large"),
        pytest.param((1_000, 1_001), np.float64, id="a matrix"),
        pytest.param((4_000, 1_001), np.bool_, id="a mask"),
    ],
)
def test_is_an_array_as_any_other(shape, dtype):
    array = large_empty(shape, dtype)
    assert array.shape == np.empty(shape, dtype).shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.aligned
    array[...] = 1
    assert (array == 1).all()


def test_large_ones_begin_with_a_page():
    assert large_empty(LARGE_BYTES, np.uint8).ctypes.data % (2 << 20) == 0


def test_memory_lives_as_long_as_any_view_of_it():
    view = large_empty((1000, 1000), np.float64)[17]
    view[:] = 3.0
    assert view.sum() == 3000.0
