"""Target groups and a job become the targets to scrape, each with its labels and its URL.

From: `discovery/groups.py` and `job.py`.   To: `pool.py`, and the app's view of targets.
Source: Prometheus documentation, configuration; the order of steps is that of `PopulateLabels`.
Invariant: two targets of a job never share both labels and URL.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from scraper.duration import format_duration_ms, parse_duration_ms
from scraper.job import DEFAULT_PROTOCOLS, PROTOBUF_FIRST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from discovery.groups import TargetGroup
    from scraper.job import ScrapeJob
    from scraper.relabel import CompiledRules

ADDRESS = "__address__"
SCHEME = "__scheme__"
METRICS_PATH = "__metrics_path__"
SCRAPE_INTERVAL = "__scrape_interval__"
SCRAPE_TIMEOUT = "__scrape_timeout__"
SETTING_LABELS = {
    "__scrape_native_histograms__": "scrape_native_histograms",
    "__always_scrape_classic_histograms__": "always_scrape_classic_histograms",
    "__convert_classic_histograms_to_nhcb__": "convert_classic_histograms",
}
"""Labels by which one target differs from its job, `true` or `false`, and the field of each."""

UNIX_SOCKET = "__unix_socket__"
PARAM = "__param_"
META = "__meta_"
_HIDDEN = "__"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to scrape. `labels` go onto its samples, `discovered` is what relabelling saw.

    `key` identifies it: equal keys mean equal labels and URL. `phase_hash` is 64 bits of the key.
    """

    scrape_pool: str
    labels: Mapping[str, str]
    discovered: Mapping[str, str]
    url: str
    interval_ms: int
    timeout_ms: int
    unix_socket: str
    key: str
    phase_hash: int
    settings: Mapping[str, bool] = field(default_factory=dict)
    """Fields of the job that this target has of its own; see SETTING_LABELS."""

    def job_of(self, job: ScrapeJob) -> ScrapeJob:
        """Return its job with what it has of its own."""
        if all(getattr(job, name) is value for name, value in self.settings.items()):
            return job
        protocols = job.scrape_protocols
        if self.settings.get("scrape_native_histograms") and protocols == DEFAULT_PROTOCOLS:
            # As where the configuration says so: protobuf alone brings native histograms.
            protocols = PROTOBUF_FIRST
        own: dict[str, Any] = dict(self.settings)
        return replace(job, scrape_protocols=protocols, **own)


@dataclass(frozen=True, slots=True)
class ActiveTarget:
    """What may be shown of a target that is scraped. `last_scrape_s` is 0 before the first.

    `health` is "unknown", "up" or "down"; durations are in seconds, texts are Prometheus'.
    """

    discovered_labels: Mapping[str, str]
    labels: Mapping[str, str]
    scrape_pool: str
    scrape_url: str
    global_url: str
    last_error: str
    last_scrape_s: float
    last_scrape_duration_s: float
    health: str
    scrape_interval: str
    scrape_timeout: str


@dataclass(frozen=True, slots=True)
class DroppedTarget:
    """What may be shown of a target that relabelling dropped."""

    discovered_labels: Mapping[str, str]
    scrape_pool: str


@dataclass(frozen=True, slots=True)
class Targets:
    """All targets at one moment; `dropped_counts` is exact where `dropped` is capped."""

    active: Sequence[ActiveTarget]
    dropped: Sequence[DroppedTarget]
    dropped_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TargetSet:
    """What a job's groups came to. `failures` are log lines, one for each broken target."""

    active: Sequence[Target]
    dropped: Sequence[DroppedTarget]
    dropped_count: int
    failures: Sequence[str]


class BadTargetError(ValueError):
    """A target's labels cannot be scraped; the text says why."""


@dataclass(frozen=True, slots=True)
class GroupTargets:
    """What one group came to. `dropped` is capped as the job wants it, `dropped_count` is not.

    `made` has what each target came to, None for one that was dropped or failed.
    """

    active: Sequence[Target]
    dropped: Sequence[DroppedTarget]
    dropped_count: int
    failures: Sequence[str]
    made: Sequence[Target | None]


class TargetMaker:
    """Makes targets of a job's groups, and remembers what each group came to.

    Discovery hands on a group that did not change as the very object it was: then its targets are
    those of before. Within a group that did change, targets that are the same stay. So one change
    among ten thousand targets costs the relabelling of one.
    """

    def __init__(self) -> None:
        self._job: ScrapeJob | None = None
        self._rules: CompiledRules | None = None
        # By the group's identity. Groups are held here, so that an id cannot come to mean another.
        self._made: dict[int, tuple[TargetGroup, GroupTargets]] = {}
        # The same by source: a reload reads all groups anew, equal ones mostly.
        self._of_source: dict[str, tuple[TargetGroup, GroupTargets]] = {}

    def targets(
        self, job: ScrapeJob, rules: CompiledRules, groups: Iterable[TargetGroup]
    ) -> TargetSet:
        """Return the targets of all groups: relabelled, checked and without doubles.

        `rules` are the job's `relabel_rules`, compiled. A target that fails its checks is left out
        and described in `failures`; the others are not affected.
        """
        same = job is self._job and rules is self._rules
        known = self._made if same else {}
        of_source = self._of_source if same else {}
        made: dict[int, tuple[TargetGroup, GroupTargets]] = {}
        active: dict[str, Target] = {}
        dropped: list[DroppedTarget] = []
        failures: list[str] = []
        dropped_count = 0
        for group in groups:
            entry = known.get(id(group))
            if entry is None:
                entry = of_source.get(group.source)
                if entry is None or entry[0] != group:
                    entry = group, group_targets(job, rules, group, entry)
                else:
                    entry = group, entry[1]
            made[id(group)] = entry
            found = entry[1]
            # Of doubles the last is shown, as in Prometheus: they differ in what was discovered.
            for target in found.active:
                active[target.key] = target
            if found.dropped_count or found.failures:
                dropped += found.dropped
                dropped_count += found.dropped_count
                failures += found.failures
        self._job, self._rules, self._made = job, rules, made
        self._of_source = {entry[0].source: entry for entry in made.values()}
        keep = job.limits.keep_dropped_targets or len(dropped)
        return TargetSet(
            tuple(active.values()), tuple(dropped[:keep]), dropped_count, tuple(failures)
        )


def group_targets(
    job: ScrapeJob,
    rules: CompiledRules,
    group: TargetGroup,
    before: tuple[TargetGroup, GroupTargets] | None = None,
) -> GroupTargets:
    """Return what one group comes to, doubles included.

    `before` is what the same job and rules made of an earlier state of the group.
    """
    known: dict[str, tuple[Mapping[str, str], Target | None]] = {}
    if before is not None and before[0].labels == group.labels:
        known = {
            own.get(ADDRESS, ""): (own, target)
            for own, target in zip(before[0].targets, before[1].made, strict=True)
        }
    made: list[Target | None] = []
    dropped: list[DroppedTarget] = []
    failures: list[str] = []
    dropped_count, keep = 0, job.limits.keep_dropped_targets
    for position, own in enumerate(group.targets):
        same, target = known.get(own.get(ADDRESS, ""), (None, None))
        if target is not None and same == own:
            made.append(target)
            continue
        made.append(None)
        discovered = discovered_labels(job, own, group.labels)
        labels = rules.apply(discovered)
        if not labels:
            dropped_count += 1
            if not keep or len(dropped) < keep:
                dropped.append(DroppedTarget(discovered, job.job_name))
            continue
        try:
            made[-1] = build_target(job, labels, discovered)
        except BadTargetError as e:
            failures.append(f"instance {position} in group {group.source}: {e}")
    active = tuple(target for target in made if target is not None)
    # One tuple for both where all are active, as they mostly are.
    made_all = active if len(active) == len(made) else tuple(made)
    return GroupTargets(active, tuple(dropped), dropped_count, tuple(failures), made_all)


def discovered_labels(
    job: ScrapeJob, own: Mapping[str, str], group: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels relabelling starts from: the target's, the group's, the job's defaults."""
    labels = {name: value for name, value in (dict(group) | dict(own)).items() if value}
    defaults = {
        "job": job.job_name,
        SCRAPE_INTERVAL: format_duration_ms(job.scrape_interval_ms),
        SCRAPE_TIMEOUT: format_duration_ms(job.scrape_timeout_ms),
        METRICS_PATH: job.metrics_path,
        SCHEME: job.scheme,
    }
    for name, values in job.params.items():
        if values:
            defaults[PARAM + name] = values[0]
    for name, value in defaults.items():
        if value:
            labels.setdefault(name, value)
    return labels


def build_target(
    job: ScrapeJob, labels: Mapping[str, str], discovered: Mapping[str, str]
) -> Target:
    """Check relabelled labels and make the target of them. Raises `BadTargetError`."""
    address = labels.get(ADDRESS, "")
    if not address:
        raise BadTargetError("no address")
    if "/" in address:
        raise BadTargetError(f'"{address}" is not a valid hostname')
    interval_ms = _duration(labels, SCRAPE_INTERVAL, "interval")
    timeout_ms = _duration(labels, SCRAPE_TIMEOUT, "timeout")
    if timeout_ms > interval_ms:
        raise BadTargetError(
            "scrape timeout cannot be greater than scrape interval "
            f'("{labels[SCRAPE_TIMEOUT]}" > "{labels[SCRAPE_INTERVAL]}")'
        )
    for name, value in labels.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadTargetError(f"invalid label value for {json.dumps(name)}: {value!r}") from None
    public = {n: v for n, v in labels.items() if not n.startswith(_HIDDEN)}
    public.setdefault("instance", address)
    public = dict(sorted(public.items()))
    url = scrape_url(job, labels)
    socket = labels.get(UNIX_SOCKET, "")
    identity = json.dumps([public, url, socket])
    return Target(
        scrape_pool=job.job_name,
        labels=public,
        discovered=discovered,
        url=url,
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
        unix_socket=socket,
        key=identity,
        phase_hash=stable_hash(identity),
        settings=_settings(labels),
    )


def scrape_url(job: ScrapeJob, labels: Mapping[str, str]) -> str:
    """Return the URL as Prometheus prints it: parameters sorted by name, `__param_*` first."""
    params = {name: list(values) for name, values in job.params.items()}
    for label, value in labels.items():
        if label.startswith(PARAM):
            params.setdefault(label.removeprefix(PARAM), [""])[:1] = [value]
    query = "&".join(
        f"{quote_plus(name)}={quote_plus(value)}"
        for name in sorted(params)
        for value in params[name]
    )
    path = quote(labels.get(METRICS_PATH, ""), safe="/$&+,:;=@")
    if path and not path.startswith("/"):
        path = "/" + path
    scheme = labels.get(SCHEME, "")
    start = f"{scheme}://" if scheme else "//"
    return f"{start}{labels[ADDRESS]}{path}" + (f"?{query}" if query else "")


def stable_hash(text: str) -> int:
    """Return 64 bits that are the same in every process, for phases."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _settings(labels: Mapping[str, str]) -> dict[str, bool]:
    found = {}
    for label, name in SETTING_LABELS.items():
        text = labels.get(label, "")
        if text not in ("", "true", "false"):
            raise BadTargetError(f"error parsing {label}: {json.dumps(text)} is no boolean")
        if text:
            found[name] = text == "true"
    return found


def _duration(labels: Mapping[str, str], label: str, what: str) -> int:
    try:
        duration_ms = parse_duration_ms(labels.get(label, ""))
    except ValueError as e:
        raise BadTargetError(f"error parsing scrape {what}: {e}") from e
    if duration_ms == 0:
        raise BadTargetError(f"scrape {what} cannot be 0")
    return duration_ms
