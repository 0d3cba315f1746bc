import pytest
from hypothesis import HealthCheck, given, settings

from promql.format import LINE_BYTES_MAX, format_expr, prettify
from promql.parse import FEATURES, parse
from tests.promql.expressions import expressions

TREES = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@TREES
@given(expressions(3))
def test_what_is_printed_on_one_line_means_the_same(expr):
    assert parse(format_expr(expr), FEATURES) == expr


@TREES
@given(expressions(3))
def test_what_is_laid_out_means_the_same(expr):
    assert parse(prettify(expr), FEATURES) == expr


@TREES
@given(expressions(3))
def test_a_short_expression_stays_on_its_line(expr):
    text = format_expr(expr)
    if len(text.encode()) <= LINE_BYTES_MAX:
        assert prettify(expr) == text
    else:
        assert "".join(prettify(expr).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param("foo{}", "foo", id="empty braces"),
        pytest.param("{b='c',a!=\"\"}", '{a!="",b="c"}', id="matchers are sorted"),
        pytest.param("{'foo'}", '{__name__="foo"}', id="a quoted name"),
        pytest.param("{'a b'='c'}", '{"a b"="c"}', id="a quoted label"),
        pytest.param("SUM(foo)BY(a,b)", "sum by (a, b) (foo)", id="grouping comes first"),
        pytest.param("sum by () (foo)", "sum(foo)", id="grouping by nothing"),
        pytest.param("sum without () (foo)", "sum without () (foo)", id="without nothing"),
        pytest.param("foo[90]", "foo[1m30s]", id="a range in seconds"),
        pytest.param("foo offset 5m @ 1", "foo @ 1.000 offset 5m", id="@ before offset"),
        pytest.param(
            "foo @ 1793497680497680.5", "foo @ 1793497680497680.500", id="@ a time with few digits"
        ),
        pytest.param("foo @ -0.0625", "foo @ -0.063", id="@ a time before the epoch"),
        pytest.param("foo[5m:] @ end()", "foo[5m:] @ end()", id="a subquery of default step"),
        pytest.param("1e3", "1000", id="numbers without exponent"),
        pytest.param("1h", "1h", id="durations stay durations"),
        pytest.param("inf", "+Inf", id="infinity"),
        pytest.param("'\\x41\\n'", '"A\\n"', id="strings are quoted anew"),
        pytest.param(
            "foo + ignoring() bar", "foo + bar", id="a matching clause that says nothing goes"
        ),
        pytest.param(
            "foo+on()group_left bar", "foo + on () group_left () bar", id="grouping stays"
        ),
        pytest.param("foo+on('a b')bar", 'foo + on ("a b") bar', id="a quoted label in a clause"),
        pytest.param("foo==bool(bar)", "foo == bool (bar)", id="bool"),
        pytest.param("foo + fill(1) bar", "foo + fill (1) bar", id="one fill for both"),
        pytest.param(
            "foo + fill_right(1) fill_left(2) bar",
            "foo + fill_left (2) fill_right (1) bar",
            id="a fill for each side",
        ),
        pytest.param("foo[5m] smoothed @ 1", "foo[5m] smoothed @ 1.000", id="smoothed"),
        pytest.param(
            "foo[1+STEP()] offset (range()/2)",
            "foo[1 + step()] offset (range() / 2)",
            id="duration expressions",
        ),
    ],
)
def test_one_line(text, printed):
    assert format_expr(parse(text, FEATURES)) == printed


LONG = "a_metric_name_that_is_long_enough_to_fill_half_a_line_by_itself"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param(
            f"sum by (a) ({LONG}) / topk(5, {LONG})",
            f"  sum by (a) ({LONG})\n/\n  topk(5, {LONG})",
            id="operands and the operator on lines of their own",
        ),
        pytest.param(
            f"topk by (a) (5, {LONG}{{b='{'c' * 40}'}})",
            f'topk by (a) (\n  5,\n  {LONG}{{b="{"c" * 40}"}}\n)',
            id="a parameter on its line",
        ),
        pytest.param(
            f"-(foo + {LONG} + {LONG})",
            f"-(\n    foo + {LONG}\n  +\n    {LONG}\n)",
            id="no indentation after a sign",
        ),
        pytest.param(
            f"rate(({LONG} + foo)[5m:] @ {'1' * 12}) or {LONG}",
            f"  rate(\n({LONG} + foo)[5m:] @ {'1' * 12}.000\n  )\nor\n  {LONG}",
            id="a short subquery loses its indentation, as in Prometheus",
        ),
    ],
)
def test_several_lines(text, printed):
    assert prettify(parse(text)) == printed


def test_a_deep_expression_prints():
    text = "(" * 999 + "1" + ")" * 999
    expr = parse(text)
    assert format_expr(expr) == text
    assert "".join(prettify(expr).split()) == text
