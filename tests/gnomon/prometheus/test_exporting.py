import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
from hypothesis import given, settings

from api.chunk_kernels import CHUNK_BYTES_MAX, SAMPLE_BYTES_MAX, encode_floats
from gnomon.cli import main
from gnomon.prometheus.chunk_framing_kernels import FRAME_BYTES, frame_chunks
from gnomon.prometheus.exporting import export_blocks
from gnomon.prometheus.importing import import_directory
from gnomon.tsdb_tools import stored_batches
from tests.end_to_end.processes import Server, free_port, prometheus_3, until
from tests.gnomon.prometheus import chunk_writer as writer
from tests.gnomon.prometheus.test_chunks import float_samples
from tests.gnomon.tsdb_tools.digests import expected_rows, rows_of
from tests.tsdb.block_models import bits
from tests.tsdb.histogram_models import (
    GAUGE,
    RESET,
    STALE,
    as_read,
    from_mixed_batch,
    hinted,
    mixed_models,
    to_columns,
)
from tsdb.database import Database
from tsdb.interface import CUSTOM_BUCKETS_SCHEMA, LabelSpans, Selection
from tsdb.options import DatabaseOptions

OPTIONS = DatabaseOptions(retention_ms=None, background=False)


@settings(max_examples=60, deadline=None)
@given(float_samples())
def test_chunks_are_what_plain_python_writes(samples):
    times = np.array([time for time, _ in samples], np.int64)
    bits = np.array([word for _, word in samples], np.uint64)
    data = np.empty(CHUNK_BYTES_MAX + SAMPLE_BYTES_MAX * times.size, np.uint8)
    at, stop, start = np.empty((3, 1), np.int64)
    none, count = np.zeros(1, np.int64), np.array([times.size])
    size = encode_floats(times, bits, none, none, count, data, at, stop)
    out = np.empty(size + FRAME_BYTES, np.uint8)
    size = frame_chunks(data[:size], at, out, start)
    expected, _ = writer.segment([(1, writer.xor_chunk(samples))])
    assert out[:size].tobytes() == expected[8:]


def stored(model, directory):
    """Put a model into a directory, in one batch a kind; return it."""
    database = Database.open(directory, OPTIONS)
    for labels, samples in model.items():
        (ref,) = database.resolve(LabelSpans.from_labels([dict(labels)]))
        for histograms in (False, True):
            chosen = {t: e for t, e in samples.items() if isinstance(e, int) is not histograms}
            times = np.array(list(chosen), np.int64)
            if histograms and chosen:
                database.append_histograms(
                    np.repeat(ref, times.size), times, to_columns(chosen.values())
                )
            elif chosen:
                values = np.array(list(chosen.values()), np.uint64).view(np.float64)
                database.append(np.repeat(ref, times.size), times, values)
    database.close()
    return directory


def as_prometheus_keeps_it(sample):
    """A sample without what the format has no place for, or Prometheus does not give back."""
    if isinstance(sample, int):
        return sample
    if sample[4] == STALE:
        return (0, 0, sample[2], 0, STALE, 0, 0, (), (), ())
    return hinted(sample, 0) if sample[1] == RESET else sample


@settings(max_examples=60, deadline=None)
@given(mixed_models(high=3 * 7_200_000))
def test_all_kinds_of_samples_come_back(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("export")
    database = Database.open(stored(model, folder / "ours"), OPTIONS)
    report = export_blocks(database, folder / "theirs", [], -(1 << 50), 1 << 50)
    database.close()
    kept = {
        labels: {time: as_prometheus_keeps_it(each) for time, each in samples.items()}
        for labels, samples in model.items()
        if samples
    }
    assert import_directory(folder / "theirs", folder / "again").damaged == []
    (folder / "again").mkdir(exist_ok=True)
    database = Database.open(folder / "again", OPTIONS)
    (batch,) = database.select([Selection((), -(1 << 50), 1 << 50)])
    assert from_mixed_batch(batch) == as_read(kept)
    database.close()
    samples = [each for row in kept.values() for each in row.values()]
    histograms = sum(not isinstance(each, int) for each in samples)
    assert (report.floats, report.histograms) == (len(samples) - histograms, histograms)


@pytest.fixture
def ours(corpora, tmp_path):
    import_directory(corpora / "tsdb" / "data", tmp_path / "ours")
    return tmp_path / "ours"


@pytest.mark.parametrize("samples_max", [4_000_000, 5_000], ids=["in large parts", "in small ones"])
def test_export_and_import_are_each_others_inverse(
    ours, corpora, tmp_path, monkeypatch, capsys, samples_max
):
    monkeypatch.setattr(
        "gnomon.prometheus.exporting.stored_batches",
        lambda *args, **_: stored_batches.stored_batches(*args, samples_max=samples_max),
    )
    assert main(["tsdb", "export", str(ours), str(tmp_path / "theirs"), "-q"]) == 0
    assert "110326 floats, 204 native histograms" in capsys.readouterr().err
    report = import_directory(tmp_path / "theirs", tmp_path / "again")
    assert report.damaged == []
    expected = expected_rows(corpora / "tsdb" / "expected.json")
    assert rows_of(tmp_path / "again") == expected
    assert not list((tmp_path / "theirs").glob("*.tmp"))


def test_export_of_a_part(ours, tmp_path):
    words = ["--match", "build_constant", "--min-time", "1795132860000"]
    words += ["--max-time", "1795132980000", "-q"]
    assert main(["tsdb", "export", str(ours), str(tmp_path / "theirs"), *words]) == 0
    import_directory(tmp_path / "theirs", tmp_path / "again")
    rows = rows_of(tmp_path / "again").values()
    assert {row["labels"]["__name__"] for row in rows} == {"build_constant"}
    assert {(row["samples"], row["first_ms"]) for row in rows} == {(3, 1795132860000)}


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_reads_the_same_samples(ours, corpora, tmp_path):
    theirs = tmp_path / "theirs"
    words = ["--max-time", "1795154399999", "-q"]
    assert main(["tsdb", "export", str(ours), str(theirs), *words]) == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (corpora / "tsdb" / "data").glob("01*"):
        shutil.copytree(path, copy / path.name)
    dumps = []
    for directory in (theirs, copy):
        (directory / "wal").mkdir()
        ran = subprocess.run(
            ["promtool", "tsdb", "dump", directory], capture_output=True, text=True, check=True
        )
        dumps.append(sorted(ran.stdout.splitlines()))
    assert len(dumps[0]) == 100_254
    assert dumps[0] == dumps[1]


T0 = 1_795_132_800_000


def one(step, *, floats=False, schema=3, hint=0, negative=True, bounds=()):
    """A histogram whose counts follow from the step, falling now and then."""
    count = step % 50
    plus = ((-3, bits(count)), (0, bits(2 * count)), (1 + step // 70, bits(1)))
    minus = ((5, bits(3)),) if negative else ()
    if floats:
        plus = tuple((index, bits(index + 3.25 + count)) for index, _ in plus)
    known = [*plus, *minus]
    total = sum(float(np.uint64(word).view(np.float64)) for _, word in known)
    zeros = 0 if bounds else bits(2)
    threshold = 0 if bounds else bits(2.0**-128)
    total += 0 if bounds else 2
    words = (bits(total), bits(step / 7), threshold, zeros)
    return (schema, int(hint), floats, *words, plus, minus, tuple(map(bits, bounds)))


def custom(step, *, floats=False):
    plain = one(
        step, floats=floats, schema=CUSTOM_BUCKETS_SCHEMA, negative=False, bounds=(0.1, 2.5, 1e9)
    )
    places = tuple((at, word) for at, (_, word) in enumerate(plain[7]))
    return (*plain[:7], places, *plain[8:])


def every_kind():
    """Ten minutes, a sample a second, of all there is."""
    gone = (0, 0, False, 0, STALE, 0, 0, (), (), ())
    kinds = {
        "float": lambda n: bits(n / 3),
        "integers": one,
        "floats": lambda n: one(n, floats=True),
        "gauge": lambda n: one(n, hint=GAUGE, floats=n % 200 > 100),
        "custom": custom,
        "custom_floats": lambda n: custom(n, floats=True),
        "any": lambda n: bits(n) if n % 90 < 30 else one(n),
        "resolutions": lambda n: one(n, schema=3 - n // 250),
        "resets": lambda n: one(n, hint=RESET if n % 50 == 0 else 0),
        "ends": lambda n: one(n) if n < 300 else gone,
    }
    return {
        (("__name__", name), ("job", "x"), ("kind", name)): {
            T0 + 1000 * n: make(n) for n in range(600) if name != "ends" or n <= 300
        }
        for name, make in kinds.items()
    }


QUERIES = (
    '{job="x"}[10m]',
    '{job="x"}',
    'count_over_time({job="x"}[5m])',
    'rate({__name__!="float",job="x"}[5m])',
    'resets({__name__!~"float|any",job="x"}[9m])',
    'histogram_quantile(0.9, rate({__name__=~"custom.*|integers|floats"}[4m]))',
    'histogram_count(sum_over_time({__name__=~"gauge|resolutions"}[3m]))',
    "histogram_avg(integers)",
)


def ask(url, query):
    words = urllib.parse.urlencode({"query": query, "time": T0 / 1000 + 590})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=60) as response:
            result = json.loads(response.read())["data"]["result"]
    except urllib.error.HTTPError as error:
        with error:
            pytest.fail(f"{query}: {error.read().decode()}")
    return sorted(result, key=lambda series: sorted(series["metric"].items()))


def is_up(url):
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.mark.peer
@pytest.mark.timeout(240)
def test_a_real_prometheus_opens_what_is_exported_and_answers_the_same(tmp_path):
    program = prometheus_3()
    server = Server(tmp_path, "--storage.tsdb.retention.time=100y")
    stored(every_kind(), tmp_path / "data")
    words = (str(tmp_path / "data"), str(tmp_path / "theirs"), "-q")
    assert main(["tsdb", "export", *words]) == 0
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'theirs'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.retention.time=100y",
                "--enable-feature=native-histograms",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        server.configure({})
        server.start()
        theirs = f"http://127.0.0.1:{port}"
        until(lambda: is_up(theirs), "Prometheus to be ready")
        for query in QUERIES:
            expected = ask(theirs, query)
            assert expected, query
            assert ask(server.url, query) == expected, query
    finally:
        server.end()
        process.kill()
        process.wait()
