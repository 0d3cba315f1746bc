"""Deltas of OTLP become running totals: against a plain sum of all that was sent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.receivers.otlp import PROTOBUF, OtlpReceiver
from api.receivers.otlp_deltas import BUCKETS_MAX, STALE_S, DeltaStreams
from api.receivers.otlp_messages import decode_protobuf
from api.receivers.otlp_settings import OtlpSettings
from api.receivers.otlp_translation import translate
from api.receivers.pushing import PushAppender
from api.views import ApiOptions
from tests.api.receivers.test_otlp import NOW_MS, NOW_NS, point, request_of, send, stored, sum_of
from tsdb.staleness import STALE_BITS

S = 1_000_000_000


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


def of_points(kind, *points, temporality=1, name="m", attributes=(), scope=None, **data):
    """A request as `decode_protobuf` returns it."""
    metric = {
        "name": name,
        kind: {
            "aggregationTemporality": temporality,
            "dataPoints": [dict(each) for each in points],
            **data,
        },
    }
    scope = {"scope": {"name": scope or ""}, "metrics": [metric]}
    resource = {"attributes": [("service.name", "shop"), *attributes]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def left(streams, request):
    """Accumulate a request; return (temporality, points) of its one metric, None for no metric."""
    streams.accumulate(request)
    (metric,) = request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"] or [None]
    if metric is None:
        return None
    kind = next(iter(metric.keys() - {"name"}))
    return metric[kind]["aggregationTemporality"], metric[kind]["dataPoints"]


def number(value, at_s, start_s=0, **rest):
    kind = "asInt" if isinstance(value, int) else "asDouble"
    return {"timeUnixNano": at_s * S, "startTimeUnixNano": start_s * S, kind: value, **rest}


def test_points_add_up_and_keep_the_first_start():
    streams = DeltaStreams()
    first = left(streams, of_points("sum", number(5, 10, 1), isMonotonic=True))
    second = left(streams, of_points("sum", number(7, 20, 10), number(1, 30, 20), isMonotonic=True))
    assert first == (2, [number(5, 10, 1)])
    assert second == (2, [number(12, 20, 1), number(13, 30, 1)])


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (number(3, 20, 5), "the same time again"),
        (number(3, 15, 5), "an older time"),
        (number(3, 30, 0), "an older start"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_late_or_repeated_is_left_out(late, why):
    streams = DeltaStreams()
    left(streams, of_points("sum", number(5, 20, 5)))
    assert left(streams, of_points("sum", late)) is None, why
    assert left(streams, of_points("sum", number(1, 40, 20))) == (2, [number(6, 40, 5)])


@pytest.mark.parametrize(
    "other",
    [
        of_points("sum", number(2, 20), name="n"),
        of_points("sum", number(2, 20, attributes=[("a", "b")])),
        of_points("sum", number(2, 20), attributes=[("host", "h")]),
        of_points("sum", number(2, 20), scope="lib"),
        of_points("sum", number(2, 20), isMonotonic=True),
    ],
    ids=["name", "attribute", "resource", "scope", "monotonic"],
)
def test_streams_are_told_apart_by(other):
    streams = DeltaStreams()
    left(streams, of_points("sum", number(5, 10)))
    assert left(streams, other)[1][0]["asInt"] == 2
    assert len(streams) == 2


def test_the_order_of_attributes_tells_no_streams_apart():
    streams = DeltaStreams()
    left(streams, of_points("sum", number(5, 10, attributes=[("a", "1"), ("b", "2")])))
    again = left(streams, of_points("sum", number(5, 20, attributes=[("b", "2"), ("a", "1")])))
    assert again[1][0]["asInt"] == 10


def test_totals_and_gauges_stay_as_they_are():
    streams = DeltaStreams()
    assert left(streams, of_points("sum", number(5, 10), temporality=2)) == (2, [number(5, 10)])
    assert len(streams) == 0


def test_a_stream_is_forgotten_after_a_while():
    clock = Clock()
    streams = DeltaStreams(clock)
    left(streams, of_points("sum", number(5, 10)))
    clock.now_s += STALE_S - 1
    assert left(streams, of_points("sum", number(5, 20)))[1][0]["asInt"] == 10
    clock.now_s += STALE_S - 1
    assert left(streams, of_points("sum", number(5, 30)))[1][0]["asInt"] == 15
    clock.now_s += STALE_S + 1
    assert left(streams, of_points("sum", number(5, 40)))[1][0]["asInt"] == 5
    assert len(streams) == 1


def test_no_recorded_value_changes_no_total():
    streams = DeltaStreams()
    left(streams, of_points("sum", number(5, 10)))
    assert left(streams, of_points("sum", number(0, 20, flags=1)))[1][0]["flags"] == 1
    assert left(streams, of_points("sum", number(5, 30)))[1][0]["asInt"] == 10


def histogram(at_s, counts, bounds=(1.0, 2.0), **rest):
    out = {"timeUnixNano": at_s * S, "count": sum(counts), "bucketCounts": [*counts]}
    return {**out, "explicitBounds": [*bounds], **rest}


def test_buckets_add_up():
    streams = DeltaStreams()
    left(streams, of_points("histogram", histogram(10, [1, 2, 3], sum=4.0)))
    (found,) = left(streams, of_points("histogram", histogram(20, [10, 0, 1], sum=0.5)))[1]
    assert (found["bucketCounts"], found["count"], found["sum"]) == ([11, 2, 4], 17, 4.5)


def test_without_a_sum_once_there_is_none():
    streams = DeltaStreams()
    left(streams, of_points("histogram", histogram(10, [1, 2, 3])))
    (found,) = left(streams, of_points("histogram", histogram(20, [1, 0, 0], sum=0.5)))[1]
    assert "sum" not in found


def test_other_bounds_begin_anew():
    streams = DeltaStreams()
    left(streams, of_points("histogram", histogram(10, [1, 2, 3])))
    (found,) = left(streams, of_points("histogram", histogram(20, [1, 1], bounds=[5.0])))[1]
    assert (found["bucketCounts"], found["explicitBounds"], found["count"]) == ([1, 1], [5.0], 2)


def test_what_is_handed_out_is_not_what_is_held():
    streams = DeltaStreams()
    (found,) = left(streams, of_points("histogram", histogram(10, [1, 2, 3])))[1]
    found["bucketCounts"][0] = 99
    (found,) = left(streams, of_points("histogram", histogram(20, [0, 0, 0])))[1]
    assert found["bucketCounts"] == [1, 2, 3]


def exponential(at_s, scale, offset, counts, zero=0, **rest):
    side = {"offset": offset, "bucketCounts": [*counts]}
    out = {"timeUnixNano": at_s * S, "scale": scale, "positive": side, "zeroCount": zero}
    return {**out, "count": sum(counts) + zero, **rest}


def bucket_counts(point, side="positive"):
    held = point.get(side, {})
    return {
        index: count
        for index, count in enumerate(held.get("bucketCounts", ()), held.get("offset", 0))
        if count
    }


exponentials = st.tuples(
    st.integers(-2, 6),
    st.integers(-300, 300),
    st.lists(st.integers(0, 9), max_size=12),
    st.integers(0, 3),
)


@settings(max_examples=80)
@given(st.lists(exponentials, min_size=1, max_size=6))
def test_exponential_buckets_add_up_at_the_lowest_scale(points):
    streams = DeltaStreams()
    for at, (scale, offset, counts, zero) in enumerate(points, 1):
        request = of_points("exponentialHistogram", exponential(at, scale, offset, counts, zero))
        (found,) = left(streams, request)[1]
    scale = found["scale"]
    assert scale <= min(each[0] for each in points)
    expected = {}
    for own, offset, counts, _ in points:
        for index, count in enumerate(counts, offset):
            if count:
                place = index >> own - scale
                expected[place] = expected.get(place, 0) + count
    assert bucket_counts(found) == expected
    if len(points) > 1 and expected:
        assert max(expected) - min(expected) < BUCKETS_MAX
    assert found["zeroCount"] == sum(each[3] for each in points)
    assert found["count"] == sum(expected.values()) + found["zeroCount"]


def test_a_wider_zero_bucket_takes_what_it_reaches_into():
    streams = DeltaStreams()
    # Buckets (1, 2], (2, 4], (4, 8], then zero reaches to 3: into the second of them.
    left(streams, of_points("exponentialHistogram", exponential(10, 0, 0, [1, 10, 100])))
    more = exponential(20, 0, 2, [5], zero=7, zeroThreshold=3.0)
    (found,) = left(streams, of_points("exponentialHistogram", more))[1]
    assert bucket_counts(found) == {2: 105}
    assert (found["zeroCount"], found["zeroThreshold"], found["count"]) == (18, 3.0, 123)


def test_extreme_buckets_are_no_error():
    streams = DeltaStreams()
    for at, offset in ((1, -(1 << 31)), (2, (1 << 31) - 1)):
        point = exponential(at, 20, offset, [1], zeroThreshold=1e300)
        (found,) = left(streams, of_points("exponentialHistogram", point))[1]
    assert found["count"] == 2
    assert sum(bucket_counts(found).values()) + found["zeroCount"] == 2


# ------------------------------------------------------------------ over HTTP, into storage


@pytest.fixture
def real(real):
    real.options = ApiOptions(
        enable_otlp_receiver=True, otlp=lambda: OtlpSettings(accumulate_deltas=True)
    )
    return real


def test_deltas_are_stored_as_a_counter(real):
    points = [point(value, time_ns=NOW_NS + at * S) for at, value in enumerate((5, 7, 7, 1))]
    points[2] = points[1]  # sent again
    reply = send(real, request_of(sum_of(temporality=1, points=points)))
    assert (reply.status, reply.body) == (200, b"")
    batch = stored(real, "requests_total")
    assert batch.values.tolist() == [5.0, 12.0, 13.0]
    assert batch.times.tolist() == [NOW_MS, NOW_MS + 1000, NOW_MS + 3000]


def test_totals_go_on_from_request_to_request(real):
    receiver = OtlpReceiver(
        PushAppender(real.storage, lambda: NOW_MS / 1000),
        lambda: OtlpSettings(accumulate_deltas=True),
    )
    for at, value in enumerate((5, 7, 1)):
        request = request_of(
            sum_of(temporality=1, points=[point(value, time_ns=NOW_NS + at * S)])
        ).SerializeToString()
        for _ in range(2):  # an answer that was lost has it sent again
            outcome = receiver.receive(request, "identity", PROTOBUF)
            assert (outcome.refused, outcome.problem) == (0, "")
    assert stored(real, "requests_total").values.tolist() == [5.0, 12.0, 13.0]


def test_a_marker_is_stored_as_one():
    streams = DeltaStreams()
    request = decode_protobuf(
        request_of(sum_of(temporality=1, points=[point(0, flags=1)])).SerializeToString()
    )
    streams.accumulate(request)
    found = translate(request, OtlpSettings(accumulate_deltas=True))
    assert math.isnan(found.values[0])
    assert found.pushed().values.view("u8")[0] == STALE_BITS
