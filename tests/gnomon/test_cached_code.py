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
