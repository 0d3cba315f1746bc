import pytest

from gnomon.promqltest.histograms import histograms_equal, rows_of, show, wanted_points
from gnomon.promqltest.values import NotationError, points


@pytest.mark.parametrize(
    ("text", "counts", "buckets"),
    [
        pytest.param("{{count:1}}", [1], [{}], id="one"),
        pytest.param("{{count:1 buckets:[1 0 2] offset:-1}}", [1], [{-1: 1, 0: 0, 1: 2}], id="all"),
        pytest.param("{{count:1}}x2", [1, 1, 1], [{}] * 3, id="repeated"),
        pytest.param(
            "{{count:1 buckets:[1]}}+{{count:2 buckets:[0 2]}}x2",
            [1, 3, 5],
            [{0: 1}, {0: 1, 1: 2}, {0: 1, 1: 4}],
            id="added up",
        ),
        pytest.param(
            "{{count:5 buckets:[5]}}-{{count:2 buckets:[2]}}x1", [5, 3], [{0: 5}, {0: 3}], id="less"
        ),
        pytest.param(
            "{{count:1 buckets:[1 1]}}+{{schema:1 count:2 buckets:[1 0 1]}}x1",
            [1, 3],
            [{0: 1, 1: 1}, {0: 2, 1: 2}],
            id="a finer step takes the resolution of what it is added to",
        ),
    ],
)
def test_rows(text, counts, buckets):
    rows = rows_of(points(text))
    assert [row.count for row in rows] == counts
    assert [dict(row.positive) for row in rows] == buckets


def test_a_coarser_step_is_refused():
    with pytest.raises(NotationError, match="finer schema"):
        rows_of(points("{{schema:1}}+{{schema:0 count:1 buckets:[1]}}x1"))


@pytest.mark.parametrize(
    ("wanted", "found", "equal"),
    [
        pytest.param("{{count:1}}", "{{count:1}}", True, id="the same"),
        pytest.param("{{count:1}}", "{{count:1.0000001}}", True, id="close"),
        pytest.param("{{count:1}}", "{{count:1.1}}", False, id="another count"),
        pytest.param("{{sum:1}}", "{{sum:2}}", False, id="another sum"),
        pytest.param("{{schema:1}}", "{{schema:2}}", False, id="another schema"),
        pytest.param("{{z_bucket:1}}", "{{z_bucket:2}}", False, id="another zero bucket"),
        pytest.param("{{z_bucket_w:1}}", "{{z_bucket_w:2}}", False, id="another zero threshold"),
        pytest.param("{{buckets:[1 0]}}", "{{buckets:[1]}}", True, id="an empty bucket is none"),
        pytest.param("{{buckets:[1]}}", "{{buckets:[2]}}", False, id="another bucket count"),
        pytest.param("{{buckets:[1]}}", "{{buckets:[1] offset:1}}", False, id="another place"),
        pytest.param("{{n_buckets:[1]}}", "{{buckets:[1]}}", False, id="the other side"),
        pytest.param("{{buckets:[1 1]}}", "{{buckets:[1]}}", False, id="one bucket less"),
        pytest.param(
            "{{schema:-53 custom_values:[1]}}",
            "{{schema:-53 custom_values:[2]}}",
            False,
            id="bounds",
        ),
        pytest.param("{{}}", "{{counter_reset_hint:gauge}}", True, id="a hint that none asked for"),
        pytest.param(
            "{{counter_reset_hint:unknown}}", "{{counter_reset_hint:gauge}}", False, id="hint"
        ),
        pytest.param("{{sum:NaN}}", "{{sum:NaN}}", True, id="NaN"),
    ],
)
def test_equality(wanted, found, equal):
    (expected,) = wanted_points(points(wanted))
    assert histograms_equal(expected, rows_of(points(found))[0]) is equal


def test_points_of_both_kinds_keep_their_places():
    found = wanted_points(points("1 _ {{count:2}} stale {{count:3}}"))
    assert found[0] == 1.0
    assert found[1] is None
    assert [found[n].row.count for n in (2, 4)] == [2.0, 3.0]


def test_a_histogram_is_shown_in_the_notation():
    text = show(rows_of(points("{{schema:1 count:2 sum:3 buckets:[1 1] z_bucket:4}}"))[0])
    assert text.startswith("{{schema:1 count:2.0 sum:3.0 z_bucket:4.0")
    assert text.endswith("counter_reset_hint:unknown}}")
