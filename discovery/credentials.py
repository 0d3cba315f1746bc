"""Secrets that are given inline or as a file, and the one error for what cannot be used.

From: `http_client.py`.   To: `http_requests.py`, `oauth2.py`.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class CredentialsError(Exception):
    """Credentials or certificates cannot be read, got or used; the request is not made."""


def read_secret(inline: str, path: Path | None) -> str:
    """Return a secret given inline or as a file, whose blanks at the ends are not part of it.

    Raises CredentialsError.
    """
    if path is None:
        return inline
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as e:
        reason = os.strerror(e.errno).lower() if isinstance(e, OSError) and e.errno else str(e)
        raise CredentialsError(f"unable to read file {path}: open {path}: {reason}") from e


def base64_text(text: str) -> str:
    """Return a text in base64."""
    return base64.b64encode(text.encode()).decode()
