"""Sends made-up requests to a server and says what it should not have done.

By hand, against a server that runs:

    python -m tests.fuzz.attack --address 127.0.0.1:9090 --count 100000

A finding is printed with its number; `--first NUMBER --count 1` sends it again.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzz.request_maker import Made, make

PATIENCE_S = 60.0
"""How long a reply may take on a busy machine; a query of what is made up takes milliseconds."""

LOOK_S = 0.1
"""How long what is no request is waited for: it need not be answered."""

SHOWN_MAX = 20

MEANT = (b"admin APIs disabled", b"not implemented")
"""What may come with status 500: Prometheus' own choice."""


@dataclass
class Findings:
    """What came back: statuses, how many of a kind, and texts of what is wrong."""

    statuses: Counter = field(default_factory=Counter)
    kinds: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, number: int, made: Made, status: object, seconds: float, problem: str) -> None:
        with self.lock:
            self.statuses[status] += 1
            self.kinds[made.kind] += 1
            self.slowest = max(self.slowest, (seconds, number))
            if problem:
                self.wrong.append(f"{number} ({made.kind}): {problem}; {made.data[:300]!r}")


def attack(address: tuple[str, int], seed: int, numbers: range, threads: int = 4) -> Findings:
    """Send the requests of these numbers from several threads."""
    findings, waiting = Findings(), iter(numbers)
    turn = threading.Lock()

    def work() -> None:
        with contextlib.closing(_Wire(address)) as wire:
            while True:
                with turn:
                    number = next(waiting, None)
                if number is None:
                    return
                made = make(seed, number)
                begin = time.monotonic()
                status, problem = wire.ask(made)
                findings.add(number, made, status, time.monotonic() - begin, problem)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return findings


class _Wire:
    """One connection after the other; a connection is used again as long as it stays open."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, made: Made) -> tuple[object, str]:
        """Return the status and what is wrong, "" for nothing."""
        fresh = self._socket is None or not made.whole
        if fresh:
            self.close()
        try:
            found = self._exchange(made)
        except TimeoutError:
            self.close()
            return "hang", f"no reply within {PATIENCE_S} s"
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if fresh and made.whole:
                return "cut", f"no reply: {error!r}"
            # The server may close a connection after any reply: send it again on a new one.
            return self.ask(made) if made.whole else ("cut", "")
        return found

    def _exchange(self, made: Made) -> tuple[object, str]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, PATIENCE_S)
        wire = self._socket
        try:
            wire.settimeout(PATIENCE_S)
            wire.sendall(made.data)
        except TimeoutError:
            raise
        except OSError:
            if not made.whole:
                raise
            # It refused before it had read everything; the reply may still be there to read.
        if not made.whole:
            return self._glance(wire)
        method = made.data.split(b" ", 1)[0].decode("latin-1")
        with http.client.HTTPResponse(wire, method=method) as reply:
            reply.begin()
            body = reply.read()
            closing = reply.will_close
        if closing:
            self.close()
        bad = (
            reply.status >= 500
            and reply.status not in (501, 503)
            and not any(text in body for text in MEANT)
        )
        return reply.status, f"status {reply.status}: {body[:300]!r}" if bad else ""

    def _glance(self, wire: socket.socket) -> tuple[object, str]:
        """Read what comes at once; a status line of 500 is wrong whatever was sent."""
        wire.settimeout(LOOK_S)
        try:
            start = wire.recv(65536)
        except TimeoutError:
            start = b""
        self.close()
        if not start:
            return "silent", ""
        bad = start.startswith(b"HTTP/1.1 500")
        return start[:12].decode("latin-1"), f"{start[:300]!r}" if bad else ""


def main() -> int:
    """Run by hand; the exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--address", default="127.0.0.1:9090")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    host, port = options.address.rsplit(":", 1)
    begin = time.monotonic()
    numbers = range(options.first, options.first + options.count)
    found = attack((host, int(port)), options.seed, numbers, options.threads)
    seconds = time.monotonic() - begin
    print(f"{options.count} requests in {seconds:.0f} s; slowest {found.slowest[0]:.1f} s: "
          f"number {found.slowest[1]}")  # fmt: skip
    print(dict(found.kinds), dict(sorted(found.statuses.items(), key=str)))
    for text in found.wrong[:SHOWN_MAX]:
        print(text)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
