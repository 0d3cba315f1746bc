import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promql.labels import QuerySymbols, SeriesLabels, text_ranks
from tests.promql.memory_reader import MemorySymbols
from tsdb.interface import LabelColumns

LABELS = st.dictionaries(
    st.sampled_from("abcé"), st.sampled_from(["", "1", "2", "10", "é", "\U0001f600", "a b"])
)
LABEL_SETS = st.lists(LABELS, max_size=12)


def built(label_sets):
    return SeriesLabels.from_dicts(label_sets, QuerySymbols(None))


def canonical(labels):
    return tuple(sorted((name, value) for name, value in labels.items() if value))


class TestQuerySymbols:
    def test_the_empty_text_is_zero(self):
        symbols = QuerySymbols(None)
        assert symbols.intern("") == symbols.find("") == 0
        assert symbols.text(0) == ""

    def test_a_text_of_storage_keeps_its_id(self):
        base = MemorySymbols()
        known = base.intern("known")
        symbols = QuerySymbols(base)
        assert symbols.intern("known") == symbols.find("known") == known

    def test_a_new_text_does_not_reach_storage(self):
        base = MemorySymbols()
        symbols = QuerySymbols(base)
        new = symbols.intern("new")
        assert new >= 0x8000_0000
        assert base.find("new") is None
        assert symbols.text(new) == "new"

    def test_a_local_id_stands_when_storage_learns_the_text_later(self):
        base = MemorySymbols()
        symbols = QuerySymbols(base)
        local = symbols.intern("late")
        base.intern("late")
        assert symbols.find("late") == symbols.intern("late") == local

    def test_texts_come_in_order_from_both_sides(self):
        base = MemorySymbols()
        stored = base.intern("stored")
        symbols = QuerySymbols(base)
        ids = np.array([symbols.intern("local"), stored, 0], dtype=np.uint32)
        assert symbols.texts(ids) == ["local", "stored", ""]
        assert symbols.texts(ids[1:]) == ["stored", ""]

    def test_an_id_never_given_out_is_an_error(self):
        with pytest.raises(IndexError):
            QuerySymbols(None).text(7)


class TestColumns:
    def test_taken_over_from_storage_as_they_are(self):
        base = MemorySymbols()
        ids = np.array([[base.intern("x"), 0]], dtype=np.uint32)
        labels = SeriesLabels.from_columns(LabelColumns(("a",), ids, base), QuerySymbols(base))
        assert [labels.row(0), labels.row(1)] == [{"a": "x"}, {}]

    def test_a_label_that_no_series_has_is_all_zeros(self):
        assert built([{"a": "1"}, {}]).column("z").tolist() == [0, 0]

    def test_rows_are_taken_by_index_and_by_mask(self):
        labels = built([{"a": "1"}, {"a": "2"}, {"b": "3"}])
        picked = labels.take(np.array([2, 0]))
        assert [picked.row(0), picked.row(1)] == [{"b": "3"}, {"a": "1"}]
        assert labels.take(np.array([False, True, False])).row(0) == {"a": "2"}

    def test_drop_and_keep_are_complements(self):
        labels = built([{"a": "1", "b": "2", "c": "3"}])
        assert labels.drop(("b", "z")).row(0) == {"a": "1", "c": "3"}
        assert labels.keep(("b", "z")).row(0) == {"b": "2"}

    def test_the_name_goes_with_type_and_unit(self):
        labels = built([{"__name__": "n", "__type__": "gauge", "__unit__": "s", "a": "1"}])
        assert labels.drop_name().row(0) == {"a": "1"}

    def test_a_column_is_set_where_it_sorts_and_deleted_by_zeros(self):
        labels = built([{"a": "1", "c": "3"}, {"b": "2"}])
        symbol = labels.symbols.intern("new")
        changed = labels.with_column("b", np.array([symbol, 0], dtype=np.uint32))
        assert changed.names == ("a", "b", "c")
        assert [changed.row(0), changed.row(1)] == [{"a": "1", "b": "new", "c": "3"}, {}]
        assert labels.with_column("c", np.zeros(2, dtype=np.uint32)).names == ("a", "b")

    def test_empty_has_series_but_no_label(self):
        labels = SeriesLabels.empty(3, QuerySymbols(None))
        assert labels.series_count == 3
        assert labels.row(2) == {}
        assert labels.sort_order().tolist() == [0, 1, 2]
        assert labels.group()[0].tolist() == [0, 0, 0]

    @given(LABEL_SETS, LABEL_SETS)
    def test_concat_keeps_every_row(self, first, second):
        symbols = QuerySymbols(None)
        both = SeriesLabels.from_dicts(first, symbols).concat(
            SeriesLabels.from_dicts(second, symbols)
        )
        assert [canonical(both.row(s)) for s in range(both.series_count)] == [
            canonical(labels) for labels in first + second
        ]


@given(LABEL_SETS)
def test_groups_are_the_distinct_label_sets_in_order_of_appearance(label_sets):
    group_of, first = built(label_sets).group()
    numbers = {}
    expected = [numbers.setdefault(canonical(labels), len(numbers)) for labels in label_sets]
    assert group_of.tolist() == expected
    assert [expected[row] for row in first.tolist()] == list(range(len(numbers)))
    assert all(expected.index(g) == row for g, row in enumerate(first.tolist()))


def test_many_groups_do_not_run_into_each_other():
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 50, (4, 20_000), dtype=np.uint32)
    labels = SeriesLabels(("a", "b", "c", "d"), ids, QuerySymbols(None))
    group_of, first = labels.group()
    distinct, inverse = np.unique(ids, axis=1, return_inverse=True)
    assert first.size == distinct.shape[1]
    np.testing.assert_array_equal(ids[:, first[group_of]], ids)
    assert len({*zip(group_of.tolist(), inverse.ravel().tolist(), strict=True)}) == first.size


@given(LABEL_SETS)
def test_sorted_as_pairs_one_after_the_other(label_sets):
    labels = built(label_sets)
    by_bytes = [
        [(name.encode(), value.encode()) for name, value in canonical(labels)]
        for labels in label_sets
    ]
    for order in (labels.sort_order(), labels._order_of_few(), labels._order_of_many()):
        assert order.dtype == np.int64
        assert [by_bytes[row] for row in order] == sorted(by_bytes)


def test_ranks_compare_code_points():
    labels = built([{"a": "b"}, {"a": "B"}, {}, {"a": "é"}, {"a": "b"}])
    assert text_ranks(labels.column("a"), labels.symbols).tolist() == [2, 1, 0, 3, 2]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        pytest.param({}, "{}", id="no labels"),
        pytest.param(
            {"b": "2", "__name__": "up", "a": "1"},
            '{__name__="up", a="1", b="2"}',
            id="the name is a label, names are sorted",
        ),
        pytest.param({"a-b": "x"}, '{"a-b"="x"}', id="a name outside the old alphabet is quoted"),
        pytest.param({"a": 'say "hi"\n'}, '{a="say \\"hi\\"\\n"}', id="values are escaped"),
    ],
)
def test_printed_for_messages(labels, text):
    assert built([labels]).format_row(0) == text
