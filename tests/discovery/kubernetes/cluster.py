"""Objects as a cluster would have them, with what a test changes given by name."""

from __future__ import annotations


def metadata(name, namespace=None, *, labels=None, annotations=None, owner=None):
    found = {"name": name}
    if namespace is not None:
        found["namespace"] = namespace
    if labels is not None:
        found["labels"] = labels
    if annotations is not None:
        found["annotations"] = annotations
    if owner is not None:
        kind, owner_name = owner
        found["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Other", "name": "not-in-charge", "uid": "1"},
            {
                "apiVersion": "v1",
                "kind": kind,
                "name": owner_name,
                "uid": "2",
                "controller": True,
                "blockOwnerDeletion": True,
            },
        ]
    return found


def node(name, address="10.0.0.1", *, addresses=None, **meta):
    if addresses is None:
        addresses = [("InternalIP", address), ("Hostname", name), ("InternalIP", "fd00::1")]
    return {
        "metadata": metadata(name, **meta),
        "spec": {"providerID": f"cloud:///{name}"},
        "status": {
            "addresses": [{"type": kind, "address": text} for kind, text in addresses],
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {"kernelVersion": "6.1"},
        },
    }


def container(name, *ports, image="registry/app:1"):
    """Return a container; ports are (number, name) or (number, name, protocol)."""
    found = {"name": name, "image": image, "resources": {}}
    if ports:
        found["ports"] = []
        for number, port_name, *protocol in ports:
            port = {"containerPort": number, "protocol": protocol[0] if protocol else "TCP"}
            if port_name:
                port["name"] = port_name
            found["ports"].append(port)
    return found


def pod(
    name,
    namespace="default",
    *,
    ip="10.1.0.1",
    on="node-a",
    phase="Running",
    ready="True",
    containers=None,
    init=(),
    **meta,
):
    containers = [container("app", (8080, "http"))] if containers is None else containers
    status = {"phase": phase, "hostIP": "10.0.0.1"}
    if ip:
        status["podIP"] = ip
        status["podIPs"] = [{"ip": ip}]
    if ready is not None:
        status["conditions"] = [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": ready},
        ]
    status["containerStatuses"] = [
        {"name": each["name"], "containerID": f"containerd://{name}-{each['name']}"}
        for each in containers
    ]
    spec = {"nodeName": on, "containers": containers}
    if init:
        spec["initContainers"] = list(init)
        status["initContainerStatuses"] = [
            {"name": each["name"], "containerID": f"containerd://{name}-{each['name']}"}
            for each in init
        ]
    return {"metadata": metadata(name, namespace, **meta), "spec": spec, "status": status}


def service(name, namespace="default", *ports, type_="ClusterIP", spec=None, **meta):
    ports = ports or ((80, "http"),)
    return {
        "metadata": metadata(name, namespace, **meta),
        "spec": {
            "type": type_,
            "clusterIP": "10.2.0.1",
            "ports": [
                {"port": number, "name": port_name, "protocol": "TCP", "targetPort": 8080}
                for number, port_name in ports
            ],
            **(spec or {}),
        },
        "status": {"loadBalancer": {}},
    }


def to_pod(name, namespace="default"):
    return {"kind": "Pod", "name": name, "namespace": namespace, "uid": "3"}


def endpoints(name, namespace="default", *, subsets=(), **meta):
    return {"metadata": metadata(name, namespace, **meta), "subsets": list(subsets)}


def subset(addresses=(), *, not_ready=(), ports=((8080, "http"),)):
    """Return a subset; addresses are dicts with `ip` and what else there is."""
    found = {
        "ports": [
            {
                "port": number,
                "protocol": protocol[0] if protocol else "TCP",
                **({"name": name} if name else {}),
            }
            for number, name, *protocol in ports
        ]
    }
    if addresses:
        found["addresses"] = list(addresses)
    if not_ready:
        found["notReadyAddresses"] = list(not_ready)
    return found


def endpointslice(
    name, namespace="default", *, of="", endpoints=(), ports=None, kind="IPv4", **meta
):
    meta["labels"] = {
        **meta.get("labels", {}),
        **({"kubernetes.io/service-name": of} if of else {}),
    }
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}] if ports is None else ports
    return {
        "metadata": metadata(name, namespace, **meta),
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": ports,
    }


def ingress(name, namespace="default", *, rules=(), tls=(), class_name=None, **meta):
    """Return an ingress; rules are (host, paths), paths None for a rule without http."""
    spec = {"rules": []}
    for host, paths in rules:
        rule = {}
        if host:
            rule["host"] = host
        if paths is not None:
            backend = {"service": {"name": "s", "port": {"number": 80}}}
            rule["http"] = {
                "paths": [
                    {"pathType": "Prefix", "backend": backend, **({"path": p} if p else {})}
                    for p in paths
                ]
            }
        spec["rules"].append(rule)
    if tls:
        spec["tls"] = [{"hosts": list(tls), "secretName": "s"}]
    if class_name is not None:
        spec["ingressClassName"] = class_name
    return {"metadata": metadata(name, namespace, **meta), "spec": spec}


def namespace(name, **meta):
    return {"metadata": metadata(name, **meta), "status": {"phase": "Active"}}
