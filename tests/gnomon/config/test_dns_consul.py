import pytest
import yaml

from discovery.consul_settings import ConsulSettings
from discovery.dns_settings import DnsSettings
from discovery.http_client import BasicAuth, HttpClientConfig
from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_text


def load(kind, entry, folder):
    text = yaml.safe_dump({"scrape_configs": [{"job_name": "j", f"{kind}_sd_configs": [entry]}]})
    return load_text(text, folder)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"names": ["a", "b"]}, DnsSettings(("a", "b"))),
        (
            {"names": ["a"], "type": "aaaa", "port": 9100, "refresh_interval": "5s"},
            DnsSettings(("a",), "AAAA", 9100, 5.0),
        ),
    ],
)
def test_dns(tmp_path, entry, expected):
    config = load("dns", entry, tmp_path)
    assert config.jobs[0].dns == (expected,)
    assert load_text(effective_yaml(config), tmp_path).jobs[0].dns == (expected,)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, ConsulSettings()),
        (
            {
                "server": "c:1",
                "scheme": "https",
                "path_prefix": "p",
                "datacenter": "d",
                "services": ["a"],
                "tags": ["t"],
                "node_meta": {"k": "v"},
                "tag_separator": ";",
                "filter": "F",
                "health_filter": "H",
                "allow_stale": False,
                "refresh_interval": "1m",
            },
            ConsulSettings(
                server="c:1",
                scheme="https",
                path_prefix="p",
                datacenter="d",
                services=("a",),
                tags=("t",),
                node_meta={"k": "v"},
                tag_separator=";",
                filter="F",
                health_filter="H",
                allow_stale=False,
                refresh_interval_s=60.0,
            ),
        ),
    ],
)
def test_consul(tmp_path, entry, expected):
    config = load("consul", entry, tmp_path)
    assert config.jobs[0].consul == (expected,)
    assert load_text(effective_yaml(config), tmp_path).jobs[0].consul == (expected,)


def test_secrets_of_consul_are_not_shown(tmp_path):
    config = load("consul", {"username": "u", "password": "geheim", "token": "geheim"}, tmp_path)
    (settings,) = config.jobs[0].consul
    assert settings.client == HttpClientConfig(
        basic_auth=BasicAuth(username="u", password="geheim")
    )
    assert settings.token == "geheim"
    assert "geheim" not in effective_yaml(config)


@pytest.mark.parametrize(
    ("kind", "entry", "expected"),
    [
        ("dns", {}, "DNS-SD config must contain at least one SRV record name"),
        ("dns", {"names": ["a"], "type": "TXT"}, "invalid DNS-SD records type TXT"),
        ("dns", {"names": ["a"], "type": "A"}, "a port is required in DNS-SD configs for all"),
        ("consul", {"server": " "}, "consul SD configuration requires a server address"),
        (
            "consul",
            {"username": "u", "basic_auth": {"username": "v"}},
            "at most one of consul SD configuration username and password and basic auth",
        ),
        (
            "consul",
            {"token": "t", "authorization": {"credentials": "c"}},
            "at most one of consul SD token, authorization, or oauth2 can be configured",
        ),
    ],
)
def test_what_is_against_a_rule_is_refused(tmp_path, kind, entry, expected):
    with pytest.raises(ConfigError) as caught:
        load(kind, entry, tmp_path)
    assert expected in str(caught.value)
