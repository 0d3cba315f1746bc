import pytest

from promql.absent import absent_labels
from promql.parse import parse


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        pytest.param('m{a="1", b="2"}', {"a": "1", "b": "2"}, id="all equalities, not the name"),
        pytest.param('(m{a="1"})', {"a": "1"}, id="in parentheses"),
        pytest.param('m{a="1"}[5m]', {"a": "1"}, id="of a range"),
        pytest.param('m{a=""}', {}, id="an empty label is none"),
        pytest.param('m{a=~"1", b!="2"}', {}, id="other matchers promise nothing"),
        pytest.param('m{a="1", a="1"}', {}, id="two equalities take the label away"),
        pytest.param('m{a="1", a=~"1"}', {}, id="so does an expression after it"),
        pytest.param('m{a=~"1", a="1"}', {"a": "1"}, id="but not before it"),
        pytest.param('m{a!="2", a="1"}', {}, id="an inequality counts as after it"),
        pytest.param('m{a!~"2", a="1"}', {}, id="with an expression too"),
        pytest.param('m{a!="", a="1"}', {"a": "1"}, id="unless it asks for the label"),
        pytest.param('m{a!~"|2", a="1"}', {"a": "1"}, id="with an expression too that does"),
        pytest.param("sum(m)", {}, id="no selector"),
    ],
)
def test_what_the_matchers_promise(query, labels):
    assert absent_labels(parse(query)) == labels
