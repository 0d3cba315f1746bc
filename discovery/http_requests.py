"""An HTTP client section becomes what each request needs: headers, TLS, proxy.

From: `http_client.py`.   To: `scraper/fetch.py`, `http.py`, and whoever else calls out by HTTP.

Credential files are read anew for each request, since they rotate. TLS files are watched by their
modification times: a handshake context is built again when one of them changes.
One connection pool serves all sections: credentials and TLS go with the request.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp

if TYPE_CHECKING:
    from discovery.http_client import HttpClientConfig, TlsConfig

KEEP_ALIVE_S = 300.0
"""Idle connections are kept this long; as in Prometheus."""

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


class CredentialsError(Exception):
    """A file of credentials or certificates cannot be read or used; the request is not made."""


def new_session(*, unix_socket: str = "") -> aiohttp.ClientSession:
    """Return a session for requests of every section. Close it within its event loop.

    Bodies are not decompressed, cookies are not kept, and time limits are the caller's.
    """
    connector: aiohttp.BaseConnector
    if unix_socket:
        connector = aiohttp.UnixConnector(unix_socket, limit=0, keepalive_timeout=KEEP_ALIVE_S)
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        max_line_size=1 << 16,
        max_field_size=1 << 16,
    )


@dataclass(slots=True)
class RequestOptions:
    """What one section adds to each request. Blocking where it reads files; thread-safe.

    Two threads that find a changed TLS file at once both build the same context.
    """

    config: HttpClientConfig
    _context: ssl.SSLContext | bool = field(default=True, init=False, repr=False)
    _context_of: tuple[object, ...] = field(default=(), init=False, repr=False)

    def blocks(self, url: str) -> bool:
        """Say whether `for_url` reads files now, and so belongs into a thread.

        Loading the system's authorities for the first TLS context takes some 30 ms.
        """
        if url.startswith("https:") and self._context is True:
            return True
        basic, bearer, tls = (
            self.config.basic_auth,
            self.config.authorization,
            self.config.tls_config,
        )
        return bool(
            (basic and (basic.username_file or basic.password_file))
            or (bearer and bearer.credentials_file)
            or tls.ca_file
            or tls.cert_file
            or tls.key_file
        )

    def for_url(self, url: str) -> dict[str, Any]:
        """Return keyword arguments for `ClientSession.request`: `headers`, `ssl` and so on.

        Raises CredentialsError if a file cannot be read or a certificate cannot be used.
        """
        arguments: dict[str, Any] = {
            "headers": self._headers(),
            "allow_redirects": self.config.follow_redirects,
        }
        if proxy := self._proxy(url):
            parts = urlsplit(proxy)
            if parts.username is not None:
                pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                secret = {"Proxy-Authorization": f"Basic {_base64(pair)}"}
                # A tunnel for TLS is asked for with headers of its own.
                if url.startswith("https:"):
                    arguments["proxy_headers"] = secret
                else:
                    arguments["headers"] |= secret
                proxy = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            arguments["proxy"] = proxy
        if url.startswith("https:"):
            arguments["ssl"] = self._tls()
            if self.config.tls_config.server_name:
                arguments["server_hostname"] = self.config.tls_config.server_name
        return arguments

    def _headers(self) -> dict[str, str]:
        headers = {}
        if basic := self.config.basic_auth:
            user = _text(basic.username, basic.username_file)
            password = _text(basic.password, basic.password_file)
            headers["Authorization"] = f"Basic {_base64(f'{user}:{password}')}"
        elif bearer := self.config.authorization:
            credentials = _text(bearer.credentials, bearer.credentials_file)
            headers["Authorization"] = f"{bearer.type} {credentials}"
        for name, values in self.config.http_headers.items():
            headers[name] = ", ".join(values)
        return headers

    def _proxy(self, url: str) -> str:
        if not self.config.proxy_url and not self.config.proxy_from_environment:
            return ""
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return ""  # the request itself will tell what is wrong with the URL
        if self.config.proxy_from_environment:
            proxies = urllib.request.getproxies_environment()
            if _bypassed(host, proxies.get("no", "")):
                return ""
            return proxies.get(urlsplit(url).scheme, "")
        if self.config.proxy_url and not _bypassed(host, self.config.no_proxy):
            return self.config.proxy_url
        return ""

    def _tls(self) -> ssl.SSLContext | bool:
        tls = self.config.tls_config
        files = [path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path]
        try:
            version = tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in files)
            if self._context is True or version != self._context_of:
                self._context, self._context_of = tls_context(tls), version
        except (OSError, ValueError) as e:
            # ssl.SSLError is an OSError: a certificate that does not parse comes here as well.
            raise CredentialsError(f"unable to load specified TLS files: {e}") from e
        return self._context


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return a client context for a TLS section. Raises OSError, ssl.SSLError, ValueError."""
    context = ssl.create_default_context()
    if tls.ca_file or tls.ca:
        # A CA that is given is the only one that is trusted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=tls.ca_file, cadata=tls.ca or None)
    context.minimum_version = _tls_version(tls.min_version or "TLS12")
    if tls.max_version:
        context.maximum_version = _tls_version(tls.max_version)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file or tls.cert:
        _load_client_certificate(context, tls)
    return context


def _load_client_certificate(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Load the certificate and key; OpenSSL takes files only, so inline text passes through one."""
    with tempfile.TemporaryDirectory() as folder:

        def on_disk(name: str, text: str) -> Path:
            path = Path(folder) / name
            path.touch(mode=0o600)
            path.write_text(text)
            return path

        cert = tls.cert_file or on_disk("cert.pem", tls.cert)
        key = tls.key_file or (on_disk("key.pem", tls.key) if tls.key else None)
        context.load_cert_chain(cert, key)


def _tls_version(name: str) -> ssl.TLSVersion:
    if name not in _VERSIONS:
        raise ValueError(f"unknown TLS version: {name}")
    return _VERSIONS[name]


def _text(inline: str, path: Path | None) -> str:
    """Return a secret given inline or as a file, whose blanks at the ends are not part of it."""
    if path is None:
        return inline
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as e:
        reason = os.strerror(e.errno).lower() if isinstance(e, OSError) and e.errno else str(e)
        raise CredentialsError(f"unable to read file {path}: open {path}: {reason}") from e


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _bypassed(host: str, no_proxy: str) -> bool:
    """Say whether `no_proxy` (hosts, `.suffixes`, networks, `*`) keeps a host from the proxy."""
    for item in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        if item == "*" or host == item or host.endswith("." + item.removeprefix(".")):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(item, strict=False):
                return True
        except ValueError:
            continue
    return False
