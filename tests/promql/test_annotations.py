"""What a query is told, and of which place: as a Prometheus beside it tells it."""

import numpy as np
import pytest

from promql.annotations import Annotations
from promql.engine import Engine, EngineOptions
from promql.errors import ExecutionError
from promql.histograms.columns import HistogramRow
from promql.parse import FEATURES
from promql.syntax import Span
from tests.promql.memory_reader import MemoryReader
from tsdb.interface import ResetHint

MINUTE = 60_000
AT = 10 * MINUTE
TIMES = range(0, 11 * MINUTE, MINUTE)


def histograms(hint=ResetHint.UNKNOWN):
    return [
        HistogramRow(count=2.0 * n, sum=3.0 * n, positive=((0, float(n)), (1, float(n))), hint=hint)
        for n in range(1, 12)
    ]


@pytest.fixture
def engine():
    reader = MemoryReader()
    floats = [float(n) for n in range(11)]
    reader.add({"__name__": "f", "n": "1"}, TIMES, floats)
    reader.add({"__name__": "f", "n": "2"}, TIMES, floats)
    reader.add({"__name__": "mix", "n": "1"}, TIMES, histograms())
    reader.add({"__name__": "mix", "n": "2"}, TIMES, floats)
    reader.add({"__name__": "gauge", "n": "1"}, TIMES, histograms(ResetHint.GAUGE))
    engine = Engine(reader, EngineOptions(threads=1, features=FEATURES))
    yield engine
    engine.close()


def no_counter(place):
    return f'PromQL warning: this native histogram metric is not a counter: "gauge" ({place})'


def types(text, place="1:1"):
    op = text.split()[1]
    told = f'incompatible sample types encountered for binary operator "{op}": {text} ({place})'
    return f"PromQL info: {told}"


def bad_quantile(text, place):
    told = f"quantile value should be between 0 and 1, got {text} ({place})"
    return f"PromQL warning: {told}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("rate((gauge[5m]))", no_counter("1:7"), id="inside the parentheses"),
        pytest.param(
            "f or rate(gauge[5m:1m])", no_counter("1:1"), id="a subquery has no place of its own"
        ),
        pytest.param(
            "rate(gauge[5m]) + rate(gauge[4m])",
            no_counter("1:24"),
            id="what is said twice is told once, of the last place",
        ),
        pytest.param("quantile((2), f)", bad_quantile("2", "1:11"), id="so are parameters"),
        pytest.param(
            "histogram_quantile((2), mix{n='1'})",
            bad_quantile("2", "1:20"),
            id="but constants among arguments are not",
        ),
        pytest.param(
            "histogram_quantile((2), mix{n='1'} @ 60)",
            bad_quantile("2", "1:21"),
            id="unless the whole call is one",
        ),
        pytest.param(
            "quantile_over_time((scalar(f{n='1'})), f[5m])",
            bad_quantile("10", "1:21"),
            id="what may change from step to step is no constant",
        ),
        pytest.param(
            "quantile_over_time((2), f[5m])", bad_quantile("2", "1:20"), id="ranges likewise"
        ),
        pytest.param(
            "sum((mix))",
            "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)",
            id="nor is what is aggregated",
        ),
        pytest.param(
            "mix ^ on(n) f", types("histogram ^ float"), id="pairs of floats need not be told of"
        ),
        pytest.param(
            "mix % on(n) group_left() gauge",
            types("histogram % histogram"),
            id="one pair, one note",
        ),
        pytest.param(
            "mix % on() group_left() gauge",
            types("float % histogram"),
            id="of the pairs of a step only the last is told of",
        ),
        pytest.param("mix > on(n) f", types("histogram > float"), id="comparisons, too"),
        pytest.param("5 </ mix{n='1'}", types("float </ histogram"), id="a scalar is on the left"),
        pytest.param("mix </ 5", types("float </ float"), id="trimming a float comes last here"),
    ],
)
def test_what_is_told(engine, query, expected):
    found = engine.instant(query, AT)
    assert [*found.warnings, *found.infos] == [expected]


def test_an_aggregation_tells_of_the_extremes_of_its_quantile_and_a_function_of_each(engine):
    start, end = 6 * MINUTE, 8 * MINUTE
    for query, expected in (
        ("quantile(time() / 60 - 7, f)", [bad_quantile("-1", "1:10")]),
        ("quantile(time() / 30, f)", [bad_quantile("16", "1:10")]),
        ("quantile(time() - 420, f)", [bad_quantile("60", "1:10"), bad_quantile("-60", "1:10")]),
        ("quantile((time() - 420) / 0, f)", [bad_quantile("NaN", "1:10")]),
        (
            "quantile_over_time(time() / 30, f[5m])",
            [bad_quantile(value, "1:20") for value in ("12", "14", "16")],
        ),
    ):
        assert engine.range(query, start, end, MINUTE).warnings == expected


def test_each_step_has_a_last_pair_of_its_own(engine):
    reader = MemoryReader()
    reader.add({"__name__": "a"}, [0, MINUTE], [1.0, histograms()[0]])
    reader.add({"__name__": "b"}, [0, MINUTE], [histograms()[0], histograms()[0]])
    with_both = Engine(reader, EngineOptions(threads=1))
    found = with_both.range("a % b", 0, MINUTE, MINUTE)
    with_both.close()
    assert set(found.infos) == {types("float % histogram"), types("histogram % histogram")}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('label_replace(f / on() f, "a", "", "b", "(")', "invalid regular expression"),
        ('label_replace(f / on() f, "", "", "b", "c")', "invalid destination label name"),
        ('label_join(f / on() f, "a", "", "")', "invalid source label name"),
        ('label_join(f / on() f, "", "", "a")', "invalid destination label name"),
        ('count_values("", f / on() f)', "invalid label name"),
    ],
)
def test_texts_are_faulted_before_the_vector_beside_them(engine, query, message):
    with pytest.raises(ExecutionError, match=message):
        engine.instant(query, AT)


def test_ten_are_shown_and_the_rest_counted():
    told = Annotations("x")
    for number in np.arange(12):
        told.warn(f"w{number}", Span(0, 1))
    assert told.warnings[9:] == ["PromQL warning: w9 (1:1)", "2 more warning annotations omitted"]
    assert told.infos == []
