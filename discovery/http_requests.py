"""An HTTP client section becomes what each request needs: headers, TLS, proxy.

From: `http_client.py`.   To: `scraper/fetch.py`, `http.py`, and whoever else calls out by HTTP.

Credential files are read anew for each request, since they rotate; tokens of `oauth2.py` are kept
while they hold. TLS files are watched by their
modification times: a handshake context is built again when one of them changes.
One connection pool serves all sections: credentials and TLS go with the request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import ssl
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp

from discovery.credentials import CredentialsError as CredentialsError  # for whoever asks here
from discovery.credentials import base64_text, read_secret
from discovery.http_client import HttpClientConfig
from discovery.oauth2 import TokenSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from discovery.http_client import OAuth2, TlsConfig

KEEP_ALIVE_S = 300.0
"""Idle connections are kept this long; as in Prometheus."""

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}


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
    """What one section adds to each request. Ask by `arguments`, within one event loop.

    `for_url` is the part of it that needs no loop: blocking where it reads files, thread-safe.
    Two threads that find a changed TLS file at once both build the same context.
    """

    config: HttpClientConfig
    _tokens: TokenSource | None = field(default=None, init=False, repr=False)
    _context: ssl.SSLContext | bool = field(default=True, init=False, repr=False)
    _context_of: tuple[object, ...] = field(default=(), init=False, repr=False)

    async def arguments(self, url: str) -> tuple[dict[str, Any], float]:
        """Return what `for_url` does, a token included, and the time until which that holds.

        The time is of the monotonic clock; that files change is not foreseen (see `blocks`).
        Raises CredentialsError. Getting a token takes as long as its endpoint, at most 30 s.
        """
        if self.blocks(url):
            arguments = await asyncio.to_thread(self.for_url, url)
        else:
            arguments = self.for_url(url)
        if self.config.oauth2 is None:
            return arguments, math.inf
        if self._tokens is None:
            self._tokens = _tokens(self.config.oauth2)
        token = await self._tokens.token()
        arguments["headers"]["Authorization"] = token.header
        return arguments, token.renew_at

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Note that a request with these headers was refused (401).

        Says whether the next request will carry another token.
        """
        return self._tokens is not None and self._tokens.refused(headers.get("Authorization", ""))

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
            or self.config.http_header_files
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
            if self.config.proxy_connect_header and url.startswith("https:"):
                arguments["proxy_headers"] = {
                    name: ", ".join(values)
                    for name, values in self.config.proxy_connect_header.items()
                }
            if parts.username is not None:
                pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                secret = {"Proxy-Authorization": f"Basic {base64_text(pair)}"}
                # A tunnel for TLS is asked for with headers of its own.
                if url.startswith("https:"):
                    arguments["proxy_headers"] = secret | arguments.get("proxy_headers", {})
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
            user = read_secret(basic.username, basic.username_file)
            password = read_secret(basic.password, basic.password_file)
            headers["Authorization"] = f"Basic {base64_text(f'{user}:{password}')}"
        elif bearer := self.config.authorization:
            credentials = read_secret(bearer.credentials, bearer.credentials_file)
            headers["Authorization"] = f"{bearer.type} {credentials}"
        files = self.config.http_header_files
        for name in self.config.http_headers.keys() | files.keys():
            values = list(self.config.http_headers.get(name, ()))
            values += [read_secret("", path) for path in files.get(name, ())]
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


def _tokens(oauth2: OAuth2) -> TokenSource:
    """Return the tokens of a section, which are asked for with its own TLS and proxy."""
    client = HttpClientConfig(
        tls_config=oauth2.tls_config,
        proxy_url=oauth2.proxy_url,
        no_proxy=oauth2.no_proxy,
        proxy_from_environment=oauth2.proxy_from_environment,
        proxy_connect_header=oauth2.proxy_connect_header,
    )
    return TokenSource(oauth2, RequestOptions(client).for_url)


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
