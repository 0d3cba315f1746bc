import json

import pytest

from gnomon.tables import render_label_sets, render_result, render_texts

VECTOR = {
    "resultType": "vector",
    "result": [
        {"metric": {"__name__": "up", "job": 'a"b'}, "value": [1.5, "1"]},
        {"metric": {"x": "y"}, "value": [1.5, "NaN"]},
    ],
}
MATRIX = {
    "resultType": "matrix",
    "result": [{"metric": {"__name__": "up"}, "values": [[0, "1"], [60, "2"]]}],
}


HISTOGRAM = {"count": "3", "sum": "4", "buckets": [[0, "1", "2", "3"]]}
NATIVE = {
    "resultType": "matrix",
    "result": [{"metric": {}, "values": [[60, "2"]], "histograms": [[0, HISTOGRAM]]}],
}


@pytest.mark.parametrize(
    ("data", "style", "expected"),
    [
        pytest.param(
            NATIVE,
            "csv",
            'timestamp,value\n0,"{count:3, sum:4, (1,2]:3}"\n60,2\n',
            id="floats and histograms of a series by time",
        ),
        pytest.param(
            VECTOR,
            "table",
            "SERIES            TIME                      VALUE\n"
            'up{job="a\\"b"}    1970-01-01T00:00:01.500Z  1\n'
            '{x="y"}           1970-01-01T00:00:01.500Z  NaN\n',
            id="a vector as a table",
        ),
        pytest.param(
            VECTOR,
            "csv",
            '__name__,job,x,timestamp,value\nup,"a""b",,1.5,1\n,,y,1.5,NaN\n',
            id="a vector as CSV",
        ),
        pytest.param(
            MATRIX,
            "csv",
            "__name__,timestamp,value\nup,0,1\nup,60,2\n",
            id="a matrix as CSV",
        ),
        pytest.param(
            {"resultType": "scalar", "result": [1, "2"]},
            "csv",
            "timestamp,value\n1,2\n",
            id="a scalar as CSV",
        ),
        pytest.param(
            {"resultType": "vector", "result": []},
            "table",
            "SERIES  TIME  VALUE\n",
            id="nothing as a table",
        ),
    ],
)
def test_results(data, style, expected):
    assert render_result(data, style).replace("  \n", "\n").split() == expected.split()


def test_json_is_the_bare_result():
    assert json.loads(render_result(VECTOR, "json")) == VECTOR["result"]


def test_label_sets_and_texts():
    assert render_label_sets([{"__name__": "up"}, {"a": "b"}], "table") == 'up\n{a="b"}\n'
    assert render_label_sets([{"b": "1"}, {"a": "2"}], "csv") == "a,b\n,1\n2,\n"
    assert render_texts(["x", "y"], "table", "name") == "x\ny\n"
    assert render_texts(["x,1"], "csv", "name") == 'name\n"x,1"\n'
