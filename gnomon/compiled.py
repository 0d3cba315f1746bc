"""Load every compiled kernel before anybody waits for one, and say so when it takes a while.

Kernels have explicit signatures and are cached on disk: importing a `*kernels` module loads them
(about 8 ms each) or, the first time on a machine, compiles them (about 0.5 s each). So all of them
are imported at a start, and nothing compiles in the middle of a request.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
from pathlib import Path

PACKAGES = ("tsdb", "promql", "scraper", "api")
"""The packages that may hold `kernels.py` or `<topic>_kernels.py`."""


def kernel_modules() -> list[str]:
    """Return the names of all kernel modules of the installed packages, sorted."""
    names = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for path in Path(place).rglob("*kernels.py"):
                inner = path.relative_to(place).with_suffix("").parts
                names.append(".".join((package, *inner)))
    return sorted(set(names))


def choose_cache(data_path: Path | None = None) -> None:
    """Point Numba's cache to where it can be written; call before Numba is imported.

    Beside the sources where they are writable (Numba's own default, shared by all users of a
    checkout); else a directory of the user; else one in the data directory. A cache that nobody
    can write costs a compilation at each start, nothing else.
    """
    if "NUMBA_CACHE_DIR" in os.environ or "numba" in sys.modules:
        return
    beside = Path(__file__).resolve().parent.parent
    if all(_writable(beside / package / "__pycache__") for package in PACKAGES):
        return
    # One cache per interpreter and install: Numba tells sources apart by path and time of change,
    # but two Python versions of one user must not meet.
    key = hashlib.sha256(f"{beside}:{sysconfig.get_python_version()}".encode()).hexdigest()[:16]
    cache_home = os.environ.get("XDG_CACHE_HOME")
    places = [Path(cache_home) if cache_home else Path("~/.cache").expanduser()]
    if data_path is not None:
        places.append(data_path)
    for place in places:
        directory = place / "gnomon-kernels" / key
        if _writable(directory):
            os.environ["NUMBA_CACHE_DIR"] = str(directory)
            return


def _writable(directory: Path) -> bool:
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def load_kernels(data_path: Path | None = None, *, quiet_s: float = 1.0) -> None:
    """Import all kernel modules; after `quiet_s` seconds without an end, say on stderr why.

    Time decides rather than a look into Numba's cache files, whose names are Numba's own business:
    from a warm cache everything is loaded well within a second.
    """
    choose_cache(data_path)
    progress = _Progress(kernel_modules(), quiet_s)
    watcher = threading.Thread(target=progress.watch, name="kernel-progress", daemon=True)
    watcher.start()
    try:
        for name in progress.modules:
            progress.begun += 1
            importlib.import_module(name)
    finally:
        progress.finished.set()
        watcher.join()


class _Progress:
    """How far the loading has come; `begun` is written by the loader and read by the watcher."""

    def __init__(self, modules: list[str], quiet_s: float) -> None:
        self.modules, self._quiet_s = modules, quiet_s
        self.begun = 0
        self.finished = threading.Event()

    def watch(self) -> None:
        """Write a line each time another module is begun, until finished."""
        wait_s, shown = self._quiet_s, 0
        while not self.finished.wait(wait_s):
            wait_s = 0.1
            if self.begun > shown:
                shown = self.begun
                print(
                    f"compiling kernels (first start only) {shown}/{len(self.modules)}"
                    f" {self.modules[shown - 1]} ...",
                    file=sys.stderr,
                    flush=True,
                )


if __name__ == "__main__":
    load_kernels()
