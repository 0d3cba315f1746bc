"""Results with native histograms as JSON: parsed back, and byte for byte where form matters."""

import json

import numpy as np
import pytest

from api import json_histograms
from api.json_histograms import seconds
from api.json_writer import result_chunks
from api.query import _truncated as truncated
from promql.histograms.columns import HistogramRow, from_rows
from promql.histograms.matrix import HistogramMatrix
from promql.labels import QuerySymbols, SeriesLabels
from promql.result import MatrixResult, RawResult, VectorResult
from tsdb.interface import HistogramRuns

ROWS = [
    HistogramRow(count=4, sum=5.5, zero_count=1, zero_threshold=0.5, positive=((1, 3), (2, 0))),
    HistogramRow(count=2, sum=-3, negative=((0, 1), (1, 1))),
    HistogramRow(schema=-53, count=3, sum=7, positive=((0, 1), (2, 2)), bounds=(5, 10)),
    HistogramRow(),
]
TEXTS = [
    '{"count":"4","sum":"5.5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","3"]]}',
    '{"count":"2","sum":"-3","buckets":[[1,"-2","-1","1"],[1,"-1","-0.5","1"]]}',
    '{"count":"3","sum":"7","buckets":[[3,"-Inf","5","1"],[0,"10","+Inf","2"]]}',
    '{"count":"0","sum":"0"}',
]


def labels(*names):
    return SeriesLabels.from_dicts([{"__name__": name} for name in names], QuerySymbols(None))


def body(value):
    text = b"".join(result_chunks(value)).decode()
    json.loads(text)
    head, _, rest = text.partition('"result":')
    assert head.startswith('{"status":"success","data":{"resultType":')
    return rest.removesuffix("}}")


def pool(rows):
    return HistogramMatrix(from_rows(ROWS), np.array(rows, dtype=np.int32))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([0], [TEXTS[0]], id="zero bucket and positive ones, without empty ones"),
        pytest.param([1], [TEXTS[1]], id="negative buckets, from the smallest value on"),
        pytest.param([2], [TEXTS[2]], id="custom buckets reach to both infinities"),
        pytest.param([3], [TEXTS[3]], id="no bucket, no list"),
        pytest.param([2, -1, 0, -1, -1, 1], [TEXTS[2], 1, TEXTS[0], 3, 4, TEXTS[1]], id="mixed"),
        pytest.param([-1, 0, 0], [0, TEXTS[0], TEXTS[0]], id="one histogram at two series"),
        pytest.param([0, -1], [TEXTS[0], 1], id="floats last"),
    ],
)
def test_a_vector_keeps_the_order_of_its_series(rows, expected):
    names = [f"m{number}" for number in range(len(rows))]
    value = VectorResult(
        1500, labels(*names), np.arange(len(rows), dtype=np.float64), pool([[r] for r in rows])
    )
    series = [
        f'{{"metric":{{"__name__":"{name}"}},"histogram":[1.500,{point}]}}'
        if isinstance(point, str)
        else f'{{"metric":{{"__name__":"{name}"}},"value":[1.500,"{point}"]}}'
        for name, point in zip(names, expected, strict=True)
    ]
    assert body(value) == "[" + ",".join(series) + "]"


def test_a_series_of_a_matrix_may_have_both_kinds():
    value = MatrixResult(
        np.array([0, 1000, 2500]),
        labels("a", "b", "c"),
        np.array([[1.0, 0, 0], [0, 0, 3.5], [7.0, 8.0, 0]]),
        np.array([[True, False, False], [False, False, True], [True, True, False]]),
        pool([[-1, -1, -1], [0, 0, -1], [-1, -1, 3]]),
    )
    assert body(value) == (
        '[{"metric":{"__name__":"a"},"values":[[0,"1"]]},'
        f'{{"metric":{{"__name__":"b"}},"values":[[2.500,"3.5"]],'
        f'"histograms":[[0,{TEXTS[0]}],[1,{TEXTS[0]}]]}},'
        f'{{"metric":{{"__name__":"c"}},"values":[[0,"7"],[1,"8"]],'
        f'"histograms":[[2.500,{TEXTS[3]}]]}}]'
    )


def test_a_series_with_histograms_only_has_no_values():
    value = MatrixResult(
        np.array([0]), labels("a"), np.zeros((1, 1)), np.zeros((1, 1), np.bool_), pool([[1]])
    )
    assert body(value) == f'[{{"metric":{{"__name__":"a"}},"histograms":[[0,{TEXTS[1]}]]}}]'


def test_a_range_vector_shows_what_is_stored():
    value = RawResult(
        labels("a", "b"),
        np.array([1000, 2000]),
        np.array([0, 2]),
        np.array([1.0, 2.0]),
        np.array([0, 2]),
        np.array([2, 0]),
        HistogramRuns(
            np.array([5000, 6000, 7000]), np.array([3, 1]), np.array([0, 2]), from_rows(ROWS[:3])
        ),
    )
    assert body(value) == (
        '[{"metric":{"__name__":"a"},"values":[[1,"1"],[2,"2"]]},'
        f'{{"metric":{{"__name__":"b"}},"histograms":[[6,{TEXTS[1]}],[7,{TEXTS[2]}]]}}]'
    )


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_histograms_of_a_range_vector_are_made_for_some_series_at_once(monkeypatch, at_once):
    monkeypatch.setattr(json_histograms, "_AT_ONCE", at_once)
    counts, starts = [2, 0, 1, 3, 1], [4, 0, 3, 0, 6]  # stored in another order, with a gap
    stored = [0, 1, 2, 3, 1, 0, 2]
    ints = dict.fromkeys(("time_start", "value_start", "count"), np.zeros(5, dtype=np.int64))
    runs = HistogramRuns(
        np.arange(7, dtype=np.int64) * 1000,
        np.array(starts, dtype=np.int64),
        np.array(counts, dtype=np.int64),
        from_rows([ROWS[row] for row in stored]),
    )
    names = [f"m{number}" for number in range(5)]
    value = RawResult(
        labels(*names),
        times=np.zeros(1, dtype=np.int64),
        values=np.zeros(1),
        histograms=runs,
        **(ints | {"count": np.array([0, 1, 0, 0, 0], dtype=np.int64)}),
    )
    got = [series.get("histograms", []) for series in json.loads(body(value))]
    assert got == [
        [[at, json.loads(TEXTS[stored[at]])] for at in range(start, start + count)]
        for start, count in zip(starts, counts, strict=True)
    ]


def test_long_answers_come_in_chunks_and_whole():
    rows = np.tile(np.array([[0], [-1], [1]], dtype=np.int32), (4000, 1))
    names = [f"m{number}" for number in range(rows.size)]
    value = VectorResult(0, labels(*names), np.zeros(rows.size), pool(rows))
    chunks = list(result_chunks(value))
    assert len(chunks) > 1
    result = json.loads(b"".join(chunks))["data"]["result"]
    assert [series["metric"]["__name__"] for series in result] == names
    assert {key for series in result[1::3] for key in series} == {"metric", "value"}


@pytest.mark.parametrize(
    ("time_ms", "expected"),
    [
        pytest.param(0, b"0", id="the epoch"),
        pytest.param(-1, b"-0.001", id="just before it"),
        pytest.param(1700000000000, b"1700000000", id="whole seconds"),
    ],
)
def test_times(time_ms, expected):
    assert seconds(time_ms) == expected


def test_a_cut_answer_keeps_histograms_with_their_series():
    names = ["a", "b", "c"]
    vector = VectorResult(0, labels(*names), np.array([1.0, 0, 0]), pool([[-1], [0], [1]]))
    matrix = MatrixResult(
        np.array([0]),
        labels(*names),
        np.array([[1.0], [0], [0]]),
        np.array([[True], [False], [False]]),
        pool([[-1], [0], [1]]),
    )
    nothing = np.zeros(3, dtype=np.int64)
    raw = RawResult(
        labels(*names),
        np.array([0]),
        nothing,
        np.array([1.0]),
        nothing,
        np.array([1, 0, 0]),
        HistogramRuns(
            np.array([0, 0]), np.array([0, 0, 1]), np.array([0, 1, 1]), from_rows(ROWS[:2])
        ),
    )
    for value in (vector, matrix, raw):
        cut, whole = truncated(value, 2), truncated(value, 3)
        assert (cut[1], whole) == (True, (value, False))
        shown, text = body(cut[0]), body(value)
        assert text.startswith(shown[:-1])
        assert '"c"' not in shown
        assert TEXTS[0] in shown
        assert TEXTS[1] not in shown
