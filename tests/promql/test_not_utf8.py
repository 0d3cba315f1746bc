"""Strings of a query whose escapes are no UTF-8, over storage, which has only what is."""

import numpy as np
import pytest

from promql.engine import Engine, EngineOptions
from promql.errors import ExecutionError, ParseError
from tsdb.database import Database
from tsdb.interface import LabelSpans
from tsdb.options import DatabaseOptions

LABELS = [{"__name__": "m", "k": "a"}, {"__name__": "m", "k": "b"}]


@pytest.fixture(scope="module", params=["in the head", "in a block"])
def engine(request, tmp_path_factory):
    options = DatabaseOptions(retention_ms=None, background=False)
    database = Database.open(tmp_path_factory.mktemp("data"), options)
    engine = Engine(database, EngineOptions(threads=1))
    try:
        refs = database.resolve(LabelSpans.from_labels(LABELS))
        database.append(refs, np.full(2, 1000), np.ones(2))
        if request.param == "in a block":
            database.flush()
        yield engine
    finally:
        engine.close()
        database.close()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(r'm{k="\300"}', [], id="no value is equal to it"),
        pytest.param(r'm{k!="\300"}', LABELS, id="every value is another"),
        pytest.param(r'{"\300"}', [], id="no metric is called so"),
        pytest.param(r'{__name__="m","\300"="a"}', [], id="no label is called so"),
        pytest.param(r'm{"\300"=""}', LABELS, id="every series is without such a label"),
        pytest.param(
            r'absent(m{k="\300\301"})', [{"k": "\ufffd\ufffd"}], id="a label that a query makes"
        ),
        pytest.param(
            r'label_replace(m{k="a"}, "k", "x\300", "", "")',
            [{"__name__": "m", "k": "x\ufffd"}],
            id="a template",
        ),
        pytest.param(
            r'label_join(m{k="a"}, "k", "\300", "k", "k")',
            [{"__name__": "m", "k": "a\ufffda"}],
            id="a separator",
        ),
        pytest.param(
            r'count_values("k", m) or label_replace(m{k="a"}, "k", "é\300", "", "")',
            [{"k": "1"}, {"__name__": "m", "k": "é\ufffd"}],
            id="beside others",
        ),
    ],
)
def test_bytes_that_are_no_text_are_equal_to_none(engine, query, expected):
    labels = engine.instant(query, 1000).value.labels
    found = [labels.row(at) for at in range(labels.series_count)]
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        pytest.param(r'm{k=~"\300"}', ParseError, id="a matcher"),
        pytest.param(r'label_replace(m, "k", "x", "k", "\300")', ExecutionError, id="a function"),
    ],
)
def test_patterns_of_such_bytes_are_refused(engine, query, kind):
    with pytest.raises(kind, match=r"regexp|regular expression"):
        engine.instant(query, 1000)
