"""How to reach an HTTP server: credentials, TLS, proxies, as every client section configures them.

From: `gnomon/config/http_client.py`.
To:   `http_requests.py`, which makes requests of it: `scraper/fetch.py`, discovery, forwarding.
Source: prometheus/common `config.HTTPClientConfig`; field names are those of the YAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """User and password; a file is read anew for each request, its whitespace trimmed."""

    username: str = ""
    username_file: Path | None = None
    password: str = ""
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """`Authorization: <type> <credentials>`; a file is read anew for each request."""

    type: str = "Bearer"
    credentials: str = ""
    credentials_file: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Trust, client certificate and versions; inline PEM text or files (reloaded on change)."""

    ca: str = ""
    ca_file: Path | None = None
    cert: str = ""
    cert_file: Path | None = None
    key: str = ""
    key_file: Path | None = None
    server_name: str = ""
    insecure_skip_verify: bool = False
    min_version: str = ""
    max_version: str = ""


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Client credentials that are exchanged for a token.

    The requests for it have TLS and proxy of their own. A file is read anew for each token.
    """

    client_id: str
    token_url: str
    client_secret: str = ""
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()
    endpoint_params: Mapping[str, str] = field(default_factory=dict)
    tls_config: TlsConfig = field(default_factory=TlsConfig)
    proxy_url: str = ""
    no_proxy: str = ""
    proxy_from_environment: bool = False
    proxy_connect_header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpClientConfig:
    """Everything about the client side of one HTTP relation.

    `secret_header_counts`: how many of the last values of a header must never be shown.
    `http_header_files`: further values, read anew for each request. `proxy_connect_header`: what a
    proxy is told, by who asks it for a tunnel; secrets all of them.
    """

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    oauth2: OAuth2 | None = None
    tls_config: TlsConfig = field(default_factory=TlsConfig)
    follow_redirects: bool = True
    enable_http2: bool = True
    proxy_url: str = ""
    no_proxy: str = ""
    proxy_from_environment: bool = False
    http_headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret_header_counts: Mapping[str, int] = field(default_factory=dict)
    http_header_files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    proxy_connect_header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
