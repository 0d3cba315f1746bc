"""A query's plan for eyes, and as members of JSON.

From: `explain.py`.   To: the API, the CLI.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from promql.literals import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from promql.explain import Explanation, PlanNode, Read


def plan_text(explained: Explanation) -> str:
    """Write a plan in lines: when, what is read, and the tree of nodes with what they came to."""
    lines = [f"steps  {_steps(explained)}"]
    stats = explained.stats
    if stats is not None:
        parts = f" in {explained.parts} parts of the time" if explained.parts > 1 else ""
        lines.append(
            f"run    {_seconds(stats.total_s)}{parts}: read {_seconds(stats.prepare_s)}, "
            f"evaluated {_seconds(stats.inner_eval_s)}; {stats.samples_total} samples looked at, "
            f"{stats.samples_peak} held at most"
        )
    lines += [f"read   {_read(read)}" for read in explained.reads]
    lines += ["", *(_node(node, depth) for node, depth in _walk(explained.root))]
    return "\n".join(lines) + "\n"


def _steps(explained: Explanation) -> str:
    start = _time(explained.start_ms)
    if explained.step_ms == 0:
        return f"one, at {start}"
    kept = "kept for the next refresh" if explained.keeps_steps else "not kept"
    return (
        f"{explained.steps} of {format_duration(explained.step_ms)}, "
        f"from {start} to {_time(explained.end_ms)}, {kept}"
    )


def _read(read: Read) -> str:
    text = f"#{read.number} {{{','.join(read.matchers)}}}"
    text += f" from {_time(read.start_ms)} to {_time(read.end_ms)}"
    if read.func:
        text += f", for {read.func}"
    if read.grouping:
        text += f" {'by' if read.by else 'without'} ({', '.join(read.grouping)})"
    if read.selectors > 1:
        text += f", for {read.selectors} selectors"
    if read.samples is not None:
        text += f": {read.series} series, {read.samples} samples"
        if read.estimated_samples is not None:
            text += f" (estimated {read.estimated_samples})"
    elif read.estimated_samples is not None:
        text += f": about {read.estimated_series} series, {read.estimated_samples} samples"
    return text


def _node(node: PlanNode, depth: int) -> str:
    notes = [] if node.read is None else [f"of read #{node.read}"]
    notes += node.notes
    measured = node.measured
    if measured is not None:
        notes.append(
            f"{measured.series} series, {measured.points} points, {_seconds(measured.seconds)}"
        )
        if measured.chunks > 1:
            notes.append(f"{measured.chunks} chunks")
    told = f"  [{'; '.join(notes)}]" if notes else ""
    return f"{'  ' * depth}{node.text}{told}"


def _time(time_ms: int) -> str:
    try:
        at = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):  # Years beyond those of calendars.
        return f"{time_ms / 1000:.3f}"
    precision = "milliseconds" if time_ms % 1000 else "seconds"
    return at.isoformat(timespec=precision).replace("+00:00", "Z")


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def plan_members(explained: Explanation) -> dict[str, object]:
    """Return a plan as members of JSON: times in seconds, `text` for eyes.

    `nodes` are those of the tree in the order of the text, each with its depth: a deep tree of
    objects is more than readers of JSON take.
    """
    members: dict[str, object] = {
        "start": explained.start_ms / 1000,
        "end": explained.end_ms / 1000,
        "step": explained.step_ms / 1000,
        "steps": explained.steps,
        "keepsSteps": explained.keeps_steps,
        "reads": [
            {
                "number": read.number,
                "matchers": list(read.matchers),
                "start": read.start_ms / 1000,
                "end": read.end_ms / 1000,
                "selectors": read.selectors,
                "func": read.func,
                "grouping": list(read.grouping),
                "by": read.by,
                "estimated": {"series": read.estimated_series, "samples": read.estimated_samples},
                "read": None
                if read.samples is None
                else {"series": read.series, "samples": read.samples},
            }
            for read in explained.reads
        ],
        "nodes": [_node_members(node, depth) for node, depth in _walk(explained.root)],
        "text": plan_text(explained),
    }
    if explained.stats is not None:
        members["parts"] = explained.parts
    return members


def _walk(root: PlanNode) -> Iterator[tuple[PlanNode, int]]:
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(operand, depth + 1) for operand in reversed(node.operands)]


def _node_members(node: PlanNode, depth: int) -> dict[str, object]:
    return {
        "depth": depth,
        "text": node.text,
        "notes": list(node.notes),
        "read": node.read,
        "measured": None if node.measured is None else asdict(node.measured),
    }
