"""What the configuration says of one server that queries read from.

From: `gnomon/config/remote_read.py`.   To: `reader.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from discovery.http_client import HttpClientConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

FRAME_BYTES_DEFAULT = 50_000_000


@dataclass(frozen=True, slots=True)
class RemoteReadSettings:
    """One entry of `remote_read`; fields are Prometheus'."""

    url: str
    name: str = ""
    remote_timeout_ms: int = 60_000
    chunked_read_limit_bytes: int = FRAME_BYTES_DEFAULT
    headers: Mapping[str, str] = field(default_factory=dict)
    read_recent: bool = False
    required_matchers: Mapping[str, str] = field(default_factory=dict)
    filter_external_labels: bool = True
    http_client: HttpClientConfig = field(default_factory=HttpClientConfig)

    @property
    def shown_name(self) -> str:
        """What messages and metrics call it: no secret is in it."""
        if self.name:
            return self.name
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
