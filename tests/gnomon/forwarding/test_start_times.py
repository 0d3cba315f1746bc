"""Start timestamps find their samples, and companions their series: against dictionaries."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.forwarding.start_times import EntriesByLabels, Starts, own_labels, starts_of
from tests.gnomon.forwarding.test_messages import companion, label_sets, labels_of
from tsdb.interface import LabelSpans

keys = st.tuples(st.integers(0, 5), st.integers(-5, 5))


def starts_part(several):
    rows = [(entry, time, start) for (entry, time), start in several.items()]
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Starts(columns[0].astype(np.int32), columns[1], columns[2])


@settings(max_examples=100)
@given(
    st.lists(st.dictionaries(keys, st.integers(1, 99), max_size=9), max_size=3),
    st.lists(keys, max_size=20),
)
def test_each_sample_gets_its_own(parts, samples):
    known = {}
    for part in parts:
        for key, start in part.items():
            known.setdefault(key, start)
    entries = np.array([entry for entry, _ in samples], np.int32)
    times = np.array([time for _, time in samples], np.int64)
    parts = [starts_part(part) for part in parts if part]
    found = starts_of(entries, times, parts)
    expected = [known.get(key, 0) for key in samples]
    assert (np.zeros(len(samples)) if found is None else found).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(label_sets, min_size=1, max_size=8))
def test_labels_of_companions_become_those_of_their_series(series):
    spans = own_labels(LabelSpans.from_labels(map(companion, series)))
    assert [labels_of(spans, n) for n in range(len(series))] == [
        {name: value for name, value in labels.items() if value} for labels in series
    ]


def test_no_companions_are_no_series():
    assert own_labels(LabelSpans.from_labels([])).series_count == 0


actions = st.lists(
    st.one_of(st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True), st.just("keep")),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(actions, st.randoms(use_true_random=False))
def test_entries_are_found_by_labels(actions, chance):
    known, table, entry = {}, EntriesByLabels(), 0
    for action in actions:
        if action == "keep":
            kept = sorted(each for each in known.values() if chance.random() < 0.5)
            table.keep_only(np.array(kept, np.int32))
            known = {n: kept.index(each) for n, each in known.items() if each in kept}
            entry = len(kept)
            continue
        labels = LabelSpans.from_labels([{"__name__": "m", "n": str(n)} for n in action])
        table.learn(labels, np.arange(entry, entry + len(action), dtype=np.int32))
        known.update(zip(action, range(entry, entry + len(action)), strict=True))
        entry += len(action)
    labels = LabelSpans.from_labels([{"__name__": "m", "n": str(n)} for n in range(61)])
    assert table.find(labels).tolist() == [known.get(n, -1) for n in range(61)]
