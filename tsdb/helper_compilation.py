"""Kernels that only other kernels call: compiled with their declared types, when first needed.

What such a helper does is inside the cached machine code of its callers. With a warm cache it is
needed by nobody, so importing it loads nothing: of 240 kernels of a server 110 are helpers, and
each costs 5 ms of a start. Its types are declared and enforced like those of any kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba.core import config
from numba.core.registry import CPUDispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


def helper(signature: object, **options: object) -> Callable[[F], F]:
    """Declare a function that kernels call as Numba's `njit(signature, ...)` would, but lazily.

    `signature` is anything that Numba takes as one, `options` are those of `njit`.
    Called from Python (tests do) it compiles or loads itself first.
    """

    def declare(function: F) -> F:
        if config.DISABLE_JIT:  # type: ignore[attr-defined]  # set when it is imported
            return function
        made = _Helper(function, targetoptions={"nopython": True, "nogil": True} | options)
        made.enable_caching()
        made.declared = signature
        return cast("F", made)

    return declare


# Numba's types of a dispatcher are of no help to a subclass.
_Dispatcher: Any = CPUDispatcher


class _Helper(_Dispatcher):  # type: ignore[misc]
    """A dispatcher of exactly one signature, compiled at the first use."""

    declared: object

    def get_call_template(self, args: object, kws: object) -> object:
        """Be called by a kernel that is being compiled; arguments convert to the declared types."""
        self._settle()
        return super().get_call_template(args, kws)

    def _compile_for_args(self, *args: object, **kws: object) -> object:
        """Be called from Python with types that no compiled version has."""
        if self._can_compile:
            self._settle()
            return self  # Numba calls what this returns, with the same arguments.
        return super()._compile_for_args(*args, **kws)

    def _settle(self) -> None:
        if self._can_compile:
            self.compile(self.declared)
            self.disable_compile()
