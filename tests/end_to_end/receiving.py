"""Other programs that take remote write, and a server that forwards to them."""

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request

from tests.end_to_end.processes import free_port, peer, prometheus_3, until


@contextlib.contextmanager
def running(command, log, ready):
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)

    def is_ready():
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5) as reply:
            return reply.status == 200
        return False

    try:
        until(is_ready, "the receiving end")
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def receiving_prometheus(folder):
    program, port = prometheus_3(), free_port()
    url = f"http://127.0.0.1:{port}"
    config = folder / "prometheus.yml"
    config.write_text("global: {}\n")
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms,exemplar-storage",
    ]
    with running(command, folder / "prometheus.log", f"{url}/-/ready"):
        yield url


@contextlib.contextmanager
def receiving_victoria(folder):
    program, port = peer("victoria-metrics"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"-storageDataPath={folder / 'victoria'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
    ]
    with running(command, folder / "victoria.log", f"{url}/health"):
        yield url


def forwarding(own, url, *, scrapes=True, **fields):
    """Configure a server to scrape itself and to forward to `url`."""
    entry = {"url": f"{url}/api/v1/write", "queue_config": {"batch_send_deadline": "200ms"}}
    job = {"job_name": "self", "static_configs": [{"targets": [f"127.0.0.1:{own.port}"]}]}
    content = {
        "global": {"scrape_interval": "500ms", "external_labels": {"cluster": "one"}},
        "scrape_configs": [job] if scrapes else [],
        "remote_write": [entry | fields],
    }
    own.config_file.write_text(json.dumps(content))
