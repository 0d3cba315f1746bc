from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsdb.interface import LabelSpans
from tsdb.series_index import SeriesIndex

label_sets = st.lists(
    st.dictionaries(
        st.sampled_from(["__name__", "a", "b", "job"]), st.text("ab", min_size=1, max_size=9)
    ),
    max_size=40,
)


def key(labels: dict[str, str]) -> frozenset:
    return frozenset(labels.items())


@given(st.lists(label_sets, max_size=5))
def test_claiming_is_a_dict_from_labels_to_slots(batches):
    index, model = SeriesIndex(), {}
    for batch in batches:
        low, high = index.hash(LabelSpans.from_labels(batch))
        assert index.find(low, high).tolist() == [model.get(key(s), -1) for s in batch]
        fresh = np.arange(len(model), len(model) + len(batch), dtype=np.int32)
        slots, new = index.claim(low, high, fresh)
        expected_new = []
        for at, labels in enumerate(batch):
            if key(labels) not in model:
                model[key(labels)] = len(model)
                expected_new.append(at)
        assert new.tolist() == expected_new
        assert slots.tolist() == [model[key(labels)] for labels in batch]
        assert len(index) == len(model)


def test_what_is_not_kept_is_not_found():
    index = SeriesIndex()
    labels = LabelSpans.from_labels({"n": str(number)} for number in range(1000))
    low, high = index.hash(labels)
    index.claim(low, high, np.arange(1000, dtype=np.int32))
    kept = np.arange(0, 1000, 3, dtype=np.int32)
    index.keep_only(kept)
    expected = np.full(1000, -1)
    expected[kept] = kept
    assert index.find(low, high).tolist() == expected.tolist()


def test_a_boundary_between_labels_is_part_of_the_hash():
    index = SeriesIndex()
    alike = [{"a": "bc"}, {"ab": "c"}, {"a": "b", "c": "d"}, {"a": "bcd"}, {"a": "b\0"}, {"a": "b"}]
    low, high = index.hash(LabelSpans.from_labels(alike))
    assert len(set(zip(low.tolist(), high.tolist(), strict=True))) == len(alike)


def test_the_hash_depends_on_a_secret():
    labels = LabelSpans.from_labels([{"a": "b"}])
    assert SeriesIndex().hash(labels)[0] != SeriesIndex().hash(labels)[0]
