"""Where the test data is, and what every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def corpora_root() -> Path:
    """The folder of test corpora: $GNOMON_CORPORA, or `../shared/corpora` beside the checkout."""
    return Path(os.environ.get("GNOMON_CORPORA", ROOT.parent / "shared" / "corpora"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The corpora, or a skip for someone without them; CI must have them."""
    root = corpora_root()
    if not root.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI needs the test corpora at {root}")
        pytest.skip(f"no test corpora at {root}; set GNOMON_CORPORA")
    return root
