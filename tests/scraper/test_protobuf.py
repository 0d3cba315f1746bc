import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scraper.protobuf import parse_protobuf
from scraper.tokens import ParseError
from tests.conftest import corpora_root
from tests.scraper.conftest import FakeAppender
from tests.scraper.ingesting import REPORT, Target
from tests.scraper.messages import (
    exemplar,
    family,
    label,
    message,
    packed,
    spans,
    varint,
    zigzag,
)
from tsdb.interface import ResetHint
from tsdb.staleness import is_stale

PB = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
CORPUS = corpora_root() / "exposition" / "captured"

CLASSIC = (
    (1, 7),
    (2, 1.5),
    (3, message((1, 2), (2, 0.5), (3, exemplar(0.25, 10, trace="a")))),
    (3, message((1, 5), (2, 1.0))),
)
NATIVE = (
    (5, zigzag(3)),
    (6, 0.001),
    (7, 1),
    *spans(9, (0, 1)),
    packed(10, 2),
    *spans(12, (-2, 2), (3, 1)),
    packed(13, 1, 1, -1),
)


def rows(body, **options):
    """Series text and value of each sample, as many as there are."""
    found = parse_protobuf(body, **options)
    return [
        (found.series_text(n).decode(), float(found.values[n])) for n in range(found.sample_count)
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", [], id="an empty body"),
        pytest.param(family("a", GAUGE), [], id="a family without metrics"),
        pytest.param(
            family("a_total", COUNTER, message(label("x", "y"), (3, message((1, 2.0))))),
            [('a_total{x="y"}', 2.0)],
            id="a counter",
        ),
        pytest.param(
            family("a", UNTYPED, message((5, message((1, -1.0))))), [("a", -1.0)], id="untyped"
        ),
        pytest.param(
            family("a", GAUGE, message((2, b"")), message((9, 4), label("x", 'q"\\\n'))),
            [("a", 0.0), ('a{x="q\\"\\\\\\n"}', 0.0)],
            id="absent values, unknown fields and escapes",
        ),
        pytest.param(
            family("a.b", GAUGE, message(label("c d", "e"))),
            [('{"a.b","c d"="e"}', 0.0)],
            id="names that need quotes",
        ),
        pytest.param(
            family(
                "s",
                SUMMARY,
                message((4, message((1, 3), (2, 6.0), (3, message((1, 1.0), (2, 9.0)))))),
            ),
            [("s_count", 3.0), ("s_sum", 6.0), ('s{quantile="1.0"}', 9.0)],
            id="a summary",
        ),
        pytest.param(
            family("h", HISTOGRAM, message(label("x", "y"), (7, message(*CLASSIC)))),
            [
                ('h_count{x="y"}', 7.0),
                ('h_sum{x="y"}', 1.5),
                ('h_bucket{x="y",le="0.5"}', 2.0),
                ('h_bucket{x="y",le="1.0"}', 5.0),
                ('h_bucket{x="y",le="+Inf"}', 7.0),
            ],
            id="a classic histogram that lacks its last bucket",
        ),
        pytest.param(
            family(
                "h",
                GAUGE_HISTOGRAM,
                message((7, message((4, 2.5), (3, message((4, 1.5), (2, float("inf"))))))),
            ),
            [("h_count", 2.5), ("h_sum", 0.0), ('h_bucket{le="+Inf"}', 1.5)],
            id="counts that are floats",
        ),
    ],
)
def test_series_and_values(body, expected):
    assert rows(body) == expected


def test_a_native_histogram_is_read():
    body = family("h", HISTOGRAM, message((7, message((1, 7), (2, 1.5), *NATIVE))))
    found = parse_protobuf(body)
    one = found.histograms
    assert [found.series_text(n) for n in range(found.sample_count)] == [b"h"]
    assert (one.schema[0], one.count[0], one.sum[0]) == (3, 7, 1.5)
    assert (one.zero_threshold[0], one.zero_count[0], one.is_float[0]) == (0.001, 1, False)
    assert one.positive_index.tolist() == [-2, -1, 3]
    assert one.positive_count.tolist() == [1, 2, 1]
    assert one.negative_index.tolist() == [0]
    assert one.negative_count.tolist() == [2]


@pytest.mark.parametrize(("schema", "index"), [(9, [1, 3]), (10, [1, 2]), (52, [1])])
def test_a_schema_that_is_finer_than_ours_is_made_coarser(schema, index):
    body = one_native((1, 3), (5, zigzag(schema)), *spans(12, (1, 2), (2, 1)), packed(13, 1, 0, 0))
    found = parse_protobuf(body).histograms
    assert found.schema.tolist() == [8]
    assert found.positive_index.tolist() == index
    assert found.positive_count.sum() == 3


def test_unpacked_fields_and_floats_are_read_and_gauges_say_so():
    sides = (*spans(12, (1, 2)), (14, 1.5), (14, 2.0), (4, 3.5))
    one = parse_protobuf(family("h", GAUGE_HISTOGRAM, message((7, message(*sides))))).histograms
    assert one.positive_index.tolist() == [1, 2]
    assert one.positive_count.tolist() == [1.5, 2.0]
    assert (one.is_float[0], one.hint[0], one.count[0]) == (True, ResetHint.GAUGE, 3.5)
    deltas = (*spans(12, (0, 2)), (13, zigzag(2)), (13, zigzag(-1)), (1, 3))
    one = parse_protobuf(family("h", HISTOGRAM, message((7, message(*deltas))))).histograms
    assert one.positive_count.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param({}, 1, id="native only"),
        pytest.param({"classic": True}, 6, id="both"),
        pytest.param({"native": False}, 5, id="classic only"),
    ],
)
def test_which_forms_of_a_histogram_are_kept(options, count):
    body = family("h", HISTOGRAM, message((7, message(*CLASSIC, *NATIVE))))
    assert parse_protobuf(body, **options).sample_count == count


def one_native(*fields):
    return family("h", HISTOGRAM, message((7, message(*fields))))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(b"\x05ab", "illegal data", id="cut"),
        pytest.param(b"\xff" * 11, "illegal data", id="a length without end"),
        pytest.param(family("a", 9, message()), "illegal data", id="an unknown type"),
        pytest.param(family("", GAUGE, message()), "invalid metric name", id="no name"),
        pytest.param(
            family("a", GAUGE, message(), unit="s"), "unit .* not a suffix", id="a unit elsewhere"
        ),
        pytest.param(
            family("a", GAUGE, message(label("x", b"\xff"))), "invalid UTF-8", id="no UTF-8"
        ),
        pytest.param(
            family("a", GAUGE, message((2, message((1, 5))))), "illegal data", id="a wrong type"
        ),
        pytest.param(one_native(*spans(12, (0, 2)), packed(13, 1)), "different number", id="few"),
        pytest.param(one_native(*spans(12, (0, 1 << 40))), "different number", id="a huge span"),
        pytest.param(
            one_native(*spans(12, (0, 1), (-1, 1)), packed(13, 1, 1)), "offset", id="overlap"
        ),
        pytest.param(one_native(*spans(12, (0, 1)), packed(13, -1)), "negative", id="below zero"),
        pytest.param(one_native(*spans(12, (0, 1)), packed(13, 1)), "observations", id="the count"),
        pytest.param(
            one_native((5, zigzag(53)), (7, 1), (1, 1)), "schema", id="a schema of no meaning"
        ),
    ],
)
def test_bodies_that_are_refused(body, error):
    with pytest.raises(ParseError, match=error):
        rows(body)


def test_exemplars_and_timestamps_are_stored(appender):
    target = Target(appender)
    given_time = message((6, 400), (3, message((1, 1.0), (2, exemplar(0.5, trace="t")))))
    body = family("a_total", COUNTER, given_time) + family(
        "h", HISTOGRAM, message((7, message(*CLASSIC)))
    )
    for _ in range(2):
        assert target.scrape(body, PB).error == ""
    assert target.of("a_total") == [(400, 1.0)]
    base = {"job": "j", "instance": "i"}
    assert appender.exemplars == [
        ({"__name__": "a_total", **base}, {"trace": "t"}, 0.5, 400),
        ({"__name__": "h_bucket", "le": "0.5", **base}, {"trace": "a"}, 0.25, 10_500),
    ]


def test_a_native_histogram_has_exemplars_only_with_a_time(appender):
    target = Target(appender, scrape_native_histograms=True)
    own = (
        (16, exemplar(1.0, x="no")),
        (16, exemplar(2.0, 20, x="b")),
        (16, exemplar(3.0, 9, x="a")),
    )
    body = family("h", HISTOGRAM, message((7, message((1, 7), *NATIVE, *own))))
    assert target.scrape(body, PB).error == ""
    assert [(e[1]["x"], e[3]) for e in appender.exemplars] == [("a", 9500), ("b", 20500)]


def of_native(appender):
    return {
        appender.labels[ref]["__name__"]: [
            (time, "stale" if is_stale(one.sum)[0] else float(one.count[0]))
            for time, one in sorted(samples.items())
        ]
        for ref, samples in appender.histograms.items()
    }


@pytest.mark.parametrize("how", ["gone", "failed", "ended"])
def test_native_histograms_that_end_get_markers_of_their_kind(how, appender):
    target = Target(appender, scrape_native_histograms=True)
    rest = family("a", GAUGE, message((2, message((1, 1.0)))))
    body = rest + family("h", HISTOGRAM, message((7, message((1, 7), *NATIVE))))
    target.scrape(body, PB)
    target.scrape(body, PB)
    if how == "ended":
        target.ingest.end(3000)
    else:
        target.scrape(rest if how == "gone" else ParseError("down"), PB)
    assert of_native(appender) == {"h": [(1000, 7.0), (2000, 7.0), (3000, "stale")]}
    assert target.of("h") == []
    ends = {"gone": (3000, 1.0), "failed": (3000, "stale"), "ended": (3000, "stale")}
    assert target.of("a")[-1] == ends[how]


def test_metadata_of_families(appender):
    target = Target(appender)
    target.scrape(family("a_s", GAUGE, message(), help_text="Help\n", unit="s"), PB)
    (found,) = target.ingest.metadata.families.values()
    assert (found.family, found.type, found.help, found.unit) == ("a_s", "gauge", "Help\n", "s")


def test_series_are_found_again_without_their_text(appender):
    if not CORPUS.is_dir():
        pytest.skip("no corpora")
    body = (CORPUS / "prometheus-3.5.3.pb.bin").read_bytes()
    target = Target(appender, scrape_native_histograms=True)
    first = target.scrape(body, PB)
    resolved = appender.resolved
    second = target.scrape(body, PB)
    assert appender.resolved == resolved
    assert (second.scraped, second.series_added) == (first.scraped, 0)
    np.testing.assert_array_equal(target.ingest.cache.seen, 2)


@settings(max_examples=80, deadline=None)
@example(change=[], size=1.0)
@given(
    change=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 255)), max_size=3),
    size=st.floats(0, 1),
)
def test_a_damaged_body_is_stored_whole_or_not_at_all(change, size):
    body = family("a_total", COUNTER, message((3, message((1, 1.0), (2, exemplar(1.0, 1, x="y"))))))
    body += family("h", HISTOGRAM, message(label("x", "y"), (7, message(*CLASSIC, *NATIVE))))
    damaged = bytearray(body)
    for where, byte in change:
        damaged[int(where * len(damaged))] = byte
    damaged = damaged[: round(size * len(damaged))]
    appender = FakeAppender()
    target = Target(appender, scrape_native_histograms=True, always_scrape_classic_histograms=True)
    outcome = target.scrape(bytes(damaged), PB)
    stored = [labels for labels in appender.series() if dict(labels)["__name__"] not in REPORT]
    if outcome.error:
        assert (stored, appender.histograms, appender.exemplars) == ([], {}, [])
    else:
        assert (
            len(stored) + len(appender.histograms) == outcome.post_relabelling - outcome.duplicates
        )


@given(st.binary(max_size=40))
@settings(max_examples=80, deadline=None)
def test_no_bytes_crash_the_reader(data):
    for body in (data, varint(len(data)) + data):
        try:
            found = rows(body)
        except ParseError:
            continue
        # A sample takes a family's name, which takes a byte at least.
        assert len(found) <= len(body)
        assert all(text for text, _ in found)


@pytest.mark.parametrize("metrics", [1, 60, 64, 65, 200, 1000])
@pytest.mark.parametrize("options", [{}, {"classic": True}, {"native": False}])
def test_a_body_of_any_size_has_room(metrics, options):
    several = [message((1, 1), (2, float(n)), (3, exemplar(0.25, 10, t="1"))) for n in range(9)]
    body = b"".join(
        family(f"c{n}", COUNTER, message((3, message((1, 1.0), (2, exemplar(1.0, 10, t="2"))))))
        + family(f"g{n}", GAUGE, message((2, message((1, 2.0)))))
        for n in range(metrics)
    )
    body += family(
        "h", HISTOGRAM, *[message((7, message(*CLASSIC, *((3, b) for b in several), *NATIVE)))] * 50
    )
    found = parse_protobuf(body, **options)
    forms = {"native": 1, "classic": 14, "both": 15}
    kind = (
        "both" if options.get("classic") else "native" if options.get("native", True) else "classic"
    )
    assert found.sample_count == 2 * metrics + 50 * forms[kind]
    assert found.values[: 2 * metrics].tolist() == [1.0, 2.0] * metrics
    per_histogram = {"native": 10, "classic": 10, "both": 20}
    assert found.exemplar_sample.size == metrics + 50 * per_histogram[kind]
    assert found.families.shape[1] == 2 * metrics + 1


NAMES = st.sampled_from(["a", "b_1", "le", "A:b", "x.y", "\u00e9", "9a", "__x"])
VALUES = st.text(st.sampled_from('ab1 ,={}"\\\n\u00e9'), max_size=6)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["m", "m:x", "m.x", "\u00e9", "_9"]),
            st.dictionaries(NAMES, VALUES, max_size=3),
            st.sampled_from([COUNTER, GAUGE, SUMMARY, HISTOGRAM]),
        ),
        max_size=8,
    )
)
def test_texts_of_new_series_are_those_that_are_written_one_by_one(series):
    held = {
        COUNTER: (3, message((1, 1.0))),
        GAUGE: (2, message((1, 1.0))),
        SUMMARY: (4, message((1, 2), (2, 1.0), (3, message((1, 0.5), (2, 1.0))))),
        HISTOGRAM: (7, message(*CLASSIC)),
    }
    body = b"".join(
        family(name, kind, message(*(label(n, v) for n, v in labels.items()), held[kind]))
        for name, labels, kind in series
    )
    found = parse_protobuf(body)
    texts = [
        found.data[found.spans[0, n] : found.spans[1, n]].tobytes()
        for n in range(found.sample_count)
    ]
    assert texts == [found.series_text(n) for n in range(found.sample_count)]
