"""The former place of `kernel_compilation.helper`."""

from tsdb.kernel_compilation import helper

__all__ = ["helper"]
