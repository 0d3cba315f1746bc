"""Kernels: functions compiled with declared types, kept on disk, and loaded when first needed.

From: every `*kernels.py` of every package.   To: Numba.
Declaring a kernel costs 0.2 ms; its machine code is read from the cache when it is first called
(3 to 5 ms), and only compiled (about 0.5 s) if the cache does not have it. `gnomon/compiled.py`
does both before anybody waits for it. Invariant: cached code belongs to the sources as they are,
those of the modules that a kernel's own module imports included.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import njit
from numba.core import config
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def kernel(signature: object, **options: object) -> Callable[[F], F]:
    """Declare a kernel: `signature` is what Numba takes as one, or a list; `options` are `njit`'s.

    It runs without the GIL, takes arguments of its declared types alone (a TypeError else), and is
    cached on disk.
    """
    return _declare(Kernel, signature, options)


def helper(signature: object = None, **options: object) -> Callable[[F], F]:
    """Declare a kernel that only other kernels call.

    What it does is inside the machine code of its callers, so with a warm cache nobody needs it,
    and nothing loads it ahead of time. Without a signature its types are those of each call; it is
    compiled with each caller then, and kept with it alone.
    """
    if signature is None:
        return cast("Callable[[F], F]", _njit(nogil=True, **options))
    return _declare(_Helper, signature, options)


def kernels_of(module: str) -> list[Kernel]:
    """Return the kernels, helpers aside, that an imported module declares."""
    found = vars(sys.modules[module]).values()
    return [each for each in found if type(each) is Kernel and each.__module__ == module]


def _declare(kind: Any, signature: object, options: dict[str, object]) -> Callable[[F], F]:  # noqa: ANN401
    def declare(function: F) -> F:
        if config.DISABLE_JIT:  # type: ignore[attr-defined]  # set when it is imported
            return function
        made = kind(function, targetoptions={"nopython": True, "nogil": True} | options)
        made.declared = signature if isinstance(signature, list) else [signature]
        made.enable_caching()
        return cast("F", made)

    return declare


# The types that Numba states for these are of no help here.
_Dispatcher: Any = CPUDispatcher
_njit: Any = njit
_FunctionCache: Any = FunctionCache
_CacheFile: Any = IndexDataCacheFile
_again = threading.local()


class Kernel(_Dispatcher):  # type: ignore[misc]
    """A dispatcher of exactly the declared signatures, loaded or compiled at its first use."""

    declared: list[Any]

    def enable_caching(self) -> None:
        """Keep the machine code on disk, for as long as its sources stay as they are."""
        self._cache = _Cache(self.py_func)

    def is_cached(self) -> bool:
        """Say whether loading it will compile nothing."""
        codegen = self.targetctx.codegen()
        return all(self._cache.has(signature, codegen) for signature in self.declared)

    def load(self) -> None:
        """Load the machine code; compile it if it is not in the cache."""
        with global_compiler_lock:
            if self._can_compile:
                for signature in self.declared:
                    self.compile(signature)
                self.disable_compile()

    def get_call_template(self, args: object, kws: object) -> object:
        """Be called by a kernel that is being compiled; arguments convert to the declared types."""
        self.load()
        return super().get_call_template(args, kws)

    def _compile_for_args(self, *args: object, **kws: object) -> object:
        """Be called from Python with types that no loaded version has.

        Numba calls what this returns, with the same arguments.
        """
        if getattr(_again, "kernel", None) is self:
            return super()._compile_for_args(*args, **kws)  # Refuses them.
        self.load()
        return self._call_loaded

    def _call_loaded(self, *args: object, **kws: object) -> object:
        _again.kernel = self
        try:
            return self(*args, **kws)
        finally:
            _again.kernel = None


class _Helper(Kernel):
    pass


class _Cache(_FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, told apart by all sources that its code was made from."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=_source_stamp(Path(function.__code__.co_filename)),
        )

    def has(self, signature: object, codegen: object) -> bool:
        """Say whether there is code for the signature and this processor."""
        return self._index_key(signature, codegen) in self._cache_file._load_index()


_ROOT = Path(__file__).resolve().parent.parent
_IMPORTS = re.compile(r"^(?:from|import) (\w[\w.]*)(?: import ([\w, ]+))?", re.MULTILINE)
"""Imports of a module's first level: those below TYPE_CHECKING are indented, and no code."""


@functools.cache
def _source_stamp(path: Path) -> str:
    """Return what tells the sources of a file's kernels from all others: names, times and sizes.

    Numba itself looks at the kernel's own file alone, and would go on with what was inlined from
    another before that was edited.
    """
    hashed = hashlib.sha256()
    for source in sorted({path, *_sources_behind(path)}):
        known = source.stat()
        hashed.update(f"{source} {known.st_mtime_ns} {known.st_size}\n".encode())
    return hashed.hexdigest()


def _sources_behind(path: Path) -> set[Path]:
    """Return our own files that a file imports, and those that these import, and so on."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return found


@functools.cache
def _imported(path: Path) -> frozenset[Path]:
    files: set[Path] = set()
    for module, names in _IMPORTS.findall(path.read_text(encoding="utf-8")):
        place = _ROOT.joinpath(*module.split("."))
        inner = [place / name.strip() for name in names.split(",") if name.strip()]
        candidates = [each.with_name(f"{each.name}.py") for each in (place, *inner)]
        files.update(each for each in candidates if each.is_file())
    return frozenset(files)
