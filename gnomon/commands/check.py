"""`gnomon check`: say whether configurations can be used, in promtool's words."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.commands.arguments import Parser
from gnomon.config.document import ConfigError
from gnomon.config.load import load_file
from gnomon.problem_text import problem_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from discovery.http_client import HttpClientConfig
    from gnomon.config.model import Config


def run(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = Parser(prog="gnomon check", description="Check files without using them.")
    what = parser.add_subparsers(dest="what", required=True)
    config = what.add_parser("config", help="configuration files")
    config.add_argument("files", nargs="+", type=Path, metavar="FILE")
    config.add_argument(
        "--syntax-only", action="store_true", help="do not look at the files that are named within"
    )
    web = what.add_parser("web-config", help="files for --web.config.file: TLS, users, headers")
    web.add_argument("files", nargs="+", type=Path, metavar="FILE")
    options = parser.parse_args(words)
    if options.what == "web-config":
        good = [_check_web(path) for path in options.files]
    else:
        good = [_check(path, look=not options.syntax_only) for path in options.files]
    return 0 if all(good) else 1


def _check(path: Path, *, look: bool) -> bool:
    print(f"Checking {path}")
    try:
        config = load_file(path)
        problems = list(missing_files(config)) if look else []
    except (ConfigError, OSError) as error:
        problems = [problem_text(error)]
    for warning in [] if problems else config.warnings:
        print(f"  WARNING: {warning}", file=sys.stderr)
    for problem in problems:
        print(f"  FAILED: {problem}", file=sys.stderr)
    if not problems:
        print(f" SUCCESS: {path} is valid prometheus config file syntax")
    print()
    return not problems


def _check_web(path: Path) -> bool:
    # Not at the top: it knows TLS and HTTP, which take a while to load.
    from gnomon.config.web import load_web_file

    try:
        config = load_web_file(path)
        if config.tls is not None:
            config.tls.context()
    except (ConfigError, OSError, ValueError) as error:
        print(f"{path} FAILED: {problem_text(error)}", file=sys.stderr)
        return False
    print(f"{path} SUCCESS")
    return True


def missing_files(config: Config) -> Iterator[str]:
    """Yield a sentence for each file of credentials or TLS that cannot be read."""
    for job in config.jobs:
        for client in (job.job.http_client, *(entry.http_client for entry in job.http)):
            for name, path in _named_files(client):
                if path is not None and not os.access(path, os.R_OK):
                    yield f'error checking {name} file "{path}": it cannot be read'


def _named_files(client: HttpClientConfig) -> Iterator[tuple[str, Path | None]]:
    if client.authorization is not None:
        yield "authorization credentials", client.authorization.credentials_file
    if client.basic_auth is not None:
        yield "username", client.basic_auth.username_file
        yield "password", client.basic_auth.password_file
    yield "ca", client.tls_config.ca_file
    yield "client cert", client.tls_config.cert_file
    yield "client key", client.tls_config.key_file
