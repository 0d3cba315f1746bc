"""The manifests fit the program: flags, rights, and what the example configuration scrapes."""

import pytest
import yaml

from discovery.kubernetes.objects import KINDS
from gnomon.config.load import load_text
from gnomon.flags import parse_flags
from scraper.relabel import compile_rules
from scraper.targets import TargetMaker
from tests.conftest import ROOT
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.test_roles import World, group

FOLDER = ROOT / "deploy" / "kubernetes"


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def kind(name, wanted):
    (found,) = [each for each in documents(name) if each["kind"] == wanted]
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    text = kind("config.yaml", "ConfigMap")["data"]["gnomon.yml"]
    return load_text(text, tmp_path_factory.mktemp("config"))


def jobs(config):
    return {job.job.job_name: job for job in config.jobs}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_manifest_is_in_the_readme_and_has_a_kind(path):
    name = path.relative_to(FOLDER).parts[0]
    assert f"`{name}" in (FOLDER / "README.md").read_text()
    assert all(
        document["apiVersion"] and document["kind"] and document["metadata"]["name"]
        for document in documents(path.relative_to(FOLDER))
    )


def granted(rules):
    return {
        (group, resource)
        for rule in rules
        if {"list", "watch"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def group_of(kind):
    """`/apis/apps/v1` is of the group `apps`, `/api/v1` of the nameless one."""
    return kind.group.split("/")[2] if kind.group.startswith("/apis/") else ""


def test_rights_are_those_on_all_that_discovery_watches():
    rights = granted(kind("rbac.yaml", "ClusterRole")["rules"])
    assert rights == {(group_of(each), each.resource) for each in KINDS.values()}
    rights = granted(kind("namespaced/rbac.yaml", "Role")["rules"])
    assert rights == {(group_of(k), k.resource) for k in KINDS.values() if k.namespaced}


def test_the_server_is_started_with_flags_that_it_has():
    spec = kind("statefulset.yaml", "StatefulSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    options = parse_flags(container["args"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(options.config_file.parent) in mounts
    assert str(options.data_path) in mounts
    account = kind("rbac.yaml", "ServiceAccount")["metadata"]["name"]
    assert spec["serviceAccountName"] == account


def urls(config, name, *pairs):
    """Return URL and labels of what a job scrapes; pairs are objects and their neighbours."""
    job = jobs(config)[name]
    (settings,) = job.kubernetes
    groups = [group(settings.role, item, world) for item, world in pairs]
    found = TargetMaker().targets(job.job, compile_rules(job.job.relabel_rules), groups)
    assert not found.failures
    return {target.url: dict(target.labels) for target in found.active}


def test_kubelets_and_cadvisor(config):
    pair = (cluster.node("n", labels={"zone": "z"}), World())
    (kubelet,) = urls(config, "kubelet", pair).items()
    assert kubelet[0] == "https://10.0.0.1:10250/metrics"
    assert kubelet[1]["node"] == "n"
    assert kubelet[1]["zone"] == "z"
    assert list(urls(config, "cadvisor", pair)) == ["https://10.0.0.1:10250/metrics/cadvisor"]


def slices(of, *addresses, ports=None, pod=None, **meta):
    item = cluster.endpointslice(
        f"{of}-x",
        of=of,
        endpoints=[
            {"addresses": [each], **({"targetRef": cluster.to_pod(pod)} if pod else {})}
            for each in addresses
        ],
        ports=[{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
    )
    return item, World(service=[cluster.service(of, **meta)], pod=[cluster.pod("p")])


def test_api_servers(config):
    found = urls(
        config,
        "apiserver",
        slices("kubernetes", "10.0.0.9", ports=[("https", 6443), ("other", 1)]),
        slices("other", "10.0.0.8", ports=[("https", 6443)]),
    )
    assert list(found) == ["https://10.0.0.9:6443/metrics"]
    assert jobs(config)["apiserver"].kubernetes[0].namespaces == ("default",)


def test_kube_state_metrics_and_node_exporter(config):
    found = urls(
        config,
        "kube-state-metrics",
        slices("ksm", "10.1.0.1", ports=[("http-metrics", 8080), ("telemetry", 8081)], pod="p"),
    )
    assert list(found) == ["http://10.1.0.1:8080/metrics"]
    assert jobs(config)["kube-state-metrics"].job.honor_labels
    containers = [
        cluster.container("node-exporter", (9100, "metrics")),
        cluster.container("kube-rbac-proxy", (9101, "https")),
    ]
    pair = (cluster.pod("e", containers=containers), World())
    (exporter,) = urls(config, "node-exporter", pair).items()
    assert exporter[0] == "http://10.1.0.1:9100/metrics"
    assert exporter[1]["instance"] == "node-a"


@pytest.mark.parametrize(
    ("annotations", "ip", "expected"),
    [
        pytest.param({}, "10.1.0.1", [], id="not asked for"),
        pytest.param(
            {"scrape": "true"},
            "10.1.0.1",
            ["http://10.1.0.1:8080/metrics", "http://10.1.0.1:9090/metrics"],
            id="each declared port",
        ),
        pytest.param(
            {"scrape": "true", "port": "7", "path": "/m", "scheme": "https"},
            "10.1.0.1",
            ["https://10.1.0.1:7/m"],
            id="port, path and scheme",
        ),
        pytest.param(
            {"scrape": "true", "port": "7"}, "fd00::1", ["http://[fd00::1]:7/metrics"], id="IPv6"
        ),
    ],
)
def test_annotated_pods(config, annotations, ip, expected):
    item = cluster.pod(
        "p",
        ip=ip,
        annotations={f"prometheus.io/{name}": value for name, value in annotations.items()},
        labels={"app": "a"},
        containers=[
            cluster.container("a", (8080, "http")),
            cluster.container("b", (9090, "other")),
        ],
        init=[cluster.container("i", (1, "x"))],
    )
    found = urls(config, "pods", (item, World()))
    assert list(found) == expected
    for labels in found.values():
        assert (labels["namespace"], labels["pod"], labels["app"]) == ("default", "p", "a")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, []),
        ({"scrape": "true"}, ["http://10.1.0.1:8080/metrics", "http://[fd00::1]:8080/metrics"]),
        (
            {"scrape": "true", "port": "7", "path": "/m"},
            ["http://10.1.0.1:7/m", "http://[fd00::1]:7/m"],
        ),
    ],
)
def test_annotated_services(config, annotations, expected):
    found = urls(
        config,
        "services",
        slices(
            "web",
            "10.1.0.1",
            "fd00::1",
            ports=[("http", 8080)],
            annotations={f"prometheus.io/{name}": value for name, value in annotations.items()},
        ),
    )
    assert list(found) == expected
    assert all(labels["service"] == "web" for labels in found.values())
