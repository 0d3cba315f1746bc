import pytest

from gnomon.promqltest.nhcb import converted
from gnomon.promqltest.script import parse
from gnomon.promqltest.values import NotationError


def lines(text):
    (load,) = parse("load_with_nhcb 1m\n" + text)
    return load.series


def test_buckets_become_counts_between_bounds():
    series = lines(
        '  h_bucket{a="x", le="0.1"} 1 2\n'
        '  h_bucket{a="x", le="1"} 3 3\n'
        '  h_bucket{a="x", le="+Inf"} 4 _\n'
        '  h_count{a="x"} 4 5\n'
        '  h_sum{a="x"} 2.5 _\n'
        "  other 1\n"
    )
    ((labels, places),) = converted(series)
    assert labels == {"__name__": "h", "a": "x"}
    first, second = places[0], places[1]
    assert (first.schema, first.count, first.sum, first.bounds) == (-53, 4.0, 2.5, (0.1, 1.0))
    assert first.positive == ((0, 1.0), (1, 2.0), (2, 1.0))
    # A missing last bucket gets the count; a missing sum is zero.
    assert (second.count, second.sum) == (5.0, 0.0)
    assert second.positive == ((0, 2.0), (1, 1.0), (2, 2.0))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param('  h_bucket{le="1"} 3\n', 3.0, id="without a count the last bucket is it"),
        pytest.param("  h_count 7\n  h_sum 1\n", 7.0, id="a count alone"),
        pytest.param("  h_sum 1\n", 0.0, id="a sum alone"),
    ],
)
def test_what_is_missing(text, count):
    ((_, places),) = converted(lines(text))
    assert places[0].count == count


def test_a_count_with_le_is_not_part_of_a_histogram():
    assert converted(lines('  h_count{le="1"} 1\n  h_bucket 1\n')) == []


def test_falling_counts_are_refused():
    with pytest.raises(NotationError, match="not cumulative"):
        converted(lines('  h_bucket{le="1"} 3\n  h_bucket{le="2"} 2\n'))
