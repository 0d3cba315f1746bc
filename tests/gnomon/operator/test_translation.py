"""Objects against what prometheus-operator generates of the same objects, and all of the corpus."""

from pathlib import Path

import orjson
import pytest
import yaml

from discovery.kubernetes.settings import ApiAccess
from gnomon.config.document import read_document
from gnomon.config.model import GlobalConfig
from gnomon.config.scrape import decode_job
from gnomon.operator.fields import MonitorError
from gnomon.operator.files import ObjectFiles, texts_of
from gnomon.operator.jobs import Secrets, jobs_of, scrape_configs
from gnomon.operator.settings import KINDS, MonitorSettings
from tests.conftest import corpora_root

ROOT = corpora_root() / "operator"
HASH = "__tmp_hash"


class AnySecret(dict):
    """Every secret exists, and has every key."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return Texts()


class Texts(dict):
    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return f"text of {key}"


def item(name="test", namespace="default", labels=None, **spec):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def translated(kind, found, secrets=None, **settings):
    known = AnySecret() if secrets is None else secrets
    return scrape_configs(kind, found, MonitorSettings(**settings), Secrets(known))


def decoded(fields):
    section, problems = read_document(orjson.dumps(fields).decode(), "config.ScrapeConfig")
    job = decode_job(section, GlobalConfig(), Path("/"))
    problems.raise_if_any()
    return job


def golden(name):
    """The one job of a generated configuration, without what shards of one do: nothing."""
    document = yaml.safe_load((ROOT / "generated-config" / f"{name}.yml").read_text())
    (job,) = document["scrape_configs"]
    rules = job["relabel_configs"]
    if any(rule.get("modulus") == 1 for rule in rules):
        del rules[-3:]
    for rule in rules:
        rule["regex"] = str(rule["regex"]).replace("$(SHARD)", "1") if "regex" in rule else None
        if rule["regex"] is None:
            del rule["regex"]
    return job


WEB = {"port": "web", "interval": "30s"}
GROUP = {"matchLabels": {"group": "group1"}}


def service(*endpoints, name="test", **spec):
    return "ServiceMonitor", item(name, endpoints=list(endpoints or [WEB]), **spec)


def pod(*endpoints, name="defaultPodMonitor", **spec):
    return "PodMonitor", item(name, podMetricsEndpoints=list(endpoints or [WEB]), **spec)


PROBER = {"scheme": "http", "url": "blackbox.exporter.io", "path": "/probe"}
OAUTH = {
    "clientId": {"secret": {"name": "o", "key": "client_id"}},
    "clientSecret": {"name": "o", "key": "client_secret"},
    "tokenUrl": "http://test.url",
    "scopes": ["scope 1", "scope 2"],
    "endpointParams": {"param1": "value1", "param2": "value2"},
}

GOLDEN = [
    pytest.param(
        "EnforcedNamespaceLabelServiceMonitor_Expected",
        service(
            WEB
            | {
                "metricRelabelings": [
                    {
                        "action": "drop",
                        "regex": "my-job-pod-.+",
                        "sourceLabels": ["pod_name"],
                        "targetLabel": "ns-key",
                    }
                ],
                "relabelings": [
                    {
                        "action": "replace",
                        "regex": "(.*)",
                        "replacement": "$1",
                        "sourceLabels": ["__meta_kubernetes_pod_ready"],
                        "targetLabel": "pod_ready",
                    }
                ],
            },
            selector={
                "matchLabels": {"foo": "bar"},
                "matchExpressions": [
                    {"key": "alpha", "operator": "In", "values": ["beta", "gamma"]}
                ],
            },
        ),
        {"enforced_namespace_label": "ns-key"},
        id="selectors, own rules and the enforced namespace",
    ),
    pytest.param(
        "ServiceMonitorObjectWithEndpointSliceSelectorAndMatchLabelSelector",
        service(
            name="defaultServiceMonitor",
            selector=GROUP,
            selectorMechanism="RoleSelector",
            serviceDiscoveryRole="EndpointSlice",
        ),
        {},
        id="endpoint slices, selected by the server",
    ),
    pytest.param(
        "NativeHistogramConfig",
        service(
            name="testservicemonitor1",
            nativeHistogramBucketLimit=10,
            nativeHistogramMinBucketFactor="12124m",
            scrapeClassicHistograms=True,
            convertClassicHistogramsToNHCB=True,
        ),
        {},
        id="native histograms",
    ),
    pytest.param(
        "PodMonitorObjectWithSelectorAndMatchExpressionSelector",
        pod(
            selectorMechanism="RoleSelector",
            selector=GROUP
            | {
                "matchExpressions": [
                    {"key": "group", "operator": "In", "values": ["group2"]},
                    {"key": "groupb", "operator": "DoesNotExist"},
                ]
            },
        ),
        {},
        id="pods, selected by the server",
    ),
    pytest.param(
        "podMonitorObjectWithPortNumber",
        pod({"portNumber": 1024, "targetPort": 10240, "interval": "30s"}, selector=GROUP),
        {},
        id="a port by its number",
    ),
    pytest.param(
        "podMonitorObjectWithTargetPortInt",
        pod({"targetPort": 10240, "interval": "30s"}, selector=GROUP),
        {},
        id="a container's port by its number",
    ),
    pytest.param(
        "ProbeIngressSDConfigGenerationWithShards",
        (
            "Probe",
            item(
                "testprobe1",
                prober=PROBER,
                module="http_2xx",
                targets={
                    "ingress": {
                        "selector": {"matchLabels": {"prometheus.io/probe": "true"}},
                        "namespaceSelector": {"any": True},
                        "relabelingConfigs": [
                            {"targetLabel": "foo", "replacement": "bar", "action": "replace"}
                        ],
                    }
                },
            ),
        ),
        {"shards": 2, "shard": 1},
        id="a probe of ingresses, sharded",
    ),
    pytest.param(
        "ProbeStaticTargetsConfigGenerationWithLabelEnforce",
        (
            "Probe",
            item(
                "testprobe1",
                prober=PROBER,
                module="http_2xx",
                targets={
                    "staticConfig": {
                        "static": ["prometheus.io", "promcon.io"],
                        "labels": {"namespace": "custom", "static": "label"},
                    }
                },
                metricRelabelings=[{"regex": "noisy_labels.*", "action": "labeldrop"}],
            ),
        ),
        {"enforced_namespace_label": "namespace"},
        id="a probe of hosts",
    ),
    pytest.param(
        "ScrapeConfigSpecConfig_K8SSD_with_Selectors",
        (
            "ScrapeConfig",
            item(
                "testscrapeconfig1",
                kubernetesSDConfigs=[
                    {
                        "role": "Node",
                        "selectors": [{"role": "Node", "label": "component=executor"}],
                    }
                ],
            ),
        ),
        {},
        id="a scrape config of nodes",
    ),
    pytest.param(
        "ScrapeConfigSpecConfig_WithJobNameAndRelabelConfig",
        (
            "ScrapeConfig",
            item(
                "testscrapeconfig1",
                jobName="explicit-test-scrape-config5",
                relabelings=[
                    {
                        "action": "Replace",
                        "regex": "(.+)(?::d+)",
                        "replacement": "$1:9537",
                        "sourceLabels": ["__address__"],
                        "targetLabel": "__address__",
                    }
                ],
            ),
        ),
        {},
        id="a scrape config with a name of its own",
    ),
    pytest.param(
        "ScrapeConfigSpecConfig_Static",
        (
            "ScrapeConfig",
            item(
                "testscrapeconfig1",
                staticConfigs=[{"targets": ["localhost:9100"], "labels": {"label1": "value1"}}],
            ),
        ),
        {},
        id="a scrape config of hosts",
    ),
    pytest.param(
        "ScrapeConfigSpecConfig_Limits",
        (
            "ScrapeConfig",
            item(
                "testscrapeconfig1",
                sampleLimit=10000,
                targetLimit=1000,
                labelLimit=500,
                labelNameLengthLimit=40,
                labelValueLengthLimit=30,
            ),
        ),
        {"enforced_limits": {"label_limit": 50}},
        id="limits, the smaller ones",
    ),
]


@pytest.mark.parametrize(("name", "found", "settings"), GOLDEN)
def test_a_job_is_that_which_the_operator_generates(name, found, settings, corpora):
    kind, found = found
    (fields,) = translated(kind, found, **settings)
    assert decoded(fields) == decoded(golden(name))


def test_oauth2_is_resolved_from_secrets():
    _, found = service(WEB | {"oauth2": OAUTH})
    secrets = {("Secret", "default", "o"): {"client_id": "a", "client_secret": "b"}}
    (fields,) = translated("ServiceMonitor", found, secrets)
    oauth2 = decoded(fields).job.http_client.oauth2
    assert (oauth2.client_id, oauth2.client_secret) == ("a", "b")
    assert oauth2.scopes == ("scope 1", "scope 2")


REFUSED = {"my-scrape-config": "it is malformed", "scrape-config": "it is malformed"}
"""Objects of proposals, which have other fields than what became of them."""


def corpus_objects():
    if not ROOT.is_dir():
        return
    for path in sorted(ROOT.glob("*/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            # Snippets of the documentation may be parts of an object only.
            if isinstance(document, dict) and document.get("kind") in KINDS:
                named = {"name": "unnamed"} | document.get("metadata", {})
                document = {**document, "metadata": named}
                yield pytest.param(document, id=f"{path.parent.name}/{path.stem} {named['name']}")


@pytest.mark.parametrize("document", list(corpus_objects()))
def test_every_object_of_the_corpus_becomes_jobs(document, corpora):
    settings = MonitorSettings(access=ApiAccess("http://api"), allow_arbitrary_file_access=True)
    kind, spec = document["kind"], document.get("spec", {})
    refused = REFUSED.get(document["metadata"]["name"], "")
    if "scrapeClass" in spec:
        refused = "is not supported"
    known = Secrets(AnySecret())
    if refused:
        with pytest.raises(MonitorError, match=refused):
            jobs_of(kind, document, settings, known, GlobalConfig())
        return
    jobs = jobs_of(kind, document, settings, known, GlobalConfig())
    endpoints = {"ServiceMonitor": "endpoints", "PodMonitor": "podMetricsEndpoints"}
    assert len(jobs) == (len(spec.get(endpoints[kind], [])) if kind in endpoints else 1)
    assert all(entry.access == settings.access for job in jobs for entry in job.kubernetes)
    assert len({job.job.job_name for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("kind", "spec", "error"),
    [
        pytest.param(
            "ServiceMonitor",
            {"endpoints": [WEB | {"bearerTokenFile": "/etc/shadow"}]},
            "it names the file /etc/shadow",
            id="files of the server are not for tenants",
        ),
        pytest.param(
            "ScrapeConfig",
            {"fileSDConfigs": [{"files": ["/etc/x.yml"]}]},
            "it names the file",
            id="nor are files of targets",
        ),
        pytest.param(
            "ScrapeConfig", {"ec2SDConfigs": [{}]}, "ec2SDConfigs are not supported", id="a cloud"
        ),
        pytest.param(
            "PodMonitor",
            {"scrapeClass": "x", "podMetricsEndpoints": [WEB]},
            "scrapeClass x is not supported",
            id="a scrape class",
        ),
        pytest.param(
            "ServiceMonitor", {"endpoints": [WEB | {"interval": "x"}]}, "interval", id="a bad time"
        ),
        pytest.param("ServiceMonitor", {"endpoints": 3}, "it is malformed", id="no list"),
        pytest.param(
            "PodMonitor",
            {
                "selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
                "podMetricsEndpoints": [WEB],
            },
            "Near is no operator",
            id="an unknown operator",
        ),
        pytest.param(
            "ServiceMonitor",
            {"endpoints": [WEB | {"basicAuth": {"username": {"name": "s", "key": "u"}}}]},
            "Secret default/s does not exist",
            id="a secret that does not exist",
        ),
        pytest.param(
            "ServiceMonitor",
            {"endpoints": [WEB | {"tlsConfig": {"ca": {"configMap": {"name": "m", "key": "u"}}}}]},
            "ConfigMap default/m has no key u",
            id="a config map without the key",
        ),
    ],
)
def test_what_cannot_be_used_says_why(kind, spec, error):
    secrets = Secrets({("Secret", "default", "s"): None, ("ConfigMap", "default", "m"): {}})
    with pytest.raises(MonitorError, match=error):
        jobs_of(kind, item(**spec), MonitorSettings(), secrets, GlobalConfig())


def test_an_empty_replacement_is_not_a_missing_one():
    rule = {"targetLabel": "a", "replacement": ""}
    (fields,) = translated("ScrapeConfig", item(relabelings=[rule, {"targetLabel": "b"}]))
    assert [r.replacement for r in decoded(fields).job.relabel_rules[1:]] == ["", "$1"]


def test_any_namespace_is_what_may_be_seen():
    _, found = service(namespaceSelector={"any": True})
    (fields,) = translated("ServiceMonitor", found)
    assert "namespaces" not in fields["kubernetes_sd_configs"][0]
    (fields,) = translated("ServiceMonitor", found, namespaces=("a", "b"))
    assert fields["kubernetes_sd_configs"][0]["namespaces"] == {"names": ["a", "b"]}
    (fields,) = translated("ServiceMonitor", found, ignore_namespace_selectors=True)
    assert fields["kubernetes_sd_configs"][0]["namespaces"] == {"names": ["default"]}


def test_secrets_are_decoded():
    secret = {"data": {"a": "Yg==", "bad": "!", "binary": "/w=="}, "stringData": {"c": "d"}}
    assert texts_of("Secret", secret) == {"a": "b", "c": "d"}
    assert texts_of("ConfigMap", {"data": {"a": "Yg=="}}) == {"a": "Yg=="}


def test_a_file_that_breaks_keeps_what_it_said(tmp_path):
    path = tmp_path / "m.yml"
    settings = MonitorSettings(files=(tmp_path / "*.yml",))
    files = ObjectFiles(settings)
    assert files.read() is None
    documents = [
        {"kind": "ScrapeConfig", **item()},
        {"kind": "List", "items": [{"kind": "Secret", **item("s"), "data": {"a": "Yg=="}}]},
        {"kind": "Deployment", **item()},
        "text",
    ]
    path.write_text(yaml.safe_dump_all(documents))
    found = files.read()
    assert set(found.monitors) == {("ScrapeConfig", "default/test")}
    assert found.secrets == {("Secret", "default", "s"): {"a": "b"}}
    assert files.read() is None
    path.write_text("a: [")
    assert set(files.read().monitors) == {("ScrapeConfig", "default/test")}
    assert files.read() is None
    path.unlink()
    assert files.read().monitors == {}
