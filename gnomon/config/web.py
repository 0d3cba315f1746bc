"""The file that `--web.config.file` names: TLS, users, headers.

From: a file.   To: `gnomon/web_access.py`, `gnomon check web-config`.
Source: exporter-toolkit, web configuration; texts are its own where it has any.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api.access import AccessRules, RateLimit
from gnomon.config.document import ConfigError, go_quote, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

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
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}

_TLS13_SUITES = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Always on, in Go and in OpenSSL."""

CIPHERS = {
    f"TLS_ECDHE_{key}_WITH_{suite}": f"ECDHE-{key}-{ours}"
    for key in ("ECDSA", "RSA")
    for suite, ours in (
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
"""Go's names of the suites before TLS 1.3, and OpenSSL's."""

_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert")


@dataclass(frozen=True, slots=True)
class TlsServer:
    """How to serve TLS. Certificates and the key are files, or stand in the file as text.

    `ciphers` are OpenSSL's names, empty: its defaults. `curve` is "" for its defaults.
    """

    cert_file: Path | None
    key_file: Path | None
    client_auth: ssl.VerifyMode
    client_ca: Path | None
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    cert: str = ""
    key: str = field(default="", repr=False)
    client_ca_text: str = ""
    ciphers: tuple[str, ...] = ()
    curve: str = ""
    prefer_server_ciphers: bool = True

    def context(self) -> ssl.SSLContext:
        """Return a context with the files loaded as they are now. Raises OSError, SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        if self.ciphers:
            context.set_ciphers(":".join(self.ciphers))
        if self.curve:
            context.set_ecdh_curve(self.curve)
        if self.prefer_server_ciphers:
            context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        self.load_into(context)
        context.verify_mode = self.client_auth
        if self.client_ca is not None:
            _look_into(self.client_ca)
        if self.client_ca is not None or self.client_ca_text:
            context.load_verify_locations(self.client_ca, cadata=self.client_ca_text or None)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load certificate and key anew; connections made from now on use them."""
        with (
            _readable(self.cert_file, self.cert) as cert,
            _readable(self.key_file, self.key) as key,
        ):
            context.load_cert_chain(cert, key)


def _look_into(file: Path) -> None:
    """Raise OSError, which names the file, where OpenSSL would only say that there is none."""
    file.open("rb").close()


@contextlib.contextmanager
def _readable(file: Path | None, text: str) -> Iterator[Path]:
    """Yield a file with the text, which is in memory alone, where none is named."""
    if file is not None:
        _look_into(file)
        yield file
        return
    with os.fdopen(os.memfd_create("tls"), "wb") as memory:
        memory.write(text.encode())
        memory.flush()
        yield Path(f"/proc/self/fd/{memory.fileno()}")


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
    tls_section = top.section("tls_server_config", "web.TLSConfig")
    tls = _tls(tls_section, path.parent) if tls_section else None
    names = tls_section.strings("client_allowed_sans") if tls_section else ()
    http = top.section("http_server_config", "web.HTTPConfig")
    headers = _headers(http) if http else {}
    users = {name: stored.encode() for name, stored in top.texts("basic_auth_users").items()}
    for name, stored in users.items():
        if not stored.startswith((b"$2a$", b"$2b$", b"$2y$")):
            top.fail(f"the password of {go_quote(name)} is not a bcrypt hash", "basic_auth_users")
    limit = top.section("rate_limit", "web.RateLimiterConfig")
    rate = _rate(limit) if limit else None
    problems.raise_if_any()
    if names and (tls is None or tls.client_auth != ssl.CERT_REQUIRED):
        raise ConfigError("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
    return WebConfig(tls, AccessRules(users, headers, frozenset(names), rate))


def _rate(section: Section) -> RateLimit | None:
    burst, interval_ms = section.integer("burst"), section.duration_ms("interval")
    # As in the toolkit: without an interval there is no limit, and without a burst nothing passes.
    return RateLimit(interval_ms / 1000, burst) if interval_ms else None


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
    prefer = section.boolean("prefer_server_cipher_suites", True)
    cert, cert_text = _file_or_text(section, "cert", folder)
    key, key_text = _file_or_text(section, "key", folder)
    if cert is None and not cert_text:
        section.fail("missing one of cert or cert_file")
    if key is None and not key_text:
        section.fail("missing one of key or key_file")
    auth = section.string("client_auth_type")
    if auth in _UNVERIFIED:
        section.fail(f"client_auth_type {auth} is not supported by Gnomon: a certificate that is "
                     "asked for is verified", "client_auth_type")  # fmt: skip
    if auth not in CLIENT_AUTH:
        section.fail(f"invalid ClientAuth: {auth}", "client_auth_type")
    authority, authority_text = _file_or_text(section, "client_ca", folder)
    any_authority = authority is not None or bool(authority_text)
    if any_authority and CLIENT_AUTH[auth] == ssl.CERT_NONE:
        section.fail("Client CA's have been configured without a Client Auth Policy",
                     "client_ca_file")  # fmt: skip
    if CLIENT_AUTH[auth] != ssl.CERT_NONE and not any_authority:
        section.fail("client_auth_type needs client_ca_file", "client_auth_type")
    suites = section.strings("cipher_suites")
    ciphers = _ciphers(section, suites)
    min_version = _version(section, "min_version", "TLS12")
    return TlsServer(
        cert_file=cert,
        key_file=key,
        client_auth=CLIENT_AUTH[auth],
        client_ca=authority,
        # Who names suites of TLS 1.3 alone leaves nothing for older versions.
        min_version=ssl.TLSVersion.TLSv1_3 if suites and not ciphers else min_version,
        max_version=_version(section, "max_version", "TLS13"),
        cert=cert_text,
        key=key_text,
        client_ca_text=authority_text,
        ciphers=ciphers,
        curve=_curve(section),
        prefer_server_ciphers=prefer,
    )


def _file_or_text(section: Section, name: str, folder: Path) -> tuple[Path | None, str]:
    """Return what is given either in a file or as text."""
    file, text = section.string(f"{name}_file"), section.string(name)
    if file and text:
        section.fail(f"cannot specify both {name} and {name}_file", name)
    return (folder / file if file else None), text


def _ciphers(section: Section, suites: tuple[str, ...]) -> tuple[str, ...]:
    for name in suites:
        if name not in CIPHERS and name not in _TLS13_SUITES:
            section.fail(f"unknown cipher: {name}", "cipher_suites")
    return tuple(CIPHERS[name] for name in suites if name in CIPHERS)


def _curve(section: Section) -> str:
    curves = section.strings("curve_preferences")
    for name in curves:
        if name not in CURVES:
            section.fail(f"unknown curve: {name}", "curve_preferences")
    if len(curves) > 1:
        section.fail("several curves are not supported by Gnomon: name one, or none for OpenSSL's "
                     "own order", "curve_preferences")  # fmt: skip
    return CURVES[curves[0]] if curves else ""


def _version(section: Section, name: str, default: str) -> ssl.TLSVersion:
    text = section.string(name, default)
    if text not in VERSIONS:
        section.fail(f"unknown TLS version: {text}", name)
    return VERSIONS[text]
