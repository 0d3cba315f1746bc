"""One suite for everything that implements `interface.Storage`, whatever the samples lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tsdb.database import Database
from tsdb.errors import BadMatcherError, ClosedError, TooManySamplesError
from tsdb.interface import AppendStatus, LabelSpans, Matcher, MatchOp, Selection
from tsdb.options import DatabaseOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tsdb.interface import SeriesBatch, Storage

HOUR = 3_600_000
OPTIONS = DatabaseOptions(retention_ms=None, background=False)
SERIES = [
    {"__name__": "http_requests_total", "job": "api", "code": "200"},
    {"__name__": "http_requests_total", "job": "api", "code": "500"},
    {"__name__": "http_requests_total", "job": "web", "code": "200", "zone": "b"},
    {"__name__": "up", "job": "api"},
    {"job": "nameless"},
    {"__name__": "größe", "job": 'ünïcode\n"quoted"'},
]
STEPS = 600
STEP_MS = 60_000
"""Ten hours, a sample a minute."""


def eq(name: str, value: str) -> Matcher:
    return Matcher(name, MatchOp.EQUAL, value)


def value(series: int, step: int) -> float:
    return series * 1000 + step * 0.25


def fill(storage: Storage) -> None:
    refs = storage.resolve(LabelSpans.from_labels(SERIES))
    for step in range(STEPS):
        times = np.full(refs.size, step * STEP_MS)
        values = np.array([value(series, step) for series in range(refs.size)])
        assert (storage.append(refs, times, values) == AppendStatus.STORED).all()


@pytest.fixture(
    scope="module",
    params=["in memory", "in the head", "in blocks", "in both", "after a restart", "read only"],
)
def storage(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Database]:
    if request.param == "in memory":
        database = Database.in_memory()
        fill(database)
        yield database
        database.close()
        return
    path: Path = tmp_path_factory.mktemp("data")
    database = Database.open(path, OPTIONS)
    fill(database)
    if request.param == "in blocks":
        database.flush()
    elif request.param == "in both":
        database.maintain()
    elif request.param in ("after a restart", "read only"):
        database.close()
        only = request.param == "read only"
        database = Database.open(
            path, DatabaseOptions(retention_ms=None, background=False, read_only=only)
        )
    yield database
    database.close()


def select(storage: Storage, *matchers: Matcher, start: int = 0, end: int = 100 * HOUR):
    (batch,) = storage.select([Selection(matchers, start, end)])
    return batch


def rows(batch: SeriesBatch) -> list[dict[str, str]]:
    found = [batch.labels.row(series) for series in range(batch.series_count)]
    return sorted(found, key=lambda labels: sorted(labels.items()))


def wanted(keep: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    return sorted(filter(keep, SERIES), key=lambda labels: sorted(labels.items()))


@pytest.mark.parametrize(
    ("matchers", "keep"),
    [
        pytest.param([], lambda _: True, id="no matcher is everything"),
        pytest.param(
            [eq("__name__", "up")], lambda s: s.get("__name__") == "up", id="equal on the name"
        ),
        pytest.param([eq("__name__", "gone")], lambda _: False, id="an unknown name is nothing"),
        pytest.param(
            [eq("__name__", "")],
            lambda s: "__name__" not in s,
            id="equal to nothing finds those without the label",
        ),
        pytest.param(
            [eq("job", "api"), eq("code", "500")],
            lambda s: s.get("code") == "500",
            id="all matchers must hold",
        ),
        pytest.param(
            [Matcher("zone", MatchOp.NOT_EQUAL, "")],
            lambda s: "zone" in s,
            id="not equal to nothing finds those with the label",
        ),
        pytest.param(
            [Matcher("code", MatchOp.NOT_EQUAL, "200")],
            lambda s: s.get("code", "") != "200",
            id="not equal keeps series without the label",
        ),
        pytest.param(
            [Matcher("job", MatchOp.MATCHES, "a.*|web")],
            lambda s: s["job"] in ("api", "web"),
            id="a regular expression",
        ),
        pytest.param(
            [Matcher("job", MatchOp.MATCHES, "ap")], lambda _: False, id="anchored at both ends"
        ),
        pytest.param(
            [Matcher("job", MatchOp.MATCHES, "ü.*quoted.*")],
            lambda s: s["job"].startswith("ü"),
            id="the dot matches a newline",
        ),
        pytest.param(
            [Matcher("zone", MatchOp.MATCHES, "b?")],
            lambda _: True,
            id="a pattern that takes the empty text finds those without the label",
        ),
        pytest.param(
            [Matcher("__name__", MatchOp.NOT_MATCHES, "http_.+|up")],
            lambda s: s.get("__name__", "") not in ("http_requests_total", "up"),
            id="a negated pattern on the name",
        ),
        pytest.param(
            [eq("none", ""), eq("job", "api")],
            lambda s: s["job"] == "api",
            id="a label that nobody has equals nothing",
        ),
        pytest.param([eq("none", "x")], lambda _: False, id="a label that nobody has is not x"),
    ],
)
def test_matchers(storage, matchers, keep):
    assert rows(select(storage, *matchers)) == wanted(keep)
    labels = storage.series([matchers], 0, 100 * HOUR)
    found = [labels.row(series) for series in range(labels.series_count)]
    assert sorted(found, key=lambda s: sorted(s.items())) == wanted(keep)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(0, STEPS * STEP_MS, id="everything"),
        pytest.param(0, 0, id="the first sample only"),
        pytest.param((STEPS - 1) * STEP_MS, 100 * HOUR, id="the last sample only"),
        pytest.param(1, STEP_MS - 1, id="between two samples there is nothing"),
        pytest.param(31 * STEP_MS, 32 * STEP_MS, id="both edges are included"),
        pytest.param(90 * STEP_MS - 1, 301 * STEP_MS + 1, id="over the seams of blocks"),
        pytest.param(5 * HOUR, HOUR, id="an end before the start is nothing"),
        pytest.param(-HOUR, -1, id="before the first sample is nothing"),
        pytest.param(-(1 << 62), 1 << 62, id="farther than any time goes"),
    ],
)
def test_ranges(storage, start, end):
    batch = select(storage, start=start, end=end)
    steps = [step for step in range(STEPS) if start <= step * STEP_MS <= end]
    assert batch.series_count == (len(SERIES) if steps else 0)
    for series in range(batch.series_count):
        number = SERIES.index(batch.labels.row(series))
        first, at, count = batch.time_start[series], batch.value_start[series], batch.count[series]
        assert batch.times[first : first + count].tolist() == [step * STEP_MS for step in steps]
        assert batch.values[at : at + count].tolist() == [value(number, step) for step in steps]


def test_series_of_one_scrape_share_their_times(storage):
    batch = select(storage, eq("__name__", "http_requests_total"))
    assert batch.series_count == 3
    assert len(set(batch.time_start.tolist())) == 1
    assert batch.times.size < 2 * STEPS


def test_selections_of_one_call_have_one_symbol_space(storage):
    one, two = storage.select(
        [
            Selection((eq("__name__", "up"),), 0, 100 * HOUR),
            Selection((eq("code", "500"),), 3 * HOUR, 4 * HOUR),
        ]
    )
    assert (one.series_count, two.series_count) == (1, 1)
    assert (one.sample_count, two.sample_count) == (STEPS, 61)
    assert one.labels.symbols is two.labels.symbols
    job = one.labels.ids[one.labels.names.index("job"), 0]
    assert job == two.labels.ids[two.labels.names.index("job"), 0]


def test_label_columns_keep_their_promise(storage):
    labels = select(storage).labels
    assert list(labels.names) == sorted(set(labels.names))
    assert labels.ids.any(axis=1).all()
    nothing = select(storage, eq("job", "nobody")).labels
    assert nothing.series_count == 0


@pytest.mark.parametrize(
    ("matcher_sets", "names"),
    [
        pytest.param([], ["__name__", "code", "job", "zone"], id="no set is all series"),
        pytest.param([[eq("__name__", "up")]], ["__name__", "job"], id="of one metric"),
        pytest.param(
            [[eq("__name__", "up")], [eq("code", "500")]], ["__name__", "code", "job"], id="a union"
        ),
        pytest.param([[eq("job", "nobody")]], [], id="of nothing"),
    ],
)
def test_label_names(storage, matcher_sets, names):
    assert storage.label_names(matcher_sets, 0, 100 * HOUR) == names


@pytest.mark.parametrize(
    ("name", "matcher_sets", "values"),
    [
        pytest.param("code", [], ["200", "500"], id="of all series"),
        pytest.param("code", [[eq("job", "web")]], ["200"], id="of some series"),
        pytest.param("zone", [[eq("__name__", "up")]], [], id="the empty text is no value"),
        pytest.param("none", [], [], id="an unknown label has none"),
        pytest.param(
            "__name__", [], ["größe", "http_requests_total", "up"], id="names are values too"
        ),
    ],
)
def test_label_values(storage, name, matcher_sets, values):
    assert storage.label_values(name, matcher_sets, 0, 100 * HOUR) == values


def test_labels_of_times_long_gone_are_not_shown(storage):
    assert storage.label_names([], 1000 * HOUR, 1001 * HOUR) == []
    assert storage.series([], -10 * HOUR, -9 * HOUR).series_count == 0


def test_a_series_that_two_sets_match_comes_once(storage):
    sets = [[eq("__name__", "up")], [eq("job", "api")]]
    assert storage.series(sets, 0, 100 * HOUR).series_count == 3


@pytest.mark.parametrize("op", [MatchOp.MATCHES, MatchOp.NOT_MATCHES])
def test_a_bad_pattern_is_the_clients_fault(storage, op):
    bad = Matcher("job", op, "a(b")
    with pytest.raises(BadMatcherError, match="error parsing regexp: missing closing"):
        select(storage, eq("__name__", "none of that name"), bad)
    with pytest.raises(BadMatcherError):
        storage.series([[bad]], 0, 1)


def test_too_many_samples_are_refused_and_just_enough_are_not(storage):
    everything = [Selection((), 0, 100 * HOUR)]
    size = len(SERIES) * STEPS
    assert storage.select(everything, samples_max=size)[0].sample_count == size
    with pytest.raises(TooManySamplesError) as caught:
        storage.select(everything, samples_max=size - 1)
    assert caught.value.limit == size - 1


def test_no_selection_is_no_batch(storage):
    assert storage.select([]) == []


def test_a_closed_database_says_so(tmp_path):
    database = Database.open(tmp_path, OPTIONS)
    refs = database.resolve(LabelSpans.from_labels([{"a": "b"}]))
    database.close()
    database.close()
    with pytest.raises(ClosedError):
        select(database)
    with pytest.raises(ClosedError):
        database.append(refs, np.array([1]), np.array([1.0]))
    with pytest.raises(ClosedError):
        database.resolve(LabelSpans.from_labels([{"c": "d"}]))
