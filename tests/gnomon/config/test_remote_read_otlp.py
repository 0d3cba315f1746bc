"""The sections `remote_read` and `otlp`: every field, its default, and what is refused where."""

from pathlib import Path

import pytest
import yaml

from api.receivers.otlp_settings import OtlpSettings
from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_text
from gnomon.remote_read.settings import RemoteReadSettings


def load(text):
    return load_text(text, Path("/etc/gnomon"), {})


def test_a_remote_read_needs_no_more_than_a_url():
    assert load("remote_read: [{url: 'http://a/read'}]").remote_read == (
        RemoteReadSettings("http://a/read"),
    )


def test_every_field_of_a_remote_read_is_taken_and_shown():
    text = """
remote_read:
- url: http://me:secret@a/read
  name: far
  remote_timeout: 5s
  chunked_read_limit: 1000
  headers: {X-Tenant: t}
  read_recent: true
  required_matchers: {job: x}
  filter_external_labels: false
  basic_auth: {username: u, password: p}
"""
    (entry,) = load(text).remote_read
    assert (entry.remote_timeout_ms, entry.chunked_read_limit_bytes) == (5000, 1000)
    assert (entry.headers, entry.required_matchers) == ({"X-Tenant": "t"}, {"job": "x"})
    assert (entry.read_recent, entry.filter_external_labels) == (True, False)
    shown = effective_yaml(load(text))
    assert "secret" not in shown.replace("<secret>", "")
    (fields,) = yaml.safe_load(shown)["remote_read"]
    assert fields["required_matchers"] == {"job": "x"}
    assert fields["basic_auth"] == {"username": "u", "password": "<secret>"}
    assert fields["filter_external_labels"] is False


def test_what_a_remote_is_called_holds_no_secret():
    assert RemoteReadSettings("http://me:secret@a:1/read?key=x").shown_name == "http://a:1/read"
    assert RemoteReadSettings("http://me:secret@a/read", name="far").shown_name == "far"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("remote_read: [{name: a}]", "url for remote_read is empty", id="no url"),
        pytest.param("remote_read: [null]", "empty or null remote read config", id="null"),
        pytest.param(
            "remote_read: [{url: 'http://a', headers: {Authorization: x}}]",
            "authorization header must be changed via the basic_auth",
            id="a reserved header",
        ),
        pytest.param(
            "remote_read: [{url: 'http://a'}, {url: 'http://a'}]",
            "duplicate remote read configs are not allowed",
            id="the same twice",
        ),
        pytest.param(
            "remote_read: [{url: 'http://a:b'}]", "(line 1, remote_read[0].url)", id="url"
        ),
        pytest.param("remote_read: [{url: 'http://a', up: 1}]", "field up not found", id="unknown"),
        pytest.param(
            "otlp: {translation_strategy: X}", "(line 1, otlp.translation_strategy)", id="strategy"
        ),
        pytest.param("otlp: {promote: []}", "field promote not found", id="unknown in otlp"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert message in str(caught.value)


def test_otlp_has_the_defaults_of_prometheus():
    assert load("").otlp == load("otlp:").otlp == OtlpSettings()
    assert yaml.safe_load(effective_yaml(load("")))["otlp"] == {
        "translation_strategy": "UnderscoreEscapingWithSuffixes"
    }


def test_every_field_of_otlp_is_taken_and_shown():
    fields = {
        "promote_all_resource_attributes": True,
        "ignore_resource_attributes": ["a", "b"],
        "translation_strategy": "NoTranslation",
        "keep_identifying_resource_attributes": True,
        "convert_histograms_to_nhcb": True,
        "promote_scope_metadata": True,
        "label_name_underscore_sanitization": False,
        "label_name_preserve_multiple_underscores": False,
    }
    config = load(yaml.safe_dump({"otlp": fields}))
    assert yaml.safe_load(effective_yaml(config))["otlp"] == fields
    assert config.otlp.promotes("c")
    assert not config.otlp.promotes("a")
