"""OTLP as its own library writes it, by both encodings, into real storage; and what is no OTLP."""

from __future__ import annotations

import gzip
import json
import math
from contextlib import suppress

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from api.receivers.otlp_messages import decode_json, decode_protobuf, value_text
from api.receivers.otlp_settings import OtlpSettings
from api.receivers.otlp_translation import translate
from api.views import ApiOptions
from api.wire import WireError
from tsdb.interface import Matcher, MatchOp, MetricMetadata, Selection
from tsdb.staleness import STALE_BITS

NOW_MS = 1_795_470_000_000
NOW_NS = NOW_MS * 1_000_000
PATH = "/api/v1/otlp/v1/metrics"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def attribute(name, value):
    kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    return KeyValue(key=name, value=AnyValue(**{kind[type(value)]: value}))


def attributes(pairs):
    return [attribute(name, value) for name, value in pairs.items()]


RESOURCE = {"service.name": "shop", "service.namespace": "eu", "service.instance.id": "i1"}


def request_of(*metrics, resource=RESOURCE, scope=None):
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.extend(attributes(resource))
    scope_metrics = resource_metrics.scope_metrics.add()
    if scope:
        scope_metrics.scope.name, scope_metrics.scope.version = scope, "1.2"
        scope_metrics.schema_url = "https://example.org/schema"
        scope_metrics.scope.attributes.extend(attributes({"team": "till"}))
    scope_metrics.metrics.extend(metrics)
    return request


def point(value=1.0, *, time_ns=NOW_NS, flags=0, **labels):
    kind = {"as_int": value} if isinstance(value, int) else {"as_double": value}
    return {
        "time_unix_nano": time_ns, "attributes": attributes(labels), "flags": flags, **kind,
    }  # fmt: skip


def gauge(name="room.temperature", unit="Cel", points=None, **rest):
    return Metric(name=name, unit=unit, gauge={"data_points": points or [point()]}, **rest)


def sum_of(name="requests", unit="1", temporality=2, monotonic=True, points=None):
    return Metric(
        name=name,
        unit=unit,
        sum={
            "data_points": points or [point(5)],
            "aggregation_temporality": temporality,
            "is_monotonic": monotonic,
        },
    )


def series(request, **options):
    """Translate a request; return {(labels, time): value} and all of what was found."""
    found = translate(decode_protobuf(request.SerializeToString()), OtlpSettings(**options))
    values = {}
    for number, time, value in zip(found.series, found.times_ms, found.values, strict=True):
        values[tuple(sorted(found.labels[number].items())), time] = value
    return values, found


def named(values, name):
    """Return {labels without name, job and instance: value} of one metric."""
    out = {}
    for (labels, _), value in values.items():
        plain = dict(labels)
        if plain.pop("__name__") == name:
            plain.pop("job", None)
            plain.pop("instance", None)
            out[tuple(sorted(plain.items()))] = value
    return out


# ------------------------------------------------------------------ over HTTP, into storage


@pytest.fixture
def real(real):
    real.options = ApiOptions(enable_otlp_receiver=True)
    return real


def send(api, request, *, media=PROTOBUF, packed=False):
    if media == PROTOBUF:
        body = request.SerializeToString()
    else:
        body = json.dumps(MessageToDict(request)).encode()
    headers = {"Content-Type": media}
    if packed:
        body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
    return api.ask("POST", PATH, data=body, headers=headers)


def stored(api, name):
    matchers = (Matcher("__name__", MatchOp.EQUAL, name),)
    (batch,) = api.storage.select([Selection(matchers, NOW_MS - 10**7, NOW_MS + 10**7)])
    return batch


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_gauge_is_stored(real, media, packed):
    reply = send(real, request_of(gauge(points=[point(21.5, room="attic")])), media=media,
                 packed=packed)  # fmt: skip
    assert (reply.status, reply.headers["Content-Type"]) == (200, media)
    assert reply.body == (b"" if media == PROTOBUF else b"{}")
    batch = stored(real, "room_temperature_celsius")
    assert batch.labels.row(0) == {
        "__name__": "room_temperature_celsius",
        "instance": "i1",
        "job": "eu/shop",
        "room": "attic",
    }
    assert batch.values.tolist() == [21.5]
    assert batch.times.tolist() == [NOW_MS]
    assert real.storage.metadata() == [
        MetricMetadata("room_temperature_celsius", "gauge", "Cel", "")
    ]


def test_a_request_again_is_no_error(real):
    request = request_of(gauge(), sum_of())
    assert [send(real, request).body for _ in range(2)] == [b"", b""]


def test_what_is_refused_is_counted_and_the_rest_is_stored(real):
    bad = gauge("far.ahead", "", points=[point(time_ns=NOW_NS * 2)])
    reply = send(real, request_of(gauge("here", ""), bad, sum_of("d", temporality=1)))
    assert reply.status == 200
    told = ExportMetricsServiceResponse.FromString(reply.body).partial_success
    assert told.rejected_data_points == 2
    assert 'invalid temporality and type combination for metric "d"' in told.error_message
    assert "out of bounds: timestamp is too far in the future" in told.error_message
    assert stored(real, "here").values.tolist() == [1.0]


def test_json_is_told_in_json(real):
    reply = send(real, request_of(gauge("here", ""), sum_of("d", temporality=1)), media=JSON)
    assert reply.json["partialSuccess"]["rejectedDataPoints"] == "1"


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_where_nothing_is_stored_the_request_is_bad(real, media):
    reply = send(real, request_of(sum_of("d", temporality=1)), media=media)
    assert (reply.status, reply.headers["Content-Type"]) == (400, media)
    assert b"invalid temporality" in reply.body


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        pytest.param(b"\xff", {}, 400, b"unexpected EOF", id="no protobuf"),
        pytest.param(b"{", {"Content-Type": JSON}, 400, b"json: ", id="no JSON"),
        pytest.param(
            b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":3}]}]}]}',
            {"Content-Type": JSON},
            400,
            b"json: resourceMetrics[0].scopeMetrics[0].metrics[0].name is no string",
            id="a number for a name",
        ),
        pytest.param(b"", {"Content-Type": "text/plain"}, 415, b"unsupported", id="another type"),
        pytest.param(b"", {"Content-Encoding": "br"}, 415, b"br encoding", id="another encoding"),
        pytest.param(b"\x1f\x8bx", {"Content-Encoding": "gzip"}, 400, b"gzip", id="no gzip"),
        pytest.param(b"", {}, 200, b"", id="nothing at all is a good request"),
    ],
)
def test_bad_requests(real, body, headers, status, text):
    reply = real.ask("POST", PATH, data=body, headers={"Content-Type": PROTOBUF, **headers})
    assert reply.status == status
    assert text in reply.body


def test_it_has_to_be_switched_on(api):
    assert send(api, request_of()).status == 404


def test_exponential_histograms_become_native_ones(real):
    data = {
        "time_unix_nano": NOW_NS, "count": 7, "sum": 20.0, "scale": 1, "zero_count": 2,
        "positive": {"offset": -1, "bucket_counts": [1, 0, 3]},
        "negative": {"offset": 2, "bucket_counts": [1]},
    }  # fmt: skip
    metric = Metric(
        name="latency",
        unit="s",
        exponential_histogram={"data_points": [data], "aggregation_temporality": 2},
    )
    assert send(real, request_of(metric)).body == b""
    runs = stored(real, "latency_seconds").histograms
    columns = runs.columns
    assert (columns.schema[0], columns.count[0], columns.sum[0]) == (1, 7, 20)
    assert columns.zero_threshold[0] == 1e-128
    assert columns.zero_count[0] == 2
    shown = columns.positive_count != 0
    assert columns.positive_index[shown].tolist() == [0, 2]
    assert columns.positive_count[shown].tolist() == [1, 3]
    assert columns.negative_index.tolist() == [3]


def test_explicit_histograms_become_native_ones_with_custom_buckets(real):
    real.options = ApiOptions(
        enable_otlp_receiver=True, otlp=lambda: OtlpSettings(convert_histograms_to_nhcb=True)
    )
    assert send(real, request_of(histogram())).body == b""
    columns = stored(real, "size_bytes").histograms.columns
    assert columns.schema.tolist() == [-53]
    assert columns.bounds.tolist() == [1.0, 2.5]
    assert columns.positive_count.tolist() == [1, 2, 3]


def histogram(**more):
    data = {
        "time_unix_nano": NOW_NS, "count": 6, "sum": 12.5, "bucket_counts": [1, 2, 3],
        "explicit_bounds": [1.0, 2.5], **more,
    }  # fmt: skip
    return Metric(
        name="size", unit="By", histogram={"data_points": [data], "aggregation_temporality": 2}
    )


def test_exemplars_are_kept_with_the_bucket_of_their_value(real):
    exemplar = {"as_double": 2.0, "time_unix_nano": NOW_NS, "trace_id": b"\x01" * 16,
                "filtered_attributes": attributes({"who": "me"})}  # fmt: skip
    assert send(real, request_of(histogram(exemplars=[exemplar]))).body == b""
    found = real.storage.select_exemplars([], NOW_MS - 1000, NOW_MS + 1000)
    assert found.series.row(0)["le"] == "2.5"
    assert found.labels.row(0) == {"trace_id": "01" * 16, "who": "me"}
    assert found.values.tolist() == [2.0]


START_MS = NOW_MS - 60_000


@pytest.mark.parametrize(
    ("metric", "started"),
    [
        pytest.param(sum_of(), True, id="counters"),
        pytest.param(sum_of(monotonic=False), False, id="not what goes up and down"),
        pytest.param(gauge(), False, id="not gauges"),
        pytest.param(histogram(), True, id="histograms"),
    ],
)
def test_when_counting_began_is_kept(real, metric, started):
    metric = Metric.FromString(metric.SerializeToString())
    kind = metric.WhichOneof("data")
    getattr(metric, kind).data_points[0].start_time_unix_nano = START_MS * 1_000_000
    assert send(real, request_of(metric)).body == b""
    found = series(request_of(metric))[1]
    assert set(found.starts_ms) == {START_MS if started else 0}
    (batch,) = real.storage.select([Selection((), 0, 1 << 60, start_times=True)])
    assert (batch.start_times is not None) == started


# ------------------------------------------------------------------ translation


def test_explicit_histograms_become_classic_ones():
    values, found = series(request_of(histogram()))
    assert named(values, "size_bytes_bucket") == {
        (("le", "1"),): 1.0, (("le", "2.5"),): 3.0, (("le", "+Inf"),): 6.0,
    }  # fmt: skip
    assert named(values, "size_bytes_sum") == {(): 12.5}
    assert named(values, "size_bytes_count") == {(): 6.0}
    assert found.metadata["size_bytes"].type == "histogram"


def test_summaries_keep_their_quantiles():
    quantiles = [{"quantile": 0.5, "value": 2.0}, {"quantile": 1, "value": 3.0}]
    data = {"time_unix_nano": NOW_NS, "count": 3, "sum": 6.0, "quantile_values": quantiles}
    values, _ = series(request_of(Metric(name="s", summary={"data_points": [data]})))
    assert named(values, "s") == {(("quantile", "0.5"),): 2.0, (("quantile", "1"),): 3.0}
    assert named(values, "s_count") == {(): 3.0}
    assert named(values, "s_sum") == {(): 6.0}


def test_no_recorded_value_is_a_stale_marker():
    values, _ = series(request_of(gauge("g", "", points=[point(flags=1)]), histogram(flags=1)))
    bits = np.array(list(values.values())).view(np.uint64)
    assert bits.tolist() == [STALE_BITS] * 6


@pytest.mark.parametrize(
    ("metric", "type_name", "name"),
    [
        pytest.param(sum_of(), "counter", "requests_total", id="monotonic"),
        pytest.param(sum_of(monotonic=False), "gauge", "requests", id="up and down"),
        pytest.param(sum_of(temporality=1), "unknown", "requests_total", id="delta"),
    ],
)
def test_what_sums_are(metric, type_name, name):
    values, found = series(request_of(metric), native_delta=True)
    assert found.metadata[name].type == type_name
    assert named(values, name) == {(): 5.0}


@pytest.mark.parametrize("temporality", [0, 1])
def test_only_cumulative_sums_are_taken_by_default(temporality):
    _, found = series(request_of(sum_of(temporality=temporality)))
    assert (found.dropped, found.point_count) == (1, 1)
    assert found.problems == ['invalid temporality and type combination for metric "requests"']


def test_a_scale_that_is_too_fine_is_lowered_and_one_too_coarse_refused():
    def exponential(scale):
        data = {"time_unix_nano": NOW_NS, "count": 4, "scale": scale,
                "positive": {"offset": -2, "bucket_counts": [1, 1, 1, 1]}}  # fmt: skip
        return Metric(name="e", exponential_histogram={
            "data_points": [data], "aggregation_temporality": 2})  # fmt: skip

    _, found = series(request_of(exponential(9)))
    assert found.histograms[0].schema == 8
    assert found.histograms[0].positive == [(0, 2.0), (1, 2.0)]
    _, found = series(request_of(exponential(-5)))
    assert "Scale must be >= -4, was -5" in found.problems[0]


TARGET = {**RESOURCE, "host.name": "h", "cloud.region": "eu-1"}


def test_what_is_known_of_a_resource_is_target_info():
    values, _ = series(request_of(gauge(), resource=TARGET))
    (labels,) = [dict(labels) for labels, _ in values if ("__name__", "target_info") in labels]
    assert labels == {
        "__name__": "target_info", "job": "eu/shop", "instance": "i1", "host_name": "h",
        "cloud_region": "eu-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "options", "shown"),
    [
        pytest.param(RESOURCE, {}, False, id="not for job and instance alone"),
        pytest.param({"host.name": "h"}, {}, False, id="not without job and instance"),
        pytest.param(
            TARGET, {"keep_identifying_resource_attributes": True}, True, id="identifying ones kept"
        ),
    ],
)
def test_when_there_is_a_target_info(resource, options, shown):
    values, _ = series(request_of(gauge(), resource=resource), **options)
    infos = [dict(labels) for labels, _ in values if ("__name__", "target_info") in labels]
    assert bool(infos) == shown
    if options:
        assert infos[0]["service_name"] == "shop"


def test_target_info_is_there_while_samples_are():
    points = [point(time_ns=NOW_NS - 600_000_000_000), point(time_ns=NOW_NS)]
    values, _ = series(request_of(gauge(points=points), resource=TARGET))
    times = [time for labels, time in values if ("__name__", "target_info") in labels]
    assert [NOW_MS - time for time in times] == [600_000, 450_000, 300_000, 150_000, 0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, {}, id="none by default"),
        pytest.param(
            {"promote_resource_attributes": ("host.name", "absent")}, {"host_name": "h"}, id="named"
        ),
        pytest.param(
            {"promote_all_resource_attributes": True,
             "ignore_resource_attributes": ("cloud.region", *RESOURCE)},
            {"host_name": "h"},
            id="all but some",
        ),
        pytest.param(
            {"promote_scope_metadata": True},
            {"otel_scope_name": "lib", "otel_scope_version": "1.2", "otel_scope_team": "till",
             "otel_scope_schema_url": "https://example.org/schema"},
            id="the scope",
        ),
        pytest.param(
            {"promote_resource_attributes": ("host.name",),
             "translation_strategy": "NoUTF8EscapingWithSuffixes"},
            {"host.name": "h"},
            id="unescaped",
        ),
    ],
)  # fmt: skip
def test_what_is_promoted_to_labels(options, expected):
    values, _ = series(request_of(gauge("g", ""), resource=TARGET, scope="lib"), **options)
    assert named(values, "g") == {tuple(sorted(expected.items())): 1.0}


def test_attributes_that_become_one_label_are_joined():
    values, _ = series(request_of(gauge("g", "", points=[point(**{"a.b": "y", "a_b": "x"})])))
    assert named(values, "g") == {(("a_b", "y;x"),): 1.0}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(AnyValue(string_value="a"), "a", id="text"),
        pytest.param(AnyValue(int_value=-7), "-7", id="negative"),
        pytest.param(AnyValue(bool_value=False), "false", id="false"),
        pytest.param(AnyValue(double_value=0.25), "0.25", id="fraction"),
        pytest.param(AnyValue(double_value=math.inf), "+Inf", id="infinity"),
        pytest.param(AnyValue(bytes_value=b"\x00\xff"), "AP8=", id="bytes"),
        pytest.param(AnyValue(), "", id="nothing"),
        pytest.param(
            AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])),
            "[1,null]",
            id="list",
        ),
        pytest.param(
            AnyValue(kvlist_value=KeyValueList(values=[attribute("é", True)])),
            '{"é":true}',
            id="map",
        ),
    ],
)
def test_attributes_as_text(value, expected):
    request = request_of(gauge())
    request.resource_metrics[0].resource.attributes.append(KeyValue(key="k", value=value))
    for decoded in (
        decode_protobuf(request.SerializeToString()),
        decode_json(json.dumps(MessageToDict(request)).encode()),
    ):
        pairs = dict(decoded["resourceMetrics"][0]["resource"]["attributes"])
        assert pairs["k"] == expected


def test_floats_as_text():
    assert [value_text({"doubleValue": v}) for v in (1e21, 1e-7, 1.5e20, math.nan)] == [
        "1e+21", "1e-7", "150000000000000000000", "NaN",
    ]  # fmt: skip


@given(st.lists(st.sampled_from([gauge(), sum_of(), histogram()]), max_size=3))
@settings(max_examples=20, deadline=None)
def test_json_and_protobuf_are_read_alike(metrics):
    request = request_of(*metrics, resource=TARGET, scope="lib")
    packed = decode_protobuf(request.SerializeToString())
    assert decode_json(json.dumps(MessageToDict(request)).encode()) == packed


WHOLE = request_of(
    gauge(), sum_of(), histogram(exemplars=[{"as_int": 1, "span_id": b"\x01" * 8}]),
    Metric(name="e", exponential_histogram={"data_points": [
        {"positive": {"offset": 3, "bucket_counts": [1, 2]}, "count": 3}],
        "aggregation_temporality": 2}),
    resource=TARGET, scope="lib",
).SerializeToString()  # fmt: skip


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_requests_are_refused_or_translated(data):
    body = bytearray(WHOLE[: data.draw(st.integers(0, len(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if body:
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        found = translate(decode_protobuf(bytes(body)), OtlpSettings())
        assert len(found.values) == len(found.points) == found.pushed().times_ms.size


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["resourceMetrics", "scopeMetrics", "metrics", "name", "gauge", "sum", "dataPoints",
         "attributes", "key", "value", "arrayValue", "values", "timeUnixNano", "asInt"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON_VALUES)
@settings(max_examples=100, deadline=None)
def test_any_json_is_refused_or_translated(value):
    with suppress(WireError):
        found = translate(decode_json(json.dumps(value).encode()), OtlpSettings())
        assert found.point_count >= found.dropped
