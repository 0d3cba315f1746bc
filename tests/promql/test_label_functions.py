import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promql.errors import ExecutionError
from promql.label_functions import FUNCTIONS
from promql.matrix import StringValue
from promql.syntax import Call
from tests.promql.matrices import by_labels, context, key, matrix


def call(func, rows, *texts, ctx=None, drop_name=()):
    ctx = ctx or context(len(rows[0][1]))
    operands = [matrix(rows, ctx, drop_name), *(StringValue(text) for text in texts)]
    return FUNCTIONS[func](Call(func, ()), operands, ctx)


@pytest.mark.parametrize(
    ("template", "pattern", "expected"),
    [
        pytest.param("$1", "(.*)-.*", "host", id="a group"),
        pytest.param("x-$1-$2", "(.*)-(.*)", "x-host-01", id="several"),
        pytest.param("${1}x", "(.*)-.*", "hostx", id="in braces"),
        pytest.param("$1x", "(.*)-.*", "", id="the longest name counts, and no group has it"),
        pytest.param("$name", "(?P<name>.*)-.*", "host", id="a named group"),
        pytest.param("$0", ".*", "host-01", id="the whole match"),
        pytest.param("$01", "(.*)", "", id="leading zeros make it a name"),
        pytest.param("$9", "(.*)", "", id="a group that is not there is empty"),
        pytest.param("a$2b", "(.*)(zzz)?", "a", id="$2b is a name as well"),
        pytest.param("[${2}]", "(.*)(zzz)?", "[]", id="so is one that took no part"),
        pytest.param("$$1", "(.*)", "$1", id="two dollars are one"),
        pytest.param("$-", "(.*)", "$-", id="a stray dollar stays"),
        pytest.param("${1", "(.*)", "${1", id="so does an open brace"),
        pytest.param("y", "host", None, id="the expression must match all"),
        pytest.param("y", "nothost|host-01", "y", id="also with alternatives"),
        pytest.param("", "(.*)", "", id="an empty text"),
    ],
)
def test_label_replace(template, pattern, expected):
    result = call("label_replace", [({"src": "host-01"}, [1])], "dst", template, "src", pattern)
    labels = {"src": "host-01"}
    if expected:
        labels["dst"] = expected
    assert by_labels(result) == {key(**labels): [1]}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param(
            ("a", "new", "a", "1"),
            [{"a": "new", "b": "x"}, {"a": "2"}],
            id="only series that match are changed",
        ),
        pytest.param(
            ("a", "", "a", "1"), [{"b": "x"}, {"a": "2"}], id="an empty text deletes the label"
        ),
        pytest.param(
            ("c", "none", "zzz", ""),
            [{"a": "1", "b": "x", "c": "none"}, {"a": "2", "c": "none"}],
            id="a label that is not there is empty, and an empty expression matches it",
        ),
    ],
)
def test_which_series_change(args, expected):
    result = call("label_replace", [({"a": "1", "b": "x"}, [1]), ({"a": "2"}, [2])], *args)
    assert list(by_labels(result)) == [key(**labels) for labels in expected]


@pytest.mark.parametrize(
    ("func", "texts", "message"),
    [
        pytest.param(
            "label_replace",
            ("d", "$1", "a", "("),
            "invalid regular expression in label_replace(): (",
            id="an expression that does not compile",
        ),
        pytest.param(
            "label_replace",
            ("", "$1", "a", "(.*)"),
            "invalid destination label name in label_replace(): ",
            id="no destination",
        ),
        pytest.param(
            "label_join",
            ("", ",", "a"),
            "invalid destination label name in label_join(): ",
            id="no destination to join in",
        ),
        pytest.param(
            "label_join",
            ("d", ",", "a", ""),
            "invalid source label name in label_join(): ",
            id="no source to join",
        ),
        pytest.param(
            "label_replace",
            ("a", "same", "a", ".*"),
            "vector cannot contain metrics with the same labelset",
            id="two series made the same",
        ),
    ],
)
def test_errors(func, texts, message):
    with pytest.raises(ExecutionError) as raised:
        call(func, [({"a": "1"}, [1]), ({"a": "2"}, [2])], *texts)
    assert str(raised.value) == message


def test_series_made_the_same_are_one_where_they_never_meet():
    rows = [({"a": "1"}, [1, None]), ({"a": "2"}, [None, 2])]
    assert by_labels(call("label_replace", rows, "a", "x", "a", ".*")) == {key(a="x"): [1, 2]}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(("d", "-", "a", "b"), {"a": "1", "b": "2", "d": "1-2"}, id="joined"),
        pytest.param(("d", "-", "a", "zzz"), {"a": "1", "b": "2", "d": "1-"}, id="empty ones too"),
        pytest.param(("a", ",", "b", "a"), {"a": "2,1", "b": "2"}, id="in place of a source"),
        pytest.param(("a", ","), {"b": "2"}, id="of nothing is empty, so the label goes"),
    ],
)
def test_label_join(texts, expected):
    result = call("label_join", [({"a": "1", "b": "2"}, [1])], *texts)
    assert by_labels(result) == {key(**expected): [1]}


def test_a_name_given_anew_is_not_dropped_any_more():
    ctx = context(1, delayed_name_removal=True)
    rows = [({"__name__": "m", "a": "1"}, [1]), ({"__name__": "n", "a": "2"}, [1])]
    replaced = call(
        "label_replace", rows, "__name__", "$0", "__name__", "m", ctx=ctx, drop_name=[0, 1]
    )
    assert replaced.drop_name.tolist() == [False, True]
    other = call("label_replace", rows, "b", "x", "a", ".*", ctx=ctx, drop_name=[0, 1])
    assert other.drop_name.tolist() == [True, True]


def test_nothing_stays_nothing():
    ctx = context(1)
    empty = matrix([], ctx)
    for func, texts in (("label_replace", "dras"), ("label_join", "dsa")):
        operands = [empty, *(StringValue(text) for text in texts)]
        assert by_labels(FUNCTIONS[func](Call(func, ()), operands, ctx)) == {}


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2"])), max_size=6)
)
def test_join_is_pythons_join(label_sets):
    rows = [({**labels, "i": str(i)}, [1.0]) for i, labels in enumerate(label_sets)]
    ctx = context(1)
    operands = [matrix(rows, ctx), *(StringValue(text) for text in ("d", "|", "a", "b", "c"))]
    result = FUNCTIONS["label_join"](Call("label_join", ()), operands, ctx)
    assert [result.labels.row(s)["d"] for s in range(len(rows))] == [
        "|".join(labels.get(name, "") for name in "abc") for labels in label_sets
    ]
