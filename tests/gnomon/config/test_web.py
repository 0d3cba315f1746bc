"""The web configuration file: what it may say and how a mistake is told."""

import ssl

import pytest

from gnomon.config.document import ConfigError
from gnomon.config.web import load_web_file

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


def load(tmp_path, text):
    path = tmp_path / "web.yml"
    path.write_text(text)
    return load_web_file(path)


def test_an_empty_file_asks_for_nothing(tmp_path):
    found = load(tmp_path, "")
    assert found.tls is None
    assert (found.rules.users, found.rules.headers, found.files) == ({}, {}, ())


def test_everything_that_may_be_said(tmp_path):
    found = load(
        tmp_path,
        f"""
tls_server_config:
  cert_file: server.pem
  key_file: /elsewhere/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [a.example]
  min_version: TLS13
  max_version: TLS13
  prefer_server_cipher_suites: true
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
    X-XSS-Protection: ""
basic_auth_users:
  ann: {HASH}
""",
    )
    assert found.tls.cert_file == tmp_path / "server.pem"
    assert str(found.tls.key_file) == "/elsewhere/server.key"
    assert found.tls.client_auth is ssl.CERT_REQUIRED
    assert found.tls.min_version is found.tls.max_version is ssl.TLSVersion.TLSv1_3
    assert found.rules.users == {"ann": HASH.encode()}
    assert found.rules.client_names == {"a.example"}
    assert found.rules.headers == {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=31536000",
    }


TLS = "tls_server_config: {{cert_file: c, key_file: k, {}}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tls_config: {}", "field tls_config not found in type web.Config"),
        ("tls_server_config: {cert_file: c}", "missing one of key or key_file"),
        ("tls_server_config: {key_file: c}", "missing one of cert or cert_file"),
        (TLS.format("min_version: TLS9"), "unknown TLS version: TLS9"),
        (TLS.format("client_auth_type: Maybe"), "invalid ClientAuth: Maybe"),
        (TLS.format("client_auth_type: RequestClientCert"), "RequestClientCert is not supported"),
        (
            TLS.format("client_ca_file: x"),
            "Client CA's have been configured without a Client Auth Policy",
        ),
        (
            TLS.format("client_auth_type: RequireAndVerifyClientCert"),
            "client_auth_type needs client_ca_file",
        ),
        (
            TLS.format("cipher_suites: [X]"),
            "cipher_suites is known to Prometheus but not",
        ),
        (TLS.format("client_allowed_sans: [x]"), "client_allowed_sans needs client_auth_type"),
        (
            "http_server_config: {headers: {Server: x}}",
            'HTTP header "Server" can not be configured',
        ),
        ('http_server_config: {headers: {X-Frame-Options: "a\\nb"}}', "on several lines"),
        ("basic_auth_users: {ann: secret}", 'the password of "ann" is not a bcrypt hash'),
        ("rate_limit: {burst: 1}", "rate_limit is known to Prometheus but not supported"),
        ("- 1", "cannot unmarshal"),
    ],
)
def test_what_is_refused(tmp_path, text, problem):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert problem in str(caught.value)
