"""Types: what fits and what is said where it does not. The errors are those of Prometheus 3.5.3."""

# ruff: noqa: E501 (messages are quoted whole)

import pytest

from promql.check import selects_something
from promql.errors import ParseError
from promql.parse import FEATURES, parse, parse_selector
from promql.value_types import value_type


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 and 1", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
        ("foo or 1", '1:1: parse error: set operator "or" not allowed in binary scalar expression'),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("1 #c\n== 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo and bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
        ("foo and on(bar) group_left(baz) bar", '1:1: parse error: no grouping allowed for "and" operation'),
        ("foo + on(a) group_left(a) bar", '1:5: parse error: label "a" must not occur in ON and GROUP clause at once'),
        ("1 + on(a) foo", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("up[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("1 + 'a'", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
        ('-"string"', '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "string"'),
        ("-foo[5m]", '1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "range vector"'),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('{x=~".*",y!="z"}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ('foo{__name__="bar"}', '1:1: parse error: metric name must not be set twice: "foo" or "bar"'),
        ('foo{"bar"}', '1:1: parse error: metric name must not be set twice: "foo" or "bar"'),
        ("topk(some_metric, other_metric)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("count_values(1, foo)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("topk('a', foo[5m])", "1:11: parse error: expected type instant vector in aggregation expression, got range vector"),
        ("floor()", '1:1: parse error: expected 1 argument(s) in call to "floor", got 0'),
        ("floor(1)", '1:7: parse error: expected type instant vector in call to function "floor", got scalar'),
        ("rate(some_metric)", '1:6: parse error: expected type range vector in call to function "rate", got instant vector'),
        ("label_join(foo, 'a')", '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2'),
        ("label_join(foo, 'a', 'b', 1)", '1:27: parse error: expected type string in call to function "label_join", got scalar'),
        ("hour(foo, foo)", '1:1: parse error: expected at most 1 argument(s) in call to "hour", got 2'),
        ("floor(rate(foo))", '1:12: parse error: expected type range vector in call to function "rate", got instant vector'),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("foo[5m:][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        ("info(foo, bar)", "1:11: parse error: expected label selectors only, got vector selector instead"),
        ("info(foo, 1)", '1:1: parse error: expected type instant vector in call to function "info", got scalar'),
        ("info(foo, abs(bar))", "1:11: parse error: expected label selectors only"),
    ],
)  # fmt: skip
def test_error(text, error):
    with pytest.raises(ParseError) as caught:
        parse(text, FEATURES)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("1 + 2", "scalar", id="two scalars make a scalar"),
        pytest.param("-(1 + time())", "scalar", id="also under signs and parentheses"),
        pytest.param("1 + foo", "instant vector", id="a vector makes a vector"),
        pytest.param("1 == bool foo", "instant vector", id="also when compared"),
        pytest.param("foo[5m]", "range vector", id="a range"),
        pytest.param("(foo + 1)[5m:]", "range vector", id="a subquery"),
        pytest.param("'a'", "string", id="a string"),
        pytest.param("scalar(foo)", "scalar", id="a function's own type"),
        pytest.param("sum(foo)", "instant vector", id="an aggregation"),
        pytest.param("hour()", "instant vector", id="an argument that may be left out"),
        pytest.param('info(foo, {a=~".*"})', "instant vector", id="info selects what it likes"),
    ],
)
def test_type(text, kind):
    assert value_type(parse(text, FEATURES)).value == kind


def test_a_selector_that_selects_everything_is_known():
    assert not selects_something(parse_selector('{a=~".*",b="",c!="d"}'))
    assert selects_something(parse_selector('{a=~".*",b!=""}'))
    assert selects_something(parse_selector('{a!~"b*"}'))
