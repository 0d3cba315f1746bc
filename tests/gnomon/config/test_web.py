"""The web configuration file: what it may say and how a mistake is told."""

import json
import ssl
import subprocess

import pytest

from api.access import RateLimit
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


@pytest.fixture
def texts(tmp_path):
    """A certificate and its key, as text."""
    paths = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return [path.read_text() for path in paths]


def test_keys_may_stand_in_the_file_and_suites_may_be_chosen(tmp_path, texts):
    tls = {
        "cert": texts[0],
        "key": texts[1],
        "client_ca": texts[0],
        "client_auth_type": "VerifyClientCertIfGiven",
        "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
        "curve_preferences": ["X25519"],
        "prefer_server_cipher_suites": False,
    }
    found = load(tmp_path, json.dumps({"tls_server_config": tls}))
    context = found.tls.context()
    older = [each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"]
    assert older == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert len(context.get_ca_certs()) == 1
    assert found.files == ()
    assert "PRIVATE KEY" not in repr(found)


def test_suites_of_tls_13_alone_leave_nothing_to_older_versions(tmp_path, texts):
    tls = {"cert": texts[0], "key": texts[1], "cipher_suites": ["TLS_AES_128_GCM_SHA256"]}
    found = load(tmp_path, json.dumps({"tls_server_config": tls}))
    assert found.tls.context().minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("rate_limit: {interval: 100ms, burst: 20}", RateLimit(0.1, 20)),
        ("rate_limit: {burst: 20}", None),
        ("", None),
    ],
)
def test_a_limit_on_requests(tmp_path, text, rate):
    assert load(tmp_path, text).rules.rate == rate


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
        (TLS.format("cipher_suites: [X]"), "unknown cipher: X"),
        (TLS.format("curve_preferences: [P1]"), "unknown curve: P1"),
        (
            TLS.format("curve_preferences: [X25519, CurveP256]"),
            "several curves are not supported by Gnomon",
        ),
        (TLS.format("cert: x"), "cannot specify both cert and cert_file"),
        (TLS.format("client_allowed_sans: [x]"), "client_allowed_sans needs client_auth_type"),
        (
            "http_server_config: {headers: {Server: x}}",
            'HTTP header "Server" can not be configured',
        ),
        ('http_server_config: {headers: {X-Frame-Options: "a\\nb"}}', "on several lines"),
        ("basic_auth_users: {ann: secret}", 'the password of "ann" is not a bcrypt hash'),
        ("rate_limit: {burst: x}", "cannot unmarshal"),
        ("- 1", "cannot unmarshal"),
    ],
)
def test_what_is_refused(tmp_path, text, problem):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert problem in str(caught.value)
