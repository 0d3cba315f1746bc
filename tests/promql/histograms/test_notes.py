"""What users are told about native histograms, text by text, with its place in the query."""

import pytest

from promql.engine import Engine, EngineOptions
from promql.histograms.columns import HistogramRow
from promql.parse import FEATURES
from tests.promql.memory_reader import MemoryReader
from tsdb.interface import ResetHint

MINUTE = 60_000


def exponential(count, hint=ResetHint.NOT_RESET, **more):
    return HistogramRow(count=count, positive=((0, count),), hint=hint, **more)


def custom(count, *bounds):
    return HistogramRow(schema=-53, count=count, positive=((0, count),), bounds=bounds)


SERIES = {
    "f": [1.0, 2.0, 3.0],
    "h": [exponential(1.0), exponential(2.0), exponential(3.0)],
    "g": [exponential(1.0, ResetHint.GAUGE), exponential(1.0, ResetHint.GAUGE)],
    "r": [exponential(5.0), exponential(6.0), exponential(1.0, ResetHint.RESET)],
    "c": [custom(1.0, 1.0, 2.0), custom(2.0, 1.0, 2.0), custom(3.0, 1.0, 2.0)],
    "d": [custom(1.0, 1.0, 3.0), custom(2.0, 1.0, 3.0), custom(3.0, 1.0, 3.0)],
    "changing": [custom(1.0, 1.0, 2.0), custom(2.0, 1.0, 3.0), custom(3.0, 1.0, 3.0)],
    "mixed": [1.0, exponential(2.0), 3.0],
    "both": [exponential(1.0), exponential(2.0), custom(3.0, 1.0)],
    "n": [HistogramRow(count=4.0, sum=float("nan"), positive=((0, 2.0),))] * 3,
}


@pytest.fixture
def engine():
    reader = MemoryReader()
    for name, values in SERIES.items():
        reader.add({"__name__": name}, range(0, len(values) * MINUTE, MINUTE), values)
    reader.add({"__name__": "x", "le": "1"}, [0], [1.0])
    reader.add({"__name__": "x", "le": "+Inf"}, [0], [1.0])
    reader.add({"__name__": "x"}, [0], [exponential(1.0)])
    engine = Engine(reader, EngineOptions(threads=1, features=FEATURES, delayed_name_removal=True))
    yield engine
    engine.close()


@pytest.mark.parametrize(
    ("query", "warnings", "infos"),
    [
        pytest.param("h + h", [], [], id="all is well"),
        pytest.param(
            "h + f",
            [],
            [
                'incompatible sample types encountered for binary operator "+":'
                " histogram + float (1:1)"
            ],
            id="a histogram and a float",
        ),
        pytest.param(
            "1 / h",
            [],
            [
                'incompatible sample types encountered for binary operator "/":'
                " float / histogram (1:1)"
            ],
            id="a float by a histogram",
        ),
        pytest.param(
            "h > h",
            [],
            [
                'incompatible sample types encountered for binary operator ">":'
                " histogram > histogram (1:1)"
            ],
            id="no order",
        ),
        pytest.param(
            "h + c",
            ["incompatible bucket layout encountered for binary operator + (1:1)"],
            [],
            id="exponential and custom buckets",
        ),
        pytest.param(
            "c - d",
            [],
            ["mismatched custom buckets were reconciled during subtraction (1:1)"],
            id="other bounds",
        ),
        pytest.param(
            "h + r",
            ["conflicting counter resets during histogram addition (1:1)"],
            [],
            id="reset and not reset",
        ),
        pytest.param(
            'sum({__name__=~"h|r"})',
            ["conflicting counter resets during histogram aggregation (1:5)"],
            [],
            id="reset and not reset in a sum",
        ),
        pytest.param(
            'avg({__name__=~"h|f"})',
            ["encountered a mix of histograms and floats for aggregation (1:5)"],
            [],
            id="floats and histograms in one group",
        ),
        pytest.param(
            'sum({__name__=~"h|c"})',
            [
                "vector contains a mix of histograms with exponential and custom buckets schemas"
                ' for metric name "h" (1:5)'
            ],
            [],
            id="schemas in one group: the later series is named",
        ),
        pytest.param(
            'sum({__name__=~"c|d"})',
            [],
            ["mismatched custom buckets were reconciled during aggregation (1:5)"],
            id="bounds in one group",
        ),
        pytest.param("max(h)", [], ["ignored histogram in max aggregation (1:5)"], id="max"),
        pytest.param("topk(1, h)", [], ["ignored histogram in topk aggregation (1:1)"], id="topk"),
        pytest.param(
            "rate(mixed[5m])",
            ['encountered a mix of histograms and floats for metric name "mixed" (1:6)'],
            [],
            id="a range of both kinds",
        ),
        pytest.param(
            "rate(both[5m])",
            [
                "vector contains a mix of histograms with exponential and custom buckets schemas"
                ' for metric name "both" (1:6)'
            ],
            [],
            id="a range of both schemas",
        ),
        pytest.param(
            "rate(g[5m])",
            ['this native histogram metric is not a counter: "g" (1:6)'],
            [],
            id="no counter",
        ),
        pytest.param(
            "delta(h[5m])",
            ['this native histogram metric is not a gauge: "h" (1:7)'],
            [],
            id="no gauge",
        ),
        pytest.param(
            "irate(g[5m])",
            ['this native histogram metric is not a counter: "g" (1:7)'],
            [],
            id="no counter among the last two",
        ),
        pytest.param(
            "increase(changing[5m])",
            [],
            ["mismatched custom buckets were reconciled during subtraction (1:10)"],
            id="bounds that change",
        ),
        pytest.param(
            "max_over_time(mixed[5m])",
            [],
            [
                "ignored histograms in a range containing both floats and histograms"
                ' for metric name "mixed" (1:15)'
            ],
            id="histograms passed over in a range",
        ),
        pytest.param(
            "histogram_quantile(0.9, n)",
            [],
            [
                "input to histogram_quantile has NaN observations, result is NaN"
                ' for metric name "n" (1:25)'
            ],
            id="a quantile among NaN",
        ),
        pytest.param(
            "histogram_quantile(0.1, n)",
            [],
            [
                "input to histogram_quantile has NaN observations, result is skewed higher"
                ' for metric name "n" (1:25)'
            ],
            id="a quantile below NaN",
        ),
        pytest.param(
            "histogram_fraction(0, 1, n)",
            [],
            [
                "input to histogram_fraction has NaN observations, which are excluded from all"
                ' fractions for metric name "n" (1:26)'
            ],
            id="a fraction beside NaN",
        ),
        pytest.param(
            "histogram_quantile(0.5, x)",
            ['vector contains a mix of classic and native histograms for metric name "x" (1:25)'],
            [],
            id="classic and native",
        ),
        pytest.param(
            "mixed smoothed",
            ['encountered a mix of histograms and floats for metric name "mixed" (1:1)'],
            [],
            id="between a float and a histogram",
        ),
    ],
)
def test_texts(engine, query, warnings, infos):
    result = engine.instant(query, 2 * MINUTE)
    assert result.warnings == [f"PromQL warning: {text}" for text in warnings]
    assert [i for i in result.infos if "might not be a counter" not in i] == [
        f"PromQL info: {text}" for text in infos
    ]
