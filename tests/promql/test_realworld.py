"""Expressions that people use: each is parsed, printed and drawn as Prometheus 3.5.3 does it."""

import gzip
import json
from dataclasses import fields, is_dataclass, replace

import pytest

from promql.errors import ParseError
from promql.format import format_expr, prettify
from promql.parse import parse
from promql.syntax import VectorSelector
from promql.tree_json import tree_json


@pytest.fixture(scope="module")
def expressions(corpora):
    return json.loads((corpora / "realworld" / "expressions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trees(corpora):
    with gzip.open(corpora / "realworld" / "ast.json.gz") as packed:
        return json.load(packed)


def with_sorted_matchers(node):
    """Printing sorts matchers; so must whoever compares."""
    if isinstance(node, tuple):
        return tuple(map(with_sorted_matchers, node))
    if not is_dataclass(node):
        return node
    if isinstance(node, VectorSelector):
        matchers = tuple(sorted(node.matchers, key=str))
        return replace(node, matchers=matchers)
    changed = {f.name: with_sorted_matchers(getattr(node, f.name)) for f in fields(node)}
    return replace(node, **changed)


def test_all_parse_and_print_like_format_query(expressions):
    different = [e["expr"] for e in expressions if prettify(parse(e["expr"])) != e["formatted"]]
    assert different == []
    assert len(expressions) == 2057


def test_all_trees_are_those_of_parse_query(expressions, trees):
    different = [
        e["expr"] for e in expressions if json.loads(tree_json(parse(e["expr"]))) != trees[e["id"]]
    ]
    assert different == []


@pytest.mark.parametrize("printer", [format_expr, prettify], ids=["one line", "pretty"])
def test_all_survive_printing(expressions, printer):
    for e in expressions:
        expr = parse(e["expr"])
        assert with_sorted_matchers(parse(printer(expr))) == with_sorted_matchers(expr), e["expr"]


def test_what_is_not_promql_gets_the_same_error(corpora):
    dropped = json.loads((corpora / "realworld" / "dropped.json").read_text(encoding="utf-8"))
    assert len(dropped) == 38
    for e in dropped:
        with pytest.raises(ParseError) as caught:
            parse(e["tried"])
        assert str(caught.value) == e["error"], e["tried"]
