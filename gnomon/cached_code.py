"""Load compiled kernels from Numba's cache without what only compiling more would need.

Before Numba looks into its cache it imports and registers all that it can compile: 0.2 s, 8 MB and
100 modules, of which cached code needs the functions of the runtime alone. Here that is done where
the cache has no code for a kernel, so never with a warm one.
A kernel's cached file holds its machine code, and its LLVM module for others that are compiled to
inline it. Numba reads both at once and asks the module for each of its symbols: half of what
loading costs. Here a module is read when something is compiled against it, which is seldom.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import binding  # type: ignore[import-untyped]  # ships no types
from numba.core import caching, codegen
from numba.core.runtime.nrt import rtsys

KNOWN_NUMBA = (0, 68)
"""The version whose inner workings this module knows. Others load in their own, slower way."""

_JITCodeLibrary: Any = codegen.JITCodeLibrary


class _Library(_JITCodeLibrary):  # type: ignore[misc]
    """The code of one kernel; when it came from the cache, its LLVM module may be unread."""

    unread: bytes | None = None

    @classmethod
    def _unserialize(cls, code: Any, state: Any) -> Any:  # noqa: ANN401  # Numba's
        name, kind, data = state
        if kind != "object":
            return super()._unserialize(code, state)
        library = code.create_library(name)
        library.enable_object_caching()
        machine_code, library.unread = data
        library._set_compiled_object(machine_code)
        library._finalize_final_module()
        return library

    def get_pointer_to_function(self, name: str) -> int:
        # Every kernel has its wrapper for Python. Whether it has others only its module knows.
        if self.unread is not None and name.startswith("_ZN7cpython"):
            return int(self._codegen._engine.get_function_address(name))
        self._read()
        return int(super().get_pointer_to_function(name))

    def _get_module_for_linking(self) -> Any:  # noqa: ANN401  # llvmlite's
        self._read()
        return super()._get_module_for_linking()

    def _read(self) -> None:
        if self.unread is not None:
            self._shared_module = binding.parse_bitcode(self.unread)
            self._codegen._engine._load_defined_symbols(self._shared_module)
            self.unread = None


def _load_overload(self: Any, sig: object, target_context: Any) -> object:  # noqa: ANN401  # Numba's
    """Load what the cache has for a signature; None, and all made ready to compile, if nothing."""
    rtsys.initialize(target_context)  # the code calls it, and is linked when it is loaded
    found = None
    with self._guard_against_spurious_io_errors():
        found = self._load_overload(sig, target_context)
    if found is None:
        target_context.refresh()
    return found


def load_cached_code_alone() -> None:
    """Have what is loaded from Numba's cache from now on bring nothing that only compiling needs.

    Neither is its LLVM module read, nor are the functions registered that others could call.
    """
    if numba.version_info[:2] == KNOWN_NUMBA:
        codegen.JITCPUCodegen._library_class = _Library
        caching.FunctionCache.load_overload = _load_overload  # type: ignore[method-assign]


def forget_module(library: Any) -> None:  # noqa: ANN401  # Numba's
    """Give back the memory of a kernel's LLVM module; nothing may be compiled against it then."""
    library._shared_module = library.unread = None
