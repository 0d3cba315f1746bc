import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.job import RelabelAction as A
from scraper.job import RelabelRule
from scraper.relabel import BadRegexError, compile_rules

R = RelabelRule
LABELS = {"a": "foo", "b": "bar", "c": "baz"}


@pytest.mark.parametrize(
    ("rule", "labels", "expected"),
    [
        pytest.param(
            R(source_labels=("a",), regex="f(.*)", target_label="d", replacement="ch${1}-$1"),
            LABELS,
            LABELS | {"d": "choo-oo"},
            id="replace expands groups, braced or not",
        ),
        pytest.param(
            R(source_labels=("a", "b"), regex="(f)oo;(b)ar", target_label="a", replacement="$1$2"),
            LABELS,
            LABELS | {"a": "fb"},
            id="source values are joined by a semicolon",
        ),
        pytest.param(
            R(source_labels=("a", "x"), separator="", regex="foo", target_label="d"),
            LABELS,
            LABELS | {"d": ""},
            id="a missing source label reads as empty, a missing group as well, so nothing is set",
        ),
        pytest.param(
            R(source_labels=("a",), regex="(oo)", target_label="d"),
            LABELS,
            LABELS,
            id="the expression is anchored at both ends",
        ),
        pytest.param(
            R(source_labels=("a",), regex="(?P<x>f)oo", target_label="d", replacement="$x${x}"),
            LABELS,
            LABELS | {"d": "ff"},
            id="groups have names",
        ),
        pytest.param(
            R(source_labels=("a",), target_label="d", replacement="$1abc"),
            LABELS,
            LABELS,
            id="dollar one abc is the group of that name, which is empty",
        ),
        pytest.param(
            R(source_labels=("a",), target_label="d", replacement="$$1 $ ${"),
            LABELS,
            LABELS | {"d": "$1 $ ${"},
            id="two dollars are one, and one that names nothing stands for itself",
        ),
        pytest.param(
            R(source_labels=("a",), target_label="a", replacement=""),
            LABELS,
            {"b": "bar", "c": "baz"},
            id="an empty replacement deletes the target label",
        ),
        pytest.param(
            R(target_label="d", replacement="static"),
            LABELS,
            LABELS | {"d": "static"},
            id="without source labels the empty text matches the default expression",
        ),
        pytest.param(
            R(source_labels=("a",), regex="(.*)", target_label="${1}_x", replacement="v"),
            LABELS,
            LABELS | {"foo_x": "v"},
            id="the target label is expanded too",
        ),
        pytest.param(
            R(source_labels=("x",), target_label="${1}", replacement="v"),
            LABELS,
            LABELS,
            id="a target label that expands to nothing is not set",
        ),
        pytest.param(
            R(source_labels=("a",), regex="x.y", target_label="d", replacement="v"),
            {"a": "x\ny"},
            {"a": "x\ny", "d": "v"},
            id="a dot matches a newline",
        ),
        pytest.param(R(A.KEEP, ("a",), regex="f.*"), LABELS, LABELS, id="keep what matches"),
        pytest.param(R(A.KEEP, ("a",), regex="o.*"), LABELS, None, id="drop what keep misses"),
        pytest.param(R(A.DROP, ("a",), regex="f.*"), LABELS, None, id="drop what matches"),
        pytest.param(R(A.DROP, ("x",), regex=".+"), LABELS, LABELS, id="empty is not one or more"),
        pytest.param(
            R(A.KEEP_EQUAL, ("a",), target_label="b"),
            {"a": "x", "b": "x"},
            {"a": "x", "b": "x"},
            id="keepequal keeps equals",
        ),
        pytest.param(R(A.KEEP_EQUAL, ("a",), target_label="b"), LABELS, None, id="keepequal drops"),
        pytest.param(
            R(A.DROP_EQUAL, ("a",), target_label="b"), LABELS, LABELS, id="dropequal keeps"
        ),
        pytest.param(
            R(A.DROP_EQUAL, ("a",), target_label="b"),
            {"a": "x", "b": "x"},
            None,
            id="dropequal drops equals",
        ),
        pytest.param(
            R(A.HASHMOD, ("c",), target_label="d", modulus=1000),
            {"a": "foo", "b": "bar", "c": "baz"},
            LABELS | {"d": "976"},
            id="hashmod takes the last eight bytes of md5",
        ),
        pytest.param(
            R(A.LABELMAP, regex="(b.*)", replacement="bar_${1}"),
            {"a": "foo", "b1": "bar", "b2": "baz"},
            {"a": "foo", "b1": "bar", "b2": "baz", "bar_b1": "bar", "bar_b2": "baz"},
            id="labelmap copies, originals stay",
        ),
        pytest.param(
            R(A.LABELMAP, regex="__meta_(my.*)", replacement="${1}"),
            {"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "x"},
            {"a": "foo", "__meta_my_bar": "aaa", "__meta_other": "x", "my_bar": "aaa"},
            id="labelmap strips a prefix",
        ),
        pytest.param(
            R(A.LABELDROP, regex="(b.*)"),
            {"a": "foo", "b1": "x", "b2": "y"},
            {"a": "foo"},
            id="labeldrop",
        ),
        pytest.param(
            R(A.LABELKEEP, regex="(a.*)"),
            {"a": "foo", "b1": "x", "b2": "y"},
            {"a": "foo"},
            id="labelkeep",
        ),
        pytest.param(
            R(A.LOWERCASE, ("a",), target_label="d"),
            {"a": "ÄBc"},
            {"a": "ÄBc", "d": "äbc"},
            id="lowercase",
        ),
        pytest.param(
            R(A.UPPERCASE, ("a",), target_label="a"),
            {"a": "äbc"},
            {"a": "ÄBC"},
            id="uppercase in place",
        ),
    ],
)
def test_one_rule(rule, labels, expected):
    if expected is not None:
        expected = {name: value for name, value in expected.items() if value}
    assert compile_rules([rule]).apply(labels) == expected


def test_rules_run_in_order_and_the_first_drop_ends():
    rules = [
        R(source_labels=("a",), target_label="b"),
        R(A.DROP, ("b",), regex="foo"),
        R(target_label="never", replacement="x"),
    ]
    assert compile_rules(rules).apply({"a": "foo"}) is None
    assert compile_rules(rules).apply({"a": "bar"}) == {"a": "bar", "b": "bar", "never": "x"}


def test_legacy_names_are_on_demand():
    rules = [R(source_labels=("a",), target_label="${1}", replacement="v")]
    labels = {"a": "x-y"}
    assert compile_rules(rules).apply(labels) == {"a": "x-y", "x-y": "v"}
    assert compile_rules(rules, legacy_names=True).apply(labels) == labels


def test_input_stays_as_it_was_and_empty_values_count_as_absent():
    labels = {"a": "x", "b": ""}
    assert compile_rules([R(A.LABELDROP, regex="a")]).apply(labels) == {}
    assert labels == {"a": "x", "b": ""}


def test_a_bad_expression_is_refused_quietly(capfd):
    with pytest.raises(BadRegexError, match="error parsing regexp"):
        compile_rules([R(A.KEEP, ("a",), regex="(")])
    assert "Error parsing" not in capfd.readouterr().err


@given(st.text(), st.integers(1, 2**40))
def test_hashmod_is_the_definition(value, modulus):
    expected = int.from_bytes(hashlib.md5(value.encode()).digest()[8:], "big") % modulus
    rule = R(A.HASHMOD, ("a",), target_label="d", modulus=modulus)
    assert compile_rules([rule]).apply({"a": value}) == (
        {"a": value, "d": str(expected)} if value else {"d": str(expected)}
    )
