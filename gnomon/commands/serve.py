"""`gnomon serve`: scrape, store and answer, until told to stop."""

from __future__ import annotations

import gc
import logging
import sys
from typing import TYPE_CHECKING

from gnomon import logs
from gnomon.compiled import load_kernels
from gnomon.config.document import ConfigError
from gnomon.config.load import load_file
from gnomon.flags import FlagError, help_text, parse_flags
from gnomon.problem_text import problem_text
from gnomon.version import version_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gnomon.config.model import Config

_log = logging.getLogger(__name__)

BAD_CONFIG = 2


def run(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if "--help" in words or "-h" in words:
        print(help_text())
        return 0
    if "--version" in words:
        print(version_text())
        return 0
    try:
        options = parse_flags(words)
    except FlagError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    logs.set_up(options.log_level, options.log_format)
    for warning in options.warnings:
        _log.warning(warning)
    config = _load(options.config_file, agent=options.agent)
    if config is None:
        return BAD_CONFIG
    # Not at the top: a mistyped flag or file should not wait for the compiled parts to load.
    # What it makes stays; looking for garbage among it took 4% of a start.
    gc.disable()
    load_kernels(options.data_path)
    import asyncio

    from gnomon.server import Server

    gc.enable()

    async def serve() -> int:
        return await Server(options, config).run()

    return asyncio.run(serve())


def _load(path: Path, *, agent: bool) -> Config | None:
    """Load the configuration file; None, and a line in the log, where it cannot be used."""
    try:
        config = load_file(path)
        if agent:
            # Not at the top: it knows HTTP, which takes a while to load.
            from gnomon.agent import check_config

            check_config(path)
    except (ConfigError, OSError) as error:
        _log.error(
            "Error loading config (--config.file=%s)",
            path,
            extra={"fields": {"file": path.absolute(), "err": problem_text(error)}},
        )
        return None
    for warning in config.warnings:
        _log.warning(warning)
    return config
