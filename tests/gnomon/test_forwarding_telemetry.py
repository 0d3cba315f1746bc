from gnomon.forwarding.stats import QueueCounts
from gnomon.forwarding_telemetry import write_forwarding
from gnomon.metrics_text import MetricsText


def test_without_queues_there_are_no_metrics():
    out = MetricsText()
    write_forwarding(out, [], None)
    assert out.text().strip() == b""


def test_queues_are_told_apart_by_name_and_url():
    counts = [QueueCounts("a", "http://a"), QueueCounts("b", "http://b")]
    counts[0].kinds["samples"].sent = 5
    counts[1].kinds["samples"].drop("left_log", 7)
    counts[1].kinds["samples"].drop("left_log", 0)
    counts[1].took(0.02)
    counts[0].highest_sent_ms = 1500
    out = MetricsText()
    write_forwarding(out, counts, None)
    lines = out.text().decode().splitlines()
    prefix = "prometheus_remote_storage_"
    a, b = '{remote_name="a",url="http://a"', '{remote_name="b",url="http://b"'
    for line in (
        f"{prefix}samples_total{a}}} 5",
        f'{prefix}samples_dropped_total{b},reason="left_log"}} 7',
        f"{prefix}queue_highest_sent_timestamp_seconds{a}}} 1.5",
        f'{prefix}sent_batch_duration_seconds_bucket{b},le="0.025"}} 1',
        f"{prefix}sent_batch_duration_seconds_count{b}}} 1",
        f"{prefix}metadata_failed_total{a}}} 0",
        'prometheus_wal_watcher_current_segment{consumer="a"} -1',
    ):
        assert line in lines
