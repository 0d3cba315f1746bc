import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings

from gnomon.cli import main
from gnomon.prometheus.chunk_encode_kernels import (
    CHUNK_BYTES_MAX,
    SAMPLE_BYTES_MAX,
    encode_chunks,
)
from gnomon.prometheus.importing import import_directory
from gnomon.tsdb_tools import stored_batches
from tests.gnomon.prometheus import chunk_writer as writer
from tests.gnomon.prometheus.test_chunks import float_samples
from tests.gnomon.tsdb_tools.digests import expected_rows, rows_of


def without_histograms(rows):
    floats = {}
    for key, row in rows.items():
        kept = {name: value for name, value in row.items() if not name.startswith("h")}
        if "samples" in kept:
            floats[key] = kept
    return floats


@settings(max_examples=60, deadline=None)
@given(float_samples())
def test_chunks_are_what_plain_python_writes(samples):
    times = np.array([time for time, _ in samples], np.int64)
    bits = np.array([word for _, word in samples], np.uint64)
    out = np.empty(CHUNK_BYTES_MAX + SAMPLE_BYTES_MAX * times.size, np.uint8)
    start = np.empty(1, np.int64)
    size = encode_chunks(times, bits, np.zeros(1, np.int64), np.array([times.size]), out, start)
    expected, _ = writer.segment([(1, writer.xor_chunk(samples))])
    assert out[:size].tobytes() == expected[8:]


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
        lambda *args: stored_batches.stored_batches(*args, samples_max=samples_max),
    )
    assert main(["tsdb", "export", str(ours), str(tmp_path / "theirs"), "-q"]) == 0
    assert "204 native histograms left out" in capsys.readouterr().err
    report = import_directory(tmp_path / "theirs", tmp_path / "again")
    assert report.damaged == []
    expected = without_histograms(expected_rows(corpora / "tsdb" / "expected.json"))
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
