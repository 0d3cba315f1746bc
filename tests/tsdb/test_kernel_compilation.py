import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba import njit, types

from tests.conftest import ROOT
from tsdb.kernel_compilation import helper, kernel, kernels_of


@helper(types.uint64(types.uint64), error_model="numpy")
def _half(number):
    return number // np.uint64(2)


@helper(types.float64(types.float64), error_model="numpy")
def _inverse(number):
    return 1.0 / number


@kernel(types.int64(types.int64))
def _twice(number):
    return 2 * number


@kernel([types.int64(types.int64), types.float64(types.float64)])
def _thrice(number):
    return 3 * number


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


def test_a_kernel_may_have_several_signatures():
    assert _thrice(2) == 6
    assert _thrice(0.5) == 1.5
    assert len(_thrice.overloads) == 2


def test_kernels_of_a_module_are_its_own_and_no_helpers():
    assert kernels_of(__name__) == [_twice, _thrice]


def test_threads_that_call_a_kernel_for_the_first_time_at_once_all_get_answers():
    @kernel(types.int64(types.int64, types.int64))
    def add(a, b):
        return a + b

    start, found = threading.Barrier(4), []

    def call(number):
        start.wait()
        found.append(add(number, 1))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2, 3, 4]


def test_a_start_with_a_warm_cache_loads_no_kernel():
    program = """
import gnomon.compiled
gnomon.compiled.load_kernels()
from tsdb.wal_kernels import encode_samples
assert encode_samples.is_cached()
assert not encode_samples.overloads
gnomon.compiled.load_remaining_kernels()
assert encode_samples.overloads
"""
    subprocess.run([sys.executable, "-m", "gnomon.compiled"], check=True, cwd=ROOT)
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_code_that_was_made_from_an_older_source_of_an_inlined_helper_is_not_used(tmp_path):
    root = tmp_path / "root"
    for package in ("tsdb", "mine"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    source = ROOT / "tsdb" / "kernel_compilation.py"
    (root / "tsdb" / source.name).write_text(source.read_text())
    (root / "mine" / "caller_kernels.py").write_text(
        "from numba import types\n"
        "from mine.inner_kernels import inner\n"
        "from tsdb.kernel_compilation import kernel\n\n\n"
        "@kernel(types.int64(types.int64))\n"
        "def outer(n):\n"
        "    return inner(n)\n"
    )

    def run(factor, clock):
        inner = root / "mine" / "inner_kernels.py"
        inner.write_text(
            "from numba import types\n"
            "from tsdb.kernel_compilation import helper\n\n\n"
            "@helper(types.int64(types.int64))\n"
            "def inner(n):\n"
            f"    return {factor} * n\n"
        )
        os.utime(inner, (clock, clock))
        program = (
            "from mine.caller_kernels import outer\n"
            "print(outer.is_cached(), outer(7), outer.is_cached())\n"
        )
        words = [sys.executable, "-c", program]
        env = {key: os.environ[key] for key in os.environ if key != "NUMBA_CACHE_DIR"}
        ran = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=True)
        return ran.stdout.split()

    assert run(2, 1_700_000_000) == ["False", "14", "True"]
    assert run(2, 1_700_000_000) == ["True", "14", "True"]
    assert run(3, 1_700_000_060) == ["False", "21", "True"]
