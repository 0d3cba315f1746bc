import pytest

from promql.engine import Engine, EngineOptions
from promql.errors import ExecutionError
from promql.info import reference
from promql.parse import FEATURES, parse
from promql.syntax import Subquery, VectorSelector
from tests.promql.memory_reader import MemoryReader
from tsdb.staleness import STALE_NAN

MINUTE = 60_000
STALE = float(STALE_NAN)


@pytest.fixture
def reader():
    times = [0, MINUTE, 2 * MINUTE]
    reader = MemoryReader()
    for instance in "ab":
        where = {"instance": instance, "job": "j"}
        reader.add({"__name__": "m", **where, "own": "x"}, times, [1, 2, 3])
        reader.add({"__name__": "target_info", **where, "own": "y", "os": "linux"}, times, [1] * 3)
    where = {"instance": "a", "job": "j"}
    reader.add({"__name__": "build_info", **where, "version": "1"}, times, [1, 1, STALE])
    reader.add({"__name__": "build_info", **where, "version": "2"}, times[2:], [1])
    return reader


def ask(reader, query, *, delayed=False):
    options = EngineOptions(features=FEATURES, threads=1, delayed_name_removal=delayed)
    value = Engine(reader, options).range(query, 0, 2 * MINUTE, MINUTE).value
    rows = []
    for series in range(value.labels.series_count):
        row = value.labels.row(series)
        row.pop("job", None)
        rows.append((row, value.present[series].astype(int).tolist()))
    return rows


ALWAYS = [1, 1, 1]
A = {"__name__": "m", "instance": "a", "own": "x"}
B = {"__name__": "m", "instance": "b", "own": "x"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "info(m)",
            [({**A, "os": "linux"}, ALWAYS), ({**B, "os": "linux"}, ALWAYS)],
            id="target_info's labels are added, a label of one's own stays",
        ),
        pytest.param(
            'info(m, {__name__="build_info"})',
            [({**A, "version": "1"}, [1, 1, 0]), ({**A, "version": "2"}, [0, 0, 1]), (B, ALWAYS)],
            id="labels change from step to step; without info a series stays as it is",
        ),
        pytest.param(
            'info(m, {__name__="build_info", version=~".+"})',
            [({**A, "version": "1"}, [1, 1, 0]), ({**A, "version": "2"}, [0, 0, 1])],
            id="a label that must not be empty leaves others out",
        ),
        pytest.param(
            'info(m{instance="a"}, {__name__=~"build_info|target_info", version="2"})',
            [({**A, "version": "2"}, [0, 0, 1])],
            id="only labels that are named are added",
        ),
        pytest.param(
            'info(m{instance="a"}, {__name__=~".*_info"})',
            [
                ({**A, "os": "linux", "version": "1"}, [1, 1, 0]),
                ({**A, "os": "linux", "version": "2"}, [0, 0, 1]),
            ],
            id="several info metrics add up",
        ),
        pytest.param(
            'info(target_info{instance="a"})',
            [
                (
                    {"__name__": "target_info", "instance": "a", "own": "y", "os": "linux"},
                    ALWAYS,
                )
            ],
            id="info series get nothing",
        ),
        pytest.param(
            'info(m{instance="a"}, {__name__!~".*_info"})',
            [(A, ALWAYS)],
            id="what is not an info metric says nothing of target_info",
        ),
        pytest.param(
            'info(m{instance="a"} @ 0, {__name__="build_info"})',
            [({**A, "version": "1"}, ALWAYS)],
            id="info is of the time that @ fixes",
        ),
        pytest.param(
            'info(m{instance="a"} offset 1m, {__name__="build_info"})',
            [({**A, "version": "1"}, [0, 1, 1])],
            id="info is of the time of the offset",
        ),
        pytest.param("info(nothing)", [], id="nothing in, nothing out"),
    ],
)
def test_labels_are_joined(reader, query, expected):
    assert ask(reader, query) == expected


def test_a_name_to_be_dropped_is_dropped_all_the_same(reader):
    (row, _), *_ = ask(reader, "info(-m)", delayed=True)
    assert "__name__" not in row
    assert row["os"] == "linux"


def test_two_info_series_of_one_time_are_refused(reader):
    reader.add(
        {"__name__": "target_info", "instance": "a", "job": "j", "os": "other"}, [MINUTE], [1]
    )
    with pytest.raises(ExecutionError) as caught:
        ask(reader, "info(m)")
    assert str(caught.value) == (
        'found duplicate series for info metric: existing {__name__="target_info", instance="a", '
        'job="j", os="linux", own="y"} @ 60000, new {__name__="target_info", instance="a", '
        'job="j", os="other"} @ 60000'
    )


def test_two_info_metrics_that_disagree_are_refused(reader):
    reader.add({"__name__": "x_info", "instance": "a", "job": "j", "os": "other"}, [MINUTE], [1])
    with pytest.raises(ExecutionError, match="conflicting label: os"):
        ask(reader, 'info(m, {__name__=~"x_info|target_info"})')


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("rate(m[1m] offset 5m)", VectorSelector),
        ("sum(m) + n", VectorSelector),
        ("last_over_time((m offset 1m)[10m:1m] @ 180)", Subquery),
        ("vector(1)", type(None)),
        ("-(1 + topk(2, m))", VectorSelector),
    ],
)
def test_the_reference_is_the_first_selector(text, kind):
    assert isinstance(reference(parse(text, FEATURES)), kind)
