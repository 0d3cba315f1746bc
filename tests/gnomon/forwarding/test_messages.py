"""What is written is what the receiving side reads: its decoders are the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.remote_write_extras import read_extras
from api.receivers.remote_write_v2 import decode_request
from api.receivers.write_batch import decode_write_request
from api.remote_read_histograms import histogram_message
from gnomon.forwarding.messages import Exemplars, Floats, Histograms
from gnomon.forwarding.messages_v1 import WriterV1
from gnomon.forwarding.messages_v2 import WriterV2
from gnomon.forwarding.series_table import (
    COMPANION,
    DROPPED,
    INTERNAL,
    UNKNOWN,
    SeriesTable,
)
from scraper.job import RelabelAction, RelabelRule
from scraper.relabel import compile_rules
from tests.tsdb.histogram_models import histograms, to_columns
from tsdb.interface import LabelSpans, MetricMetadata

names = st.sampled_from(["__name__", "a", "job", "le", "zone", "a_b", "é"])
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300
)
label_sets = st.dictionaries(names, texts, max_size=6).map(
    lambda labels: {"__name__": "m"} | labels
)
times = st.integers(-(2**62), 2**62)
words = st.integers(0, 2**64 - 1)


def table(series, *, by_ids, rules=None, external=None):
    made = SeriesTable(compile_rules(rules) if rules else None, external or {}, by_ids=by_ids)
    made.learn(np.arange(len(series), dtype=np.int64), LabelSpans.from_labels(series))
    return made


def labels_of(spans: LabelSpans, series: int):
    data = spans.data.tobytes()
    rows = spans.spans[spans.first[series] : spans.first[series + 1]].tolist()
    return {data[a:b].decode(): data[c:d].decode() for a, b, c, d in rows}


def read_floats(batch):
    """Return what a decoded body holds: (labels, time, bits), sorted."""
    assert batch.refused.size == 0
    return sorted(
        (sorted(labels_of(batch.labels, series).items()), time, bits)
        for series, time, bits in zip(
            batch.series_of.tolist(),
            batch.times_ms.tolist(),
            batch.values.view(np.uint64).tolist(),
            strict=True,
        )
    )


def decoded(body, by_ids):
    return decode_request(body).batch if by_ids else decode_write_request(body)


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(label_sets, min_size=1, max_size=8, unique_by=str))
def test_floats_arrive_bit_for_bit(by_ids, data, series):
    count = data.draw(st.integers(1, 30))
    entries = sorted(
        data.draw(st.lists(st.integers(0, len(series) - 1), min_size=count, max_size=count))
    )
    when = data.draw(st.lists(times, min_size=count, max_size=count))
    bits = data.draw(st.lists(words, min_size=count, max_size=count))
    known = table(series, by_ids=by_ids)
    writer = WriterV2(known) if by_ids else WriterV1(known)
    floats = Floats(
        np.array(entries, np.int32), np.array(when, np.int64), np.array(bits, np.uint64)
    )
    expected = sorted(
        (sorted(series[e].items()), t, b) for e, t, b in zip(entries, when, bits, strict=True)
    )
    # Twice: nothing of one request may stay behind in the next.
    for _ in range(2):
        assert read_floats(decoded(floats.encoded(writer).tobytes(), by_ids)) == expected


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
@settings(deadline=None, max_examples=60)
@given(label_sets, st.dictionaries(names, texts, max_size=4))
def test_external_labels_are_added_where_there_is_none(by_ids, own, external):
    known = table([own], by_ids=by_ids, external=external)
    writer = WriterV2(known) if by_ids else WriterV1(known)
    one = Floats(np.zeros(1, np.int32), np.array([5]), np.array([7], np.uint64))
    batch = decoded(one.encoded(writer).tobytes(), by_ids)
    assert labels_of(batch.labels, 0) == {**external, **own}


@settings(deadline=None, max_examples=80)
@given(st.lists(histograms(), min_size=1, max_size=5), st.data())
def test_a_histogram_is_the_message_that_remote_read_writes(several, data):
    columns = to_columns(several)
    when = np.array(data.draw(st.lists(times, min_size=len(several), max_size=len(several))))
    rows = np.arange(len(several))
    out, first = Histograms(np.zeros(rows.size, np.int32), when, rows, columns).messages()
    for row in rows.tolist():
        message = out[first[row] : first[row + 1]].tobytes()
        assert message == histogram_message(columns, row, int(when[row]))


FOUR = 4616189618054758400
HISTOGRAM = (0, 0, False, FOUR, FOUR, 0, 0, ((1, FOUR),), (), ())


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
def test_histograms_come_with_their_series(by_ids):
    series = [{"__name__": "h", "n": str(n)} for n in range(3)]
    known = table(series, by_ids=by_ids)
    writer = WriterV2(known) if by_ids else WriterV1(known)
    columns = to_columns([HISTOGRAM] * 4)
    entries = np.array([0, 0, 1, 2], np.int32)
    body = Histograms(entries, np.arange(4) + 1, np.arange(4), columns).encoded(writer).tobytes()
    extras = decode_request(body).extras if by_ids else read_extras(body)
    assert extras.problem == ""
    assert [extras.series[n] for n in extras.histogram_series] == [series[n] for n in entries]
    assert extras.histogram_times == [1, 2, 3, 4]
    assert {each.count for each in extras.histograms} == {4.0}


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
def test_exemplars_come_with_their_labels(by_ids):
    series = [{"__name__": "c", "n": str(n)} for n in range(2)]
    known = table(series, by_ids=by_ids)
    writer = WriterV2(known) if by_ids else WriterV1(known)
    own = [{"trace_id": "x"}, {}, {"trace_id": "y", "span": "z"}]
    exemplars = Exemplars(
        np.array([1, 0, 1], np.int32),
        np.array([1, 2, 3]),
        np.array([0.5, 1.5, 2.5]).view(np.uint64),
        LabelSpans.from_labels(own),
    )
    body = exemplars.part(slice(1, 3)).encoded(writer).tobytes()
    extras = decode_request(body).extras if by_ids else read_extras(body)
    assert [extras.series[n]["n"] for n in extras.exemplar_series] == ["0", "1"]
    assert extras.exemplar_labels == own[1:]
    assert extras.exemplar_times == [2, 3]
    assert extras.exemplar_values == [1.5, 2.5]


def test_metadata_goes_with_its_series_by_2_0():
    known = table([{"__name__": "before_total"}], by_ids=True)
    known.describe(
        [MetricMetadata("before", "counter", "bytes", "Some."), MetricMetadata("h", "histogram")]
    )
    known.learn(
        np.array([1, 2]), LabelSpans.from_labels([{"__name__": "h_bucket"}, {"__name__": "x"}])
    )
    one = Floats(np.array([0, 1, 2], np.int32), np.array([5, 5, 5]), np.zeros(3, np.uint64))
    found = decode_request(one.encoded(WriterV2(known)).tobytes()).metadata
    assert {each.type for each in found} >= {"counter", "histogram"}
    assert any((each.unit, each.help) == ("bytes", "Some.") for each in found)


RULES = (
    RelabelRule(source_labels=("job",), regex="secret", action=RelabelAction.DROP),
    RelabelRule(source_labels=("job",), target_label="team", replacement="t-$1"),
)


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
def test_rules_drop_and_change_series(by_ids):
    series = [{"__name__": "m", "job": job} for job in ("a", "secret", "b")]
    known = table(series, by_ids=by_ids, rules=RULES, external={"cluster": "x"})
    entries = known.entries_of(np.array([0, 1, 2, 3]))
    assert entries.tolist() == [0, DROPPED, 1, UNKNOWN]
    writer = WriterV2(known) if by_ids else WriterV1(known)
    one = Floats(entries[[0, 2]], np.array([5, 5]), np.zeros(2, np.uint64))
    batch = decoded(one.encoded(writer).tobytes(), by_ids)
    assert labels_of(batch.labels, 1) == {
        "__name__": "m", "job": "b", "team": "t-b", "cluster": "x",
    }  # fmt: skip


@pytest.mark.parametrize("by_ids", [False, True], ids=["1.0", "2.0"])
def test_only_what_is_kept_is_known_afterwards(by_ids):
    series = [{"__name__": f"m{n}", "job": "a" * n} for n in range(6)]
    known = table(series, by_ids=by_ids)
    known.describe([MetricMetadata("m3", "gauge", "", "Three.")])
    known.keep_only(np.array([1, 3, 77]))
    assert known.count == 2
    entries = known.entries_of(np.arange(6))
    assert entries.tolist() == [UNKNOWN, 0, UNKNOWN, 1, UNKNOWN, UNKNOWN]
    known.learn(np.array([9 << 32 | 3]), LabelSpans.from_labels([{"__name__": "new"}]))
    assert known.entries_of(np.array([3, 9 << 32 | 3])).tolist() == [UNKNOWN, 2]
    writer = WriterV2(known) if by_ids else WriterV1(known)
    one = Floats(np.array([0, 1, 2], np.int32), np.full(3, 5), np.zeros(3, np.uint64))
    body = one.encoded(writer).tobytes()
    found = [labels_of(decoded(body, by_ids).labels, n) for n in range(3)]
    assert found == [series[1], series[3], {"__name__": "new"}]
    if by_ids:
        assert [each.help for each in decode_request(body).metadata if each.help] == ["Three."]


def companion(labels):
    return {
        **labels,
        "\0start_timestamp": "1",
        "__name__": f"\0start_timestamp\0{labels.get('__name__', '')}",
    }


def test_series_of_storage_itself_are_not_sent():
    own = {"__name__": "m"}
    known = table([own, companion(own), {"\0else": "1"}], by_ids=False)
    assert known.entries_of(np.arange(3)).tolist() == [0, INTERNAL, INTERNAL]


def test_companions_point_to_their_series():
    series = [
        {"__name__": "m", "A": "1"}, {"__name__": "m", "job": "secret"}, {"a": "nameless"},
        {"__name__": "m"},
    ]  # fmt: skip
    known = table(series, by_ids=True, rules=RULES)
    assert known.entries_of(np.arange(4)).tolist() == [0, DROPPED, 1, 2]
    refs = np.arange(10, 15)
    more = [*map(companion, series), companion({"__name__": "unheard"})]
    known.learn(refs, LabelSpans.from_labels(more))
    assert (COMPANION - known.entries_of(refs)[[0, 2, 3]]).tolist() == [0, 1, 2]
    assert known.entries_of(refs)[[1, 4]].tolist() == [INTERNAL, INTERNAL]
    known.keep_only(np.array([2, 3, *refs]))
    assert known.entries_of(refs).tolist() == [
        INTERNAL, INTERNAL, COMPANION, COMPANION - 1, INTERNAL,
    ]  # fmt: skip
    known.learn(np.array([20]), LabelSpans.from_labels([companion(series[3])]))
    assert known.entries_of(np.array([20])).tolist() == [COMPANION - 1]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(times, times), min_size=1, max_size=30), st.data())
def test_start_timestamps_go_with_their_samples(several, data):
    known = table([{"__name__": "a"}, {"__name__": "b"}], by_ids=True)
    middle = data.draw(st.integers(0, len(several)))
    entries = np.repeat(np.array([0, 1], np.int32), [middle, len(several) - middle])
    when, starts = (np.array(column, np.int64) for column in zip(*several, strict=True))
    floats = Floats(entries, when, np.zeros(when.size, np.uint64), starts)
    found = decode_request(floats.encoded(WriterV2(known)).tobytes()).batch
    assert found.times_ms.tolist() == when.tolist()
    told = found.start_times_ms
    assert (np.zeros(when.size) if told is None else told).tolist() == starts.tolist()


def test_start_timestamps_go_with_histograms():
    known = table([{"__name__": "h"}], by_ids=True)
    columns = to_columns([HISTOGRAM] * 3)
    starts = np.array([11, 0, 13])
    waiting = Histograms(np.zeros(3, np.int32), np.arange(3) + 20, np.arange(3), columns, starts)
    body = waiting.part(np.array([0, 1, 2])).encoded(WriterV2(known)).tobytes()
    assert [each.start_ms for each in decode_request(body).extras.histograms] == [11, 0, 13]
