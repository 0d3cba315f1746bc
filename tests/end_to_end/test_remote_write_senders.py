"""Real senders of remote write, in every protocol they have, deliver what they scraped."""

import contextlib
import subprocess

import pytest

from tests.end_to_end.processes import free_port, peer, prometheus_3, until

pytestmark = [pytest.mark.timeout(240), pytest.mark.peer]

SCRAPES = """
scrape_configs:
- job_name: sender
  scrape_interval: 1s
  static_configs: [{{targets: ["{target}"]}}]
"""


def prometheus(folder, running, options):
    config = folder / "sender.yml"
    config.write_text(
        SCRAPES.format(target=f"127.0.0.1:{running.port}")
        + f"remote_write: [{{url: '{running.url}/api/v1/write', send_exemplars: true{options}}}]\n"
    )
    return [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'sender'}",
        f"--web.listen-address=127.0.0.1:{free_port()}",
    ]


def first_version(folder, running):
    return [prometheus_3(), *prometheus(folder, running, ", metadata_config: {send_interval: 1s}")]


def second_version(folder, running):
    message = ", protobuf_message: io.prometheus.write.v2.Request"
    return [
        prometheus_3(),
        *prometheus(folder, running, message),
        "--enable-feature=metadata-wal-records",
    ]


def vmagent(folder, running, *flags):
    config = folder / "sender.yml"
    config.write_text(SCRAPES.format(target=f"127.0.0.1:{running.port}"))
    return [
        peer("vmagent"),
        f"-promscrape.config={config}",
        f"-remoteWrite.url={running.url}/api/v1/write",
        f"-remoteWrite.tmpDataPath={folder / 'sender'}",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
        *flags,
    ]


def vmagent_zstd(folder, running):
    return vmagent(folder, running, "-remoteWrite.forceVMProto")


def vmagent_snappy(folder, running):
    return vmagent(folder, running, "-remoteWrite.forcePromProto")


@contextlib.contextmanager
def sending(command, log_file):
    with log_file.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("command", "metadata"),
    [
        pytest.param(first_version, True, id="Prometheus by 1.0"),
        pytest.param(second_version, True, id="Prometheus by 2.0"),
        pytest.param(vmagent_zstd, False, id="vmagent by its own protocol"),
        pytest.param(vmagent_snappy, False, id="vmagent by 1.0"),
    ],
)
def test_what_a_sender_scraped_is_here(server, tmp_path, command, metadata):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    arguments = command(tmp_path, running)  # a skip leaves here, before anything is opened
    running.start()
    with sending(arguments, tmp_path / "sender.log"):
        until(
            lambda: any(count >= 3 for count in running.query(
                'count_over_time(up{job="sender"}[5m])').values()),
            "three scrapes of the sender",
        )  # fmt: skip
        assert set(running.query('up{job="sender"}').values()) == {1.0}
        assert running.query('count({job="sender"})')[""] > 50
        if metadata:
            until(
                lambda: running.api("metadata").get("prometheus_http_requests_total"),
                "metadata of the sender",
            )
    failed = running.query("gnomon_remote_write_failed_requests_total")
    assert all(count == 0 for count in failed.values())
