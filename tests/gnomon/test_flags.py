from pathlib import Path

import pytest

from gnomon.flag_table import FLAGS, IDLE_FLAGS, UNBUILT_FLAGS
from gnomon.flags import FlagError, ServeOptions, help_text, parse_flags

PREFIX = "Error parsing command line arguments: "


def test_the_defaults_are_prometheus():
    options = parse_flags([])
    shown = options.shown
    assert options == ServeOptions(shown=shown)
    assert shown["web.listen-address"] == "0.0.0.0:9090"
    assert shown["storage.tsdb.retention.time"] == "0s"
    assert shown["query.lookback-delta"] == "5m"


@pytest.mark.parametrize(
    ("words", "member", "value"),
    [
        pytest.param(["--config.file", "x.yml"], "config_file", Path("x.yml"), id="two words"),
        pytest.param(["--config.file=x.yml"], "config_file", Path("x.yml"), id="one word"),
        pytest.param(["--web.enable-lifecycle"], "enable_lifecycle", True, id="a switch"),
        pytest.param(["--web.enable-lifecycle=true"], "enable_lifecycle", True, id="set true"),
        pytest.param(["--no-web.enable-lifecycle"], "enable_lifecycle", False, id="a switch off"),
        pytest.param(
            ["--web.listen-address=:1", "--web.listen-address", "[::1]:2"],
            "listen",
            (("", 1), ("::1", 2)),
            id="two addresses",
        ),
        pytest.param(
            ["--storage.tsdb.retention.time=90d"], "retention_time_ms", 7_776_000_000, id="a time"
        ),
        pytest.param(
            ["--storage.tsdb.retention.size=512MB"], "retention_size_bytes", 2**29, id="a size"
        ),
        pytest.param(["--query.timeout=90s"], "query_timeout_ms", 90_000, id="a duration"),
        pytest.param(["--web.read-timeout", "0s"], "read_timeout_ms", 0, id="no read timeout"),
        pytest.param(
            ["--storage.remote.read-sample-limit=5e7"],
            "read_samples_max",
            50_000_000,
            id="a number as Go writes it",
        ),
        pytest.param(
            ["--enable-feature=auto-reload-config"],
            "auto_reload",
            True,
            id="the feature that became a flag",
        ),
        pytest.param(
            ["--storage.tsdb.min-block-duration=30m", "--storage.tsdb.max-block-duration=90m"],
            "max_block_ms",
            5_400_000,
            id="the length of blocks",
        ),
        pytest.param(["--query.max-samples=7"], "query_samples_max", 7, id="a number"),
        pytest.param(
            ["--enable-feature=promql-delayed-name-removal,promql-at-modifier"],
            "features",
            {"promql-delayed-name-removal", "promql-at-modifier"},
            id="features",
        ),
        pytest.param(
            ["--storage.tsdb.wal-compression-type=zstd"],
            "wal_compression",
            "zstd",
            id="how the log is packed",
        ),
        pytest.param(
            ["--no-storage.tsdb.wal-compression", "--storage.tsdb.wal-compression-type=zstd"],
            "wal_compression",
            "none",
            id="a log that is not packed at all",
        ),
        pytest.param(
            ["--agent", "--storage.agent.wal-compression-type=zstd"],
            "wal_compression",
            "zstd",
            id="how an agent's log is packed",
        ),
        pytest.param(
            ["--storage.tsdb.wal-segment-size=16MB"],
            "wal_segment_bytes",
            16 << 20,
            id="how long segments of the log are",
        ),
        pytest.param(
            ["--scrape.adjust-timestamps=true", "--rules.alert.resend-delay", "1m"],
            "config_file",
            Path("gnomon.yml"),
            id="what is not built, at its default",
        ),
    ],
)
def test_flags_are_read(words, member, value):
    assert getattr(parse_flags(words), member) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--what"], "unknown long flag '--what'"),
        (["--no-what"], "unknown long flag '--no-what'"),
        (["--what=1"], "unknown long flag '--what'"),
        (["-x"], "unknown short flag '-x'"),
        (["word"], "unexpected word"),
        (["--config.file"], "expected argument for flag '--config.file'"),
        (["--config.file=a", "--config.file=b"], "flag 'config.file' cannot be repeated"),
        (["--query.timeout=x"], "flag '--query.timeout': not a valid duration string: \"x\""),
        (["--query.max-samples=0"], "flag '--query.max-samples': must be positive, got 0"),
        (
            ["--web.max-connections=1.5"],
            "flag '--web.max-connections': must be a whole number from 0 on, got 1.5",
        ),
        (
            ["--storage.tsdb.min-block-duration=1s"],
            "flag '--storage.tsdb.min-block-duration': must be at least 1m, got 1s",
        ),
        (
            ["--storage.tsdb.max-block-duration=1h"],
            "flag '--storage.tsdb.max-block-duration': must not be shorter than",
        ),
        (
            ["--storage.tsdb.wal-segment-size=1MB"],
            "flag '--storage.tsdb.wal-segment-size': must be between 10MB and 256MB, got 1MB",
        ),
        (
            ["--storage.tsdb.wal-compression-type=lz4"],
            "flag '--storage.tsdb.wal-compression-type': must be one of snappy, zstd",
        ),
        (["--log.level=loud"], "flag '--log.level': must be one of debug, info, warn, error,"),
        (["--web.listen-address=9090"], "flag '--web.listen-address': '9090' is not host:port"),
        (
            ["--storage.tsdb.delay-compact-file.path=x"],
            "flag '--storage.tsdb.delay-compact-file.path' is known to Prometheus but not supported"
            " by Gnomon yet",
        ),
        (
            ["--enable-feature=otlp-deltatocumulative,otlp-native-delta-ingestion"],
            "cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the"
            " same time",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_told_in_one_line(words, message):
    with pytest.raises(FlagError) as caught:
        parse_flags(words)
    assert str(caught.value).startswith(PREFIX + message)


def test_every_flag_has_help_and_none_is_built_and_unbuilt():
    assert all(f.name in help_text() and f.help in help_text() for f in FLAGS)
    assert not {f.name for f in FLAGS} & (UNBUILT_FLAGS.keys() | IDLE_FLAGS.keys())


def test_what_has_no_effect_is_warned_of():
    """The command line of Prometheus' container image, and features that others have."""
    options = parse_flags(
        ["--web.console.libraries=/usr/share/prometheus/console_libraries", "--no-auto-gomemlimit",
         "--web.console.templates", "consoles", "--rules.max-concurrent-evals=4",
         "--enable-feature=exemplar-storage,extra-scrape-metrics"],
    )  # fmt: skip
    assert options.warnings == (
        "flag '--web.console.libraries' has no effect in Gnomon",
        "flag '--auto-gomemlimit' has no effect in Gnomon",
        "feature 'extra-scrape-metrics' is not known to Gnomon and has no effect",
    )
    assert options.features == {"exemplar-storage"}


def test_messages_of_remote_write_are_chosen_by_name():
    name = "--web.remote-write-receiver.accepted-protobuf-messages"
    first, second = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
    assert parse_flags([]).remote_write_messages == (first, second)
    assert parse_flags([f"{name}={second}"]).remote_write_messages == (second,)
    both = parse_flags([f"{name}={second}", f"{name}={first}"])
    assert both.remote_write_messages == (second, first)
    with pytest.raises(FlagError, match="unknown remote write protobuf message foo"):
        parse_flags([f"{name}=foo"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--agent", "--storage.tsdb.path=x", "--query.timeout=1m"],
            "The following flag(s) can not be used in agent mode:"
            ' ["--storage.tsdb.path" "--query.timeout"]',
        ),
        (
            ["--storage.agent.path=x"],
            'The following flag(s) can only be used in agent mode: ["--storage.agent.path"]',
        ),
    ],
    ids=["an agent has no blocks and no queries", "only an agent has an agent's directory"],
)
def test_flags_of_the_other_mode_end_with_3(words, message):
    with pytest.raises(FlagError) as caught:
        parse_flags(words)
    assert str(caught.value) == message
    assert caught.value.exit_code == 3


def test_an_agent_has_a_directory_of_its_own():
    options = parse_flags(["--agent"])
    assert (options.agent, options.data_path) == (True, Path("data-agent/"))
