"""From a real storage to a receiver that misbehaves: what is sent, sent again, and given up."""

import asyncio
import itertools
import shutil
import ssl
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from discovery.http_client import BasicAuth, HttpClientConfig, TlsConfig
from gnomon.forwarding.forwarder import Forwarder
from gnomon.forwarding.positions import PositionFile
from gnomon.forwarding.settings import (
    V1_MESSAGE,
    V2_MESSAGE,
    MetadataSettings,
    QueueSettings,
    RemoteWriteSettings,
)
from scraper.job import RelabelAction, RelabelRule
from tests.gnomon.forwarding.receiver import Receiver
from tests.tsdb.histogram_models import to_columns
from tsdb.database import Database
from tsdb.interface import LabelSpans, MetricMetadata
from tsdb.options import DatabaseOptions
from tsdb.wal_tail import WalPosition

NOW_MS = int(time.time() * 1000)
QUEUE = QueueSettings(batch_send_deadline_ms=50, min_backoff_ms=5, max_backoff_ms=20)
VERSIONS = pytest.mark.parametrize("message", [V1_MESSAGE, V2_MESSAGE], ids=["1.0", "2.0"])


def settings_for(receiver, **changes):
    plain = RemoteWriteSettings(
        receiver.url, queue=QUEUE, metadata=MetadataSettings(send_interval_ms=100)
    )
    return replace(plain, **changes)


class Sending:
    """A storage and what forwards from it, in one directory; everything is awaited here."""

    def __init__(self, path, **options) -> None:
        self.path, self._options = path, options
        self.database = Database.open(path, DatabaseOptions(background=False))
        self._loop = asyncio.new_event_loop()
        self._time = itertools.count(NOW_MS)
        self.forwarder = None

    def apply(self, *entries, **external):
        if self.forwarder is None:
            self.forwarder = Forwarder(self.path, self.database.metadata, **self._options)
        self._loop.run_until_complete(self.forwarder.apply(entries, external))

    def append(self, series=3, times=1, name="m"):
        """Append; every sample has a value of its own."""
        labels = [{"__name__": name, "n": str(n)} for n in range(series)]
        refs = self.database.resolve(LabelSpans.from_labels(labels))
        for _ in range(times):
            now = next(self._time)
            self.database.append(refs, np.full(series, now), np.arange(series) + now / 1.0)

    def stored(self):
        return self.database.stats().appended[0]

    def stop(self, flush_s=20.0):
        if self.forwarder is not None:
            self._loop.run_until_complete(self.forwarder.stop(flush_s))
            self.forwarder = None

    def counts(self):
        return self.forwarder.stats()[0]

    def close(self):
        self.stop(0)
        self.database.close()
        self._loop.close()


@pytest.fixture
def sending(tmp_path):
    made = []

    def make(**options):
        made.append(Sending(tmp_path / "data", **options))
        return made[-1]

    yield make
    for each in made:
        if not each._loop.is_closed():
            each.close()


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.01)


@VERSIONS
def test_what_comes_in_is_sent_on(sending, message):
    with Receiver() as receiver:
        own = sending()
        own.append(name="before")
        own.apply(settings_for(receiver, protobuf_message=message), cluster="x", n="never")
        own.append(series=5, times=3)
        until(lambda: len(receiver.samples) == 15)
        counts = own.counts()
        own.close()
    assert {labels["__name__"] for labels in receiver.labels.values()} == {"m"}
    assert {labels["cluster"] for labels in receiver.labels.values()} == {"x"}
    assert {labels["n"] for labels in receiver.labels.values()} == set("01234")
    assert sorted(value for _, _, value in receiver.samples) == sorted(
        float(n + NOW_MS + 1 + t) for n in range(5) for t in range(3)
    )
    assert counts.kinds["samples"].failed == 0


@VERSIONS
def test_a_stop_delivers_what_came_last(sending, message):
    with Receiver() as receiver:
        own = sending()
        slow = replace(QUEUE, batch_send_deadline_ms=60_000)
        own.apply(settings_for(receiver, protobuf_message=message, queue=slow))
        own.append(times=4)
        own.stop()
        assert len(receiver.samples) == 12
        own.close()


def test_after_a_restart_it_goes_on_where_it_was(sending):
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver))
        own.append(times=2)
        own.stop()
        own.append(times=3)
        own.close()
        again = sending()
        again.apply(settings_for(receiver))
        again._time = itertools.count(NOW_MS + 100)
        again.append(times=1)
        again.stop()
        again.close()
    assert len(receiver.samples) == len(set(receiver.samples)) == 18


@pytest.mark.parametrize("offset", [1 << 40, 0], ids=["behind the log's end", "damaged"])
def test_a_position_that_the_log_does_not_have_skips_nothing(sending, offset):
    """As after a power failure: the position was written, and the log's end was not."""
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver))
        own.append(times=2)
        until(lambda: len(receiver.samples) == 6)
        own.stop()
        own.append(times=2)
        own.close()
        (path,) = (own.path / "forwarding").glob("*.json")
        if offset:
            key = f"url {receiver.url}"
            file = PositionFile(path.parent, key)
            file.save(WalPosition(file.load().segment, offset))
        else:
            path.write_bytes(b"")
        again = sending()
        again.apply(settings_for(receiver))
        until(lambda: len({(text, at) for text, at, _ in receiver.samples}) == 12)
        again.close()


def test_errors_are_waited_out_and_nothing_is_lost(sending):
    def answer(number):
        return (500 + number % 4, {}) if number % 3 != 2 else None

    with Receiver(answer=answer) as receiver:
        own = sending()
        own.apply(settings_for(receiver))
        for _ in range(10):
            own.append()
            time.sleep(0.02)
        until(lambda: len(receiver.samples) == 30)
        assert own.counts().kinds["samples"].retried > 0
        own.close()
    assert len(set(receiver.samples)) == 30
    assert any(headers.get("Retry-Attempt") == "1" for headers in receiver.requests)


def test_retry_after_is_honoured(sending):
    moments = []

    def answer(number):
        moments.append(time.monotonic())
        return (429, {"Retry-After": "1"}) if number == 0 else None

    with Receiver(answer=answer) as receiver:
        own = sending()
        queue = replace(QUEUE, retry_on_http_429=True)
        quiet = MetadataSettings(send=False)
        own.apply(settings_for(receiver, queue=queue, metadata=quiet))
        own.append()
        until(lambda: receiver.samples)
        own.close()
    assert moments[1] - moments[0] >= 0.95


@pytest.mark.parametrize("status", [400, 415, 429])
def test_what_is_refused_for_good_is_counted_and_left_out(sending, status, caplog):
    with Receiver(answer=lambda number: (status, {}) if number == 0 else None) as receiver:
        own = sending()
        own.apply(settings_for(receiver, metadata=MetadataSettings(send=False)))
        own.append(name="bad")
        until(lambda: own.counts().kinds["samples"].failed == 3)
        own.append(name="good")
        until(lambda: own.counts().kinds["samples"].sent == 3)
        own.close()
    assert {labels["__name__"] for labels in receiver.labels.values()} == {"good"}
    assert f"HTTP status {status}" in caplog.text


def test_an_outage_costs_nothing_but_time(sending):
    with Receiver() as receiver:
        port = receiver.port
        own = sending()
        own.apply(settings_for(receiver))
        own.append()
        until(lambda: len(receiver.samples) == 3)
    for _ in range(20):
        own.append(times=20)
    until(lambda: own.counts().kinds["samples"].retried > 0)
    with Receiver(port=port) as again:
        until(lambda: len(again.samples) >= 1200)
        own.close()
    assert len(set(again.samples)) == 1200


def test_a_slow_end_is_asked_again(sending):
    def answer(number):
        if number == 0:
            time.sleep(0.6)
        return

    with Receiver(answer=answer) as receiver:
        own = sending()
        own.apply(settings_for(receiver, remote_timeout_ms=200))
        own.append()
        until(lambda: len(receiver.samples) >= 3)
        assert own.counts().kinds["samples"].retried >= 3
        own.close()


def test_series_are_relabelled_and_dropped(sending):
    rules = (
        RelabelRule(source_labels=("n",), regex="1", action=RelabelAction.DROP),
        RelabelRule(regex="n", action=RelabelAction.LABELDROP),
    )
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver, write_relabel_rules=rules))
        own.append(series=2, times=5)
        until(lambda: len(receiver.samples) == 5)
        assert own.counts().kinds["samples"].dropped == {"dropped_series": 5}
        own.close()
    assert [*receiver.labels.values()] == [{"__name__": "m"}]


def test_samples_too_old_are_left_out(sending):
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver, queue=replace(QUEUE, sample_age_limit_ms=60_000)))
        refs = own.database.resolve(LabelSpans.from_labels([{"__name__": "m"}]))
        now = int(time.time() * 1000)
        own.database.append(
            np.repeat(refs, 2), np.array([now - 600_000, now]), np.array([1.0, 2.0])
        )
        until(lambda: receiver.samples)
        assert own.counts().kinds["samples"].dropped == {"too_old": 1}
        own.close()
    assert [value for _, _, value in receiver.samples] == [2.0]


def many(sending, receiver, **changes):
    own = sending()
    queue = replace(QUEUE, max_samples_per_send=50, min_shards=4, max_shards=4)
    own.apply(settings_for(receiver, queue=queue, **changes))
    own.append(series=400, times=10)
    return own


@VERSIONS
def test_shards_keep_the_order_of_each_series(sending, message):
    with Receiver() as receiver:
        own = many(sending, receiver, protobuf_message=message)
        until(lambda: len(receiver.samples) == 4000)
        own.close()
    newest = {}
    for text, at, _ in receiver.samples:
        assert newest.get(text, 0) < at
        newest[text] = at


@VERSIONS
def test_everything_else_is_sent_where_it_is_asked_for(sending, message):
    four = int(np.float64(4.0).view(np.uint64))
    plain = (0, 0, False, four, four, 0, 0, ((1, four),), (), ())
    listed = (-53, 0, False, four, four, 0, 0, ((0, four),), (), (four,))
    with Receiver() as receiver:
        own = sending()
        own.apply(
            settings_for(
                receiver,
                protobuf_message=message,
                send_exemplars=True,
                send_native_histograms=True,
            )
        )
        own.database.append_metadata([MetricMetadata("m", "gauge", "", "Help.")])
        own.append(series=2)
        labels = [{"__name__": "h"}, {"__name__": "listed"}]
        refs = own.database.resolve(LabelSpans.from_labels(labels))
        own.database.append_histograms(refs, np.full(2, NOW_MS), to_columns([plain, listed]))
        trace = LabelSpans.from_labels([{"trace_id": "x"}])
        own.database.append_exemplars(refs[:1], np.array([NOW_MS]), np.array([1.0]), trace)
        expected = 2 if message == V2_MESSAGE else 1
        until(lambda: receiver.exemplars == 1 and receiver.histograms == expected)
        if message == V2_MESSAGE:
            assert "gauge" in receiver.types
        else:
            until(lambda: receiver.metadata)
            dropped = own.counts().kinds["histograms"].dropped
            assert dropped == {"nhcb_in_rw1_not_supported": 1}
        own.close()


def test_start_timestamps_are_sent_by_2_0(sending):
    four = int(np.float64(4.0).view(np.uint64))
    row = (0, 0, False, four, four, 0, 0, ((1, four),), (), ())
    with Receiver() as receiver:
        own = sending()
        own.apply(
            settings_for(receiver, protobuf_message=V2_MESSAGE, send_native_histograms=True),
            cluster="x",
        )
        names = ("c", "d", "h")
        refs = own.database.resolve(LabelSpans.from_labels([{"__name__": n} for n in names]))
        for step in range(4):
            own.database.append(
                refs[:2],
                np.full(2, NOW_MS + step),
                np.zeros(2),
                start_times_ms=np.array([NOW_MS - 9 + step // 2, 0]),
            )
            own.database.append_histograms(
                refs[2:],
                np.array([NOW_MS + step]),
                to_columns([row]),
                start_times_ms=np.array([NOW_MS - 7]),
            )
        until(lambda: len(receiver.samples) == 8 and receiver.histograms == 4)
        own.close()
    ages = {text: [NOW_MS - start for _, start in found] for text, found in receiver.starts.items()}
    assert ages == {"__name__=c,cluster=x": [9, 9, 8, 8], "__name__=h,cluster=x": [7] * 4}


def test_nothing_but_floats_is_sent_where_it_is_not_asked_for(sending):
    four = int(np.float64(4.0).view(np.uint64))
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver, metadata=MetadataSettings(send=False)))
        refs = own.database.resolve(LabelSpans.from_labels([{"__name__": "h"}]))
        row = (0, 0, False, four, four, 0, 0, ((1, four),), (), ())
        own.database.append_histograms(refs, np.array([NOW_MS]), to_columns([row]))
        own.append()
        own.stop()
        own.close()
    assert (receiver.histograms, receiver.metadata, len(receiver.samples)) == (0, 0, 3)


def test_an_end_that_says_nothing_of_2_0_did_not_write_it(sending):
    with Receiver() as receiver:
        receiver.take = lambda headers, body: (200, {})
        own = sending()
        own.apply(settings_for(receiver, protobuf_message=V2_MESSAGE))
        own.append()
        until(lambda: own.counts().kinds["samples"].failed == 3)
        own.close()


def test_a_reload_that_changes_a_queue_loses_nothing(sending):
    with Receiver(answer=lambda _number: (503, {})) as receiver:
        own = sending()
        own.apply(settings_for(receiver))
        own.append(times=3)
        until(lambda: receiver.requests)
        own.apply(settings_for(receiver, protobuf_message=V2_MESSAGE), zone="new")
        receiver.answer = lambda _number: None
        own.append()
        # The old queue's last request may still arrive, and is stored then.
        until(lambda: len({each for each in receiver.samples if "zone=new" in each[0]}) == 12)
        own.close()


def test_a_queue_that_is_taken_out_and_put_back_begins_anew(sending):
    with Receiver() as receiver:
        own = sending()
        own.apply(settings_for(receiver))
        own.append()
        until(lambda: len(receiver.samples) == 3)
        own.apply()
        own.append(times=5)
        own.apply(settings_for(receiver))
        own.append(name="later")
        until(lambda: len(receiver.samples) == 6)
        own.close()
    assert {labels["__name__"] for labels in receiver.labels.values()} == {"m", "later"}


@pytest.mark.parametrize("enough", [True, False], ids=["kept", "too much for the backlog"])
def test_a_log_that_storage_shortens_is_held(sending, enough, caplog):
    with Receiver(answer=lambda _number: (503, {})) as receiver:
        own = sending(backlog_bytes=1 << 30 if enough else 0)
        own.apply(settings_for(receiver))

        def accounted() -> int:
            lost = own.counts().kinds["samples"].dropped.values()
            return len(set(receiver.samples)) + sum(lost)

        own.append(times=2)
        until(lambda: receiver.requests)
        for _ in range(3):
            own.append(series=50, times=20)
            time.sleep(0.6)
            own.database.flush()
            time.sleep(0.6)
        receiver.answer = lambda _number: None
        own.append(name="last")
        # Shards overtake one another, so the last series here does not mean that all others are.
        until(lambda: any("last" in text for text in receiver.labels))
        until(lambda: accounted() >= 6 + 3000 + 3 - (0 if enough else 6))
        dropped = own.counts().kinds["samples"].dropped
        unique = len(set(receiver.samples))
        own.close()
    if enough:
        assert unique == 6 + 3000 + 3
        assert dropped == {}
    else:
        assert dropped["left_log"] + unique >= 3009 - 6
        assert dropped["left_log"] > 0
        assert "have left the log" in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.fail("this test makes a certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_over_tls_with_a_password_and_headers(sending, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    client = HttpClientConfig(
        basic_auth=BasicAuth("user", password="word"),
        tls_config=TlsConfig(ca_file=certificate / "cert.pem"),
    )
    with Receiver(context=context) as receiver:
        own = sending()
        own.apply(settings_for(receiver, http_client=client, headers={"X-Scope": "mine"}))
        own.append()
        until(lambda: len(receiver.samples) == 3)
        own.close()
    assert receiver.requests[0]["Authorization"].startswith("Basic ")
    assert receiver.requests[0]["X-Scope"] == "mine"
    assert receiver.requests[0]["Content-Encoding"] == "snappy"


def test_queues_go_their_own_ways(sending):
    with Receiver() as one, Receiver(answer=lambda _number: (503, {})) as other:
        own = sending()
        own.apply(settings_for(one), settings_for(other, name="other"))
        own.append(times=4)
        until(lambda: len(one.samples) == 12)
        assert not other.samples
        other.answer = lambda _number: None
        until(lambda: len(other.samples) == 12)
        assert [each.name for each in own.forwarder.stats()][1] == "other"
        own.close()
