"""Have every kernel compiled before anybody waits for one, and say so when it takes a while.

Kernels have explicit signatures and are cached on disk. A start compiles what the cache does not
have (about 0.5 s each, once on a machine), so that nothing compiles in the middle of a request;
what it has is loaded when first called (about 4 ms each), or after the start by
`load_remaining_kernels`. Where there are two processors a second process compiles from the end of
the list, and the two meet halfway.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import importlib.util
import mmap
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = ("tsdb", "promql", "scraper", "api")
"""The packages whose kernels a server needs."""
TOOL_PACKAGES = ("tsdb", "gnomon")
"""The packages whose kernels `gnomon tsdb` needs. A server does without those of `gnomon`."""


def kernel_modules(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Return the names of all kernel modules of the packages, sorted."""
    names = []
    for package in packages:
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
    if all(_writable(beside / package / "__pycache__") for package in (*PACKAGES, "gnomon")):
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


def load_kernels(data_path: Path | None = None, *, packages: Sequence[str] = PACKAGES) -> None:
    """Have the kernels of some packages in the cache; what has to be compiled is told on stderr."""
    choose_cache(data_path)
    # Numba may be imported from here on only: it looks for its cache directory when it is.
    from numba.core.event import Listener, register, unregister

    from gnomon.cached_code import load_cached_code_alone
    from tsdb.kernel_compilation import kernels_of

    load_cached_code_alone()
    progress = _Progress(kernel_modules(packages))

    class Compilations(Listener):
        """Numba tells of every compilation, and of none that the cache saved."""

        def on_start(self, _event: object) -> None:
            progress.compiling()

        def on_end(self, _event: object) -> None:
            pass

    listener = Compilations()
    register("numba:compile", listener)  # type: ignore[no-untyped-call]
    try:
        for name in progress.modules:
            progress.module = name
            importlib.import_module(name)
            for kernel in kernels_of(name):
                if not kernel.is_cached():
                    kernel.load()
    finally:
        unregister("numba:compile", listener)  # type: ignore[no-untyped-call]
        progress.finish()


def load_remaining_kernels() -> None:
    """Load the machine code of all kernels of the imported modules, for those who call them later.

    Made for a thread of its own: others go on between one kernel and the next.
    """
    from tsdb.kernel_compilation import kernels_of

    for name in kernel_modules():
        for kernel in kernels_of(name) if name in sys.modules else ():
            kernel.load()


def release_compiler() -> None:
    """Give back the memory that only compiling needs; nothing may compile afterwards.

    Each kernel of the cache brings its LLVM module along, for others that are compiled to inline
    it, and the compiler's own code is mapped. With 220 kernels that was 41 and 51 MB of 243.
    """
    from numba.core.dispatcher import Dispatcher

    from gnomon.cached_code import forget_module

    for name in kernel_modules():
        for kernel in vars(sys.modules[name]).values() if name in sys.modules else ():
            if isinstance(kernel, Dispatcher):
                for compiled in kernel.overloads.values():
                    # Kernels have explicit signatures: the dispatcher refuses to compile others.
                    forget_module(compiled.library)  # type: ignore[attr-defined]  # a subclass has it
    gc.collect()
    if sys.platform == "linux":
        _trim()


_MAPPED_CODE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp .*/libllvmlite\.so$", re.MULTILINE)


def _trim() -> None:
    """Return free memory of the heap, and the pages of LLVM's code: they are read again if used."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(ctypes.c_size_t(0))
    for start, stop in _MAPPED_CODE.findall(Path("/proc/self/maps").read_text()):
        begin, size = int(start, 16), int(stop, 16) - int(start, 16)
        # Code is never written to, so its pages come back from the file as they were.
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


class _Progress:
    """How far the loading has come, and of which module it was told that it compiles."""

    def __init__(self, modules: list[str]) -> None:
        self.modules = modules
        self.module = self._told = ""
        self._second: subprocess.Popen[bytes] | None = None

    def compiling(self) -> None:
        """Say that a module compiles, once for each module."""
        if self.module == self._told:
            return
        # One module may have been edited; where a second one compiles, most of them will.
        if self._told and self._second is None and _processors() > 1:
            self._second = _compile_backwards(self.modules[self.modules.index(self.module) + 1 :])
        self._told = self.module
        number, count = self.modules.index(self.module) + 1, len(self.modules)
        print(
            f"compiling kernels (first start only) {number}/{count} {self.module} ...",
            file=sys.stderr,
            flush=True,
        )

    def finish(self) -> None:
        """Stop the second process: what it still compiles is there. It replaces files whole."""
        if self._second is not None:
            self._second.kill()
            self._second.wait()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _compile_backwards(modules: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that compiles the modules from the last to the first, into Numba's cache.

    Nobody depends on its success: what it does not leave in the cache is compiled here.
    """
    program = (
        "import importlib, sys\n"
        "from tsdb.kernel_compilation import kernels_of\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    for kernel in kernels_of(name):\n"
        "        kernel.load()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *reversed(modules)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    load_kernels(packages=(*PACKAGES, "gnomon"))
