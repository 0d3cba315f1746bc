"""Start timestamps of scrapes: protobuf's fields, OpenMetrics' `_created` lines."""

import numpy as np
import pytest

from scraper.protobuf import parse_protobuf
from scraper.tokens import ParseError
from tests.scraper.ingesting import Target
from tests.scraper.messages import family, label, message, packed, spans, zigzag
from tests.scraper.test_protobuf import COUNTER, GAUGE, GAUGE_HISTOGRAM, HISTOGRAM, PB, SUMMARY

OM = "application/openmetrics-text; version=1.0.0"
CREATED = (15, message((1, 20), (2, 300_000_000)))


def timestamp(seconds, nanos=0):
    return message((1, seconds), (2, nanos))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            family("a_total", COUNTER, message((3, message((1, 2.0), (3, timestamp(10)))))),
            [10_000],
            id="a counter",
        ),
        pytest.param(
            family(
                "a_total",
                COUNTER,
                message(label("n", "1"), (3, message((1, 2.0), (3, timestamp(10, 999_999_999))))),
                message(label("n", "2"), (3, message((1, 2.0)))),
            ),
            [10_999, 0],
            id="of each series its own, milliseconds cut",
        ),
        pytest.param(
            family("s", SUMMARY, message((4, message((1, 3), (2, 6.0), (4, timestamp(7)))))),
            [7000, 7000],
            id="count and sum of a summary",
        ),
        pytest.param(
            family("h", HISTOGRAM, message((7, message((1, 3), (2, 6.0), CREATED)))),
            [20_300] * 3,
            id="all of a classic histogram",
        ),
        pytest.param(
            family("h", GAUGE_HISTOGRAM, message((7, message((1, 3), (2, 6.0), CREATED)))),
            [20_300] * 3,
            id="a gauge histogram",
        ),
        pytest.param(
            family("g", GAUGE, message((2, message((1, 2.0), (3, timestamp(10)))))),
            None,
            id="a gauge has none",
        ),
    ],
)
def test_starts_of_messages(body, expected):
    found = parse_protobuf(body).start_times_ms()
    assert (None if found is None else found.tolist()) == expected


def test_a_damaged_timestamp_is_refused():
    body = family("a_total", COUNTER, message((3, message((1, 2.0), (3, b"\x08")))))
    with pytest.raises(ParseError, match="start timestamp is damaged"):
        parse_protobuf(body).start_times_ms()


def starts(target, name, **labels):
    """Return time and start of each sample of one series that has one."""
    wanted = {"__name__": name, **labels}
    (ref,) = (
        ref
        for ref, found in enumerate(target.appender.labels)
        if {k: v for k, v in found.items() if k not in ("job", "instance")} == wanted
    )
    return {time: start for (of, time), start in target.appender.starts.items() if of == ref}


def test_protobuf_scrapes_pass_them_on(appender):
    target = Target(appender, start_times=True, scrape_native_histograms=True)
    native = (
        (1, 2), (2, 6.0), (5, zigzag(3)), (6, 0.001), (7, 0), *spans(12, (0, 1)), packed(13, 2),
    )  # fmt: skip
    body = (
        family("g", GAUGE, message((2, message((1, 1.0)))))
        + family("a_total", COUNTER, message((3, message((1, 2.0), (3, timestamp(10))))))
        + family("h", HISTOGRAM, message((7, message(*native, CREATED))))
    )
    target.scrape(body, PB)
    target.scrape(body, PB)
    assert starts(target, "a_total") == {1000: 10_000, 2000: 10_000}
    assert starts(target, "h") == {1000: 20_300, 2000: 20_300}
    assert starts(target, "g") == {}


BODY = """# TYPE c counter
c_total{n="1"} 5
c_created{n="1"} 10.5
c_total{n="2"} 6
# TYPE g gauge
g 1
g_created 77
# TYPE h histogram
h_bucket{le="1.0"} 1
h_bucket{le="+Inf"} 2
h_count 2
h_sum 3.0
h_created 20
# TYPE s summary
s_created{a="b"} 30
s{a="b",quantile="0.5"} 1
s_count{a="b"} 2
s_sum{a="b"} 3
# EOF
"""


@pytest.fixture
def target(appender):
    return Target(appender, start_times=True)


def test_created_lines_speak_of_their_family(target):
    outcome = target.scrape(BODY, OM)
    assert outcome.error == ""
    assert starts(target, "c_total", n="1") == {1000: 10_500}
    assert starts(target, "c_total", n="2") == {}
    assert starts(target, "h_bucket", le="1.0") == {1000: 20_000}
    assert starts(target, "h_bucket", le="+Inf") == {1000: 20_000}
    assert starts(target, "h_count") == starts(target, "h_sum") == {1000: 20_000}
    assert starts(target, "s", a="b", quantile="0.5") == {1000: 30_000}
    assert starts(target, "s_count", a="b") == {1000: 30_000}
    assert starts(target, "g") == {}


def test_created_lines_are_no_series_of_their_own(target):
    outcome = target.scrape(BODY, OM)
    names = {labels["__name__"] for labels in target.appender.labels}
    assert not names & {"c_created", "h_created", "s_created"}
    assert "g_created" in names
    assert outcome.scraped == outcome.post_relabelling == 11


def test_created_lines_are_series_where_start_timestamps_are_not_wanted(appender):
    target = Target(appender)
    assert target.scrape(BODY, OM).scraped == 14
    assert "c_created" in {labels["__name__"] for labels in appender.labels}
    assert not appender.starts


def test_a_reset_is_told_by_the_next_scrape(target):
    target.scrape(BODY, OM)
    target.scrape(BODY.replace("10.5", "11"), OM)
    assert starts(target, "c_total", n="1") == {1000: 10_500, 2000: 11_000}


def test_the_text_format_has_none(target):
    target.scrape("# TYPE c counter\nc_total 5\nc_created 10\n", "text/plain")
    assert "c_created" in {labels["__name__"] for labels in target.appender.labels}
    assert not target.appender.starts


def test_series_that_come_go_and_move_keep_their_starts(target):
    def body(numbers):
        lines = [f'c_total{{n="{n}"}} 1\nc_created{{n="{n}"}} {n + 1}' for n in numbers]
        return "\n".join(["# TYPE c counter", *lines, "# EOF"]) + "\n"

    random = np.random.default_rng(7)
    for scrape in range(1, 30):
        numbers = random.permutation(40)[: random.integers(1, 40)]
        assert target.scrape(body(numbers), OM).error == ""
        for n in numbers.tolist():
            assert starts(target, "c_total", n=str(n))[1000 * scrape] == 1000 * (n + 1)
