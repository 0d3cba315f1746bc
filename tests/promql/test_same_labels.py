import pytest

from promql.errors import ExecutionError
from promql.same_labels import SAME_LABELS, merge_same_labels, without_name
from tests.promql.matrices import by_labels, context, key, matrix


def test_rows_that_never_meet_become_one():
    ctx = context(3)
    rows = [({"a": "1"}, [1, None, None]), ({"a": "2"}, [7, 7, 7]), ({"a": "1"}, [None, 2, None])]
    assert by_labels(merge_same_labels(matrix(rows, ctx))) == {
        key(a="1"): [1, 2, None],
        key(a="2"): [7, 7, 7],
    }


def test_rows_that_meet_are_an_error():
    ctx = context(2)
    with pytest.raises(ExecutionError) as raised:
        merge_same_labels(matrix([({"a": "1"}, [1, 1]), ({"a": "1"}, [None, 2])], ctx))
    assert str(raised.value) == SAME_LABELS


def test_distinct_rows_are_not_copied():
    ctx = context(1)
    distinct = matrix([({"a": "1"}, [1]), ({"a": "2"}, [1])], ctx)
    assert merge_same_labels(distinct) is distinct


def test_the_mark_of_the_first_row_stays():
    ctx = context(2)
    rows = [({"a": "1"}, [1, None]), ({"a": "1"}, [None, 2])]
    assert merge_same_labels(matrix(rows, ctx, [0])).drop_name.tolist() == [True]
    assert merge_same_labels(matrix(rows, ctx, [1])).drop_name.tolist() == [False]


def test_the_name_goes_at_once_or_is_marked():
    ctx = context(1)
    named = matrix([({"__name__": "m", "__unit__": "s", "a": "1"}, [1])], ctx)
    assert by_labels(without_name(named, delayed=False)) == {key(a="1"): [1]}
    marked = without_name(named, delayed=True)
    assert marked.labels is named.labels
    assert marked.drop_name.all()
