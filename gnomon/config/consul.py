"""The entries of `consul_sd_configs`.

From: `scrape.py`.   To: `wiring.py`, as settings of a `ConsulDiscovery`.
Source: Prometheus documentation, consul_sd_config (3.14); the texts are Prometheus'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from discovery.consul_settings import ConsulSettings
from discovery.http_client import BasicAuth
from gnomon.config.http_client import decode_client

if TYPE_CHECKING:
    from pathlib import Path

    from gnomon.config.document import Section


def decode_consul(section: Section, folder: Path) -> tuple[ConsulSettings, ...]:
    """Read `consul_sd_configs`."""
    null_text = "empty or null section in consul_sd_configs"
    items = section.sections("consul_sd_configs", "consul.plain", null_text=null_text)
    return tuple(_entry(item, folder) for item in items)


def _entry(item: Section, folder: Path) -> ConsulSettings:
    client = decode_client(item, folder)
    server = item.string("server", ConsulSettings().server)
    if not server.strip():
        item.fail("consul SD configuration requires a server address")
    username, password = item.string("username"), item.string("password")
    if username or password:
        if client.basic_auth is not None:
            item.fail(
                "at most one of consul SD configuration username and password and basic auth"
                " can be configured"
            )
        if client.authorization is not None or client.oauth2 is not None:
            item.fail("at most one of basic_auth, oauth2 & authorization must be configured")
        client = replace(client, basic_auth=BasicAuth(username=username, password=password))
    token = item.string("token")
    if token and (client.authorization is not None or client.oauth2 is not None):
        item.fail("at most one of consul SD token, authorization, or oauth2 can be configured")
    return ConsulSettings(
        server=server,
        scheme=item.string("scheme", "http"),
        path_prefix=item.string("path_prefix"),
        token=token,
        datacenter=item.string("datacenter"),
        namespace=item.string("namespace"),
        partition=item.string("partition"),
        tag_separator=item.string("tag_separator", ","),
        services=item.strings("services"),
        tags=item.strings("tags"),
        node_meta=item.texts("node_meta"),
        filter=item.string("filter"),
        health_filter=item.string("health_filter"),
        allow_stale=item.boolean("allow_stale", True),
        refresh_interval_s=(item.duration_ms("refresh_interval") or 30_000) / 1000,
        client=client,
    )
