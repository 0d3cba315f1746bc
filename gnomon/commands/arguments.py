"""argparse with our exit codes: a wrong argument is 1, not 2 (2 is a bad configuration)."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser that ends with 1 when the arguments make no sense."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message to stderr and exit with 1."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")
