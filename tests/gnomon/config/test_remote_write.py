"""`remote_write`: Prometheus' fields, defaults and messages."""

from pathlib import Path

import pytest

from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_text
from gnomon.forwarding.settings import V2_MESSAGE, RemoteWriteSettings


def load(text):
    return load_text(text, Path("/etc/gnomon"), {})


def entry(fields):
    return load(f"remote_write: [{{url: 'http://a/write', {fields}}}]").remote_write[0]


def test_defaults_are_those_of_prometheus():
    assert load("remote_write: [{url: 'http://a/write'}]").remote_write == (
        RemoteWriteSettings("http://a/write"),
    )


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ("remote_timeout: 3s", lambda e: e.remote_timeout_ms == 3000),
        ("headers: {X-A: b}", lambda e: e.headers == {"X-A": "b"}),
        ("name: n", lambda e: e.name == e.shown_name == "n"),
        ("send_exemplars: true", lambda e: e.send_exemplars),
        ("send_native_histograms: true", lambda e: e.send_native_histograms),
        ("round_robin_dns: true", lambda e: e.round_robin_dns),
        (f"protobuf_message: {V2_MESSAGE}", lambda e: e.protobuf_message == V2_MESSAGE),
        ("basic_auth: {username: u}", lambda e: e.http_client.basic_auth.username == "u"),
        ("enable_http2: true", lambda e: e.http_client.enable_http2),
        ("tls_config: {ca_file: c}", lambda e: e.http_client.tls_config.ca_file.name == "c"),
        ("queue_config: {capacity: 7}", lambda e: e.queue.capacity == 7),
        (
            "queue_config: {batch_send_deadline: 1s}",
            lambda e: e.queue.batch_send_deadline_ms == 1000,
        ),
        ("queue_config: {retry_on_http_429: true}", lambda e: e.queue.retry_on_http_429),
        (
            "queue_config: {sample_age_limit: 1h}",
            lambda e: e.queue.sample_age_limit_ms == 3_600_000,
        ),
        ("metadata_config: {send: false}", lambda e: not e.metadata.send),
        ("metadata_config: {send_interval: 5s}", lambda e: e.metadata.send_interval_ms == 5000),
        (
            "write_relabel_configs: [{action: drop, regex: x}]",
            lambda e: len(e.write_relabel_rules) == 1,
        ),
    ],
)
def test_a_field_is_read_and_shown_again(fields, read):
    assert read(entry(fields))
    config = load(f"remote_write: [{{url: 'http://a/write', {fields}}}]")
    assert load(effective_yaml(config)).remote_write == config.remote_write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{name: a}]", "url for remote_write is empty"),
        ("[null]", "empty or null remote write config section"),
        ("[{url: 'http://a:x'}]", "parse"),
        (
            "[{url: 'http://a', name: n}, {url: 'http://b', name: n}]",
            'found multiple remote write configs with job name "n"',
        ),
        (
            "[{url: 'http://a'}, {url: 'http://a'}]",
            "duplicate remote write configs are not allowed",
        ),
        (
            "[{url: 'http://a', write_relabel_configs: [null]}]",
            "empty or null relabeling rule in remote write config",
        ),
        ("[{url: 'http://a', protobuf_message: x}]", "unknown type for remote write protobuf"),
        (
            "[{url: 'http://a', headers: {authorization: x}}]",
            "authorization header must be changed via",
        ),
        (
            "[{url: 'http://a', headers: {X-Prometheus-Remote-Write-Version: x}}]",
            "is a reserved header. It must not be changed",
        ),
        (
            "[{url: 'http://a', basic_auth: {username: a}, sigv4: {region: b}}]",
            "Currently configured: [basic_auth sigv4]",
        ),
        ("[{url: 'http://a', sigv4: {region: b}}]", "sigv4 is known to Prometheus but not"),
        ("[{url: 'http://a', azuread: {cloud: b}}]", "azuread is known to Prometheus but not"),
        ("[{url: 'http://a', google_iam: {x: b}}]", "google_iam is known to Prometheus but not"),
        (
            "[{url: 'http://a', queue_config: {max_shards: 0}}]",
            "remote write queue max_shards must be positive",
        ),
        (
            "[{url: 'http://a', queue_config: {min_shards: 9, max_shards: 3}}]",
            "min_shards must not be greater than max_shards",
        ),
        (
            "[{url: 'http://a', queue_config: {min_backoff: 9s, max_backoff: 3s}}]",
            "max_backoff must not be less than min_backoff",
        ),
        ("[{url: 'http://a', unknown: 1}]", "field unknown not found"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(ConfigError) as caught:
        load(f"remote_write: {text}")
    assert message in str(caught.value)


def test_no_secret_is_shown():
    config = load(
        "remote_write: [{url: 'http://u:pass@a/w', basic_auth: {username: u, password: hidden}}]"
    )
    shown = effective_yaml(config)
    assert "hidden" not in shown
    assert "pass@" not in shown
