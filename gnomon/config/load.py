"""The whole configuration file, to a checked `Config`.

From: a file, or its text.   To: `wiring.py` at start and at reload, `gnomon check config`.
Everything is checked before anything is used: a reload with a bad file changes nothing.
Source: Prometheus documentation, configuration; the texts are Prometheus'.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.config.document import (
    ConfigError,
    go_quote,
    read_document,
    without_collection,
)
from gnomon.config.http_client import joined
from gnomon.config.model import (
    EXEMPLARS_DEFAULT,
    GOGC_DEFAULT,
    Config,
    GlobalConfig,
    JobConfig,
    StorageConfig,
)
from gnomon.config.monitors import decode_monitors
from gnomon.config.otlp import decode_otlp
from gnomon.config.remote_read import decode_remote_reads
from gnomon.config.remote_write import decode_remote_writes
from gnomon.config.scrape import (
    decode_escaping,
    decode_job,
    decode_limits,
    decode_protocols,
    decode_validation,
    default_protocols,
)
from scraper.job import ScrapeLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gnomon.config.document import Section

_PATH_PATTERN = re.compile(r"[^*]*(\*[^/]*)?")
_NULL_JOB = "empty or null scrape config section"
CHUNK_ENCODINGS = ("xor", "xor2")


def load_file(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file and the scrape config files it names.

    Raises ConfigError, its text begins with `parsing YAML file <path>: ` where the text is at
    fault, and OSError where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        variables = os.environ if environment is None else environment
        config = _decoded(text, path.parent, tuple(sorted(variables.items())))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"parsing YAML file {path}: {error}") from error
    return _with_included(config, path.parent)


@lru_cache(maxsize=1)
def _decoded(text: str, folder: Path, environment: tuple[tuple[str, str], ...]) -> Config:
    """Return what a text means; a reload of one that has not changed reads it no second time."""
    return load_text(text, folder, dict(environment))


@without_collection()
def load_text(text: str, folder: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Decode the text of a main file; names in it are relative to `folder`."""
    top, problems = read_document(text, "config.plain")
    warnings: list[str] = []
    _refuse_unbuilt(top)
    environment = os.environ if environment is None else environment
    defaults = _global(top.section("global", "config.plain"), folder, environment, warnings.append)
    storage = _storage(top.section("storage", "config.StorageConfig"))
    runtime = top.section("runtime", "config.RuntimeConfig")
    gogc = runtime.integer("gogc", GOGC_DEFAULT, signed=True) if runtime else GOGC_DEFAULT
    files = top.strings("scrape_config_files")
    for name in files:
        if _PATH_PATTERN.fullmatch(name) is None:
            top.fail(f"invalid scrape config file path {go_quote(name)}", "scrape_config_files")
    jobs = _jobs(top, defaults, folder)
    utf8 = defaults.metric_name_validation_scheme == "utf8"
    remote_write = decode_remote_writes(top, folder, utf8=utf8)
    monitors = decode_monitors(top, folder)
    otlp = decode_otlp(top.section("otlp", "config.OTLPConfig"), utf8=utf8)
    remote_read = decode_remote_reads(top, folder)
    problems.raise_if_any()
    _check_names(top, jobs)
    return Config(
        global_config=defaults,
        jobs=tuple(jobs),
        scrape_config_files=tuple(folder / name for name in files),
        storage=storage,
        monitors=monitors,
        remote_write=remote_write,
        remote_read=remote_read,
        otlp=otlp,
        gogc=gogc,
        warnings=tuple(warnings),
    )


def _jobs(top: Section, defaults: GlobalConfig, folder: Path) -> list[JobConfig]:
    items = top.sections("scrape_configs", "config.ScrapeConfig", null_text=_NULL_JOB)
    return [decode_job(item, defaults, folder) for item in items]


def _check_names(top: Section, jobs: list[JobConfig]) -> None:
    seen: set[str] = set()
    for job in jobs:
        name = job.job.job_name
        if name in seen:
            top.fail(
                f"found multiple scrape configs with job name {go_quote(name)}", "scrape_configs"
            )
        seen.add(name)


def _with_included(config: Config, folder: Path) -> Config:
    """Add the jobs of `scrape_config_files`; job names are unique across all files."""
    jobs = list(config.jobs)
    origin = {job.job.job_name: "main config file" for job in jobs}
    for pattern in config.scrape_config_files:
        for name in sorted(glob.glob(str(pattern))):  # noqa: PTH207 - absolute patterns too
            for job in _included(Path(name), config.global_config):
                job_name = job.job.job_name
                if job_name in origin:
                    raise ConfigError(
                        f"{go_quote(name)}: found multiple scrape configs with job name"
                        f" {go_quote(job_name)}, first found in {origin[job_name]}"
                    )
                origin[job_name] = go_quote(name)
                jobs.append(job)
    return replace(config, jobs=tuple(jobs))


@without_collection()
def _included(path: Path, defaults: GlobalConfig) -> list[JobConfig]:
    try:
        text = path.read_text(encoding="utf-8")
        top, problems = read_document(text, "config.ScrapeConfigs")
        jobs = _jobs(top, defaults, path.parent)
        problems.raise_if_any()
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"parsing YAML file {path}: {error}") from error
    return [replace(job, from_file=path) for job in jobs]


def _refuse_unbuilt(top: Section) -> None:
    for name in top.strings("rule_files") if top.has("rule_files") else ():
        if _PATH_PATTERN.fullmatch(name) is None:
            top.fail(f"invalid rule file path {go_quote(name)}", "rule_files")
    for name in ("alerting", "rule_files", "tracing"):
        if top.empty(name):
            top.ignore(name)
        else:
            top.not_yet(name)


def _global(
    section: Section | None,
    folder: Path,
    environment: Mapping[str, str],
    warn: Callable[[str], None],
) -> GlobalConfig:
    default = GlobalConfig()
    if section is None:
        return default
    if section.duration_ms("rule_query_offset"):
        section.not_yet("rule_query_offset")
    interval_ms = section.duration_ms("scrape_interval") or default.scrape_interval_ms
    timeout_ms = section.duration_ms("scrape_timeout") or 0
    if timeout_ms > interval_ms:
        section.fail("global scrape timeout greater than scrape interval", "scrape_timeout")
    validation = decode_validation(section, default.metric_name_validation_scheme)
    labels = section.labels("external_labels")
    native = section.boolean("scrape_native_histograms", False)
    return GlobalConfig(
        scrape_interval_ms=interval_ms,
        scrape_timeout_ms=timeout_ms or min(default.scrape_timeout_ms, interval_ms),
        scrape_protocols=decode_protocols(section, " for global config")
        or default_protocols(default.scrape_protocols, native=native),
        evaluation_interval_ms=section.duration_ms("evaluation_interval")
        or default.evaluation_interval_ms,
        external_labels={name: expand(value, environment, warn) for name, value in labels.items()},
        limits=decode_limits(section, ScrapeLimits()),
        query_log_file=joined(folder, section.string("query_log_file")),
        scrape_failure_log_file=joined(folder, section.string("scrape_failure_log_file")),
        metric_name_validation_scheme=validation,
        metric_name_escaping_scheme=decode_escaping(
            section, validation, default.metric_name_escaping_scheme
        ),
        scrape_native_histograms=native,
        always_scrape_classic_histograms=section.boolean("always_scrape_classic_histograms", False),
        convert_classic_histograms=section.boolean("convert_classic_histograms_to_nhcb", False),
        extra_scrape_metrics=section.boolean("extra_scrape_metrics", False),
    )


_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z_][A-Za-z0-9_]*))")


def expand(text: str, environment: Mapping[str, str], warn: Callable[[str], None]) -> str:
    """Replace `$NAME` and `${NAME}` from the environment, `$$` by `$`, as Go's os.Expand does.

    An unset variable is an empty text and a warning.

    >>> expand("a-${X}-$$Y", {"X": "1"}, print)
    'a-1-$Y'
    """

    def value(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group is not None)
        if name == "$":
            return "$"
        if name not in environment:
            warn(f"Empty environment variable {name} in external_labels")
        return environment.get(name, "")

    return _VARIABLE.sub(value, text)


def _storage(section: Section | None) -> StorageConfig:
    if section is None:
        return StorageConfig()
    exemplars_max = None
    exemplars = section.section("exemplars", "config.ExemplarsConfig")
    if exemplars is not None:
        kept = exemplars.integer("max_exemplars", EXEMPLARS_DEFAULT, signed=True)
        exemplars_max = max(0, kept)
    tsdb = section.section("tsdb", "config.plain")
    if tsdb is None:
        return StorageConfig(exemplars_max=exemplars_max)
    if tsdb.number("stale_series_compaction_threshold") != 0:
        tsdb.not_yet("stale_series_compaction_threshold")
    time_ms, size_bytes, percentage = _retention(
        tsdb.section("retention", "config.TSDBRetentionConfig")
    )
    return StorageConfig(
        out_of_order_time_window_ms=tsdb.duration_ms("out_of_order_time_window"),
        retention_time_ms=time_ms,
        retention_size_bytes=size_bytes,
        retention_percentage=percentage,
        chunk_encoding_floats=_chunk_encoding(tsdb),
        exemplars_max=exemplars_max,
    )


def _retention(section: Section | None) -> tuple[int | None, int | None, float]:
    """Return the time in ms, the size in bytes, and the percentage of the disk, 0 for none."""
    if section is None:
        return None, None, 0.0
    percentage = section.number("percentage")
    if not 0 <= percentage <= 100:
        section.fail(
            "'storage.tsdb.retention.percentage' must be in the range [0, 100],"
            f" got {percentage:g}",
            "percentage",
        )
    if section.string("size").startswith("-"):
        section.fail("'storage.tsdb.retention.size' must be greater than or equal to 0", "size")
    return section.duration_ms("time"), section.size_bytes("size"), percentage


def _chunk_encoding(tsdb: Section) -> str:
    section = tsdb.section("chunk_encoding", "config.ChunkEncodingConfig")
    if section is None:
        return ""
    if not section.written("floats"):
        return ""
    encoding = section.string("floats")
    if encoding not in CHUNK_ENCODINGS:
        section.fail(
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be"
            f" omitted entirely, got {go_quote(encoding)}",
            "floats",
        )
    return encoding
