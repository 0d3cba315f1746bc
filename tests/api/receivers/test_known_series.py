"""Bodies of known series: what is read of them is what the decoder of any body reads."""

from __future__ import annotations

import struct
import threading

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.known_series import BODY_BYTES_MAX, KnownSeries
from api.receivers.pushing import PushAppender
from api.receivers.remote_write import WriteReceiver
from api.receivers.write_batch import decode_write_request
from api.wire import WireError
from tests.api.receivers.write_requests import (
    NOW_MS,
    bodies,
    columns_as_lists,
    label,
    named,
    one,
    sample,
)
from tests.protobuf import ld as field
from tsdb.interface import Matcher, MatchOp, Selection


class Refs(dict):
    """Numbers label sets as storage does."""

    def of(self, batch):
        return np.array(
            [self.setdefault(tuple(labels), len(self)) for labels, _ in columns_as_lists(batch)],
            np.int64,
        )


def learnt(known, refs, body):
    """Decode a body in full and learn it, as the receiver does."""
    batch = decode_write_request(body)
    if not batch.refused.size:
        known.learn(body, refs.of(batch))


def assert_read_as_decoded(known, refs, body):
    """Check that a body is either left to the decoder, or read as that reads it."""
    found = known.read(body)
    if found is None:
        return False
    batch = decode_write_request(body)
    assert not batch.refused.size
    assert not batch.exemplars + batch.histograms + batch.metadata
    assert found.refs.tolist() == refs.of(batch)[batch.series_of].tolist()
    assert found.times_ms.tolist() == batch.times_ms.tolist()
    assert found.values.tobytes() == batch.values.tobytes()
    return True


@settings(max_examples=100, deadline=None)
@given(st.lists(bodies, min_size=1, max_size=4), st.data())
def test_any_body_is_read_as_decoded_or_left(several, data):
    known, refs = KnownSeries(), Refs()
    for body in several:
        try:
            learnt(known, refs, body)
        except WireError:
            continue
    for body in several:
        damaged = bytearray(body)
        for _ in range(data.draw(st.integers(0, 2))):
            if damaged:
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(
                    st.integers(0, 255)
                )
        try:
            assert_read_as_decoded(known, refs, bytes(damaged))
        except WireError as error:
            raise AssertionError("what is no message was read") from error


live_labels = st.dictionaries(
    st.sampled_from(["job", "instance", "le", "zone", "a" * 40]),
    st.text(max_size=200).filter(lambda text: "\0" not in text),
    max_size=5,
)
live_series = st.tuples(
    live_labels,
    st.lists(st.tuples(st.integers(0, 2**50), st.floats(allow_nan=False)), min_size=1, max_size=3),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(live_series, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_live_sender_is_known_the_second_time(series, chance):
    known, refs = KnownSeries(), Refs()
    messages = [one(named("m", **labels), samples) for labels, samples in series]
    learnt(known, refs, b"".join(messages))
    assert assert_read_as_decoded(known, refs, b"".join(messages))
    chance.shuffle(messages)
    assert assert_read_as_decoded(known, refs, b"".join(messages[: len(messages) // 2 + 1]))
    assert known.read(b"".join(messages) + one(named("new"))) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(field(1, label(b"__name__", b"m")), id="no sample"),
        pytest.param(one([]) + one(named("m")), id="a series without labels"),
        pytest.param(
            field(1, label(b"__name__", b"m") + sample(1, 1.0) + label(b"a", b"b")),
            id="labels behind samples",
        ),
        pytest.param(
            field(1, label(b"__name__", b"m") + sample(1, 1.0) + field(3, b"")), id="an exemplar"
        ),
        pytest.param(one(named("m")) + field(3, b"\x12\x01m"), id="metadata"),
        pytest.param(
            field(1, label(b"__name__", b"m") + field(2, b"\x10\x05")), id="a sample of no value"
        ),
    ],
)
def test_what_is_not_plain_is_not_learnt(body):
    known = KnownSeries()
    learnt(known, Refs(), body)
    assert len(known) == 0
    learnt(known, Refs(), one(named("m")))
    assert known.read(body) is None


def test_a_body_that_is_cut_anywhere_is_never_read():
    known, refs = KnownSeries(), Refs()
    first, second = one(named("m", job="a")), one(named("n", job="b"))
    learnt(known, refs, first + second)
    whole = first + second
    for stop in range(1, len(whole)):
        assert (known.read(whole[:stop]) is not None) == (stop == len(first))


def test_more_than_may_be_known_begins_anew():
    known, refs = KnownSeries(series_max=5000), Refs()
    blocks = [
        b"".join(one(named("m", n=str(n))) for n in range(begin, begin + 1500))
        for begin in range(0, 6000, 1500)
    ]
    for block in blocks:
        learnt(known, refs, block)
    assert len(known) == 1500
    assert known.read(blocks[0]) is None
    assert assert_read_as_decoded(known, refs, blocks[3])
    known.learn(b"".join(blocks), np.arange(6000))
    assert len(known) == 1500


def test_large_bodies_are_left_to_the_decoder(monkeypatch):
    known = KnownSeries()
    body = one(named("m"))
    known.learn(body, np.zeros(1, np.int64))
    assert known.read(body) is not None
    monkeypatch.setattr("api.receivers.known_series.BODY_BYTES_MAX", len(body) - 1)
    assert known.read(body) is None
    assert BODY_BYTES_MAX > 1 << 20


def test_threads_learn_and_read_at_once():
    """Readers see each entry whole, also while columns and table grow."""
    known, failed = KnownSeries(), []
    blocks = [
        b"".join(one(named("m", n=str(n))) for n in range(begin, begin + 500))
        for begin in range(0, 20_000, 500)
    ]

    def read():
        for _ in range(20):
            for number, block in enumerate(blocks):
                found = known.read(block)
                if found is not None and found.refs.tolist() != [
                    *range(500 * number, 500 * number + 500)
                ]:
                    failed.append(number)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number, block in enumerate(blocks):
        known.learn(block, np.arange(500 * number, 500 * number + 500))
    for reader in readers:
        reader.join()
    assert not failed
    assert len(known) == 20_000


# ------------------------------------------------------------------ in the receiver


@pytest.fixture
def receiver(real):
    return WriteReceiver(PushAppender(real.storage, lambda: NOW_MS / 1000))


def receive(receiver, body):
    return receiver.receive(bytes(cramjam.snappy.compress_raw(body)), "snappy")


def values(storage, name):
    matchers = (Matcher("__name__", MatchOp.EQUAL, name),)
    (batch,) = storage.select([Selection(matchers, NOW_MS - 10**6, NOW_MS + 10**6)])
    return batch.values.tolist()


def at(step, value, name="m"):
    return one(named(name), [(NOW_MS + step, value)])


def test_samples_of_known_series_are_stored_and_counted(receiver, real):
    for step in range(4):
        outcome = receive(receiver, at(step, step / 2) + at(step, -1.0, "n"))
        assert (outcome.problem, outcome.samples) == ("", 2)
    assert values(real.storage, "m") == [0.0, 0.5, 1.0, 1.5]
    assert values(real.storage, "n") == [-1.0] * 4
    stats = receiver.stats()
    assert (stats.requests, stats.samples, stats.failed_requests) == (4, 8, 0)


def test_what_is_refused_of_known_series_is_told_as_ever(receiver, real):
    receive(receiver, at(0, 1.0))
    outcome = receive(receiver, at(0, 2.0) + at(1, 3.0))
    assert outcome.problem == (
        f"duplicate sample for timestamp {NOW_MS}; overrides not allowed: new value 2 "
        'for series {__name__="m"}'
    )
    assert outcome.samples == 1
    assert values(real.storage, "m") == [1.0, 3.0]
    # Within one body the first counts, in silence.
    assert receive(receiver, at(2, 4.0) + at(2, 5.0)).problem == ""
    stats = receiver.stats()
    assert (stats.samples, stats.refused_samples, stats.failed_requests) == (3, 2, 1)


def test_series_that_storage_forgot_are_made_again(receiver, real, monkeypatch):
    receive(receiver, at(0, 1.0))
    append, asked = real.storage.append, []

    def lost_once(refs, times_ms, values, **options):
        asked.append(refs.tolist())
        if len(asked) == 1:
            refs = refs + (1 << 40)  # of a generation that never was
        return append(refs, times_ms, values, **options)

    monkeypatch.setattr(real.storage, "append", lost_once)
    assert receive(receiver, at(1, 2.0)).problem == ""
    assert len(asked) == 2
    assert values(real.storage, "m") == [1.0, 2.0]
    # It is learnt anew.
    for step in (2, 3):
        assert receive(receiver, at(step, 3.0)).problem == ""
    assert values(real.storage, "m") == [1.0, 2.0, 3.0, 3.0]


def test_every_bit_of_a_value_and_time_is_kept(receiver, real):
    patterns = [0x7FF0000000000002, 0x8000000000000000, 0x7FF8000000000001, 1]
    receive(receiver, at(0, 0.0))
    for step, bits in enumerate(patterns, 1):
        receive(receiver, at(step, struct.unpack("<d", struct.pack("<Q", bits))[0]))
    matchers = (Matcher("__name__", MatchOp.EQUAL, "m"),)
    (batch,) = real.storage.select([Selection(matchers, NOW_MS, NOW_MS + 10)])
    assert batch.values.view(np.uint64).tolist() == [0, *patterns]
    assert batch.times.tolist() == [NOW_MS + step for step in range(5)]
