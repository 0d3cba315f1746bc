import pytest
import yaml

from discovery.http_client import Authorization
from discovery.kubernetes.settings import AttachMetadata, KubernetesSettings, Selector
from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.kubernetes_selectors import check_field_selector, check_label_selector
from gnomon.config.load import load_text


def load(entry, folder):
    text = yaml.safe_dump({"scrape_configs": [{"job_name": "j", "kubernetes_sd_configs": [entry]}]})
    return load_text(text, folder)


def settings(entry, folder):
    (found,) = load(entry, folder).jobs[0].kubernetes
    return found


def test_defaults(tmp_path):
    assert settings({"role": "pod"}, tmp_path) == KubernetesSettings("pod")


def test_everything(tmp_path):
    entry = {
        "role": "endpointslice",
        "api_server": "https://h:6443",
        "authorization": {"credentials_file": "token"},
        "namespaces": {"names": ["a", "b"]},
        "selectors": [
            {"role": "pod", "label": "app in (x, y),!canary", "field": "status.phase!=Failed"},
            {"role": "endpointslice", "label": "kubernetes.io/service-name==web"},
        ],
        "attach_metadata": {"node": True, "namespace": True, "cronjob": True},
    }
    found = settings(entry, tmp_path)
    assert found.access.api_server == "https://h:6443"
    assert found.access.client.authorization == Authorization(credentials_file=tmp_path / "token")
    assert found.namespaces == ("a", "b")
    assert found.selector("pod") == Selector("pod", "app in (x, y),!canary", "status.phase!=Failed")
    assert found.selector("service") == Selector("service")
    assert found.attach == AttachMetadata(node=True, namespace=True, cronjob=True)
    assert found.kinds() == {
        "endpointslice": False,
        "service": False,
        "pod": False,
        "node": True,
        "namespace": True,
        "job": True,
    }
    shown = effective_yaml(load(entry, tmp_path))
    assert load_text(shown, tmp_path).jobs[0].kubernetes == (found,)


def test_files_are_found_beside_the_configuration(tmp_path):
    found = settings({"role": "node", "kubeconfig_file": "kube/config"}, tmp_path)
    assert found.access.kubeconfig_file == tmp_path / "kube/config"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {},
            "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)",
        ),
        ({"role": "x"}, 'unknown Kubernetes SD role "x"'),
        (
            {"role": "pod", "selectors": [{"role": "x"}]},
            'unknown Kubernetes SD role "x"',
        ),
        (
            {"role": "pod", "attach_metadata": {"pod": True}},
            "field pod not found in type kubernetes.AttachMetadataConfig",
        ),
        ({"role": "pod", "selectors": [{"role": "pod", "labels": "a"}]}, "field labels not found"),
        (
            {"role": "ingress", "selectors": [{"role": "pod"}]},
            "ingress role supports only ingress selectors",
        ),
        (
            {"role": "endpointslice", "selectors": [{"role": "node"}]},
            "endpointslice role supports only pod, service, endpointslice selectors",
        ),
        (
            {"role": "pod", "selectors": [{"role": "pod", "label": "a in b"}]},
            "found 'b', expected: '('",
        ),
        (
            {"role": "pod", "tls_config": {"insecure_skip_verify": True}},
            "to use custom HTTP client configuration please provide the 'api_server' URL",
        ),
    ],
)
def test_what_is_against_a_rule_is_refused(tmp_path, entry, expected):
    with pytest.raises(ConfigError) as caught:
        load(entry, tmp_path)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "a=b", "a==b,c!=d", "metadata.name=x", "a=", "a!=", r"a=b\,c", r"a=b\=c", r"a=b\\"],
)
def test_field_selectors(text):
    check_field_selector(text)


@pytest.mark.parametrize("text", ["a", "a-b", "a=b,c", r"a=b\c", "a=b=c"])
def test_bad_field_selectors(text):
    with pytest.raises(ValueError, match=r"invalid (field )?selector"):
        check_field_selector(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "!a",
        "a=b",
        "a == b",
        "a!=b",
        "a=",
        "a=,b=c",
        "a in (b)",
        "a in (b, c),d notin (e)",
        "a in (b,)",
        "a.example.org/name in (x)",
        "a>1,b<2",
        "in in (in)",
    ],
)
def test_label_selectors(text):
    check_label_selector(text)


@pytest.mark.parametrize(
    "text",
    [
        "=a",
        "a b",
        "a in",
        "a in ()b",
        "a in (b",
        "a=b c",
        "a,",
        "!a=b",
        "-a",
        "a=-b",
        "a>x",
        "A/b=",
    ],
)
def test_bad_label_selectors(text):
    with pytest.raises(ValueError, match="unable to parse requirement"):
        check_label_selector(text)
