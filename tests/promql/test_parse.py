"""Syntax: what a text means, and what is said about a text that means nothing.

The errors are Prometheus' own, asked of 3.5.3, or of 3.14's documentation where it says more.
"""

# ruff: noqa: E501 (messages are quoted whole)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.errors import ParseError
from promql.parse import FEATURES, parse, parse_selector
from promql.syntax import (
    Aggregation,
    At,
    Binary,
    Call,
    Cardinality,
    DurationCall,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from tsdb.interface import Matcher, MatchOp


def named(name, *matchers, **more):
    return VectorSelector(name, (*matchers, Matcher("__name__", MatchOp.EQUAL, name)), **more)


FOO, BAR = named("foo"), named("bar")
ONE, TWO, THREE = NumberLiteral(1), NumberLiteral(2), NumberLiteral(3)


def joined(op, lhs, rhs, **more):
    """A binary node of two vectors without any matching clause."""
    return Binary(op, lhs, rhs, matching=VectorMatching(**more))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1 + 2 * 3", Binary("+", ONE, Binary("*", TWO, THREE)), id="times before plus"),
        pytest.param("1 - 2 - 3", Binary("-", Binary("-", ONE, TWO), THREE), id="minus goes left"),
        pytest.param("1 ^ 2 ^ 3", Binary("^", ONE, Binary("^", TWO, THREE)), id="power goes right"),
        pytest.param("-1 ^ 2", Unary("-", Binary("^", ONE, TWO)), id="power before sign"),
        pytest.param("2 ^ -1", Binary("^", TWO, NumberLiteral(-1)), id="a sign after a power"),
        pytest.param(
            "-foo * 2", Binary("*", Unary("-", FOO), TWO, matching=None), id="sign before times"
        ),
        pytest.param("--1", NumberLiteral(1), id="signs of numbers fold"),
        pytest.param(
            "foo or foo and bar",
            joined(
                "or",
                FOO,
                joined("and", FOO, BAR, cardinality=Cardinality.MANY_TO_MANY),
                cardinality=Cardinality.MANY_TO_MANY,
            ),
            id="and before or, both many to many",
        ),
        pytest.param(
            "foo Atan2 bar > BOOL 1",
            Binary(">", joined("atan2", FOO, BAR), ONE, return_bool=True),
            id="keywords have any case",
        ),
        pytest.param("foo </ 1", Binary("</", FOO, ONE), id="trimming from above"),
        pytest.param("foo >/ 1", Binary(">/", FOO, ONE), id="trimming from below"),
        pytest.param("(foo)", Paren(FOO), id="parentheses stay"),
        pytest.param("'a'", StringLiteral("a"), id="a string is an expression"),
        pytest.param("5m", NumberLiteral(300, is_duration=True), id="a duration is a number"),
        pytest.param("010 # eight", NumberLiteral(8), id="comments are skipped"),
        pytest.param("Inf", NumberLiteral(float("inf")), id="infinity"),
        pytest.param(
            "foo{a='b', c!~\"d\",}",
            named("foo", Matcher("a", MatchOp.EQUAL, "b"), Matcher("c", MatchOp.NOT_MATCHES, "d")),
            id="the name's matcher comes last",
        ),
        pytest.param(
            '{"a.b", "c d"=~`e`}',
            VectorSelector(
                "",
                (
                    Matcher("__name__", MatchOp.EQUAL, "a.b"),
                    Matcher("c d", MatchOp.MATCHES, "e"),
                ),
            ),
            id="names in quotes",
        ),
        pytest.param("sum", named("sum"), id="an aggregator may be a metric"),
        pytest.param("offset offset 1m", named("offset", offset_ms=60_000), id="so may offset"),
        pytest.param("fill + 1", Binary("+", named("fill"), ONE), id="so may fill"),
        pytest.param("a:b", named("a:b"), id="colons are part of metric names"),
        pytest.param(
            "foo offset -5m @ 1.5",
            named("foo", offset_ms=-300_000, at=At(timestamp_ms=1500)),
            id="offset and @ of a vector",
        ),
        pytest.param(
            "foo[5m] @ END() offset 10",
            MatrixSelector(named("foo", offset_ms=10_000, at=At(edge="end")), 300_000),
            id="offset and @ of a range",
        ),
        pytest.param(
            "foo[1h:5m] @ start()",
            Subquery(FOO, 3_600_000, step_ms=300_000, at=At(edge="start")),
            id="a subquery",
        ),
        pytest.param("foo[1h:]", Subquery(FOO, 3_600_000), id="a subquery of default step"),
        pytest.param("foo[300]", MatrixSelector(FOO, 300_000), id="a range in seconds"),
        pytest.param("foo[1.5]", MatrixSelector(FOO, 1500), id="parts of a second"),
        pytest.param(
            "sum by (a, on, 'b.c',) (foo)",
            Aggregation("sum", FOO, grouping=("a", "on", "b.c")),
            id="grouping by keywords and quoted names",
        ),
        pytest.param(
            "TOPK without() (2, foo)",
            Aggregation("topk", FOO, TWO, without=True),
            id="without nothing",
        ),
        pytest.param(
            "sum(foo) by (a)", Aggregation("sum", FOO, grouping=("a",)), id="grouping at the end"
        ),
        pytest.param(
            "foo * on (a) group_left (b) bar",
            joined(
                "*", FOO, BAR, on=True, labels=("a",), cardinality=Cardinality.MANY_TO_ONE,
                include=("b",),
            ),
            id="many to one",
        ),
        pytest.param(
            "foo * ignoring () group_right bar",
            joined("*", FOO, BAR, cardinality=Cardinality.ONE_TO_MANY),
            id="one to many without labels",
        ),
        pytest.param(
            "foo + on() 1", Binary("+", FOO, ONE), id="an empty clause on a scalar is dropped"
        ),
        pytest.param("rate(foo[5m])", Call("rate", (MatrixSelector(FOO, 300_000),)), id="a call"),
        pytest.param("time()", Call("time", ()), id="a call without arguments"),
    ],
)  # fmt: skip
def test_meaning(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "foo + fill(0) bar",
            joined("+", FOO, BAR, fill_left=0.0, fill_right=0.0),
            id="fill on both sides",
        ),
        pytest.param(
            "foo + on (a) fill_right(-Inf) fill_left(5m) bar",
            joined(
                "+", FOO, BAR, on=True, labels=("a",), fill_left=300.0, fill_right=-float("inf")
            ),
            id="fill on each side",
        ),
        pytest.param("foo smoothed", named("foo", extension="smoothed"), id="smoothed vector"),
        pytest.param(
            "foo[5m] anchored offset 1m",
            MatrixSelector(named("foo", extension="anchored", offset_ms=60_000), 300_000),
            id="anchored range",
        ),
        pytest.param("min_of(1, 2)", Call("min_of", (ONE, TWO)), id="min_of is a function, too"),
        pytest.param("step()", Call("step", ()), id="step is a function, too"),
    ],
)
def test_meaning_with_features(text, expected):
    assert parse(text, FEATURES) == expected


def seconds(value):
    return NumberLiteral(value, is_duration=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "foo[5m + 1 * 2]",
            MatrixSelector(FOO, 0, Binary("+", seconds(300), Binary("*", ONE, TWO))),
            id="a range is an expression",
        ),
        pytest.param("foo[(5m)]", MatrixSelector(FOO, 300_000), id="a number in parentheses"),
        pytest.param(
            "foo[-step() ^ 2:range()]",
            Subquery(
                FOO,
                0,
                Unary("-", Binary("^", DurationCall("step"), TWO)),
                0,
                DurationCall("range"),
            ),
            id="range and step of a subquery",
        ),
        pytest.param(
            "foo offset 1 + 2", Binary("+", named("foo", offset_ms=1000), TWO), id="offset ends early"
        ),
        pytest.param(
            "foo offset -2 ^ 2",
            Binary("^", named("foo", offset_ms=-2000), TWO),
            id="offset takes its sign",
        ),
        pytest.param(
            "foo offset (1 + 2) * 2",
            named("foo", offset_expr=Binary("*", Paren(Binary("+", ONE, TWO)), TWO)),
            id="offset goes on after a parenthesis",
        ),
        pytest.param(
            "foo offset -(1 + 2) + 3",
            Binary("+", named("foo", offset_expr=Unary("-", Paren(Binary("+", ONE, TWO)))), THREE),
            id="offset ends after a signed parenthesis",
        ),
        pytest.param(
            "foo offset +(1 + 2) + 3",
            Binary("+", named("foo", offset_expr=Unary("+", Paren(Binary("+", ONE, TWO)))), THREE),
            id="whatever the sign",
        ),
        pytest.param(
            "foo offset MAX_OF(step(), 1) + 2",
            Binary("+", named("foo", offset_expr=DurationCall("max_of", (DurationCall("step"), ONE))), TWO),
            id="offset ends after a call",
        ),
        pytest.param(
            "foo offset --1 + 2",
            named("foo", offset_expr=Paren(Binary("+", ONE, TWO))),
            id="two signs are a sum, kept so that it prints as one",
        ),
    ],
)  # fmt: skip
def test_durations(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "unknown position: parse error: no expression found in input"),
        (" # nothing", "1:1: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        (".", "1:1: parse error: unexpected character: '.'"),
        ("2.5.", '1:1: parse error: bad number or duration syntax: "2.5."'),
        ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        ("1 =~ 1", "1:3: parse error: unexpected character after '=': '~'"),
        ("foo = bar", '1:5: parse error: unexpected "="'),
        ("!foo", "1:1: parse error: unexpected character after '!': 'f'"),
        ("$foo", "1:1: parse error: unexpected character: '$'"),
        ("foo\x00", "1:4: parse error: unexpected character: '\\x00'"),
        ("foo 'a", "1:5: parse error: unterminated quoted string"),
        ("`abc", "1:1: parse error: unterminated raw string"),
        ('"\\c"', "1:1: parse error: unknown escape sequence U+0063 'c'"),
        ('"\\x4"', "1:1: parse error: illegal character U+0022 '\"' in escape sequence"),
        ('"\\', "1:1: parse error: escape sequence not terminated"),
        ('"\\ud800"', "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("0x", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax'),
        ("1e400", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e400": value out of range'),
        ("1m1h", '1:1: parse error: not a valid duration string: "1m1h"'),
        ("1 offset 1d", "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
        ("foo offset 1s offset 2s", "1:1: parse error: offset may not be set multiple times"),
        ("foo offset", "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()"),
        ("foo @ NaN", "1:1: parse error: timestamp out of bounds for @ modifier: NaN"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("1 @ 1", "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
        ("foo @ bar", '1:7: parse error: unexpected identifier "bar" in @, expected timestamp'),
        ("foo + group_left(baz) bar", "1:7: parse error: unexpected <group_left>"),
        ("foo + on a bar", '1:10: parse error: unexpected identifier "a" in grouping opts, expected "("'),
        ("sum by (1) (b)", '1:9: parse error: unexpected number "1" in grouping opts, expected label'),
        ("sum by (a b) (c)", '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"'),
        ("some{", "1:6: parse error: unexpected end of input inside braces"),
        ("some_metric{a=b}", '1:15: parse error: unexpected identifier "b" in label matching, expected string'),
        ("foo{1}", "1:5: parse error: unexpected character inside braces: '1'"),
        ("foo{,}", '1:5: parse error: unexpected "," in label matching, expected identifier or "}"'),
        ("foo{a}", '1:6: parse error: unexpected "}" in label matching, expected label matching operator'),
        ('foo{a="b" c="d"}', '1:11: parse error: unexpected identifier "c" in label matching, expected "," or "}"'),
        ('foo{a=~"("}', "1:5: parse error: error parsing regexp: missing closing ): `(`"),
        ("foo[5m1h]", '1:5: parse error: not a valid duration string: "5m1h"'),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        ("foo[]", '1:5: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()'),
        ('foo["5m"]', "1:5: parse error: unexpected character in duration expression: '\"'"),
        ("foo[5m", "1:7: parse error: unclosed left bracket"),
        ("foo[", "1:5: parse error: unexpected end of input in duration expression"),
        ("foo[:1m]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo[5m:1m:1m]", "1:10: parse error: unexpected colon ':'"),
        ("foo[5m:1m,]", '1:10: parse error: unexpected "," in subquery selector, expected "]"'),
        ("foo[5m)]", "1:8: parse error: unexpected right parenthesis ')'"),
        ("foo[5m / 0]", "1:8: parse error: division by zero"),
        ("foo[1e30]", "1:5: parse error: duration out of range"),
        ("(foo + bar)[5m]", "1:12: parse error: ranges only allowed for vector selectors"),
        ("up offset 5m[1h]", "1:13: parse error: no offset modifiers allowed before range"),
        ("up @ 5[1h]", "1:7: parse error: no @ modifiers allowed before range"),
        ("sum some_metric by (test)", '1:5: parse error: unexpected identifier "some_metric"'),
        ("sum () by (test)", "1:1: parse error: no arguments for aggregate expression provided"),
        ("topk(some_metric)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("sum(rate(foo[5m]) by (job)", "1:19: parse error: unexpected <by> in aggregation"),
        ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
        ("non_existent()", '1:1: parse error: unknown function with name "non_existent"'),
        ("RATE(foo[5m])", '1:1: parse error: unknown function with name "RATE"'),
        ("foo bar", '1:5: parse error: unexpected identifier "bar"'),
        ("foo{a='é'}\n\n  + 'é' 123456789012", '3:10: parse error: unexpected number "1234567890"...'),
        ("on{}", "1:1: parse error: unexpected <on>"),
        ("limitk(1, up)", "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions"),
        ("info(up)", '1:1: parse error: function "info" is not enabled'),
        ("foo + fill(0) bar", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
        ("foo[5m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
    ],
)  # fmt: skip
def test_error(text, error):
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("foo[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("foo and fill(1) bar", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("foo + fill(1) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
    ],
)  # fmt: skip
def test_error_with_features(text, error):
    with pytest.raises(ParseError) as caught:
        parse(text, FEATURES)
    assert str(caught.value) == error


def test_a_semantic_fault_before_a_lexical_one_wins():
    with pytest.raises(ParseError, match="unknown function"):
        parse("nosuch() $")


def test_spans_say_where_each_node_stands():
    text = "sum(rate(foo[5m] offset 1m)) / 2"
    expr = parse(text)
    rate = expr.lhs.expr
    shown = [text[n.span.start : n.span.stop] for n in (expr, expr.lhs, rate, rate.args[0])]
    assert shown == [text, "sum(rate(foo[5m] offset 1m))", "rate(foo[5m] offset 1m)",
                     "foo[5m] offset 1m"]  # fmt: skip
    assert expr.op_span == Span(29, 30)


def test_a_selector_alone():
    assert parse_selector('foo{a!=""}') == (
        Matcher("a", MatchOp.NOT_EQUAL, ""),
        Matcher("__name__", MatchOp.EQUAL, "foo"),
    )
    assert parse_selector("{}") == ()
    with pytest.raises(ParseError, match="unexpected"):
        parse_selector("foo[5m]")


@pytest.mark.parametrize(
    "opening", ["(", "-", "abs(", "1+", "foo[", "foo offset -", "{", "1^", '"']
)
def test_a_hundred_kilobytes_of_nesting_end_cleanly(opening):
    text = opening * (100_000 // len(opening))
    with pytest.raises(ParseError):
        parse(text + "foo")


def test_a_thousand_levels_are_enough_and_one_more_is_refused():
    assert parse("1" + "+1" * 999)
    with pytest.raises(ParseError, match="nested too deeply, more than 1000 levels"):
        parse("1" + "+1" * 1000)
    with pytest.raises(ParseError, match="nested too deeply"):
        parse("foo[1" + "+1" * 1000 + "]")


PIECES = st.sampled_from(
    ["foo", "sum", "by", "on", "(", ")", "{", "}", "[", "]", ",", "=", "=~", "1", "5m", "'a'", '"',
     "`", "\\", "+", "-", "^", "@", ":", "and", "bool", "offset", "#", "\n", "start", "é"]
)  # fmt: skip


def outcome(text):
    try:
        return repr(parse(text, FEATURES))
    except ParseError as error:
        return str(error)


@given(st.one_of(st.text(), st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join)))
def test_any_text_parses_or_is_refused(text):
    found = outcome(text)
    assert "parse error" in found or "span=" in found
