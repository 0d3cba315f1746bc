"""What the corpus does not show: places in messages, our own rules, secrets, included files."""

from pathlib import Path

import pytest

from gnomon.config.document import ConfigError
from gnomon.config.effective import effective_yaml
from gnomon.config.load import load_file, load_text
from scraper.job import RelabelAction, RelabelRule

JOB = "scrape_configs:\n  - job_name: a\n"


def load(text):
    return load_text(text, Path("conf"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "global:\n  nope: 1\n",
            "line 2: field nope not found in type config.plain (at global.nope)",
            id="an unknown field",
        ),
        pytest.param(
            JOB + "    honor_labels: maybe\n",
            "line 3: cannot unmarshal !!str `maybe` into bool (at scrape_configs[0].honor_labels)",
            id="a word for a boolean",
        ),
        pytest.param(
            JOB + "    sample_limit: -1\n",
            "line 3: cannot unmarshal !!int `-1` into uint (at scrape_configs[0].sample_limit)",
            id="a negative limit",
        ),
        pytest.param(
            JOB + "    static_configs: {targets: [a]}\n",
            "line 3: cannot unmarshal !!map into list (at scrape_configs[0].static_configs)",
            id="a map for a list",
        ),
        pytest.param(
            JOB + "    scrape_interval: 5\n",
            'not a valid duration string: "5" (line 3, scrape_configs[0].scrape_interval)',
            id="a duration without unit",
        ),
        pytest.param(
            "global:\n  external_labels:\n    a: x\n    a: y\n",
            'line 4: key "a" already set in map (at global.external_labels)',
            id="a label twice",
        ),
        pytest.param("- a\n", "line 1: cannot unmarshal !!seq into config.plain", id="a list"),
        pytest.param(
            JOB + "    honor_labels: x\n",
            "cannot unmarshal !!str `x` into bool",
            id="text for a boolean",
        ),
        pytest.param(
            JOB + "    honor_labels: 1e3\n",
            "cannot unmarshal !!float `1e3` into bool",
            id="a number that YAML's reader of Python takes for text",
        ),
        pytest.param(
            JOB + "    dns_sd_configs: [{names: a.b, type: A}]\n",
            "cannot unmarshal !!str `a.b` into []string",
            id="a wrong type is told before the rule that it breaks",
        ),
        pytest.param(
            JOB + "    relabel_configs: [{action: hashmod, wrong: 1}]\n",
            "field wrong not found in type relabel.plain",
            id="so is a field that nobody knows",
        ),
        pytest.param(
            JOB + "    file_sd_configs: x\n",
            "cannot unmarshal !!str `x` into []*file.SDConfig",
            id="text for a list",
        ),
        pytest.param(
            JOB + "    relabel_configs: [{regex: '[a', target_label: b}]\n",
            "error parsing regexp: missing closing ]: `[a)$`",
            id="an expression in Go's words",
        ),
        pytest.param(
            JOB + "    relabel_configs: [{source_labels: [''], target_label: b}]\n",
            '"" is not a valid label name',
            id="a source without a name",
        ),
        pytest.param("global: {\n", "yaml: line 1: did not find expected", id="no YAML"),
        pytest.param("a: 1\n---\nb: 1\n", "line 3: a second document", id="two documents"),
        pytest.param(
            "alerting:\n  alertmanagers:\n  - static_configs: []\n",
            "line 1: alerting is known to Prometheus but not supported by Gnomon yet (at alerting)",
            id="a section that is not built",
        ),
        pytest.param(
            JOB + "    nomad_sd_configs: []\n",
            "line 3: nomad_sd_configs is known to Prometheus but not supported",
            id="a discovery that is not built",
        ),
        pytest.param(
            "global: {scrape_interval: 5s, scrape_timeout: 6s}\n",
            "global scrape timeout greater than scrape interval",
            id="a global timeout above the interval",
        ),
        pytest.param(
            "global:\n  scrape_protocols: []\n",
            "scrape_protocols cannot be empty for global config",
            id="no protocol at all",
        ),
        pytest.param(
            JOB + "    relabel_configs: [{action: jump}]\n",
            'unknown relabel action "jump"',
            id="an unknown relabel action",
        ),
        pytest.param(
            JOB + "    http_headers: {authorization: {values: [x]}}\n",
            'setting header "Authorization" is not allowed',
            id="a reserved header",
        ),
        pytest.param(
            JOB + "    tls_config: {cert_file: x}\n",
            "exactly one of key or key_file must be configured",
            id="a certificate without key",
        ),
        pytest.param(
            JOB + "    tls_config: {min_version: TLS9}\n", "unknown TLS version: TLS9", id="TLS9"
        ),
        pytest.param(
            JOB + "    authorization: {type: basic, credentials: x}\n",
            'authorization type cannot be set to "basic", use "basic_auth" instead',
            id="basic as a type of authorization",
        ),
        pytest.param(
            JOB + "    proxy_from_environment: true\n    proxy_url: http://x\n",
            "if proxy_from_environment is configured, proxy_url must not be configured",
            id="two proxies",
        ),
        pytest.param(
            JOB + "    proxy_connect_header: {X: [y]}\n",
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also",
            id="headers for no proxy",
        ),
        pytest.param(
            JOB + "    file_sd_configs: [{files: [a.txt]}]\n",
            'path name "a.txt" is not valid for file discovery',
            id="a target file of another kind",
        ),
        pytest.param(
            JOB + "    http_sd_configs: [{refresh_interval: 5s}]\n", "URL is missing", id="no URL"
        ),
    ],
)
def test_messages_name_the_place(text, message):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert message in str(caught.value)


def test_all_unknown_fields_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        load("one: 1\n" + JOB + "    two: 2\n")
    assert "line 1: field one" in str(caught.value)
    assert "line 4: field two" in str(caught.value)


def test_what_is_unbuilt_is_accepted_where_it_says_nothing():
    config = load(
        "alerting:\n  alertmanagers: []\nrule_files: []\nremote_write:\notlp:\n"
        "global:\n  scrape_native_histograms: false\n"
        "runtime: {gogc: 50}\nstorage: {exemplars: {max_exemplars: 100000}}\n"
    )
    assert config.gogc == 50


@pytest.mark.parametrize(("text", "kept"), [("500", 500), ("0", 0), ("-1", 0), ("", 100_000)])
def test_the_file_says_how_many_exemplars_are_kept(text, kept):
    config = load(
        f"storage: {{exemplars: {{max_exemplars: {text}}}}}\n"
        if text
        else "storage: {exemplars: {}}\n"
    )
    assert config.storage.exemplars_max == kept
    assert load("").storage.exemplars_max is None


def test_native_histograms_put_protobuf_first_among_the_default_protocols():
    text = (
        "scrape_configs:\n- job_name: a\n  scrape_native_histograms: true\n"
        "- job_name: b\n- job_name: c\n  scrape_native_histograms: true\n"
        "  scrape_protocols: [PrometheusText0.0.4]\n- job_name: d\n"
        "  scrape_native_histograms: false\n  scrape_protocols: [PrometheusProto]\n"
    )
    jobs = [job.job for job in load(text).jobs]
    assert [job.scrape_native_histograms for job in jobs] == [True, False, True, False]
    assert [job.scrape_protocols[0] for job in jobs] == [
        "PrometheusProto",
        "OpenMetricsText1.0.0",
        "PrometheusText0.0.4",
        "PrometheusProto",
    ]
    (job,) = load("global: {scrape_native_histograms: true}\n" + JOB).jobs
    assert job.job.scrape_native_histograms
    assert job.job.scrape_protocols[0] == "PrometheusProto"


def test_a_job_inherits_from_global_wherever_it_stands():
    (job,) = load(
        JOB + "    static_configs: [{targets: ['h:1', 'h:2'], labels: {x: y}}]\n"
        "global: {scrape_interval: 5s, sample_limit: 7, scrape_protocols: [PrometheusText0.0.4]}\n"
    ).jobs
    assert (job.job.scrape_interval_ms, job.job.scrape_timeout_ms) == (5_000, 5_000)
    assert job.job.limits.sample_limit == 7
    assert job.job.scrape_protocols == ("PrometheusText0.0.4",)
    assert [target["__address__"] for target in job.static[0].targets] == ["h:1", "h:2"]
    assert job.static[0].labels == {"x": "y"}


def test_anchors_and_merges():
    config = load(
        "scrape_configs:\n"
        "  - &base {job_name: a, metrics_path: /x, static_configs: [{targets: [h]}]}\n"
        "  - {<<: *base, job_name: b}\n"
    )
    assert [(job.job.job_name, job.job.metrics_path) for job in config.jobs] == [
        ("a", "/x"),
        ("b", "/x"),
    ]


def test_relabel_rules():
    (job,) = load(
        JOB + "    relabel_configs:\n"
        "    - {source_labels: [a, b], regex: 'x(.*)', target_label: t, replacement: '$1-'}\n"
        "    - {action: KEEP, source_labels: [c], regex: 1}\n"
    ).jobs
    assert job.job.relabel_rules == (
        RelabelRule(source_labels=("a", "b"), regex="x(.*)", target_label="t", replacement="$1-"),
        RelabelRule(RelabelAction.KEEP, source_labels=("c",), regex="1"),
    )


def test_storage_settings():
    storage = load(
        "storage: {tsdb: {out_of_order_time_window: 30m, retention: {time: 1d, size: 1GB}}}"
    ).storage
    assert storage.out_of_order_time_window_ms == 1_800_000
    assert storage.retention_time_ms == 86_400_000
    assert storage.retention_size_bytes == 1024**3


def test_no_secret_is_printed():
    config = load(
        JOB + "    basic_auth: {username: u, password: hush1}\n"
        "    tls_config: {cert: pem, key: hush2}\n"
        "    http_headers: {X-A: {values: [seen], secrets: [hush3]}}\n"
        "    proxy_url: http://u:hush4@proxy\n"
        "    http_sd_configs: [{url: 'http://u:hush5@h/', authorization: {credentials: hush6}}]\n"
        "  - {job_name: b, bearer_token: hush7}\n"
    )
    text = effective_yaml(config)
    assert "hush" not in text
    assert text.count("<secret>") == 5
    assert text.count("xxxxx") == 2
    assert "seen" in text
    assert config.jobs[1].job.http_client.authorization.credentials == "hush7"


def test_files_are_relative_to_the_configuration():
    (job,) = load(
        JOB + "    authorization: {credentials_file: token}\n"
        "    tls_config: {ca_file: /abs/ca}\n"
        "    file_sd_configs: [{files: ['t/*.yml'], refresh_interval: 1m}]\n"
    ).jobs
    assert job.job.http_client.authorization.credentials_file == Path("conf/token")
    assert job.job.http_client.tls_config.ca_file == Path("/abs/ca")
    assert job.files[0].files == (Path("conf/t/*.yml"),)


def test_included_files(tmp_path):
    (tmp_path / "main.yml").write_text("scrape_config_files: ['more/*.yml']\n" + JOB)
    (tmp_path / "more").mkdir()
    included = tmp_path / "more" / "b.yml"
    included.write_text("scrape_configs:\n- job_name: b\n")
    assert [job.job.job_name for job in load_file(tmp_path / "main.yml").jobs] == ["a", "b"]
    included.write_text(JOB)
    with pytest.raises(ConfigError, match="first found in main config file"):
        load_file(tmp_path / "main.yml")
    included.write_text("global: {}\n")
    with pytest.raises(ConfigError, match="field global not found"):
        load_file(tmp_path / "main.yml")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param(
            "[{targets: [a, 1, 1.5], labels: {x: y, n: 1}}]",
            [(["a", "1", "1.5"], {"x": "y", "n": "1"})],
            id="plain ones",
        ),
        pytest.param(
            "[&a {targets: [a]}, *a, {<<: *a, labels: {x: y}}]",
            [(["a"], {}), (["a"], {}), (["a"], {"x": "y"})],
            id="anchors and merges",
        ),
        pytest.param("[{labels: {x: y}}]", [([], {"x": "y"})], id="no targets"),
        pytest.param("[{targets: [a], labels: }]", [(["a"], {})], id="no labels"),
        pytest.param("[{targets: [true, ]}]", [(["true"], {})], id="what is no text"),
    ],
)
def test_static_groups_of_any_form_are_read_alike(groups, expected, tmp_path):
    text = f"scrape_configs: [{{job_name: j, static_configs: {groups}}}]"
    found = load_text(text, tmp_path).jobs[0].static
    assert [([t["__address__"] for t in g.targets], dict(g.labels)) for g in found] == expected
    assert [group.source for group in found] == [str(n) for n in range(len(expected))]


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "g.yml"
    path.write_text("global: {scrape_interval: 5s}\n")
    assert load_file(path) is not None
    assert load_file(path).global_config.scrape_interval_ms == 5000
    path.write_text("global: {scrape_interval: 6s, external_labels: {a: $X}}\n")
    assert load_file(path, {"X": "1"}).global_config.external_labels == {"a": "1"}
    assert load_file(path, {"X": "2"}).global_config.external_labels == {"a": "2"}


def test_null_is_zero_where_nothing_would_be_the_default():
    text = JOB + (
        "    honor_timestamps: null\n    enable_compression:\n    metrics_path: ~\n"
        "    always_scrape_classic_histograms: null\n    scrape_interval: null\n"
        "    relabel_configs: [{source_labels: [a], target_label: b, separator: null}]\n"
    )
    config = load("global: {always_scrape_classic_histograms: true, scrape_interval: 7s}\n" + text)
    (job,) = (found.job for found in config.jobs)
    assert not job.honor_timestamps
    assert not job.enable_compression
    assert job.metrics_path == ""
    assert job.relabel_rules[0].separator == ""
    # Where it is inherited, null is nothing.
    assert job.always_scrape_classic_histograms
    assert job.scrape_interval_ms == 7000


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0x10", 16),
        ("010", 8),
        ("0o7", 7),
        ("0b11", 3),
        ("1_000", 1000),
        ("+5", 5),
        ("2.0", 2),
        ("09", 9),
        ("0", 0),
    ],
)
def test_numbers_are_those_of_go(written, expected):
    (job,) = load(JOB + f"    sample_limit: {written}\n").jobs
    assert job.job.limits.sample_limit == expected


@pytest.mark.parametrize("written", ["1:20", "-1", "1.5", "x", "'5'", "99999999999999999999"])
def test_what_is_no_number_to_go_is_refused(written):
    with pytest.raises(ConfigError, match="cannot unmarshal"):
        load(JOB + f"    sample_limit: {written}\n")


@pytest.mark.parametrize(
    ("written", "expected"), [("y", True), ("On", True), ("NO", False), ("n", False)]
)
def test_booleans_are_those_of_go(written, expected):
    (job,) = load(JOB + f"    honor_timestamps: {written}\n").jobs
    assert job.job.honor_timestamps is expected


def test_headers_from_files_and_for_proxies_are_read_and_their_secrets_not_shown():
    config = load(
        JOB
        + "    http_headers: {X-A: {values: [v], files: [a, /b]}, X-B: {files: [c]}}\n"
        + "    proxy_url: http://proxy:1\n    proxy_connect_header: {X-P: [secret, more]}\n"
    )
    client = config.jobs[0].job.http_client
    assert client.http_headers == {"X-A": ("v",)}
    files = {"X-A": (Path("conf/a"), Path("/b")), "X-B": (Path("conf/c"),)}
    assert client.http_header_files == files
    assert client.proxy_connect_header == {"X-P": ("secret", "more")}
    shown = effective_yaml(config)
    assert "secret, more" not in shown.replace("- ", "")
    assert shown.count("<secret>") == 2
    assert "conf/a" in shown
