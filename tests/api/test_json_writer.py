"""JSON from columns against json and repr: every double, every shape, every label."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from api import json_writer
from api.answer_parts import whole_chunks
from api.float_kernels import SLACK_BYTES, VALUE_BYTES_MAX
from api.json_kernels import FRAME_STRIDE, write_floats, write_frames
from api.json_text import dumps, quoted
from api.json_writer import float_seconds, label_set_body, result_chunks
from promql.labels import QuerySymbols, SeriesLabels
from promql.result import (
    MatrixResult,
    QueryStats,
    RawResult,
    ScalarResult,
    StringResult,
    VectorResult,
)


def float_texts(values):
    """What the kernel makes of each value."""
    bits = np.asarray(values, dtype=np.float64).view(np.uint64)
    out = np.empty(bits.size * VALUE_BYTES_MAX + SLACK_BYTES, dtype=np.uint8)
    at = np.empty(bits.size + 1, dtype=np.int64)
    length = write_floats(bits, out, at)
    text = out[:length].tobytes().decode()
    return [text[a:b] for a, b in pairwise(at.tolist())]


def plain_text(value):
    """The same from repr, which gives the shortest digits too."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(text)
    point = len(text) + exponent
    if abs(value) < 1e-6 or abs(value) >= 1e21:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        shown = f"{mantissa}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"
    elif point <= 0:
        shown = "0." + "0" * -point + text
    elif point < len(text):
        shown = f"{text[:point]}.{text[point:]}"
    else:
        shown = text + "0" * (point - len(text))
    return ("-" if sign else "") + shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(0.0, "0", id="zero"),
        pytest.param(-0.0, "-0", id="zero keeps its sign"),
        pytest.param(math.nan, "NaN", id="not a number"),
        pytest.param(math.inf, "+Inf", id="infinity has a sign"),
        pytest.param(-math.inf, "-Inf", id="minus infinity"),
        pytest.param(1e-6, "0.000001", id="the smallest without an exponent"),
        pytest.param(np.nextafter(1e-6, 0), "9.999999999999997e-07", id="just below it"),
        pytest.param(1e-7, "1e-07", id="two digits of exponent"),
        pytest.param(1e21, "1e+21", id="the smallest with a positive exponent"),
        pytest.param(np.nextafter(1e21, 0), "999999999999999900000", id="just below that"),
        pytest.param(123456789012.0, "123456789012", id="a whole number"),
        pytest.param(123456789012345678.0, "123456789012345680", id="shortest, then zeros"),
        pytest.param(2.0**53, "9007199254740992", id="two to the 53rd"),
        pytest.param(2.0**63, "9223372036854776000", id="two to the 63rd"),
        pytest.param(0.1 + 0.2, "0.30000000000000004", id="seventeen digits"),
        pytest.param(5e-324, "5e-324", id="the smallest there is"),
        pytest.param(1.7976931348623157e308, "1.7976931348623157e+308", id="the largest"),
        pytest.param(-2.2250738585072014e-308, "-2.2250738585072014e-308", id="the longest"),
        pytest.param(9.5e-5, "0.000095", id="zeros after the point"),
        pytest.param(1e23, "1e+23", id="halfway between two doubles"),
    ],
)
def test_one_value(value, text):
    assert float_texts([value]) == [text]


@given(npst.arrays(np.uint64, st.integers(1, 200)))
@settings(max_examples=100, deadline=None)
def test_any_bits_equal_repr(bits):
    values = bits.view(np.float64).tolist()
    assert float_texts(values) == [plain_text(value) for value in values]


@given(st.lists(st.floats(), min_size=1, max_size=50))
@example([float(f"{d}e{e}") for d in (1, 9.5, 1.25) for e in range(-323, 308, 7)])
@example([2.0**e for e in range(-1074, 1024)])
@example([1.5 * 2.0**e for e in range(-1073, 1023)])
@example([float(10**e + d) for e in range(23) for d in (-1, 0, 1)])
@settings(max_examples=100, deadline=None)
def test_any_floats_equal_repr(values):
    assert float_texts(values) == [plain_text(value) for value in values]


@given(st.lists(st.integers(0, 10**17), min_size=1, max_size=50), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_decimals_equal_repr(whole, places):
    values = [number / 10**places for number in whole]
    assert float_texts(values) == [plain_text(value) for value in values]


def label_sets_of(labels):
    return b"".join(whole_chunks(label_set_body(labels.names, labels.ids, labels.symbols)))


def plain_stamp(time_ms):
    seconds, millis = divmod(abs(time_ms), 1000)
    return f"{'-' if time_ms < 0 else ''}{seconds}" + (f".{millis:03d}" if millis else "")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
@example([1435781451110, 1435781451000, 0, -1, -1500, 5, 999, -(2**63)])
@settings(max_examples=100, deadline=None)
def test_frames_hold_the_times_between_two_values(times):
    out = np.empty(len(times) * FRAME_STRIDE + SLACK_BYTES, dtype=np.uint8)
    size = np.empty(len(times), dtype=np.int64)
    write_frames(np.array(times, dtype=np.int64), out, size)
    got = [
        out[at * FRAME_STRIDE :][:length].tobytes().decode()
        for at, length in enumerate(size.tolist())
    ]
    assert got == [f'"],[{plain_stamp(time)},"' for time in times]


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(1435781451110, b"1435781451.11"), (4000, b"4"), (-1, b"-0.001"), (0, b"0"), (50, b"0.05")],
)
def test_scalar_times_are_plain_numbers(time_ms, text):
    assert float_seconds(time_ms) == text


# ------------------------------------------------------------------ whole results

label_text = st.one_of(
    st.sampled_from(["a", "é", 'q"', "\\", "\n\r\t\x01", "<&>", "x" * 300, "\u2028", "日本"]),
    st.text(min_size=1, max_size=5),
)
label_rows = st.lists(
    st.dictionaries(st.sampled_from(["__name__", "job", "b.c", 'o"dd', "le"]), label_text),
    max_size=6,
    unique_by=lambda row: tuple(sorted(row.items())),
)


def labels_of(rows):
    return SeriesLabels.from_dicts(rows, QuerySymbols(None))


def pairs(times, values):
    return [[time / 1000, plain_text(value)] for time, value in zip(times, values, strict=True)]


def answer(value, **options):
    return json.loads(b"".join(result_chunks(value, **options)))


@given(label_rows, st.integers(1, 5), st.data())
@settings(max_examples=60, deadline=None)
def test_matrices_equal_plain_json(rows, step_count, data):
    shape = (len(rows), step_count)
    values = data.draw(npst.arrays(np.float64, shape))
    present = data.draw(npst.arrays(np.bool_, shape))
    present[:, -1] = True
    steps = 1000 + 500 * np.arange(step_count, dtype=np.int64)
    expected = [
        {
            "metric": row,
            "values": pairs(steps[present[s]].tolist(), values[s][present[s]].tolist()),
        }
        for s, row in enumerate(rows)
    ]
    got = answer(MatrixResult(steps, labels_of(rows), values, present))
    assert got == {"status": "success", "data": {"resultType": "matrix", "result": expected}}
    assert [list(series["metric"]) for series in got["data"]["result"]] == [
        sorted(row) for row in rows
    ]


@given(label_rows, st.data())
@settings(max_examples=60, deadline=None)
def test_vectors_equal_plain_json(rows, data):
    values = data.draw(npst.arrays(np.float64, len(rows)))
    expected = [
        {"metric": row, "value": [12.345, plain_text(value)]}
        for row, value in zip(rows, values.tolist(), strict=True)
    ]
    got = answer(VectorResult(12345, labels_of(rows), values))
    assert got["data"] == {"resultType": "vector", "result": expected}


@given(label_rows, st.data())
@settings(max_examples=60, deadline=None)
def test_raw_samples_equal_plain_json(rows, data):
    count = data.draw(npst.arrays(np.int64, len(rows), elements=st.integers(1, 6)))
    values = data.draw(npst.arrays(np.float64, int(count.sum())))
    start = np.cumsum(count) - count
    first = data.draw(st.sampled_from([0, -3000, 99_999_900, 1_795_469_999_900, 10**17 - 5]))
    apart = data.draw(st.sampled_from([77, 500, 1000, 33_333_333]))
    times = np.arange(int(count.sum()), dtype=np.int64) * apart + first
    expected = [
        {
            "metric": row,
            "values": pairs(times[a : a + n].tolist(), values[a : a + n].tolist()),
        }
        for row, a, n in zip(rows, start.tolist(), count.tolist(), strict=True)
    ]
    got = answer(RawResult(labels_of(rows), times, start, values, start, count))
    assert got["data"] == {"resultType": "matrix", "result": expected}


@given(label_rows)
@settings(max_examples=60, deadline=None)
def test_label_sets_equal_plain_json(rows):
    labels = labels_of(rows)
    got = json.loads(label_sets_of(labels))
    assert got == {"status": "success", "data": rows}


def matrix_of(labels, values):
    steps = 1_795_470_000_000 + np.arange(values.shape[1], dtype=np.int64) * 15_000
    return MatrixResult(steps, labels, values, np.ones(values.shape, dtype=np.bool_))


def raw_of(labels, values):
    count, size = values.shape
    times = 1_795_470_000_000 + np.arange(size, dtype=np.int64) * 15_000
    start = np.arange(count, dtype=np.int64) * size
    each = np.full(count, size, dtype=np.int64)
    shared = np.zeros(count, dtype=np.int64)
    return RawResult(labels, times, shared, values.ravel(), start, each)


@pytest.mark.parametrize("chunk_bytes", [1, 500, 2000, 1 << 20])
def test_any_buffer_gives_the_same_bytes(monkeypatch, chunk_bytes):
    rng = np.random.default_rng(2)
    rows = [{"__name__": "m", "i": str(i), "long": "x" * (i * 7 % 50)} for i in range(40)]
    labels, shape = labels_of(rows), (40, 60)
    values, present = rng.random(shape), rng.random(shape) < 0.8
    present[:, 0] = True
    steps = np.arange(60, dtype=np.int64) * 1001
    start = np.arange(40, dtype=np.int64) * 60
    count = np.full(40, 60, dtype=np.int64)
    results = [
        MatrixResult(steps, labels, values, present),
        RawResult(labels, np.tile(steps, 40), start, values.ravel(), start, count),
        VectorResult(7, labels, values[:, 0].copy()),
    ]
    expected = [b"".join(result_chunks(result)) for result in results]
    sets = label_sets_of(labels)
    monkeypatch.setattr(json_writer, "CHUNK_BYTES", chunk_bytes)
    for result, whole in zip(results, expected, strict=True):
        chunks = list(result_chunks(result))
        assert b"".join(chunks) == whole
        assert len(chunks) >= 3 or chunk_bytes > 2000
    assert label_sets_of(labels) == sets


@pytest.mark.parametrize("make", [matrix_of, raw_of], ids=["over steps", "with times of their own"])
def test_values_that_repeat_are_written_each_time(make):
    rows = [
        [0.1] * 9,
        [1.5, 1.5, -0.0, 0.0, 0.0, -0.0, 7.0, 7.0, 1.5],
        [math.nan, math.nan, math.inf, math.inf, -math.inf, 1e-7, 1e-7, 123456.789, 123456.789],
        [-1.2345678901234567e-5] * 4 + [2.0**60] * 5,
    ]
    values = np.array(rows)
    labels = labels_of([{"i": str(i)} for i in range(len(rows))])
    got = answer(make(labels, values))["data"]["result"]
    assert [series["values"] for series in got] == [
        pairs([1_795_470_000_000 + 15_000 * at for at in range(9)], row) for row in rows
    ]


def test_more_symbols_than_the_first_table_holds():
    rows = [{"i": str(i)} for i in range(5000)]
    labels = labels_of(rows)
    got = json.loads(label_sets_of(labels))
    assert got["data"] == rows


def test_scalars_and_strings():
    assert answer(ScalarResult(1500, 1e-7))["data"] == {
        "resultType": "scalar",
        "result": [1.5, "0.0000001"],
    }
    body = b"".join(result_chunks(StringResult(4000, "a<b")))
    assert body.endswith(b'"result":[4,"a\\u003cb"]}}')


def test_stats_and_annotations_follow_the_data():
    stats = QueryStats(
        queue_s=0.5,
        samples_total=3,
        samples_peak=2,
        samples_per_step=[1, 2],
        start_ms=1500,
        step_ms=500,
    )
    body = b"".join(
        result_chunks(ScalarResult(0, 1), stats=stats, per_step=True, warnings=["w<"], infos=["i"])
    )
    assert body.endswith(b'},"warnings":["w\\u003c"],"infos":["i"]}')
    shown = json.loads(body)["data"]["stats"]
    assert shown["timings"]["execQueueTime"] == 0.5
    assert shown["samples"] == {
        "totalQueryableSamples": 3,
        "peakSamples": 2,
        "totalQueryableSamplesPerStep": [[1.5, 1], [2, 2]],
    }


@given(st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_text_survives(text):
    assert json.loads(quoted(text)) == text
    assert json.loads(dumps([text])) == [text]
    assert not set(dumps(text)) & set(b"<>&")


def test_undecodable_bytes_become_replacement_characters():
    assert json.loads(quoted("a\udcff")) == "a\ufffd"
    assert json.loads(dumps({"k\udcff": ["\udcff"]})) == {"k\ufffd": ["\ufffd"]}


few_labels = st.lists(
    st.dictionaries(st.sampled_from(["__name__", "a", 'b"']), st.text(max_size=3)), max_size=4
)


@settings(deadline=None)
@given(few_labels, st.integers(-(1 << 45), 1 << 45), st.data())
def test_a_few_series_are_written_as_many_are(rows, time_ms, data):
    labels = SeriesLabels.from_dicts(rows, QuerySymbols(None))
    floats = st.floats() | st.sampled_from([-0.0, 1e-7, 1e21, 0.1])
    values = np.array([data.draw(floats) for _ in rows], dtype=np.float64)
    result = VectorResult(time_ms, labels, values)
    few = b"".join(result_chunks(result))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_writer, "_FEW_SERIES", -1)
        assert few == b"".join(result_chunks(result))
