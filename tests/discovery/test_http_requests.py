import asyncio
import os
import shutil
import ssl
import subprocess

import pytest
from aiohttp import web

from discovery.http_client import BasicAuth, HttpClientConfig, TlsConfig
from discovery.http_requests import CredentialsError, RequestOptions, new_session, tls_context

URL = "https://h:1/"


def options(**config):
    return RequestOptions(HttpClientConfig(**config))


def test_secrets_in_files_are_read_each_time_and_trimmed(tmp_path):
    user, password = tmp_path / "user", tmp_path / "password"
    user.write_text("u\n")
    password.write_text("p\n")
    o = options(basic_auth=BasicAuth(username_file=user, password_file=password))
    assert o.blocks("http://h/")
    assert o.for_url("http://h/")["headers"] == {"Authorization": "Basic dTpw"}
    password.write_text("q")
    assert o.for_url("http://h/")["headers"] == {"Authorization": "Basic dTpx"}
    user.unlink()
    with pytest.raises(CredentialsError, match="no such file"):
        o.for_url("http://h/")


@pytest.mark.parametrize(
    ("host", "no_proxy", "proxied"),
    [
        ("h", "", True),
        ("h", "h", False),
        ("a.h", "h", False),
        ("a.h", ".h", False),
        ("ah", "h", True),
        ("10.1.2.3", "10.0.0.0/8, x", False),
        ("11.1.2.3", "10.0.0.0/8", True),
        ("h", "*", False),
    ],
)
def test_proxies(host, no_proxy, proxied):
    o = options(proxy_url="http://u:p@proxy:3128", no_proxy=no_proxy)
    arguments = o.for_url(f"http://{host}/")
    assert arguments.get("proxy") == ("http://proxy:3128" if proxied else None)
    if proxied:
        assert arguments["headers"] == {"Proxy-Authorization": "Basic dTpw"}
        tunnel = o.for_url(f"https://{host}/")
        assert tunnel["proxy_headers"] == {"Proxy-Authorization": "Basic dTpw"}


def test_headers_from_files_are_read_each_time(tmp_path):
    path = tmp_path / "value"
    path.write_text("one\n")
    o = options(http_headers={"X-A": ("v",)}, http_header_files={"X-A": (path,), "X-B": (path,)})
    assert o.blocks("http://h/")
    assert o.for_url("http://h/")["headers"] == {"X-A": "v, one", "X-B": "one"}
    path.write_text("two")
    assert o.for_url("http://h/")["headers"]["X-B"] == "two"
    path.unlink()
    with pytest.raises(CredentialsError, match="no such file"):
        o.for_url("http://h/")


def test_a_proxy_is_told_more_by_who_asks_it_for_a_tunnel():
    o = options(proxy_url="http://u:p@proxy:1", proxy_connect_header={"X-P": ("a", "b")})
    expected = {"Proxy-Authorization": "Basic dTpw", "X-P": "a, b"}
    assert o.for_url("https://h/")["proxy_headers"] == expected
    plain = o.for_url("http://h/")
    assert "proxy_headers" not in plain
    assert "X-P" not in plain["headers"]


def test_a_proxy_from_the_environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "near")
    o = options(proxy_from_environment=True)
    assert o.for_url("http://far/")["proxy"] == "http://proxy:1"
    assert "proxy" not in o.for_url("http://near/")


def test_only_what_reads_files_blocks():
    o = options()
    assert not o.blocks("http://h/")
    assert o.blocks(URL)
    o.for_url(URL)
    assert not o.blocks(URL)


def test_headers_are_added():
    assert options(http_headers={"X-A": ("b", "c")}).for_url(URL)["headers"] == {"X-A": "b, c"}


@pytest.mark.parametrize(
    ("tls", "version"),
    [
        (TlsConfig(), ssl.TLSVersion.TLSv1_2),
        (TlsConfig(min_version="TLS13"), ssl.TLSVersion.TLSv1_3),
    ],
)
def test_versions(tls, version):
    assert tls_context(tls).minimum_version == version


def test_an_unknown_version_is_refused():
    with pytest.raises(CredentialsError, match="unknown TLS version: TLS9"):
        options(tls_config=TlsConfig(max_version="TLS9")).for_url(URL)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CredentialsError, match="unable to load"):
        options(tls_config=TlsConfig(ca_file=tmp_path / "none")).for_url(URL)


# -------------------------------------------------------------------------- real handshakes


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A self-signed certificate for localhost, serving as its own authority."""
    if shutil.which("openssl") is None:
        pytest.fail("these tests make certificates with openssl")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "two"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


def ask(server_context, o, count=1, between=lambda: None):
    """GET from a TLS server; returns texts or raises."""

    async def main():
        app = web.Application()

        async def handler(_):
            return web.Response(text="ok")

        app.router.add_get("/", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            texts = []
            for _ in range(count):
                async with new_session() as session, session.get(url, **o.for_url(url)) as answer:
                    texts.append(await answer.text())
                between()
            return texts
        finally:
            await runner.cleanup()

    return asyncio.run(main())


def server_context(authority, name="one", client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / f"{name}.pem", authority / f"{name}.key")
    if client_ca:
        context.load_verify_locations(authority / f"{client_ca}.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_given_authority_is_trusted(authority):
    o = options(tls_config=TlsConfig(ca_file=authority / "one.pem"))
    assert ask(server_context(authority), o) == ["ok"]


def test_and_only_that(authority):
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server_context(authority), options(tls_config=TlsConfig(ca_file=authority / "two.pem")))
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server_context(authority), options())


def test_verification_can_be_skipped(authority):
    o = options(tls_config=TlsConfig(insecure_skip_verify=True))
    assert ask(server_context(authority), o) == ["ok"]


def test_a_server_name_is_asked_for(authority):
    ca = (authority / "one.pem").read_text()
    assert ask(
        server_context(authority), options(tls_config=TlsConfig(ca=ca, server_name="localhost"))
    ) == ["ok"]
    with pytest.raises(Exception, match="Hostname mismatch"):
        ask(server_context(authority), options(tls_config=TlsConfig(ca=ca, server_name="other")))


@pytest.mark.parametrize("inline", [True, False])
def test_a_client_certificate_is_shown(authority, inline):
    files = {"cert_file": authority / "two.pem", "key_file": authority / "two.key"}
    if inline:
        files = {name.removesuffix("_file"): path.read_text() for name, path in files.items()}
    tls = TlsConfig(ca_file=authority / "one.pem", **files)
    assert ask(server_context(authority, client_ca="two"), options(tls_config=tls)) == ["ok"]


def test_files_are_loaded_again_when_they_change(authority, tmp_path):
    ca = tmp_path / "ca.pem"
    shutil.copy(authority / "one.pem", ca)
    o = options(tls_config=TlsConfig(ca_file=ca))

    def swap():
        shutil.copy(authority / "two.pem", ca)
        os.utime(ca, ns=(1, 1))

    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server_context(authority), o, count=2, between=swap)
    first = o.for_url(URL)["ssl"]
    assert o.for_url(URL)["ssl"] is first
