"""The same questions put to this server and to a Prometheus 3.5, by the differential tester.

The tester lies beside the checkout, as the corpora do, and sees both servers from outside only. A
share of its cases runs here, always the same ones. We follow Prometheus 3.14: where that answers
otherwise than the 3.5 that can be had for tests, and where 3.5 is wrong, a difference is known, by
what was asked and what came back. Any other fails.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.end_to_end.processes import prometheus_3

TESTER = ROOT.parent / "shared" / "promdiff" / "promdiff.py"
SEED = "20"
QUERIES = "4000"
SHARE = "0.2"
BASE_MS = "1793491200000"
"""Where the data begins: a midnight of a Sunday. Otherwise each day would ask something else."""
MAX_S = 400

NEWER = {
    "functions": (
        r"\| accepted: .*unknown function with name"
        r' "(step|range|min_of|max_of|histogram_quantiles|(ts_of_)?first_over_time)"'
    ),
    "start() and end() are expressions": r'\b(start|end)\(\).*\| accepted: .*unexpected "\(\"',
    "durations are expressions": r"\| accepted: .*duration expression",
    "histograms are trimmed": r"(</|>/).*\| accepted: .*unexpected <op:/>",
    "a sort of a range is told to have no effect": (
        r"\| warnings: reference \[\] / .*sort is ineffective"
    ),
    "custom bounds are reconciled where histograms come together": (
        r"\b(sum|avg)\b.*\bnhcb_size.*\| series-extra: 0 missing, 1 extra e\.g\. "
    ),
    "by operators": r"nhcb_size.* [-+] .*\bnhcb_size.*\| series-extra: 0 missing, ",
    "and in ranges where they change": (
        r"\bnhcb_size.*\[.*\| series-extra: 0 missing, 1 extra e\.g\. [^|]*\"k\": \"changes\""
    ),
    "which is told": (
        r"\bnhcb_size.*\| (warnings|infos): .*custom buckets (were reconciled|for metric name)"
    ),
    "histograms are summed with compensation": r"(avg|sum)_over_time\(.*\bnh_.*\| value",
    "histograms reduced to counts tell of resets in conflict": (
        r"\bnh_.*\| warnings: reference \[\] / .*conflicting counter resets"
    ),
    "logarithms and powers of denormal numbers are exact": (
        r"(\b(ln|log2|log10)\(edge_gauge|edge_gauge.*\^).*\| value: .*denormal"
    ),
    "a fraction of a single bucket is none of NaN": r"histogram_fraction.*\| value-special: ",
    "one to one is seen to before a comparison filters": (
        r"\| rejected: .*many-to-one matching must be explicit"
    ),
    "no number is as many series as NaN": r"\b(top|bottom)k\(.*\| rejected: .*value is NaN",
    "names of labels are quoted in every list": (
        r"^parse:.*\b(on|ignoring|by|without) ?\(.*\| data:"
    ),
}
"""What Prometheus answers since, and 3.5 does not yet."""

BELOW_ZERO = (
    r"\b(rate|increase)\(.*\bnh(cb)?_.*\| (histogram|value): "
    r".*: (count )?(?P<reference>\S+) / (?P<system>\S+)$"
)
"""A native histogram is not extrapolated below zero any more, as floats never were.

So 3.5 has more. That rates of histograms are those of floats is a test of the engine.
"""

WRONG = {
    "buckets that a chunk happens to list as empty are a change": r"changes\(.*\bnh_.*\| value",
    "and are looked at by quantiles when negated": r"histogram_quantile\(.*-nh_.*\| value:",
    "and are NaN when multiplied by it": r"\bnh_.*\*.*\| histogram: .*: \d+ buckets / \d+$",
    "and are sent by remote read": r"read: (native|mixed).*\| histogram:",
    "of a minus zero, remote read sends the zero": r"read: special values \| samples:",
    "any one letter after a space is the colon of a subquery": r"\[ *5 +\w\].*\| rejected:",
    "a sender's mistakes are internal errors, to be sent again": (
        r"(read: bad regex|write: native histogram with).*status-code: 500 / 400"
    ),
    "what it refuses for its encoding it stores": (
        r"write: gzip content encoding|^remote:\d+ .*\"?w_.*(w_gz|10 / 9)"
    ),
    "half of a number overflows that is the half of a greater one": (
        r"\b(sinh|cosh)\(.*\| value-special: .*: [+-]Inf / -?1\.\d+e\+308$"
    ),
    "a string in parentheses is a fault of its own": (
        r"\| accepted: .*unexpected result in StepInvariantExpr"
    ),
    "timestamp() forgets an offset beside @": (
        r"timestamp\(.*(offset.*@|@.*offset).*\| (series-extra|value):"
    ),
    "labels of a range that ends before it starts depend on blocks": (
        r"/labels start=BASE[+]6000&end=BASE-72000 \|"
    ),
}
"""Where 3.5 is wrong, or answers by what it happens to have on disk."""


def unknown(difference: dict, base_ms: int) -> str | None:
    """Return what a difference is, None if it is known or none that counts.

    The data begins at `base_ms`: times in paths are written from there.
    """
    if difference["ok"] or difference["excluded"]:
        return None

    def from_base(found: re.Match) -> str:
        return f"{found[1]}BASE{int(found[2]) - base_ms // 1000:+}"

    told = "{id} {query} | {kind}: {detail}".format(**difference)
    told = re.sub(r"\b(start=|end=)(\d{10})\b", from_base, told)
    known = any(re.search(each, told) for each in [*NEWER.values(), *WRONG.values()])
    below = re.search(BELOW_ZERO, told)
    if below is not None:
        known |= abs(float(below["reference"])) > abs(float(below["system"]))
    return None if known else f"{told}  {dict(difference['params'])}"


@pytest.mark.timeout(MAX_S + 120)
def test_answers_are_those_of_prometheus(tmp_path):
    if not TESTER.is_file():
        pytest.skip(f"no {TESTER}")
    reference = prometheus_3()
    serve = [
        *(sys.executable, "-m", "gnomon", "serve"),
        *("--config.file={config}", "--storage.tsdb.path={data}"),
        *("--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"),
        *("--storage.tsdb.retention.time=10y", "--enable-feature=promql-experimental-functions"),
    ]
    report = tmp_path / "report.json"
    ran = subprocess.run(
        [
            *(sys.executable, str(TESTER), "--system-cmd", " ".join(serve)),
            *("--seed", SEED, "--n", QUERIES, "--sample", SHARE, "--workers", "2", "--bar", "0"),
            *("--base", BASE_MS),
            *("--workdir", str(tmp_path / "work"), "--json", str(report)),
            *("--max-seconds", str(MAX_S), "--no-reduce", "--recheck-seconds", "20"),
        ],
        capture_output=True,
        text=True,
        timeout=MAX_S + 60,
        check=False,
        env={**os.environ, "PROMDIFF_REF": reference, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    answered = json.loads(report.read_text())
    assert answered["total"]["cases"] > 1500
    base_ms = answered["meta"]["base"]
    differing = [told for each in answered["differences"] if (told := unknown(each, base_ms))]
    assert not differing, "\n".join([f"{len(differing)} answers differ:", *differing])


def test_a_difference_that_is_not_known_counts():
    base_ms = 1_767_225_600_000
    other = {"id": "matrix:7", "query": "rate(a[5m])", "kind": "value", "detail": "{}: 1 / 2"}
    other |= {"params": [["query", "rate(a[5m])"], ["time", "5"]], "ok": False, "excluded": False}
    assert "matrix:7 rate(a[5m]) | value: {}: 1 / 2" in unknown(other, base_ms)
    assert unknown({**other, "excluded": True}, base_ms) is None
    assert unknown({**other, "query": "rate(nh_a[5m])"}, base_ms) is not None
    more = {**other, "query": "rate(nh_a[5m])", "detail": "{}: 2 / 1"}
    assert unknown(more, base_ms) is None
    assert unknown({**more, "query": "delta(nh_a[5m])"}, base_ms) is not None
    asked = "GET /api/v1/labels start=1767231600&end=1767153600"
    assert unknown({**other, "query": asked}, base_ms) is None
    assert unknown({**other, "query": asked}, base_ms + 1000) is not None
