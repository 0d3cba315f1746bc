"""What one scrape brings and what became of it: a body, the limits it may exceed, the counts.

From: `fetch.py` (bodies), `ingest.py` (outcomes).   To: `ingest.py`, `loop.py`, `stats.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scraper.labelling import LabelLimitError
from scraper.resolution import BucketLimitError
from scraper.tokens import ParseError


class SampleLimitError(ParseError):
    """More samples after relabelling than the job allows; nothing of the scrape is stored."""


class BodySizeError(ParseError):
    """The body is larger than the job allows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scrape; `error` is empty if it was good. Counts are of samples."""

    error: str = ""
    duration_s: float = 0.0
    body_bytes: int = 0
    scraped: int = 0
    post_relabelling: int = 0
    series_added: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    out_of_bounds: int = 0
    exemplars_out_of_order: int = 0
    exceeded: str = ""
    """The limit that failed the scrape: "sample", "label", "body_size" or ""."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body as text, decompressed."""

    text: bytes
    content_type: str


def exceeded_limit(error: ParseError) -> str:
    """Return which limit an error is about."""
    if isinstance(error, SampleLimitError):
        return "sample"
    if isinstance(error, LabelLimitError):
        return "label"
    if isinstance(error, BucketLimitError):
        return "bucket"
    return "body_size" if isinstance(error, BodySizeError) else ""
