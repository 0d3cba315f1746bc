"""The file that `--web.config.file` names: TLS, users, headers.

From: a file.   To: `gnomon/web_access.py`, `gnomon check web-config`.
Source: exporter-toolkit, web configuration; texts are its own where it has any.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.access import AccessRules
from gnomon.config.document import ConfigError, go_quote, read_document

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section

HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert")


@dataclass(frozen=True, slots=True)
class TlsServer:
    """How to serve TLS. `client_ca` is None unless clients show certificates."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode
    client_ca: Path | None
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion

    def context(self) -> ssl.SSLContext:
        """Return a context with the files loaded as they are now. Raises OSError, SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        self.load_into(context)
        context.verify_mode = self.client_auth
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load certificate and key anew; connections made from now on use them."""
        context.load_cert_chain(self.cert_file, self.key_file)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The file's content, checked."""

    tls: TlsServer | None
    rules: AccessRules

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the configuration names."""
        if self.tls is None:
            return ()
        named = (self.tls.cert_file, self.tls.key_file, self.tls.client_ca)
        return tuple(path for path in named if path is not None)


def load_web_file(path: Path) -> WebConfig:
    """Read the file; names in it are relative to its folder. Raises ConfigError, OSError."""
    top, problems = read_document(path.read_text(encoding="utf-8"), "web.Config")
    for name in ("rate_limit",):
        if top.has(name):
            top.not_yet(name)
    tls_section = top.section("tls_server_config", "web.TLSConfig")
    tls = _tls(tls_section, path.parent) if tls_section else None
    names = tls_section.strings("client_allowed_sans") if tls_section else ()
    http = top.section("http_server_config", "web.HTTPConfig")
    headers = _headers(http) if http else {}
    users = {name: stored.encode() for name, stored in top.texts("basic_auth_users").items()}
    for name, stored in users.items():
        if not stored.startswith((b"$2a$", b"$2b$", b"$2y$")):
            top.fail(f"the password of {go_quote(name)} is not a bcrypt hash", "basic_auth_users")
    problems.raise_if_any()
    if names and (tls is None or tls.client_auth != ssl.CERT_REQUIRED):
        raise ConfigError("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
    return WebConfig(tls, AccessRules(users, headers, frozenset(names)))


def _headers(section: Section) -> dict[str, str]:
    section.boolean("http2", True)  # aiohttp speaks HTTP/1.1, which every client does
    headers = section.texts("headers")
    for name, value in headers.items():
        if name not in HEADERS:
            section.fail(f"HTTP header {go_quote(name)} can not be configured", "headers")
        if not value.isprintable():
            section.fail(f"HTTP header {go_quote(name)} has a value on several lines", "headers")
    return {name: value for name, value in headers.items() if value}


def _tls(section: Section, folder: Path) -> TlsServer | None:
    for name in ("cert", "key", "client_ca", "cipher_suites", "curve_preferences"):
        if section.has(name) and not section.empty(name):
            section.not_yet(name)
    section.boolean("prefer_server_cipher_suites", True)
    cert, key = section.string("cert_file"), section.string("key_file")
    if not cert:
        section.fail("missing one of cert or cert_file")
    if not key:
        section.fail("missing one of key or key_file")
    auth = section.string("client_auth_type")
    if auth in _UNVERIFIED:
        section.fail(f"client_auth_type {auth} is not supported by Gnomon: a certificate that is "
                     "asked for is verified", "client_auth_type")  # fmt: skip
    if auth not in CLIENT_AUTH:
        section.fail(f"invalid ClientAuth: {auth}", "client_auth_type")
    authority = section.string("client_ca_file")
    if authority and CLIENT_AUTH[auth] == ssl.CERT_NONE:
        section.fail("Client CA's have been configured without a Client Auth Policy",
                     "client_ca_file")  # fmt: skip
    if CLIENT_AUTH[auth] != ssl.CERT_NONE and not authority:
        section.fail("client_auth_type needs client_ca_file", "client_auth_type")
    return TlsServer(
        cert_file=folder / cert,
        key_file=folder / key,
        client_auth=CLIENT_AUTH[auth],
        client_ca=folder / authority if authority else None,
        min_version=_version(section, "min_version", "TLS12"),
        max_version=_version(section, "max_version", "TLS13"),
    )


def _version(section: Section, name: str, default: str) -> ssl.TLSVersion:
    text = section.string(name, default)
    if text not in VERSIONS:
        section.fail(f"unknown TLS version: {text}", name)
    return VERSIONS[text]
