from __future__ import annotations

from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tsdb.test_sample_record import floats
from tsdb.errors import CorruptFileError
from tsdb.head_packing import PLAIN, PLANES, VALUES, pack, unpack

HERE = Path("snapshot")


@settings(deadline=None)
@given(npst.arrays(np.float64, st.integers(128, 300), elements=floats))
def test_values_come_back_bit_for_bit(values):
    bits = values.view(np.uint64)
    packing, kept = pack(bits, values=True)
    assert packing == VALUES
    back = unpack(kept, packing, bits.dtype, bits.size, HERE)
    assert back.tolist() == bits.tolist()


@settings(deadline=None)
@given(
    st.sampled_from(["u1", "i4", "u4", "i8", "u8"]),
    st.integers(0, 3000),
    st.integers(1, 60),
    st.booleans(),
)
def test_arrays_come_back_as_they_were(kind, size, width, noisy):
    rng = np.random.default_rng(size)
    width = min(width, 8 * np.dtype(kind).itemsize - 1)
    array = (
        rng.integers(0, 1 << width, size).astype(kind) if noisy else np.arange(size).astype(kind)
    )
    packing, kept = pack(array, values=False)
    back = unpack(kept, packing, array.dtype, size, HERE)
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("array", "values", "packing", "share"),
    [
        pytest.param(np.arange(100_000), False, PLANES, 0.3, id="rising numbers"),
        pytest.param(np.arange(9), False, PLAIN, 1, id="what is small anyway"),
        pytest.param(
            np.random.default_rng(1).integers(0, 1 << 62, 5000), False, PLAIN, 1, id="hashes"
        ),
        pytest.param(
            (np.arange(20_000) / 8).view(np.uint64), True, VALUES, 0.32, id="values that rise"
        ),
    ],
)
def test_what_gains_is_packed(array, values, packing, share):
    found, kept = pack(array, values=values)
    assert found == packing
    assert kept.nbytes <= share * array.nbytes


@settings(deadline=None)
@given(st.booleans(), st.integers(0, 200), st.integers(0, 255), st.integers(0, 3))
def test_what_was_damaged_is_refused_or_another_array(values, at, byte, cut):
    array = (np.arange(300) * 0.25).view(np.uint64) if values else np.arange(300, dtype=np.uint64)
    packing, kept = pack(array, values=values)
    spoiled = kept.copy()
    spoiled[at % spoiled.size] = byte
    try:
        back = unpack(spoiled[: spoiled.size - cut], packing, array.dtype, 300, HERE)
    except CorruptFileError:
        return
    assert back.size == 300
