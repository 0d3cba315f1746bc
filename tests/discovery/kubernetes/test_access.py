"""Being let in: in the cluster, by kubeconfig files of every kind, by exec plugins, over TLS."""

import asyncio
import base64
import json
import shutil
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
import yaml

from discovery.http_client import Authorization, BasicAuth, HttpClientConfig, TlsConfig
from discovery.kubernetes import access, exec_credentials
from discovery.kubernetes.access import connect, namespaces
from discovery.kubernetes.discovery import KubernetesDiscovery
from discovery.kubernetes.kubeconfig import AccessError, read_kubeconfig
from discovery.kubernetes.settings import ApiAccess, KubernetesSettings
from tests.discovery.kubernetes import cluster
from tests.discovery.kubernetes.api_server import ApiServer

SERVER = "https://k.example:6443"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def kubeconfig(folder, user, *, cluster=None, **others):
    path = folder / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [
                    {"name": "other", "context": {"cluster": "none", "user": "none"}},
                    {"name": "here", "context": {"cluster": "c", "user": "u"}},
                ],
                "clusters": [{"name": "c", "cluster": {"server": SERVER, **(cluster or {})}}],
                "users": [{"name": "u", "user": user}],
                **others,
            }
        )
    )
    return path


@pytest.mark.parametrize(
    ("user", "cluster", "expected"),
    [
        pytest.param({}, {}, {}, id="nobody"),
        pytest.param(
            {"token": "t"}, {}, {"authorization": Authorization(credentials="t")}, id="a token"
        ),
        pytest.param(
            {"username": "n", "password": "p"},
            {},
            {"basic_auth": BasicAuth(username="n", password="p")},
            id="a password",
        ),
        pytest.param(
            {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY")},
            {"certificate-authority-data": encoded("CA"), "tls-server-name": "s"},
            {"tls_config": TlsConfig(ca="CA", cert="CERT", key="KEY", server_name="s")},
            id="certificates in the file",
        ),
        pytest.param(
            {},
            {"insecure-skip-tls-verify": True},
            {"tls_config": TlsConfig(insecure_skip_verify=True)},
            id="no verification",
        ),
        pytest.param(
            {"as": "someone"},
            {},
            {"http_headers": {"Impersonate-User": ("someone",)}},
            id="in another's name",
        ),
        pytest.param(
            {},
            {"proxy-url": "http://p:1"},
            {"proxy_url": "http://p:1", "proxy_from_environment": False},
            id="by a proxy",
        ),
    ],
)
def test_kubeconfig(tmp_path, user, cluster, expected):
    found = read_kubeconfig(kubeconfig(tmp_path, user, cluster=cluster))
    assert found.server == SERVER
    assert found.client == HttpClientConfig(**{"proxy_from_environment": True, **expected})
    assert found.exec_command is None


def test_paths_are_relative_to_the_kubeconfig_and_data_wins(tmp_path):
    user = {
        "tokenFile": "token",
        "token": "not this one",
        "client-certificate": "u.crt",
        "client-key": "/abs/u.key",
    }
    authority = {"certificate-authority": "ca", "certificate-authority-data": encoded("CA")}
    client = read_kubeconfig(kubeconfig(tmp_path, user, cluster=authority)).client
    assert client.authorization == Authorization(credentials_file=tmp_path / "token")
    assert client.tls_config.cert_file == tmp_path / "u.crt"
    assert str(client.tls_config.key_file) == "/abs/u.key"
    assert (client.tls_config.ca, client.tls_config.ca_file) == ("CA", None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"current-context": ""}, "no current-context is set"),
        ({"current-context": "x"}, 'context "x" does not exist'),
        ({"current-context": "other"}, 'cluster "none" does not exist'),
        ({"clusters": [{"name": "c", "cluster": {}}]}, 'cluster "c" names no server'),
        ({"clusters": 7}, "not iterable"),
        ({"users": [{"name": "u", "user": {"auth-provider": {"name": "gcp"}}}]}, "auth-provider"),
        ({"users": [{"name": "u", "user": {"as-groups": ["g"]}}]}, "as-groups"),
        ({"users": [{"name": "u", "user": {"exec": {"args": []}}}]}, "exec names no command"),
        ({"users": [{"name": "u", "user": {"client-key-data": "é"}}]}, "ASCII"),
    ],
)
def test_a_bad_kubeconfig_says_what_is_wrong(tmp_path, change, expected):
    path = kubeconfig(tmp_path, {}, **change)
    with pytest.raises(AccessError, match=expected) as caught:
        read_kubeconfig(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[", "7", "- a"])
def test_what_is_no_kubeconfig(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(AccessError, match="kubeconfig"):
        read_kubeconfig(path)
    with pytest.raises(AccessError, match="No such file"):
        read_kubeconfig(tmp_path / "none")


PLUGIN = """
import json, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
runs = folder / "runs"
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
(folder / "told").write_text(os.environ["KUBERNETES_EXEC_INFO"] + os.environ.get("EXTRA", ""))
print((folder / "answer").read_text())
sys.exit(int((folder / "code").read_text()) if (folder / "code").exists() else 0)
"""


def plugin(folder, status, **section):
    (folder / "plugin.py").write_text(PLUGIN)
    answer = {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "status": status,
    }
    (folder / "answer").write_text(json.dumps(answer))
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(folder / "plugin.py"), str(folder)],
            "interactiveMode": "Never",
            **section,
        }
    }


def token(connection):
    return connection.options().for_url("http://x/api")["headers"].get("Authorization")


def test_a_plugin_runs_once_until_its_token_ends_or_is_refused(tmp_path):
    until = datetime.fromtimestamp(time.time() + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    user = plugin(
        tmp_path,
        {"token": "one", "expirationTimestamp": until},
        provideClusterInfo=True,
        env=[{"name": "EXTRA", "value": "e"}],
    )
    connection = connect(ApiAccess(kubeconfig_file=kubeconfig(tmp_path, user)))
    assert [token(connection) for _ in range(3)] == ["Bearer one"] * 3
    assert (tmp_path / "runs").read_text() == "x"
    told = (tmp_path / "told").read_text()
    assert told.endswith("}e")
    assert json.loads(told[:-1]) == {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {"interactive": False, "cluster": {"server": SERVER}},
    }
    plugin(tmp_path, {"token": "two", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    connection.refused()
    assert [token(connection) for _ in range(2)] == ["Bearer two"] * 2
    assert (tmp_path / "runs").read_text() == "xxx"


@pytest.mark.parametrize(
    ("status", "section", "expected"),
    [
        ({}, {}, "neither token nor certificate"),
        ({"clientCertificateData": "c"}, {}, "half of a certificate"),
        ({"token": "t", "expirationTimestamp": "tomorrow"}, {}, "printed no ExecCredential"),
        ({"token": "t"}, {"apiVersion": "v0"}, "plugin returned version client.auth"),
        ({"token": "t"}, {"command": "no-such-plugin", "installHint": "get it"}, "get it"),
        ({"token": "t"}, {"command": "./no-such"}, "is not installed"),
        ({"token": "t"}, {"interactiveMode": "Always"}, "wants to ask a user"),
    ],
)
def test_a_plugin_that_is_of_no_use_says_why(tmp_path, status, section, expected):
    path = kubeconfig(tmp_path, plugin(tmp_path, status, **section))
    with pytest.raises(AccessError, match=expected):
        token(connect(ApiAccess(kubeconfig_file=path)))


def test_a_plugin_that_fails_or_hangs(tmp_path, monkeypatch):
    path = kubeconfig(tmp_path, plugin(tmp_path, {"token": "secret"}))
    (tmp_path / "code").write_text("3")
    with pytest.raises(AccessError, match="ended with 3") as caught:
        token(connect(ApiAccess(kubeconfig_file=path)))
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(exec_credentials, "TIMEOUT_S", 0.1)
    (tmp_path / "plugin.py").write_text("import time; time.sleep(9)")
    with pytest.raises(AccessError, match="timed out"):
        token(connect(ApiAccess(kubeconfig_file=path)))


@pytest.fixture
def pod_files(tmp_path, monkeypatch):
    """What a pod finds: a service account and the server's address."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (folder / "token").write_text("t")
    (folder / "namespace").write_text("mine\n")
    return folder


def test_in_the_cluster(pod_files):
    connection = connect(ApiAccess())
    assert connection.server == "https://[fd00::1]:443"
    assert connection.client == HttpClientConfig(
        authorization=Authorization(credentials_file=pod_files / "token"),
        tls_config=TlsConfig(ca_file=pod_files / "ca.crt"),
    )
    assert namespaces(KubernetesSettings("pod")) == ("",)
    settings = KubernetesSettings("pod", namespaces=("a", "mine"), own_namespace=True)
    assert namespaces(settings) == ("a", "mine")


def test_outside_of_a_cluster(pod_files, monkeypatch):
    (pod_files / "namespace").unlink()
    with pytest.raises(AccessError, match="could not determine the pod's namespace"):
        namespaces(KubernetesSettings("pod", own_namespace=True))
    (pod_files / "token").unlink()
    with pytest.raises(AccessError, match=r"no .*/token"):
        connect(ApiAccess())
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(AccessError, match="must be defined"):
        connect(ApiAccess())


def test_no_way_to_a_server_empties_the_job_and_is_told(monkeypatch, caplog):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def main():
        discovery = KubernetesDiscovery(KubernetesSettings("pod"))
        changes = discovery.changes()
        assert await asyncio.wait_for(anext(changes), 5) == []
        assert "in-cluster" in discovery.stats().config_error
        await changes.aclose()

    asyncio.run(main())
    assert "Cannot create service discovery: type=kubernetes" in caplog.text


@pytest.mark.parametrize(
    ("server", "tls", "expected"),
    [
        ("http://h:1/", TlsConfig(), "http://h:1"),
        ("h:1", TlsConfig(), "http://h:1"),
        ("h:1", TlsConfig(insecure_skip_verify=True), "https://h:1"),
    ],
)
def test_an_explicit_server(server, tls, expected):
    client = HttpClientConfig(tls_config=tls)
    assert connect(ApiAccess(api_server=server, client=client)).server == expected


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a server's and a user's certificate, as files."""
    if shutil.which("openssl") is None:
        pytest.fail("these tests make certificates with openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(
        "req",
        "-x509",
        *key,
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-subj",
        "/CN=test authority",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1,DNS:kubernetes.default.svc"),
        ("user", "extendedKeyUsage=clientAuth"),
    ):
        (folder / "ext").write_text(extension)
        openssl(
            "req",
            *key[:-2],
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            f"{name}.crt",
        )
    return folder


def server_tls(folder, *, client_certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    if client_certificates:
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def discovered(api, make_access):
    """Return the sources that a discovery finds first."""

    async def main():
        api.put("pods", cluster.pod("a"))
        await api.start()
        discovery = KubernetesDiscovery(KubernetesSettings("pod", access=make_access()))
        changes = discovery.changes()
        try:
            groups = await asyncio.wait_for(anext(changes), 5)
            return [group.source for group in groups]
        finally:
            await changes.aclose()
            await api.stop()

    return asyncio.run(main())


def test_tls_in_the_cluster(certificates, pod_files, monkeypatch):
    shutil.copy(certificates / "ca.crt", pod_files / "ca.crt")
    api = ApiServer(token="t", ssl=server_tls(certificates, client_certificates=False))

    def make_access():
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.port))
        return ApiAccess()

    assert discovered(api, make_access) == ["pod/default/a"]


@pytest.mark.parametrize("by_plugin", [False, True], ids=["in the file", "by a plugin"])
def test_client_certificates(certificates, tmp_path, by_plugin):
    api = ApiServer(ssl=server_tls(certificates, client_certificates=True))
    cert, key = ((certificates / f"user.{what}").read_text() for what in ("crt", "key"))
    user = {"client-certificate-data": encoded(cert), "client-key-data": encoded(key)}
    if by_plugin:
        user = plugin(tmp_path, {"clientCertificateData": cert, "clientKeyData": key})

    def make_access():
        authority = {
            "server": api.url,
            "certificate-authority": str(certificates / "ca.crt"),
            "tls-server-name": "kubernetes.default.svc",
        }
        return ApiAccess(kubeconfig_file=kubeconfig(tmp_path, user, cluster=authority))

    assert discovered(api, make_access) == ["pod/default/a"]
