from discovery.kubernetes.discovery import KubernetesStats
from discovery.kubernetes.watches import WatchStats
from gnomon.discovery_telemetry import write_kubernetes
from gnomon.metrics_text import MetricsText


def watch(path, **changes):
    values = {"objects": 3, "listed": True, "heard_s": 12.5, "last_error": "", **changes}
    return WatchStats(server="https://k", path=path, selectors="", **values)


def written(*parts):
    out = MetricsText()
    write_kubernetes(out, parts)
    return [line for line in out.text().decode().splitlines() if not line.startswith("#")]


def test_where_kubernetes_is_not_used_its_metrics_are_zero():
    lines = written()
    assert 'prometheus_sd_failed_configs{name="scrape"} 0' in lines
    assert 'prometheus_sd_kubernetes_events_total{event="add",role="endpointslice"} 0' in lines
    assert "prometheus_sd_kubernetes_failures_total 0" in lines
    assert all(line.endswith(" 0") for line in lines)


def test_a_shared_watch_and_its_failures_are_told_once():
    shared = watch("/api/v1/pods", last_error="HTTP 403: no")
    one = KubernetesStats("pod", {("add", "pod"): 2}, 7, (shared,), "")
    two = KubernetesStats("pod", {("add", "pod"): 3}, 7, (shared, watch("/api/v1/nodes")), "")
    none = KubernetesStats("node", {}, 0, (), "no cluster here")
    lines = written(one, two, none)
    assert lines[0] == 'prometheus_sd_failed_configs{name="scrape"} 1'
    assert 'prometheus_sd_kubernetes_events_total{event="add",role="pod"} 5' in lines
    assert 'prometheus_sd_kubernetes_events_total{event="delete",role="node"} 0' in lines
    assert "prometheus_sd_kubernetes_failures_total 7" in lines
    labels = '{server="https://k",path="%s",selectors=""}'
    assert [line for line in lines if line.startswith("gnomon_")] == [
        f"gnomon_sd_kubernetes_watch_{name}{labels % path} {value}"
        for name, values in (
            ("objects", (3, 3)),
            ("failing", (1, 0)),
            ("heard_timestamp_seconds", (12.5, 12.5)),
        )
        for path, value in zip(("/api/v1/pods", "/api/v1/nodes"), values, strict=True)
    ]
