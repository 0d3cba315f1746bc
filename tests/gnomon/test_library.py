import math

import numpy as np
import pytest

from gnomon import library
from promql.errors import ParseError
from promql.histograms.columns import HistogramRow, from_rows
from tsdb.errors import LockedError
from tsdb.interface import AppendStatus, LabelSpans

NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS / 1000
LABELS = {"__name__": "m", "a": "1"}


@pytest.fixture
def db():
    with library.open(None, retention=None) as opened:
        opened.append(LABELS, [NOW_MS, NOW_MS + 1000], [1.0, 2.0])
        opened.append_batch(
            [{"__name__": "m", "a": "2"}, {"__name__": "n"}], [NOW_MS, NOW_MS], [5.0, 7.0]
        )
        yield opened


def test_statuses_tell_what_became_of_each_sample(db):
    assert db.append(LABELS, [NOW_MS + 1000, NOW_MS + 2000], [9.0, 3.0]) == [
        AppendStatus.CONFLICT,
        AppendStatus.STORED,
    ]


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("sum(m)", [({}, NOW_S + 1, 7.0)]),
        ("1 + 1", [({}, NOW_S + 1, 2.0)]),
        ('"text"', [({}, NOW_S + 1, "text")]),
        ("nothing", []),
        ('m{a="1"}[5s]', [(LABELS, NOW_S, 1.0), (LABELS, NOW_S + 1, 2.0)]),
    ],
)
def test_rows_of_an_instant_query(db, expr, expected):
    assert list(library.rows(db.query(expr, time_s=NOW_S + 1))) == expected


def test_rows_of_a_range_query(db):
    result = db.query_range('m{a="1"}', start_s=NOW_S - 1, end_s=NOW_S + 1, step_s=1)
    assert list(library.rows(result)) == [(LABELS, NOW_S, 1.0), (LABELS, NOW_S + 1, 2.0)]


def test_rows_of_native_histograms(db):
    row = HistogramRow(count=2.0, sum=3.0, positive=((0, 2.0),))
    refs = db.database.resolve(LabelSpans.from_labels([{"__name__": "h"}]))
    db.database.append_histograms(refs, np.array([NOW_MS]), from_rows([row]))
    expected = [({"__name__": "h"}, NOW_S, row)]
    assert list(library.rows(db.query("h", time_s=NOW_S))) == expected
    assert list(library.rows(db.query("h[1m]", time_s=NOW_S))) == expected
    ranged = db.query_range("h", start_s=NOW_S - 1, end_s=NOW_S, step_s=1)
    assert list(library.rows(ranged)) == expected


def test_questions_about_labels(db):
    assert db.label_names() == ["__name__", "a"]
    assert db.label_values("a") == ["1", "2"]
    assert db.label_values("a", 'm{a="2"}', "n") == ["2"]
    assert db.series("n") == [{"__name__": "n"}]
    assert len(db.series()) == 3


def test_errors_are_those_of_the_engine_and_of_python(db):
    with pytest.raises(ParseError):
        db.query("m{")
    with pytest.raises(ValueError, match="differ in number"):
        db.append(LABELS, [1, 2], [1.0])
    with pytest.raises(ValueError, match="step"):
        db.query_range("m", start_s=0, end_s=1, step_s=0)


def test_a_directory_keeps_its_samples(tmp_path):
    path = tmp_path / "data"
    with library.open(path, retention=None) as writer:
        writer.append(LABELS, [NOW_MS], [math.pi])
        with library.open(path, read_only=True, retention=None) as reader:
            assert [row[2] for row in library.rows(reader.query("m", time_s=NOW_S))] == [math.pi]
        with pytest.raises(LockedError):
            library.open(path)
    with library.open(path, retention=None) as again:
        assert [row[2] for row in library.rows(again.query("m", time_s=NOW_S))] == [math.pi]


def test_what_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        library.open(tmp_path / "nothing", read_only=True)


def test_features_are_those_of_the_flag():
    with library.open(None, features=["promql-experimental-functions"]) as db:
        assert list(library.rows(db.query("sort_by_label(vector(1))", time_s=1))) == [
            ({}, 1.0, 1.0)
        ]
