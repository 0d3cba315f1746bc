from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tsdb import pages
from tsdb.pages import Layout
from tsdb.staleness import STALE_BITS

SPECIAL_BITS = [
    0,
    1 << 63,  # -0.0
    STALE_BITS,
    0x7FF8_0000_0000_0001,
    0xFFFF_FFFF_FFFF_FFFF,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    1,  # the smallest subnormal
    0x7FEF_FFFF_FFFF_FFFF,
    0x43E0_0000_0000_0000,  # 2**63
    0xC3E0_0000_0000_0000,
]


def bits_of(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).view(np.uint64)


def round_trip(runs: list[np.ndarray], layout: Layout) -> list[np.ndarray]:
    pool = np.concatenate(runs)
    is_times = pool.dtype == np.int64
    count = np.array([run.size for run in runs], dtype=np.int64)
    start = np.cumsum(count) - count
    encode = pages.encode_times if is_times else pages.encode_values
    decode = pages.decode_times if is_times else pages.decode_values
    encoded = encode(pool, start, count, layout=layout)
    out = np.zeros_like(pool)
    noise = {}
    if layout == Layout.SPLIT:
        noise = {"noise": encoded.noise, "noise_offset": encoded.noise_offset[:-1]}
    decode(encoded.data, encoded.offset, count, out, start, **noise)
    return [out[s : s + c] for s, c in zip(start, count, strict=True)]


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([5.0] * 40, id="a constant"),
        pytest.param(np.arange(100) * 15.0, id="a constant slope"),
        pytest.param(np.cumsum(np.arange(100) % 7) / 100, id="a counter with two decimals"),
        pytest.param(np.arange(70) * 4096.0 + 12288, id="multiples of a page of memory"),
        pytest.param(np.tile([0.0, 4096.0, 81920.0], 50), id="a plain run with a step"),
        pytest.param([1.0, 2.0, 3.0, np.nan], id="a NaN behind integers is an exception"),
        pytest.param([np.nan, 2.0, 3.0, 9.0, 11.0], id="a NaN before integers is an exception"),
        pytest.param([-0.0] * 3 + [0.0] * 30, id="minus zero among zeros"),
        pytest.param(np.random.default_rng(1).normal(size=300), id="noise in all bits"),
        pytest.param(np.random.default_rng(1).integers(0, 900, 300) * 1.0, id="noise in ten bits"),
        pytest.param([2.0**62, -(2.0**62), 2.0**63, 3.0] * 9, id="integers at the edge"),
        pytest.param([9007199254740993.0, 0.5] * 20, id="wide integers beside a fraction"),
        pytest.param([0.1 + 0.2, 0.3, 0.1] * 20, id="a decimal that is none"),
        pytest.param([1e300, 1e-300, 5e-324], id="far exponents"),
    ],
)
def test_values_survive_bit_for_bit(values, layout):
    run = np.asarray(values, dtype=np.float64)
    (back,) = round_trip([run], layout)
    np.testing.assert_array_equal(bits_of(back), bits_of(run))


any_bits = st.one_of(
    st.sampled_from(SPECIAL_BITS),
    st.integers(0, 2**64 - 1),
    st.floats(width=64).map(lambda f: int(bits_of(f)[()])),
    st.integers(-1000, 1000).map(lambda i: int(bits_of(float(i))[()])),
    st.integers(-(10**6), 10**6).map(lambda i: int(bits_of(i / 1000)[()])),
)


@st.composite
def value_runs(draw):
    kind = draw(st.sampled_from(["bits", "floats", "integers", "decimals", "counter"]))
    size = draw(st.integers(1, 150))
    if kind == "bits":
        run = draw(npst.arrays(np.uint64, size, elements=any_bits)).view(np.float64)
    elif kind == "floats":
        run = draw(npst.arrays(np.float64, size))
    elif kind == "integers":
        run = draw(npst.arrays(np.int64, size)).astype(np.float64)
    elif kind == "decimals":
        places = draw(st.integers(0, 17))
        run = draw(npst.arrays(np.int64, size, elements=st.integers(-(10**9), 10**9))) / 10**places
    else:
        step = draw(st.sampled_from([1.0, 0.01, 4096.0, 1e15]))
        run = draw(npst.arrays(np.int64, size, elements=st.integers(0, 300))).cumsum() * step
    if draw(st.booleans()):
        run = run.copy()
        run.view(np.uint64)[draw(st.integers(0, size - 1))] = draw(st.sampled_from(SPECIAL_BITS))
    return run


@settings(max_examples=100, deadline=None)
@given(runs=st.lists(value_runs(), min_size=1, max_size=4), layout=st.sampled_from(list(Layout)))
def test_any_values_survive_bit_for_bit(runs, layout):
    for run, back in zip(runs, round_trip(runs, layout), strict=True):
        np.testing.assert_array_equal(bits_of(back), bits_of(run))


time_runs = st.one_of(
    npst.arrays(np.int64, st.integers(1, 100)),
    npst.arrays(np.int64, st.integers(1, 100), elements=st.integers(14_990, 15_010)).map(np.cumsum),
)


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(time_runs, min_size=1, max_size=4), layout=st.sampled_from(list(Layout)))
def test_any_times_survive_even_unsorted_and_overflowing(runs, layout):
    for run, back in zip(runs, round_trip(runs, layout), strict=True):
        np.testing.assert_array_equal(back, run)


@settings(max_examples=60, deadline=None)
@given(run=value_runs(), data=st.data(), layout=st.sampled_from(list(Layout)))
def test_part_of_a_page_is_that_part_of_the_run(run, data, layout):
    skip = data.draw(st.integers(0, run.size - 1))
    take = data.draw(st.integers(1, run.size - skip))
    one = np.zeros(1, dtype=np.int64)
    encoded = pages.encode_values(run, one, one + run.size, layout=layout)
    out = np.full(take + 2, 7.0)
    noise = {}
    if layout == Layout.SPLIT:
        noise = {"noise": encoded.noise, "noise_offset": encoded.noise_offset[:-1]}
    pages.decode_values(
        encoded.data,
        encoded.offset,
        one + run.size,
        out,
        one + 1,
        skip=one + skip,
        take=one + take,
        **noise,
    )
    np.testing.assert_array_equal(bits_of(out[1:-1]), bits_of(run[skip : skip + take]))
    assert out[0] == 7.0
    assert out[-1] == 7.0


@settings(max_examples=100, deadline=None)
@given(run=value_runs(), data=st.data(), layout=st.sampled_from(list(Layout)))
def test_broken_bytes_never_read_or_write_out_of_bounds(run, data, layout):
    """Whatever the bytes are: an answer of the right size or `BadPageError`, nothing else."""
    zero = np.zeros(1, dtype=np.int64)
    encoded = pages.encode_values(run, zero, zero + run.size, layout=layout)
    page, noise = bytearray(encoded.data), encoded.noise
    for _ in range(data.draw(st.integers(1, 4))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    offset = np.array([0, data.draw(st.integers(0, len(page)))])
    noise = noise[: data.draw(st.integers(0, noise.size))]
    out = np.full(run.size + 2, 7.0)
    with contextlib.suppress(pages.BadPageError):
        pages.decode_values(
            np.frombuffer(bytes(page), np.uint8)[: offset[1]],
            offset,
            zero + run.size,
            out,
            zero + 1,
            noise=noise,
            noise_offset=zero if data.draw(st.booleans()) else zero - 1,
        )
    assert (out[0], out[-1]) == (7.0, 7.0)


@pytest.mark.parametrize(
    ("values", "bytes_max"),
    [
        pytest.param(np.full(480, 1.5), 4, id="a constant takes four bytes"),
        pytest.param(np.arange(480) * 0.25, 8, id="a slope takes its start and its step"),
        pytest.param(np.r_[np.arange(479.0), np.nan], 24, id="a stale marker costs ten bytes"),
    ],
)
def test_the_cheapest_form_is_found(values, bytes_max):
    one = np.zeros(1, dtype=np.int64)
    encoded = pages.encode_values(values, one, one + values.size, layout=Layout.PLANES)
    assert len(encoded.page(0)) <= bytes_max
