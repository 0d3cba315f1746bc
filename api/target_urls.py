"""A target's URL as others can follow it: a target on this very machine has another name for them.

From: `status.py`.   Source: Prometheus' `globalUrl`, documented by its answers.
"""

from __future__ import annotations

from urllib.parse import urlsplit

_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def global_url(url: str, external_url: str, listen_port: int) -> str:
    """Return the URL with our own host in it where it says "this machine".

    Our own port is reached under the whole of the external URL's address.

    >>> global_url("http://localhost:9100/metrics", "https://mon.example/p", 9090)
    'http://mon.example:9100/metrics'
    >>> global_url("http://[::1]:9090/metrics", "https://mon.example/p", 9090)
    'https://mon.example/metrics'
    """
    parts = urlsplit(url)
    host, colon, port = parts.netloc.rpartition(":")
    if not colon or not external_url or host.strip("[]") not in _LOCAL:
        return url
    external = urlsplit(external_url)
    if port == str(listen_port):
        return parts._replace(scheme=external.scheme, netloc=external.netloc).geturl()
    own = external.netloc
    before, colon, after = own.rpartition(":")
    if colon and after.isdecimal():
        own = before
    return parts._replace(netloc=f"{own}:{port}").geturl()
