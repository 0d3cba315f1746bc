"""A server behind TLS, client certificates and passwords, asked by a real client."""

import base64
import http.client
import shutil
import ssl
import subprocess

import bcrypt
import pytest

from tests.end_to_end.processes import gnomon, until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def certificates(tmp_path):
    if shutil.which("openssl") is None:
        pytest.fail("these tests make certificates with openssl")
    for name in ("one", "two"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    return tmp_path


class Client:
    """Asks over TLS, trusting one certificate and showing another or none."""

    def __init__(self, port, folder, *, trust="one", show="two"):
        context = ssl.create_default_context(cafile=folder / f"{trust}.pem")
        if show:
            context.load_cert_chain(folder / f"{show}.pem", folder / f"{show}.key")
        self.port, self.context = port, context

    def get(self, path, password="secret"):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context,
                                                 timeout=30)  # fmt: skip
        try:
            coded = base64.b64encode(f"ann:{password}".encode()).decode()
            connection.request("GET", path, headers={"Authorization": f"Basic {coded}"})
            reply = connection.getresponse()
            reply.read()
            return reply.status, dict(reply.headers)
        finally:
            connection.close()


def test_tls_certificates_and_passwords(server, certificates):
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
    web = certificates / "web.yml"
    text = f"""
tls_server_config:
  cert_file: one.pem
  key_file: one.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: two.pem
http_server_config:
  headers: {{X-Frame-Options: deny}}
basic_auth_users: {{ann: '{stored}'}}
"""
    web.write_text(text)
    running = server(f"--web.config.file={web}")
    running.configure({})
    client = Client(running.port, certificates)

    def ready():
        assert running.process.poll() is None, running.log
        try:
            return client.get("/-/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    running.launch()
    until(ready, "the server to be ready")
    status, headers = client.get("/api/v1/query?query=1")
    assert (status, headers["X-Frame-Options"]) == (200, "deny")
    assert client.get("/api/v1/query?query=1", "wrong")[0] == 401
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(running.port, certificates, show=None).get("/-/healthy")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(running.port, certificates, show="one").get("/-/healthy")

    # A renewed certificate and a new user's password are taken up without being told.
    for suffix in ("pem", "key"):
        shutil.copy(certificates / f"two.{suffix}", certificates / f"one.{suffix}")
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode()
    web.write_text(text.replace(stored, other))
    renewed = Client(running.port, certificates, trust="two")

    def renewed_answers():
        try:
            return renewed.get("/-/ready", "other")[0] == 200
        except OSError:
            return False

    until(renewed_answers, "the new certificate", 30)
    assert renewed.get("/-/ready", "secret")[0] == 401

    web.write_text("nonsense: 1")
    until(lambda: "field nonsense not found" in running.log, "the bad file to be told", 30)
    assert renewed.get("/-/ready", "other")[0] == 200
    assert running.stop() == 0


def test_a_bad_file_ends_the_start(tmp_path):
    (tmp_path / "gnomon.yml").write_text("")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a, key_file: b}")
    found = gnomon("serve", f"--config.file={tmp_path / 'gnomon.yml'}",
                   f"--web.config.file={tmp_path / 'web.yml'}",
                   f"--storage.tsdb.path={tmp_path / 'data'}")  # fmt: skip
    assert found.returncode == 1
    assert "Unable to validate web configuration file" in found.stderr
