"""Each role's targets, as tables: an object in its neighbourhood, and the labels it must have.

What is equal to Prometheus 3.5.3 is held by `test_oracle.py`; here are also the labels of later
releases, and what one look must tell.
"""

import pytest

from discovery.groups import TargetGroup
from discovery.kubernetes import endpoints, endpointslice, ingress, node, pod, service
from discovery.kubernetes.objects import KINDS, key, key_of
from discovery.kubernetes.settings import AttachMetadata
from tests.discovery.kubernetes import cluster

META = "__meta_kubernetes_"


class World:
    """Neighbours by kind; a kind that is not given is not watched."""

    def __init__(self, attach=None, **kinds):
        self.attach = attach or AttachMetadata()
        self._kinds = {
            kind: {key_of(item): KINDS[kind].trimmed(item) for item in items}
            for kind, items in kinds.items()
        }

    def watches(self, kind):
        return kind in self._kinds

    def find(self, kind, namespace, name):
        return self._kinds.get(kind, {}).get(key(namespace, name))


ROLES = {
    "node": node.group,
    "service": service.group,
    "pod": pod.group,
    "endpoints": endpoints.group,
    "endpointslice": endpointslice.group,
    "ingress": ingress.group,
}


def group(role, item, world=None):
    """Return a group, made of what a store would keep of the object."""
    return ROLES[role](KINDS[role].trimmed(item), world or World())


def targets(role, item, world=None):
    """Return the targets' labels with the group's, without the prefix and without empty ones."""
    found = group(role, item, world)
    return [
        {
            name.removeprefix(META): value
            for name, value in {**found.labels, **target}.items()
            if value
        }
        for target in found.targets
    ]


def addresses(role, item, world=None):
    return [target["__address__"] for target in targets(role, item, world)]


def test_the_metadata_of_an_object_becomes_labels():
    item = cluster.service(
        "web", labels={"a.b/c-d": "e", "x": ""}, annotations={"prometheus.io/scrape": "true"}
    )
    assert dict(group("service", item).labels) == {
        META + "namespace": "default",
        META + "service_name": "web",
        META + "service_label_a_b_c_d": "e",
        META + "service_labelpresent_a_b_c_d": "true",
        META + "service_label_x": "",
        META + "service_labelpresent_x": "true",
        META + "service_annotation_prometheus_io_scrape": "true",
        META + "service_annotationpresent_prometheus_io_scrape": "true",
    }


def test_a_node_is_its_kubelet():
    (target,) = targets("node", cluster.node("n", labels={"zone": "z"}))
    assert target == {
        "__address__": "10.0.0.1:10250",
        "instance": "n",
        "node_name": "n",
        "node_provider_id": "cloud:///n",
        "node_label_zone": "z",
        "node_labelpresent_zone": "true",
        "node_address_InternalIP": "10.0.0.1",
        "node_address_Hostname": "n",
        "node_condition_memorypressure": "false",
        "node_condition_ready": "true",
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(["Hostname", "ExternalIP"], "ExternalIP", id="an outer IP before a host name"),
        pytest.param(["ExternalDNS", "InternalDNS"], "InternalDNS", id="inner before outer"),
        pytest.param(["ExternalDNS", "ExternalIP"], "ExternalIP", id="an IP before a name"),
        pytest.param(["Hostname", "LegacyHostIP"], "LegacyHostIP", id="legacy before host name"),
        pytest.param(["Odd"], None, id="an unknown type is no address"),
        pytest.param([], None, id="no address at all"),
    ],
)
def test_the_address_of_a_node(found, expected):
    item = cluster.node("n", addresses=[(kind, kind.lower()) for kind in found])
    wanted = [f"{expected.lower()}:10250"] if expected else []
    assert addresses("node", item) == wanted


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(
            cluster.service("s", "ns", (80, "http"), (443, "")),
            [
                {"port_name": "http", "port_number": "80", "cluster_ip": "10.2.0.1"},
                {"port_number": "443", "cluster_ip": "10.2.0.1"},
            ],
            id="one target for each port",
        ),
        pytest.param(
            cluster.service("s", "ns", type_="ExternalName", spec={"externalName": "e.org"}),
            [{"port_name": "http", "port_number": "80", "external_name": "e.org"}],
            id="an external name has no cluster address",
        ),
        pytest.param(
            cluster.service("s", "ns", type_="LoadBalancer", spec={"loadBalancerIP": "1.1.1.1"}),
            [
                {
                    "port_name": "http",
                    "port_number": "80",
                    "cluster_ip": "10.2.0.1",
                    "loadbalancer_ip": "1.1.1.1",
                }
            ],
            id="a load balancer's address as asked for",
        ),
        pytest.param(
            {
                **cluster.service("s", "ns", type_="LoadBalancer"),
                "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "h"}]}},
            },
            [
                {
                    "port_name": "http",
                    "port_number": "80",
                    "cluster_ip": "10.2.0.1",
                    "loadbalancer_ip": "2.2.2.2",
                }
            ],
            id="a load balancer's address as given",
        ),
        pytest.param(
            cluster.service("s", "ns", spec={"ports": None}), [], id="no ports, no targets"
        ),
    ],
)
def test_services(item, expected):
    shared = {"port_protocol": "TCP", "type": item["spec"]["type"], "name": "s"}
    assert targets("service", item) == [
        {
            "__address__": f"s.ns.svc:{each['port_number']}",
            "namespace": "ns",
            **{f"service_{name}": value for name, value in {**shared, **each}.items()},
        }
        for each in expected
    ]


def test_a_pod_has_a_target_for_each_port_and_one_for_a_container_without():
    item = cluster.pod(
        "p",
        containers=[
            cluster.container("app", (8080, "http"), (53, "", "UDP")),
            cluster.container("quiet"),
        ],
        init=[cluster.container("setup", (9, "x"))],
        owner=("ReplicaSet", "p-66"),
    )
    found = targets("pod", item)
    assert [target.pop("__address__") for target in found] == [
        "10.1.0.1:8080",
        "10.1.0.1:53",
        "10.1.0.1",
        "10.1.0.1:9",
    ]
    shared = {
        "namespace": "default",
        "pod_name": "p",
        "pod_ip": "10.1.0.1",
        "pod_host_ip": "10.0.0.1",
        "pod_node_name": "node-a",
        "pod_phase": "Running",
        "pod_ready": "true",
        "pod_controller_kind": "ReplicaSet",
        "pod_controller_name": "p-66",
        "pod_container_image": "registry/app:1",
    }
    app = shared | {
        "pod_container_name": "app",
        "pod_container_id": "containerd://p-app",
        "pod_container_init": "false",
    }
    assert found == [
        app
        | {
            "pod_container_port_name": "http",
            "pod_container_port_number": "8080",
            "pod_container_port_protocol": "TCP",
        },
        app | {"pod_container_port_number": "53", "pod_container_port_protocol": "UDP"},
        shared
        | {
            "pod_container_name": "quiet",
            "pod_container_id": "containerd://p-quiet",
            "pod_container_init": "false",
        },
        shared
        | {
            "pod_container_name": "setup",
            "pod_container_id": "containerd://p-setup",
            "pod_container_init": "true",
            "pod_container_port_name": "x",
            "pod_container_port_number": "9",
            "pod_container_port_protocol": "TCP",
        },
    ]


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"ready": "False"}, "pod_ready", "false"),
        ({"ready": None}, "pod_ready", "unknown"),
        ({"ip": "fd00::9"}, "__address__", "[fd00::9]:8080"),
        ({"phase": "Succeeded"}, "pod_phase", "Succeeded"),
    ],
)
def test_pods(changes, name, expected):
    assert [target[name] for target in targets("pod", cluster.pod("p", **changes))] == [expected]


def test_a_pod_without_an_address_is_an_empty_group():
    assert group("pod", cluster.pod("p", ip="")) == TargetGroup("pod/default/p")


def test_a_pod_tells_of_its_node_and_goes_where_the_node_is_not_among_those_watched():
    attach = AttachMetadata(node=True)
    world = World(attach, node=[cluster.node("node-a", labels={"zone": "z"})])
    (target,) = targets("pod", cluster.pod("p"), world)
    assert (target["node_name"], target["node_label_zone"]) == ("node-a", "z")
    assert targets("pod", cluster.pod("p", on="node-b"), world) == []
    # Nodes may be watched only to choose pods: then nothing is told of them.
    (target,) = targets("pod", cluster.pod("p"), World(node=[cluster.node("node-a")]))
    assert "node_name" not in target
    assert targets("pod", cluster.pod("p"), World(node=[])) == []


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        pytest.param(
            ("ReplicaSet", "web-66"), {"pod_deployment_name": "web"}, id="a deployment's pod"
        ),
        pytest.param(("ReplicaSet", "alone"), {}, id="a replica set of nobody"),
        pytest.param(("ReplicaSet", "unknown"), {}, id="a replica set that is not known"),
        pytest.param(
            ("Job", "night-1"),
            {"pod_job_name": "night-1", "pod_cronjob_name": "night"},
            id="a cron job's pod",
        ),
        pytest.param(("Job", "once"), {"pod_job_name": "once"}, id="a job's pod"),
        pytest.param(("DaemonSet", "web-66"), {}, id="another kind of controller"),
    ],
)
def test_what_stands_behind_a_pod(owner, expected):
    def owned(name, **meta):
        return {"metadata": cluster.metadata(name, "default", **meta)}

    world = World(
        AttachMetadata(deployment=True, job=True, cronjob=True),
        replicaset=[owned("web-66", owner=("Deployment", "web")), owned("alone")],
        job=[owned("night-1", owner=("CronJob", "night")), owned("once")],
    )
    (target,) = targets("pod", cluster.pod("p", owner=owner), world)
    names = ("pod_deployment_name", "pod_job_name", "pod_cronjob_name")
    assert {name: target[name] for name in names if name in target} == expected
    (target,) = targets("pod", cluster.pod("p", owner=owner))
    assert not any(name in target for name in names)


@pytest.mark.parametrize(
    ("role", "item"),
    [
        ("pod", cluster.pod("p")),
        ("service", cluster.service("s")),
        ("endpoints", cluster.endpoints("e", subsets=[cluster.subset([{"ip": "1.1.1.1"}])])),
        ("endpointslice", cluster.endpointslice("e", endpoints=[{"addresses": ["1.1.1.1"]}])),
        ("ingress", cluster.ingress("i", rules=[("h", None)])),
    ],
)
def test_namespaces_are_told_of_where_asked_for(role, item):
    found = cluster.namespace("default", labels={"team": "a"}, annotations={"n": "o"})
    (target,) = targets(role, item, World(AttachMetadata(namespace=True), namespace=[found]))
    assert target["namespace_label_team"] == "a"
    assert target["namespace_labelpresent_team"] == "true"
    assert target["namespace_annotation_n"] == "o"
    (target,) = targets(role, item)
    assert "namespace_label_team" not in target


BACKEND = cluster.pod(
    "web-1",
    containers=[
        cluster.container("app", (8080, "http"), (9090, "metrics")),
        cluster.container("side", (8080, "same"), image="side"),
    ],
)


def test_endpoints_tell_of_service_pod_and_container_and_of_the_pods_other_ports():
    at = [{"ip": "10.1.0.1", "nodeName": "node-a", "targetRef": cluster.to_pod("web-1")}]
    item = cluster.endpoints("web", subsets=[cluster.subset(at, ports=((8080, "web", "UDP"),))])
    world = World(pod=[BACKEND], service=[cluster.service("web", labels={"tier": "t"})])
    first, other = targets("endpoints", item, world)
    assert first["__address__"] == "10.1.0.1:8080"
    assert first["service_label_tier"] == other["service_label_tier"] == "t"
    assert first["pod_name"] == other["pod_name"] == "web-1"
    assert first["endpoint_ready"] == "true"
    assert first["endpoint_port_name"] == "web"
    assert first["endpoint_address_target_kind"] == "Pod"
    assert first["endpoint_address_target_name"] == "web-1"
    assert first["endpoint_node_name"] == "node-a"
    # Of two containers with this port the last one is told of, with the endpoint's protocol.
    assert first["pod_container_name"] == "side"
    assert first["pod_container_port_protocol"] == "UDP"
    assert "pod_container_id" not in first
    assert other["__address__"] == "10.1.0.1:9090"
    assert other["pod_container_port_name"] == "metrics"
    assert not any(name.startswith("endpoint_") for name in other)


def test_endpoints_without_pods():
    item = cluster.endpoints(
        "web",
        subsets=[
            cluster.subset(
                [{"ip": "1.1.1.1", "hostname": "h"}],
                not_ready=[{"ip": "fd00::1", "targetRef": {"kind": "Node", "name": "node-a"}}],
                ports=((80, "a"), (81, "b")),
            ),
            cluster.subset([{"ip": "2.2.2.2"}], ports=()),
        ],
    )
    world = World(
        AttachMetadata(node=True), node=[cluster.node("node-a", labels={"zone": "z"})], pod=[]
    )
    found = targets("endpoints", item, world)
    assert [(t["__address__"], t["endpoint_ready"], t.get("node_label_zone")) for t in found] == [
        ("1.1.1.1:80", "true", None),
        ("[fd00::1]:80", "false", "z"),
        ("1.1.1.1:81", "true", None),
        ("[fd00::1]:81", "false", "z"),
    ]
    assert found[0]["endpoint_hostname"] == "h"


def test_too_many_endpoints_are_warned_of(caplog):
    annotations = {"endpoints.kubernetes.io/over-capacity": "truncated"}
    group("endpoints", cluster.endpoints("web", annotations=annotations))
    assert "exceeds 1000 and has been truncated" in caplog.text


def test_a_slice_tells_what_its_endpoint_says_and_leaves_out_what_it_does_not():
    item = cluster.endpointslice(
        "web-x",
        of="web",
        endpoints=[
            {
                "addresses": ["10.1.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "hostname": "h",
                "nodeName": "node-a",
                "zone": "z",
                "deprecatedTopology": {"topology.kubernetes.io/region": "r"},
                "targetRef": cluster.to_pod("web-1"),
            },
            {"addresses": ["10.9.9.9"], "conditions": {"ready": None}},
        ],
        ports=[{"name": "web", "port": 8080, "protocol": "UDP", "appProtocol": "h2c"}],
    )
    world = World(pod=[BACKEND], service=[cluster.service("web")])
    first, bare, other = targets("endpointslice", item, world)
    slices = {n: v for n, v in first.items() if n.startswith("endpointslice_")}
    assert slices == {
        "endpointslice_name": "web-x",
        "endpointslice_label_kubernetes_io_service_name": "web",
        "endpointslice_labelpresent_kubernetes_io_service_name": "true",
        "endpointslice_address_type": "IPv4",
        "endpointslice_address_target_kind": "Pod",
        "endpointslice_address_target_name": "web-1",
        "endpointslice_port": "8080",
        "endpointslice_port_name": "web",
        "endpointslice_port_protocol": "UDP",
        "endpointslice_port_app_protocol": "h2c",
        "endpointslice_endpoint_conditions_ready": "true",
        "endpointslice_endpoint_conditions_serving": "true",
        "endpointslice_endpoint_conditions_terminating": "false",
        "endpointslice_endpoint_hostname": "h",
        "endpointslice_endpoint_node_name": "node-a",
        "endpointslice_endpoint_zone": "z",
        "endpointslice_endpoint_topology_topology_kubernetes_io_region": "r",
        "endpointslice_endpoint_topology_present_topology_kubernetes_io_region": "true",
    }
    # The container's own protocol here, unlike for endpoints.
    assert first["pod_container_port_protocol"] == "TCP"
    assert "endpointslice_endpoint_conditions_ready" not in bare
    assert bare["service_name"] == first["service_name"] == "web"
    assert other["__address__"] == "10.1.0.1:9090"


def test_a_slice_port_without_a_number_is_the_bare_address():
    item = cluster.endpointslice(
        "s", kind="IPv6", endpoints=[{"addresses": ["fd00::1"]}], ports=[{"name": "all"}]
    )
    assert addresses("endpointslice", item) == ["fd00::1"]


@pytest.mark.parametrize(
    ("policy", "kind", "count"),
    [
        ("SingleStack", "IPv4", 1),
        ("PreferDualStack", "IPv4", 1),
        ("PreferDualStack", "IPv6", 0),
        ("RequireDualStack", "IPv6", 0),
    ],
)
def test_of_two_ip_families_one_is_scraped(policy, kind, count):
    spec = {"ipFamilyPolicy": policy, "ipFamilies": ["IPv4", "IPv6"]}
    world = World(service=[cluster.service("web", spec=spec)])
    item = cluster.endpointslice(
        "web-x", of="web", kind=kind, endpoints=[{"addresses": ["fd00::1"]}]
    )
    assert len(targets("endpointslice", item, world)) == count


def test_an_ingress_has_a_target_for_each_path():
    item = cluster.ingress(
        "i", rules=[("a.org", ["/x", None]), ("b.org", None)], tls=["b.org"], class_name="nginx"
    )
    shared = {"namespace": "default", "ingress_name": "i", "ingress_class_name": "nginx"}

    def target(host, path, scheme):
        return shared | {
            "__address__": host,
            "ingress_host": host,
            "ingress_path": path,
            "ingress_scheme": scheme,
        }

    assert targets("ingress", item) == [
        target("a.org", "/x", "http"),
        target("a.org", "/", "http"),
        target("b.org", "/", "https"),
    ]


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("a.org", "a.org", True),
        ("a.org", "b.org", False),
        ("*.a.org", "x.a.org", True),
        ("*.a.org", "x.y.a.org", False),
        ("*.a.org", "a.org", False),
        ("*.a.org", "*.a.org", True),
        ("*", "a", True),
        ("*", "a.b", False),
        ("", "", True),
    ],
)
def test_tls_hosts(pattern, host, expected):
    assert ingress.covers(pattern, host) is expected
