"""The other end of remote write, which answers as a test tells it and keeps what it took."""

from __future__ import annotations

import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cramjam

from api.receivers.remote_write_extras import read_extras
from api.receivers.remote_write_v2 import decode_request
from api.receivers.write_batch import decode_write_request
from api.wire import fields


class Receiver:
    """Answers 204 unless `answer(number)` says (status, headers) for the request of that number."""

    def __init__(self, port=0, context=None, answer=None) -> None:
        self.requests: list[dict[str, str]] = []
        self.samples: list[tuple[str, int, float]] = []
        self.labels: dict[str, dict[str, str]] = {}
        self.starts: dict[str, list[tuple[int, int]]] = {}
        """Start timestamps, as (time, start), of series that have any."""
        self.histograms = self.exemplars = self.metadata = 0
        self.types: set[str] = set()
        self.answer = answer or (lambda _number: None)
        self._lock = threading.Lock()
        self.closed = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                if outer.closed:
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = outer.take(dict(self.headers), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                traceback.print_exc()  # a client that was ended, or a body that is wrong

        self._server = Quiet(("127.0.0.1", port), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/api/v1/write"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.closed = True  # also to those who are connected
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def take(self, headers, body):
        with self._lock:
            number = len(self.requests)
            self.requests.append(headers)
        chosen = self.answer(number)
        if chosen is not None and chosen[0] >= 300:
            return chosen
        plain = bytes(cramjam.snappy.decompress_raw(body))
        with self._lock:
            written = self._keep(plain, "2.0" in headers["X-Prometheus-Remote-Write-Version"])
        return 204, written

    def _keep(self, plain, by_ids):
        if by_ids:
            request = decode_request(plain)
            batch, extras = request.batch, request.extras
            self.types |= {each.type for each in request.metadata}
        else:
            batch, extras = decode_write_request(plain), read_extras(plain)
            self.metadata += sum(number == 3 for number, _ in fields(plain))
        data = batch.labels.data.tobytes()
        texts = []
        for series in range(batch.labels.series_count):
            low, high = batch.labels.first[series : series + 2].tolist()
            rows = batch.labels.spans[low:high].tolist()
            labels = {data[a:b].decode(): data[c:d].decode() for a, b, c, d in rows}
            text = ",".join(f"{n}={v}" for n, v in sorted(labels.items()))
            self.labels[text] = labels
            texts.append(text)
        columns = (batch.series_of, batch.times_ms, batch.values)
        self.samples += [
            (texts[series], time, value)
            for series, time, value in zip(*(each.tolist() for each in columns), strict=True)
        ]
        if batch.start_times_ms is not None:
            for series, time, start in zip(
                *(each.tolist() for each in (*columns[:2], batch.start_times_ms)), strict=True
            ):
                if start:
                    self.starts.setdefault(texts[series], []).append((time, start))
        for number, each in enumerate(extras.histograms if extras else ()):
            if each.start_ms:
                labels = extras.series[extras.histogram_series[number]]
                text = ",".join(f"{n}={v}" for n, v in sorted(labels.items()))
                at = extras.histogram_times[number]
                self.starts.setdefault(text, []).append((at, each.start_ms))
        histograms = len(extras.histograms) if extras else 0
        exemplars = len(extras.exemplar_times) if extras else 0
        self.histograms += histograms
        self.exemplars += exemplars
        if not by_ids:
            return {}
        return {
            "X-Prometheus-Remote-Write-Samples-Written": str(batch.times_ms.size),
            "X-Prometheus-Remote-Write-Histograms-Written": str(histograms),
            "X-Prometheus-Remote-Write-Exemplars-Written": str(exemplars),
        }
