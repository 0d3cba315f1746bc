"""One object becomes jobs, the same frozen settings that the configuration file produces.

From: `follow.py`.   To: the same, and through it `wiring.py`.

What is made of an object is a scrape config as a user would write it, read by the reader of the
configuration file: so there is one set of rules and defaults, and one text for what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from discovery.kubernetes.settings import ApiAccess
from gnomon.config.document import ConfigError, read_document
from gnomon.config.scrape import decode_job
from gnomon.operator.endpoints import pod_monitor, service_monitor
from gnomon.operator.fields import MonitorError, Origin
from gnomon.operator.probe import probe
from gnomon.operator.scrape_config import scrape_config
from gnomon.operator.settings import POD_MONITOR, PROBE, SCRAPE_CONFIG, SERVICE_MONITOR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gnomon.config.model import GlobalConfig, JobConfig
    from gnomon.operator.fields import Fields, Object
    from gnomon.operator.settings import MonitorSettings

    Reference = tuple[str, str, str]

_TRANSLATIONS: Mapping[str, Callable[[Object, Origin], list[Fields]]] = {
    SERVICE_MONITOR: service_monitor,
    POD_MONITOR: pod_monitor,
    PROBE: probe,
    SCRAPE_CONFIG: scrape_config,
}


@dataclass(slots=True)
class Secrets:
    """What is known of secrets and config maps: text by key, None for one that does not exist.

    Names: (kind, namespace, name). `wanted` notes what was asked for and is not known.
    """

    known: dict[Reference, Mapping[str, str] | None] = field(default_factory=dict)
    wanted: set[Reference] = field(default_factory=set)
    used: set[Reference] = field(default_factory=set)

    def lookup(self, kind: str, namespace: str, name: str, key: str) -> str:
        """Return the text of a key. Raises MonitorError."""
        reference = kind, namespace, name
        self.used.add(reference)
        if reference not in self.known:
            self.wanted.add(reference)
            return "unknown yet"
        data = self.known[reference]
        shown = f"{kind} {namespace}/{name}"
        if data is None:
            raise MonitorError(f"{shown} does not exist")
        if key not in data:
            raise MonitorError(f"{shown} has no key {key}")
        return data[key]


def scrape_configs(kind: str, item: Object, settings: MonitorSettings, secrets: Secrets) -> Any:  # noqa: ANN401 - JSON
    """Return the scrape configs of one object, as JSON. Raises MonitorError."""
    metadata = item["metadata"]
    origin = Origin(
        kind, metadata.get("namespace") or "default", metadata["name"], settings, secrets.lookup
    )
    try:
        return _TRANSLATIONS[kind](item.get("spec") or {}, origin)
    except (KeyError, TypeError, AttributeError) as e:
        raise MonitorError(f"it is malformed: {e!r}") from e


def jobs_of(
    kind: str, item: Object, settings: MonitorSettings, secrets: Secrets, defaults: GlobalConfig
) -> tuple[JobConfig, ...]:
    """Return the jobs of one object. Raises MonitorError.

    Where `secrets` wants more than it knows the jobs are not to be used: ask again.
    """
    found = []
    for fields in scrape_configs(kind, item, settings, secrets):
        text = orjson.dumps(fields).decode()
        try:
            section, problems = read_document(text, "config.ScrapeConfig")
            job = decode_job(section, defaults, Path("/"))
            problems.raise_if_any()
        except ConfigError as e:
            if secrets.wanted:
                continue
            raise MonitorError(str(e)) from e
        found.append(_in_this_cluster(job, settings))
    return tuple(found)


def _in_this_cluster(job: JobConfig, settings: MonitorSettings) -> JobConfig:
    """Return the job with discoveries that name no server asking that which objects came from."""
    entries = tuple(
        replace(entry, access=settings.access) if entry.access == ApiAccess() else entry
        for entry in job.kubernetes
    )
    return replace(job, kubernetes=entries)
