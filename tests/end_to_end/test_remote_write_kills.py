"""A receiver that is killed under load: what it acknowledged is there, and senders lose nothing."""

import http.client
import itertools
import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import cramjam
import pytest

from tests.end_to_end.processes import free_port, peer, prometheus_3, until
from tests.end_to_end.test_remote_write_senders import sending
from tests.protobuf import f64, ld, vi

pytestmark = [pytest.mark.timeout(400), pytest.mark.peer]

KILLS = 2
SERIES, CONNECTIONS = 500, 3
MESSAGES = {
    "1.0": "application/x-protobuf",
    "2.0": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
}


class Pusher(threading.Thread):
    """Sends one time after the other to a server that comes and goes; `answered` were taken."""

    def __init__(self, port, number, version) -> None:
        super().__init__(daemon=True)
        self._port, self._number, self._version = port, number, version
        self.ended = threading.Event()
        self.answered: list[int] = []
        self.refused: list[bytes] = []
        texts = ["", "__name__", "m", "pusher", str(number), "n", *map(str, range(SERIES))]
        self._symbols = b"".join(ld(4, text.encode()) for text in texts)
        self._texts = texts

    def _body(self, time_ms):
        sample = ld(2, f64(1, float(time_ms % 1000)) + vi(2, time_ms))
        if self._version == "2.0":
            series = b"".join(
                ld(5, ld(1, bytes([1, 2, 3, 4, 5]) + refs) + sample)
                for refs in (_varint(6 + n) for n in range(SERIES))
            )
            return bytes(cramjam.snappy.compress_raw(self._symbols + series))
        pairs = ld(1, ld(1, b"__name__") + ld(2, b"m"))
        pusher = ld(1, ld(1, b"pusher") + ld(2, str(self._number).encode()))
        series = b"".join(
            ld(1, pairs + ld(1, ld(1, b"n") + ld(2, str(n).encode())) + pusher + sample)
            for n in range(SERIES)
        )
        return bytes(cramjam.snappy.compress_raw(series))

    def run(self) -> None:
        time_ms, connection = int(time.time() * 1000) - 3_600_000, None
        headers = {"Content-Type": MESSAGES[self._version], "Content-Encoding": "snappy"}
        while not self.ended.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("POST", "/api/v1/write", self._body(time_ms), headers)
                reply = connection.getresponse()
                text = reply.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
                time.sleep(0.02)
                time_ms += 1000  # what is not answered may be there or not
                continue
            if reply.status == 204:
                self.answered.append(time_ms)
            elif reply.status == 503:
                time.sleep(0.1)  # it is starting, which a crowd would hold up
            else:
                self.refused.append(text)
            time_ms += 1000
        if connection is not None:
            connection.close()


def _varint(number):
    return bytes([number]) if number < 128 else bytes([number & 0x7F | 0x80, number >> 7])


@pytest.mark.parametrize("version", MESSAGES)
def test_what_was_acknowledged_is_there_after_kills(server, version):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    running.start()
    pushers = [Pusher(running.port, number, version) for number in range(CONNECTIONS)]
    for pusher in pushers:
        pusher.start()
    try:
        for kill in range(KILLS):
            enough = 20 * (kill + 1)
            until(lambda: all(len(p.answered) >= enough for p in pushers), "bodies taken")  # noqa: B023 - at once
            running.kill()
            running.start()
        last = [len(pusher.answered) for pusher in pushers]
        until(
            lambda: all(len(p.answered) > n for p, n in zip(pushers, last, strict=True)),
            "bodies taken again",
        )
        running.kill()
    finally:
        for pusher in pushers:
            pusher.ended.set()
        for pusher in pushers:
            pusher.join(60)
    running.start()
    for number, pusher in enumerate(pushers):
        assert pusher.refused == []
        result = running.api("query", query=f'm{{pusher="{number}"}}[3h]')["result"]
        assert len(result) == SERIES
        for series in result:
            held = {round(1000 * at): float(text) for at, text in series["values"]}
            missing = [at for at in pusher.answered if held.get(at) != float(at % 1000)]
            assert missing == []


SCRAPES = """
global: {{scrape_interval: 500ms, scrape_protocols: [{protocols}]}}
scrape_configs:
- job_name: sender
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def prometheus_2():
    """Return Debian's Prometheus of version 2, which is on the PATH; skips without."""
    for folder in (None, "/usr/bin"):
        path = shutil.which("prometheus", path=folder)
        if path is not None:
            shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
            if "version 2." in shown.stdout + shown.stderr:
                return path
    pytest.skip("no Prometheus 2 on the PATH")


def prometheus(program, folder, url, entry="", protocols="", *flags):
    port = free_port()
    config = folder / "sender.yml"
    scrapes = SCRAPES.format(port=port, protocols=protocols)
    if not protocols:
        scrapes = scrapes.replace(", scrape_protocols: []", "")
    retries = "queue_config: {max_backoff: 200ms, batch_send_deadline: 200ms}"
    config.write_text(
        scrapes + f"remote_write: [{{url: '{url}/api/v1/write', {retries}{entry}}}]\n"
    )
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'sender'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *flags,
    ]
    return command, f"http://127.0.0.1:{port}"


def of_2_42(folder, url):
    return prometheus(prometheus_2(), folder, url)


def of_3_by_1_0(folder, url):
    return prometheus(prometheus_3(), folder, url)


def of_3_by_2_0(folder, url):
    entry = ", protobuf_message: io.prometheus.write.v2.Request, send_native_histograms: true"
    flag = "--enable-feature=native-histograms,metadata-wal-records"
    return prometheus(prometheus_3(), folder, url, entry, "PrometheusProto", flag)


def samples_of(url, until_s):
    """Return {labels: (samples, histograms)} of the sender's job; NaN is text and equals itself."""
    words = urllib.parse.urlencode({"query": '{job="sender"}[10m]', "time": until_s})
    with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=60) as reply:
        result = json.loads(reply.read())["data"]["result"]
    return {
        json.dumps(series["metric"], sort_keys=True): (
            series.get("values", []),
            [[at, held["count"], held["sum"]] for at, held in series.get("histograms", [])],
        )
        for series in result
    }


def scrapes_of(url):
    words = urllib.parse.urlencode({"query": 'up{job="sender"}[10m]'})
    with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=60) as reply:
        result = json.loads(reply.read())["data"]["result"]
    return [at for at, _ in result[0]["values"]] if result else []


def between_kills(running, url):
    """Kill the receiver twice, wait for scrapes meanwhile; what holds them is at `url`."""
    for _ in range(2):
        before = len(scrapes_of(running.url))
        until(lambda: len(scrapes_of(running.url)) > before + 3, "scrapes to arrive")  # noqa: B023 - at once
        running.kill()
        time.sleep(1.5)
        running.start()
    return scrapes_of(url)[-1] if url else time.time()


@pytest.mark.parametrize(
    "sender",
    [
        pytest.param(of_2_42, id="Prometheus 2.42"),
        pytest.param(of_3_by_1_0, id="Prometheus 3 by 1.0"),
        pytest.param(of_3_by_2_0, id="Prometheus 3 by 2.0, histograms too"),
    ],
)
def test_a_prometheus_and_its_receiver_hold_the_same_after_kills(server, tmp_path, sender):
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    command, url = sender(tmp_path, running.url)
    running.start()
    with sending(command, tmp_path / "sender.log"):
        until_s = between_kills(running, url)
        theirs = samples_of(url, until_s)
        assert len(theirs) > 100
        if sender is of_3_by_2_0:
            assert any(histograms for _, histograms in theirs.values())
        until(lambda: samples_of(running.url, until_s) == theirs, "both to hold the same")


@pytest.mark.parametrize("flag", ["forceVMProto", "forcePromProto"])
def test_a_vmagent_loses_nothing_over_kills(server, tmp_path, flag):
    """It keeps nothing to compare with, but its scrapes come at a steady pace."""
    running = server("--web.enable-remote-write-receiver")
    running.configure({})
    port = free_port()
    config = tmp_path / "sender.yml"
    config.write_text(SCRAPES.format(port=port, protocols="").replace(", scrape_protocols: []", ""))
    command = [
        peer("vmagent"),
        f"-promscrape.config={config}",
        f"-remoteWrite.url={running.url}/api/v1/write",
        f"-remoteWrite.tmpDataPath={tmp_path / 'sender'}",
        "-remoteWrite.retryMinInterval=100ms",
        "-remoteWrite.retryMaxTime=300ms",
        f"-remoteWrite.{flag}",
        f"-httpListenAddr=127.0.0.1:{port}",
    ]
    running.start()
    with sending(command, tmp_path / "sender.log"):
        until_s = between_kills(running, None)
        until(lambda: (scrapes_of(running.url) or [0])[-1] > until_s + 1, "scrapes after the kills")
        # What waited comes after what is new.
        wide = until(lambda: _steady(scrapes_of(running.url)), "the scrapes of the meantime")
        assert len(wide) > 8


def _steady(times):
    """Return scrapes if none is missing among them: at most one interval and a half apart."""
    apart = [b - a for a, b in itertools.pairwise(times)]
    return times if apart and max(apart) < 0.95 else None
