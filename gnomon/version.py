"""What this build calls itself, to people and to clients that decide by a version."""

from __future__ import annotations

import platform
from importlib import metadata

PROMETHEUS_VERSION = "3.5.3"
"""The Prometheus whose answers we give. Grafana decides by it what it may ask."""


def gnomon_version() -> str:
    """Return the version of the installed package, or `0.0.0` in a bare checkout."""
    try:
        return metadata.version("gnomon")
    except metadata.PackageNotFoundError:
        return "0.0.0"


def version_text() -> str:
    """Return the line of `gnomon --version`."""
    return (
        f"gnomon, version {gnomon_version()} (compatible with Prometheus {PROMETHEUS_VERSION},"
        f" Python {platform.python_version()})"
    )
