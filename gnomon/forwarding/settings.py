"""What a configuration says of one end that is written to. Light: read at every start.

From: `gnomon/config/remote_write.py`.   To: `forwarder.py`, and the text of the configuration.
Source: Prometheus documentation, remote_write; names and defaults are Prometheus'.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from discovery.http_client import HttpClientConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scraper.job import RelabelRule

V1_MESSAGE = "prometheus.WriteRequest"
V2_MESSAGE = "io.prometheus.write.v2.Request"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`queue_config`. Times in milliseconds.

    `capacity` bounds, with the number of shards, how many samples are read from the log at once.
    `sample_age_limit_ms` 0: no sample is too old to be sent.
    """

    capacity: int = 10_000
    max_shards: int = 50
    min_shards: int = 1
    max_samples_per_send: int = 2000
    batch_send_deadline_ms: int = 5000
    min_backoff_ms: int = 30
    max_backoff_ms: int = 5000
    retry_on_http_429: bool = False
    sample_age_limit_ms: int = 0


@dataclass(frozen=True, slots=True)
class MetadataSettings:
    """`metadata_config`: messages of metadata, which only remote write 1.0 has."""

    send: bool = True
    send_interval_ms: int = 60_000
    max_samples_per_send: int = 2000


@dataclass(frozen=True, slots=True)
class RemoteWriteSettings:
    """One entry of `remote_write`. `name` is "" where the file gives none; see `shown_name`."""

    url: str
    remote_timeout_ms: int = 30_000
    headers: Mapping[str, str] = field(default_factory=dict)
    write_relabel_rules: tuple[RelabelRule, ...] = ()
    name: str = ""
    send_exemplars: bool = False
    send_native_histograms: bool = False
    round_robin_dns: bool = False
    protobuf_message: str = V1_MESSAGE
    http_client: HttpClientConfig = field(
        default_factory=lambda: HttpClientConfig(enable_http2=False)
    )
    queue: QueueSettings = field(default_factory=QueueSettings)
    metadata: MetadataSettings = field(default_factory=MetadataSettings)

    @property
    def shown_name(self) -> str:
        """What metrics and logs call it: its name, or else six digits made of the settings."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()
        return self.name or digest[:6]
