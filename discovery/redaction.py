"""A URL as it may be shown: in logs, metrics, labels and the configuration that the API tells."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def without_password(url: str) -> str:
    """Return the URL with its password crossed out, as Go prints it.

    >>> without_password("http://ann:secret@a:1/x"), without_password("http://a:1/x")
    ('http://ann:xxxxx@a:1/x', 'http://a:1/x')
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':', 1)[0]}:xxxxx@{host}"))
