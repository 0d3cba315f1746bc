"""What receivers and remote reads count comes out as metrics, where they are switched on."""

import pytest

from api.receivers.import_receiver import ImportStats
from api.receivers.otlp import OtlpStats
from api.receivers.remote_write import WriteStats
from gnomon.metrics_text import MetricsText
from gnomon.receiver_telemetry import Receivers, write_receivers
from gnomon.remote_read.reader import RemoteReadStats


def lines(**stats):
    out = MetricsText()
    write_receivers(out, Receivers(**{"writes": None, "otlp": None, "imports": None} | stats))
    return [line for line in out.text().decode().splitlines() if line and line[0] != "#"]


@pytest.mark.parametrize(
    ("stats", "line"),
    [
        pytest.param(
            {"writes": WriteStats(samples=7), "sent_away": 0},
            "gnomon_remote_write_samples_total 7",
            id="remote write",
        ),
        pytest.param(
            {"otlp": OtlpStats(refused_points=3), "sent_away": 0},
            "gnomon_otlp_refused_points_total 3",
            id="OTLP",
        ),
        pytest.param(
            {"imports": {"influx": ImportStats(bad_lines=2)}, "sent_away": 0},
            'gnomon_import_bad_lines_total{format="influx"} 2',
            id="other formats",
        ),
        pytest.param(
            {"imports": {}, "sent_away": 4}, "gnomon_pushes_sent_away_total 4", id="sent away"
        ),
        pytest.param(
            {"remote_reads": {"far": RemoteReadStats(5, 1, 9)}, "sent_away": 0},
            'gnomon_remote_read_failed_queries_total{remote="far"} 1',
            id="remote reads",
        ),
    ],
)
def test_what_is_counted_is_told(stats, line):
    assert line in lines(**stats)


def test_what_is_not_switched_on_is_not_told():
    assert lines(sent_away=0) == []
