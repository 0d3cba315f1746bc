import math
import subprocess
import sys

import numpy as np
import pytest
from numba import njit, types

from tests.conftest import ROOT
from tsdb.helper_compilation import helper


@helper(types.uint64(types.uint64), error_model="numpy")
def _half(number):
    return number // np.uint64(2)


@helper(types.float64(types.float64), error_model="numpy")
def _inverse(number):
    return 1.0 / number


def test_a_helper_compiles_when_it_is_first_called_and_only_for_its_types():
    assert not _half.overloads
    assert _half(7) == 3
    assert list(_half.overloads) == [(types.uint64,)]
    with pytest.raises(TypeError, match="No matching definition"):
        _half("seven")
    assert list(_half.overloads) == [(types.uint64,)]


def test_arguments_of_a_calling_kernel_convert_to_the_declared_types():
    @njit(types.float64(types.int64), nogil=True)
    def caller(number):
        return _inverse(number)

    assert caller(4) == 0.25
    assert list(_inverse.overloads) == [(types.float64,)]


def test_options_are_those_of_njit():
    assert math.isinf(_inverse(0.0))


def test_a_start_with_a_warm_cache_loads_no_helper():
    program = """
from tsdb.wal_kernels import _put, encode_samples
assert encode_samples.overloads

"""
    subprocess.run(
        [sys.executable, "-c", "import gnomon.compiled as c; c.load_kernels()"],
        check=True,
        cwd=ROOT,
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
