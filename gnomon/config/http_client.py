"""The fields of an HTTP client, inlined in every section that has one: credentials, TLS, proxy.

From: `scrape.py`.   To: `HttpClientConfig`, used by the scraper and by HTTP discovery.
Source: Prometheus documentation, http_config; the texts are prometheus/common's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.http_client import Authorization, BasicAuth, HttpClientConfig, OAuth2, TlsConfig
from gnomon.config.document import go_quote

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

TLS_VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")

CLIENT_CREDENTIALS = "client_credentials"

_OTHER_GRANT = (
    "client_certificate_key",
    "client_certificate_key_file",
    "client_certificate_key_id",
    "signature_algorithm",
    "iss",
    "audience",
    "claims",
)
"""What only the grant of signed assertions uses."""

RESERVED_HEADERS = frozenset(
    {
        "Accept",
        "Accept-Charset",
        "Accept-Encoding",
        "Authorization",
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Host",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Www-Authenticate",
        "Expect",
        "Forwarded",
        "Te",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "User-Agent",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Prometheus-Remote-Write-Version",
        "X-Prometheus-Remote-Read-Version",
        "X-Prometheus-Scrape-Timeout-Seconds",
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    }
)
"""Headers that the client sets itself, in canonical form."""


def decode_client(section: Section, folder: Path) -> HttpClientConfig:
    """Read the inlined client fields of a section; file names are joined to `folder`."""
    basic = _basic_auth(section.section("basic_auth", "config.BasicAuth"), folder)
    headers, secret_counts, header_files = _headers(section, folder)
    config = HttpClientConfig(
        basic_auth=basic,
        authorization=_authorization(section, folder),
        oauth2=_oauth2(section.section("oauth2", "config.OAuth2"), folder),
        tls_config=decode_tls(section.section("tls_config", "config.plain"), folder),
        follow_redirects=section.boolean("follow_redirects", True),
        enable_http2=section.boolean("enable_http2", True),
        proxy_url=section.string("proxy_url"),
        no_proxy=section.string("no_proxy"),
        proxy_from_environment=section.boolean("proxy_from_environment", False),
        http_headers=headers,
        secret_header_counts=secret_counts,
        http_header_files=header_files,
        proxy_connect_header=section.lists_of_texts("proxy_connect_header"),
    )
    _check_proxy(config, section)
    return config


def joined(folder: Path, name: str) -> Path | None:
    """Return a file name joined to the folder of the configuration, None for no name."""
    return folder / name if name else None


def _basic_auth(section: Section | None, folder: Path) -> BasicAuth | None:
    if section is None:
        return None
    for name in ("username_ref", "password_ref"):
        if section.has(name):
            section.not_yet(name)
    if section.string("username") and section.string("username_file"):
        section.fail(
            "at most one of basic_auth username, username_file & username_ref must be configured"
        )
    if section.string("password") and section.string("password_file"):
        section.fail(
            "at most one of basic_auth password, password_file & password_ref must be configured"
        )
    return BasicAuth(
        username=section.string("username"),
        username_file=joined(folder, section.string("username_file")),
        password=section.string("password"),
        password_file=joined(folder, section.string("password_file")),
    )


def _authorization(section: Section, folder: Path) -> Authorization | None:
    token, token_file = section.string("bearer_token"), section.string("bearer_token_file")
    if token and token_file:
        section.fail("at most one of bearer_token & bearer_token_file must be configured")
    others = section.has("basic_auth") or section.has("oauth2")
    if others and (token or token_file):
        section.fail(
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured"
        )
    inner = section.section("authorization", "config.Authorization")
    if inner is None:
        if token or token_file:
            return Authorization(credentials=token, credentials_file=joined(folder, token_file))
        if section.has("basic_auth") and section.has("oauth2"):
            section.fail("at most one of basic_auth, oauth2 & authorization must be configured")
        return None
    if token or token_file:
        section.fail("authorization is not compatible with bearer_token & bearer_token_file")
    if inner.has("credentials_ref"):
        inner.not_yet("credentials_ref")
    credentials, credentials_file = inner.string("credentials"), inner.string("credentials_file")
    if credentials and credentials_file:
        inner.fail("at most one of authorization credentials & credentials_file must be configured")
    kind = inner.string("type").strip() or "Bearer"
    if kind.lower() == "basic":
        inner.fail('authorization type cannot be set to "basic", use "basic_auth" instead', "type")
    if others:
        section.fail("at most one of basic_auth, oauth2 & authorization must be configured")
    return Authorization(kind, credentials, joined(folder, credentials_file))


def _oauth2(section: Section | None, folder: Path) -> OAuth2 | None:
    if section is None:
        return None
    grant = section.string("grant_type") or CLIENT_CREDENTIALS
    if grant != CLIENT_CREDENTIALS:
        # The other grant signs what it asks with, which takes a library of cryptography.
        section.not_yet("grant_type", f"oauth2 grant_type {grant}")
    for name in ("client_secret_ref", "client_certificate_key_ref"):
        if section.has(name):
            section.not_yet(name)
    for name in _OTHER_GRANT:
        if section.empty(name):
            section.ignore(name)
        else:
            section.not_yet(name)
    if not section.string("client_id"):
        section.fail("oauth2 client_id must be configured")
    if not section.string("token_url"):
        section.fail("oauth2 token_url must be configured")
    if section.string("client_secret") and section.string("client_secret_file"):
        section.fail(
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be"
            " configured using grant-type=client_credentials"
        )
    config = OAuth2(
        client_id=section.string("client_id"),
        token_url=section.string("token_url"),
        client_secret=section.string("client_secret"),
        client_secret_file=joined(folder, section.string("client_secret_file")),
        scopes=section.strings("scopes"),
        endpoint_params=section.texts("endpoint_params"),
        tls_config=decode_tls(section.section("tls_config", "config.plain"), folder),
        proxy_url=section.string("proxy_url"),
        no_proxy=section.string("no_proxy"),
        proxy_from_environment=section.boolean("proxy_from_environment", False),
        proxy_connect_header=section.lists_of_texts("proxy_connect_header"),
    )
    _check_proxy(config, section)
    return config


def decode_tls(section: Section | None, folder: Path) -> TlsConfig:
    """Read a `tls_config`."""
    if section is None:
        return TlsConfig()
    for name in ("ca", "cert", "key"):
        if section.has(f"{name}_ref"):
            section.not_yet(f"{name}_ref")
        if section.string(name) and section.string(f"{name}_file"):
            section.fail(f"at most one of {name}, {name}_file & {name}_ref must be configured")
    has_cert = bool(section.string("cert") or section.string("cert_file"))
    has_key = bool(section.string("key") or section.string("key_file"))
    if has_cert and not has_key:
        section.fail(
            "exactly one of key or key_file must be configured when a client certificate is"
            " configured"
        )
    if has_key and not has_cert:
        section.fail(
            "exactly one of cert or cert_file must be configured when a client key is configured"
        )
    for name in ("min_version", "max_version"):
        version = section.string(name)
        if version and version not in TLS_VERSIONS:
            section.fail(f"unknown TLS version: {version}", name)
    lowest, highest = section.string("min_version"), section.string("max_version")
    if lowest and highest and TLS_VERSIONS.index(highest) < TLS_VERSIONS.index(lowest):
        section.fail(
            "tls_config.max_version must be greater than or equal to tls_config.min_version"
            " if both are specified"
        )
    return TlsConfig(
        ca=section.string("ca"),
        ca_file=joined(folder, section.string("ca_file")),
        cert=section.string("cert"),
        cert_file=joined(folder, section.string("cert_file")),
        key=section.string("key"),
        key_file=joined(folder, section.string("key_file")),
        server_name=section.string("server_name"),
        insecure_skip_verify=section.boolean("insecure_skip_verify", False),
        min_version=lowest,
        max_version=highest,
    )


def _check_proxy(config: HttpClientConfig | OAuth2, section: Section) -> None:
    if config.proxy_from_environment and config.proxy_url:
        section.fail("if proxy_from_environment is configured, proxy_url must not be configured")
    if config.proxy_from_environment and config.no_proxy:
        section.fail("if proxy_from_environment is configured, no_proxy must not be configured")
    if config.proxy_connect_header and not (config.proxy_url or config.proxy_from_environment):
        section.fail(
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also"
            " be configured"
        )
    if config.no_proxy and not config.proxy_url:
        section.fail("if no_proxy is configured, proxy_url must also be configured")


def _headers(
    section: Section, folder: Path
) -> tuple[dict[str, tuple[str, ...]], dict[str, int], dict[str, tuple[Path, ...]]]:
    """Return the values of each header, secrets last, how many of them are secret, and files."""
    headers = section.section("http_headers", "config.Headers")
    values: dict[str, tuple[str, ...]] = {}
    secret_counts: dict[str, int] = {}
    files: dict[str, tuple[Path, ...]] = {}
    for name in headers.names() if headers else ():
        assert headers is not None
        canonical = "-".join(part.capitalize() for part in name.split("-"))
        if canonical in RESERVED_HEADERS:
            headers.fail(f"setting header {go_quote(canonical)} is not allowed", name)
        inner = headers.section(name, "config.Header")
        if inner is None:
            continue
        secrets = inner.strings("secrets")
        if given := inner.strings("values") + secrets:
            values[name] = given
        if secrets:
            secret_counts[name] = len(secrets)
        if paths := inner.strings("files"):
            files[name] = tuple(folder / path for path in paths)
    return values, secret_counts, files
