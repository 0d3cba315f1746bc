import os
import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
import numpy as np
from gnomon.compiled import load_kernels
load_kernels()
from numba import njit, types
from tsdb.page_word_kernels import zigzag
from scraper.text_kernels import BYTES_IN, parse_number

parse_number.load()
library = next(iter(parse_number.overloads.values())).library
was_unread = library.unread is not None

@njit(types.float64(BYTES_IN), nogil=True)
def caller(text):
    return parse_number(text, 0)[1] + zigzag(np.uint64(3))

assert caller(np.frombuffer(b"12.5" + bytes(16), np.uint8)) == 12.5 + float(zigzag(np.uint64(3)))
assert library.unread is None
assert parse_number(np.frombuffer(b"7" + bytes(16), np.uint8), 0)[1] == 7
print(was_unread)
"""


def test_a_module_left_unread_is_read_when_something_is_compiled_against_it():
    words = [sys.executable, "-c", PROGRAM]
    subprocess.run(words, check=True, cwd=ROOT)  # It may have to fill the cache.
    warm = subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    assert warm.stdout == b"True\n", warm.stderr


ALL_LOADED = """
import sys
from gnomon.compiled import kernel_modules, load_kernels, load_remaining_kernels
load_kernels()
load_remaining_kernels()
from tsdb.kernel_compilation import kernels_of
kernels = [each for name in kernel_modules() for each in kernels_of(name)]
assert kernels and all(each.overloads for each in kernels)
# What Numba registers before it compiles has many modules; this is one that nobody else asks for.
print(*{"numba.experimental.jitclass.base"} & sys.modules.keys())
"""


def test_with_a_warm_cache_all_kernels_load_without_what_only_compiling_needs():
    words = [sys.executable, "-c", ALL_LOADED]
    subprocess.run(words, check=True, cwd=ROOT)  # It may have to fill the cache.
    warm = subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    assert warm.stdout == b"\n", warm.stderr


COMPILES_LATER = """
import numpy as np
from gnomon.compiled import load_kernels
load_kernels()
from numba import types
from scraper.text_kernels import BYTES_IN, parse_number
from tsdb import kernel_compilation
parse_number.load()

@kernel_compilation.kernel(types.float64[::1](types.int64))
def made(count):
    out = np.zeros(count)
    for at in range(count):
        out[at] = np.sqrt(at)
    return out

made._cache.load_overload(made.declared[0], made.targetctx)
assert made(5).tolist() == [0.0, 1.0, 2.0**0.5, 3.0**0.5, 2.0]
"""


def test_a_kernel_that_the_cache_lacks_is_compiled_after_others_were_loaded(tmp_path):
    program = tmp_path / "later_kernels.py"
    program.write_text(COMPILES_LATER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        subprocess.run([sys.executable, program], check=True, cwd=ROOT, env=environment)
