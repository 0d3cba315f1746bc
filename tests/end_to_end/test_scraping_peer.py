"""A real Prometheus 3 scrapes the same bodies beside us: what both store and say must be equal.

Bodies are mutated ones of the corpus and made-up ones, by a fixed seed: lines and characters that
are doubled, lost, swapped or replaced by what parsers stumble over.
"""

import asyncio
import contextlib
import json
import random
import re
import subprocess
import time
import urllib.parse

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import corpora_root
from tests.end_to_end.processes import PATIENCE_S, Server, free_port, prometheus_3
from tests.scraper.conftest import serve

SEED, CASES = 20261124, 400
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TYPES = (TEXT, TEXT, OPENMETRICS, OPENMETRICS, "", "text/", "text/plain; x", "application/json")
NUMBERS = (  # an unusual form each
    "1", "0", "-0", "+1", "1.5", ".5", "5.", "1e5", "1E+5", "1e-400", "1e400", "0x10", "0x1p3",
    "1_000", "Inf", "+Inf", "-inf", "infinity", "nan", "NaN", "-NaN", "1e", "--1", "1.2.3", "1,5",
    "12345678901234567890", "4.9e-324", "1.7976931348623157e308", "9007199254740993", "0b1",
)  # fmt: skip
PIECES = (
    *'{}"=,#\n\t \\+-.eENn_:x0', "é", "\r", "\0", "  ", r"\n", r"\"", "\\\\", r"\x", "# ",
    "# EOF\n", "\n\n", " # ", "{}", '""', "# TYPE a counter\n", "# HELP a b\n", "# UNIT a b\n",
    'le="1"',
)  # fmt: skip
JOBS = {
    "plain": "",
    "honoring": "honor_labels: true, honor_timestamps: false,",
    "limited": "sample_limit: 5, label_limit: 5, label_name_length_limit: 12,",
    "small": "body_size_limit: 150B,",
    "relabelled": (
        "metric_relabel_configs: [{source_labels: [__name__], regex: '.*_sum', action: drop},"
        " {regex: a, action: labeldrop}],"
    ),
    "falling-back": "fallback_scrape_protocol: PrometheusText0.0.4,",
}
NOT_COMPARED = {"scrape_duration_seconds", "scrape_series_added"}
COUNTS = {"scrape_samples_scraped", "scrape_samples_post_metric_relabeling"}


def seeds_of_bodies():
    folder = corpora_root() / "exposition"
    found = [*(folder / "openmetrics").glob("*"), *(folder / "prometheus").glob("*")]
    found += (folder / "captured").glob("demo*")
    return [path.read_bytes() for path in sorted(found) if path.stat().st_size < 6000]


def mutated(rng, body):
    for _ in range(rng.randrange(4)):
        at, kind = rng.randrange(len(body) + 1), rng.randrange(6)
        lines = body.split(b"\n")
        number = rng.randrange(len(lines))
        words = lines[number].split(b" ")
        if kind <= 1:
            body = body[:at] + rng.choice(PIECES).encode() + body[at + rng.randrange(2) :]
            continue
        if kind == 2:
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
        elif kind == 3:
            lines.pop(number)
        elif kind == 4 and len(words) > 1:
            words[rng.randrange(1, len(words))] = rng.choice(NUMBERS).encode()
            lines[number] = b" ".join(words)
        else:
            rng.shuffle(words)
            lines[number] = b" ".join(words)
        body = b"\n".join(lines)
    return body


def repeated_with_a_time(body):
    """Whether a series is there twice and one has a time: Prometheus, for whom that time is too
    old, takes the other in every second scrape."""
    rows = [line.split() for line in body.splitlines() if not line.startswith(b"#")]
    names = [row[0] for row in rows if row]
    return any(len(row) > 2 and names.count(row[0]) > 1 for row in rows)


def cases():
    rng, bodies, found = random.Random(SEED), seeds_of_bodies(), []
    while len(found) < CASES:
        body = mutated(rng, rng.choice(bodies))
        content_type, job = rng.choice(TYPES), rng.choice(list(JOBS))
        # Blanks before a name become part of it there; that is not imitated.
        if not repeated_with_a_time(body) and not re.search(rb"(?m)^[ \t]", body):
            found.append((body, content_type, job))
    return found


def config(address, found):
    lines = ["global: {scrape_interval: 5s, scrape_timeout: 5s}", "scrape_configs:"]
    for name, options in JOBS.items():
        numbers = ", ".join(f"'{n}'" for n, case in enumerate(found) if case[2] == name)
        lines.append(
            f"- {{job_name: {name}, {options} static_configs: [{{targets: [{numbers}]}}],"
            " relabel_configs: [{source_labels: [__address__], target_label: __metrics_path__},"
            " {source_labels: [__address__], target_label: instance},"
            f" {{target_label: __address__, replacement: '{address}'}}]}}"
        )
    lines.append("storage: {exemplars: {max_exemplars: 100000}}")
    return "\n".join(lines)


@contextlib.contextmanager
def prometheus(path, folder, text, port):
    (folder / "theirs.yml").write_text(text)
    process = subprocess.Popen(
        [
            path,
            f"--config.file={folder / 'theirs.yml'}",
            f"--storage.tsdb.path={folder / 'theirs'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def api(session, port, path, **parameters):
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    async with session.get(url) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer["data"]


async def told(session, port):
    """What a server knows of each target, once all were scraped twice: by number of the case."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            counts = await api(session, port, "query", query="count(count_over_time(up[5m]) > 1)")
            if counts["result"] and int(counts["result"][0]["value"][1]) == CASES:
                break
        assert time.monotonic() < deadline, "not all targets were scraped"
        await asyncio.sleep(0.5)
    now = time.time()
    found = {}
    for target in (await api(session, port, "targets", state="active"))["activeTargets"]:
        number = int(target["discoveredLabels"]["__address__"])
        found[number] = {
            "health": target["health"],
            "error": target["lastError"],
            "metadata": [],
            "series": {},
        }
    for row in await api(session, port, "targets/metadata"):
        number = int(row["target"]["instance"])
        said = [row[name] for name in ("metric", "type", "unit", "help")]
        found[number]["metadata"].append(said)
    everything = await api(session, port, "query", query='{instance=~"[0-9]+"}[20s]', time=now)
    for series in everything["result"]:
        labels = series["metric"]
        name = labels.get("__name__")
        if name in NOT_COMPARED:
            continue
        # The newest only: on a busy machine a first scrape may have come too late.
        value = series["values"][-1][1]
        of = found[int(labels.pop("instance"))]["series"]
        of[json.dumps(labels, sort_keys=True)] = float(value) if value != "NaN" else value
    for one in found.values():
        one["metadata"].sort()
    return found


def without_counts(series):
    """What is stored of a scrape that failed: how far each got is its own affair."""
    return {
        key: value for key, value in series.items() if json.loads(key)["__name__"] not in COUNTS
    }


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_prometheus_makes_of_a_body_is_what_we_make_of_it(tmp_path):
    path, shown = prometheus_3(), cases()

    async def handler(request):
        body, content_type, _ = shown[int(request.path[1:])]
        # No type at all is what an empty one means.
        headers = {"Content-Type": content_type} if content_type else {}
        response = web.Response(body=body, headers=headers)
        if not content_type:
            response.headers["Content-Type"] = ""
        return response

    async def main():
        runner, address = await serve(handler)
        (tmp_path / "ours").mkdir()
        ours, port = Server(tmp_path / "ours"), free_port()
        text = config(address, shown)
        ours.config_file.write_text(text)
        try:
            with prometheus(path, tmp_path, text, port):
                await asyncio.to_thread(ours.start)
                async with aiohttp.ClientSession() as session:
                    return await told(session, ours.port), await told(session, port)
        finally:
            await asyncio.to_thread(ours.end)
            await runner.cleanup()

    mine, their = asyncio.run(main())
    different = []
    for number, case in enumerate(shown):
        a, b = mine[number], their[number]
        failed = a["health"] == b["health"] == "down"
        if failed:
            a, b = ({**x, "series": without_counts(x["series"]), "error": ""} for x in (a, b))
        different += [(number, key, case, a[key], b[key]) for key in a if a[key] != b[key]]
    assert {one["health"] for one in their.values()} == {"up", "down"}
    assert not different, f"{len(different)} of {CASES}, such as {different[:3]}"
