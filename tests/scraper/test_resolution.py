import pytest

from scraper.protobuf import parse_protobuf
from scraper.resolution import BucketLimitError, limit_buckets, schema_of_factor
from tests.scraper.ingesting import Target
from tests.scraper.messages import family, message, packed, spans, zigzag
from tests.scraper.test_protobuf import HISTOGRAM, PB


def body(*rows, schema=2):
    """Histograms with so many buckets of one observation each, from index 1 on."""
    return b"".join(
        family(
            f"h{n}",
            HISTOGRAM,
            message(
                (
                    7,
                    message(
                        (1, 2 * count),
                        (5, zigzag(schema)),
                        *spans(9, (1, count)),
                        packed(10, 1, *[0] * (count - 1)),
                        *spans(12, (1, count)),
                        packed(13, 1, *[0] * (count - 1)),
                    ),
                )
            ),
        )
        for n, count in enumerate(rows)
    )


def stored(appender):
    return [
        (int(one.schema[0]), one.positive_index.tolist(), one.positive_count.tolist())
        for samples in appender.histograms.values()
        for one in samples.values()
    ]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        pytest.param(
            {"native_histogram_bucket_limit": 6},
            [(1, [1, 2, 3], [2, 2, 1]), (2, [1, 2], [1, 1])],
            id="only the one with too many is halved",
        ),
        pytest.param(
            {"native_histogram_min_bucket_factor": 2.0},
            [(0, [1, 2], [4, 1]), (0, [1], [2])],
            id="none is finer than the factor",
        ),
    ],
)
def test_histograms_are_made_coarser(job, expected, appender):
    target = Target(appender, scrape_native_histograms=True, **job)
    assert target.scrape(body(5, 2), PB).error == ""
    assert stored(appender) == expected


def test_a_histogram_that_cannot_be_made_coarse_enough_fails_the_scrape(appender):
    target = Target(appender, scrape_native_histograms=True, native_histogram_bucket_limit=1)
    assert target.scrape(body(5), PB).error == "histogram bucket limit exceeded"
    assert appender.histograms == {}
    assert issubclass(BucketLimitError, ValueError)


@pytest.mark.parametrize(
    ("factor", "schema"),
    [(0.0, 8), (1.0, 8), (1.0001, 8), (1.1, 2), (2.0, 0), (65536.0, -4), (1e30, -4)],
)
def test_the_finest_schema_of_a_factor(factor, schema):
    assert schema_of_factor(factor) == schema


def test_nothing_changes_without_need():
    found = parse_protobuf(body(3)).histograms
    assert limit_buckets(found, buckets_max=6, schema_max=8) is found
