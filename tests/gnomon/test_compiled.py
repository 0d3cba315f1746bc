import subprocess
import sys
from pathlib import Path

import pytest

from gnomon import compiled
from tests.conftest import ROOT


def test_kernel_modules_are_found_by_name():
    modules = compiled.kernel_modules()
    assert "promql.kernels" in modules
    assert all(name.endswith("kernels") for name in modules)
    on_disk = [p for package in compiled.PACKAGES for p in (ROOT / package).rglob("*kernels.py")]
    assert len(modules) == len(on_disk)


@pytest.fixture
def no_numba(monkeypatch):
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    # Set before it is removed, so that what a test leaves there is gone afterwards.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def test_the_cache_lies_beside_the_sources_where_that_can_be_written(no_numba, monkeypatch):
    monkeypatch.setattr(compiled, "_writable", lambda directory: True)
    compiled.choose_cache()
    assert "NUMBA_CACHE_DIR" not in compiled.os.environ


@pytest.mark.parametrize(
    ("home_writable", "expected"),
    [
        pytest.param(True, "home", id="a read-only install uses the user's cache"),
        pytest.param(False, "data", id="without a home it is the data directory"),
    ],
)
def test_the_cache_of_a_read_only_install(no_numba, monkeypatch, tmp_path, home_writable, expected):
    places = {"home": tmp_path / "home", "data": tmp_path / "data"}
    monkeypatch.setenv("XDG_CACHE_HOME", str(places["home"]))

    def writable(directory: Path) -> bool:
        if directory.is_relative_to(ROOT):
            return False
        return home_writable or directory.is_relative_to(places["data"])

    monkeypatch.setattr(compiled, "_writable", writable)
    compiled.choose_cache(places["data"])
    chosen = Path(compiled.os.environ["NUMBA_CACHE_DIR"])
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert chosen.is_relative_to(places[expected])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["version"], id="version"),
        pytest.param(["--help"], id="help"),
        pytest.param(["check", "config", "/dev/null"], id="check config"),
        pytest.param(["query", "instant", "up", "--url=http://127.0.0.1:1"], id="query a server"),
        pytest.param(["serve", "--nonsense"], id="a flag that is none"),
        pytest.param(["serve", "--config.file=/nowhere"], id="a file that is not there"),
    ],
)
def test_what_needs_no_kernels_does_not_load_numba(words):
    code = (
        "import sys\n"
        "from gnomon.cli import main\n"
        f"main({words!r})\n"
        "assert not {'numba', 'aiohttp'} & sys.modules.keys()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_kernels_run_after_the_compiler_is_released_and_memory_is_less():
    # What was compiled in the same process keeps more: the cache has to be warm.
    subprocess.run([sys.executable, "-m", "gnomon.compiled"], check=True, cwd=ROOT)
    program = """
from pathlib import Path
import numpy as np
from gnomon.compiled import load_kernels, load_remaining_kernels, release_compiler

def resident_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

load_kernels()
load_remaining_kernels()
before = resident_kb()
release_compiler()
assert resident_kb() < 0.8 * before, (before, resident_kb())
from scraper.text_kernels import parse_number
assert parse_number(np.frombuffer(b"12.5" + bytes(16), np.uint8), 0)[1] == 12.5
from scraper.exposition import parse
assert parse(b"a 1\\n").values.tolist() == [1.0]
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_second_process_compiles_the_rest_backwards_where_more_than_one_module_compiles(
    monkeypatch, capsys
):
    asked = []

    class Process:
        def kill(self):
            asked.append("kill")

        def wait(self):
            asked.append("wait")

    def start(modules):
        asked.append(modules)
        return Process()

    monkeypatch.setattr(compiled, "_compile_backwards", start)
    monkeypatch.setattr(compiled, "_processors", lambda: 2)
    progress = compiled._Progress(["a", "b", "c", "d"])
    progress.module = "a"
    progress.compiling()
    assert asked == []
    for name in ("b", "c"):
        progress.module = name
        progress.compiling()
    progress.finish()
    assert asked == [["c", "d"], "kill", "wait"]
    assert [line.split()[-3:-1] for line in capsys.readouterr().err.splitlines()] == [
        ["1/4", "a"],
        ["2/4", "b"],
        ["3/4", "c"],
    ]


def test_the_second_process_compiles_the_modules():
    process = compiled._compile_backwards(["tsdb.text_kernels"])
    assert process.args[-1] == "tsdb.text_kernels"
    assert process.wait() == 0
