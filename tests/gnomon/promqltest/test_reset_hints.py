import pytest

from gnomon.promqltest.histograms import rows_of
from gnomon.promqltest.reset_hints import with_read_hints
from gnomon.promqltest.values import HistogramPoint, points


def hints(text):
    found = points(text)
    places = {n: p for n, p in enumerate(found) if isinstance(p, HistogramPoint)}
    rows = dict(zip(places, rows_of(list(places.values())), strict=True))
    return [row.hint.name.lower() for row in with_read_hints(rows, tuple(found)).values()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{{count:1}}", "unknown", id="nothing is known of the first"),
        pytest.param("{{count:1}} {{count:2}}", "unknown not_reset", id="it rises"),
        pytest.param("{{count:1}} _ {{count:1}}", "unknown not_reset", id="after a gap, no less"),
        pytest.param("{{count:2}} {{count:1}}", "unknown unknown", id="a fall says nothing"),
        pytest.param(
            "{{count:2}} {{count:1 counter_reset_hint:reset}}", "unknown reset", id="unless told"
        ),
        pytest.param("{{count:1}} 5 {{count:2}}", "unknown unknown", id="after a float"),
        pytest.param("{{count:1}} stale {{count:2}}", "unknown unknown", id="after a stale marker"),
        pytest.param(
            "{{counter_reset_hint:gauge}} {{count:1}}", "gauge unknown", id="after a gauge"
        ),
        pytest.param("{{schema:1}} {{schema:0}}", "unknown unknown", id="another resolution"),
        pytest.param("{{z_bucket_w:1}} {{}}", "unknown unknown", id="another zero bucket"),
        pytest.param(
            "{{schema:-53 custom_values:[1]}} {{schema:-53 custom_values:[2]}}",
            "unknown unknown",
            id="other bounds",
        ),
        pytest.param(
            "{{count:2 buckets:[2]}} {{count:3 buckets:[1 2]}}", "unknown unknown", id="one bucket"
        ),
        pytest.param(
            "{{count:2 n_buckets:[2]}} {{count:3}}", "unknown unknown", id="a bucket vanished"
        ),
        pytest.param(
            "{{count:2 buckets:[2]}} {{count:3 buckets:[1] offset:1}}",
            "unknown unknown",
            id="a bucket moved",
        ),
        pytest.param(
            "{{count:2 buckets:[2]}} {{count:3 buckets:[2 1]}}", "unknown not_reset", id="one more"
        ),
    ],
)
def test_hints(text, expected):
    assert hints(text) == expected.split()
