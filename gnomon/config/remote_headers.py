"""The `headers` of a remote end: any but those that the sender sets itself.

Source: Prometheus documentation; the texts are Prometheus'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gnomon.config.document import Section

_AUTHORIZATION = (
    "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4,"
    " azuread or google_iam parameter"
)
RESERVED = frozenset(
    {
        "host",
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "www-authenticate",
        "accept-encoding",
        "x-prometheus-remote-write-version",
        "x-prometheus-remote-read-version",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    }
)


def decode_headers(section: Section) -> dict[str, str]:
    """Return the headers of a section, as they are written."""
    headers = section.texts("headers")
    for name in headers:
        lower = name.lower()
        if lower == "authorization":
            section.fail(_AUTHORIZATION, "headers")
        if lower in RESERVED:
            section.fail(f"{name} is a reserved header. It must not be changed", "headers")
    return headers
