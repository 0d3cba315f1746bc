import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scraper.exposition import parse
from scraper.job import RelabelAction, RelabelRule, ScrapeJob, ScrapeLimits
from scraper.label_kernels import bound_form
from scraper.labelling import Labelling, normal_float
from scraper.metadata import TargetMetadata
from scraper.new_series import find_new
from scraper.relabel import compile_rules
from scraper.tokens import ParseError, series_labels
from tests.scraper.conftest import FakeAppender

TARGET = {"instance": "host:9100", "job": "node", "zone": "z"}


def labelling(rules=(), target=TARGET, limits=None, **job):
    made = ScrapeJob("node", metric_relabel_rules=rules, limits=limits or ScrapeLimits(), **job)
    return Labelling(made, target, compile_rules(rules))


def found_by_find_new(body, how, *, openmetrics=False):
    """Labels of each sample's series, None where dropped; and how many the kernel made."""
    metadata = TargetMetadata()
    exposition = parse(body, openmetrics=openmetrics, metadata=metadata)
    new = find_new(exposition, how, metadata, np.empty(0, np.int64))
    appender = FakeAppender()
    refs = new.resolve(appender)
    labels = [appender.labels[ref] if ref >= 0 else None for ref in refs.tolist()]
    return [labels[number] for number in new.numbers.tolist()], int(new.plain.sum())


def found_plainly(body, how, *, openmetrics=False):
    """The same, by `Labelling` alone; a text means what it meant where it came first."""
    exposition = parse(body, openmetrics=openmetrics)
    kind, out = "unknown", {}
    types = dict(zip(exposition.comment_sample.tolist(), exposition.comments(), strict=True))
    for sample in range(exposition.sample_count):
        if sample in types and types[sample].startswith(b"# TYPE "):
            kind = types[sample].split()[-1].decode()
        text = exposition.series_text(sample)
        if text not in out:
            exposed = series_labels(text, openmetrics=openmetrics)
            out[text] = how.stored_labels(exposed, kind)
    return [out[exposition.series_text(sample)] for sample in range(exposition.sample_count)]


def outcome(find, line, how):
    """What was found, or the error."""
    try:
        return find(line.encode(), how)
    except ParseError as e:
        return f"{type(e).__name__}: {e}"


PLAIN = [
    "m 1",
    'm{a="b"} 1',
    'm{b="x",a="y",} 1',
    'm { b = "x" , a = "y" } 1',
    'm{a="",b="x"} 1',
    'a:b{instanc="1",instances="2",j="3",zz="4"} 1',
    'm{v="é€𝄞"} 1',
    'm{v="a,b} c{d=1 # e"} 1',
]
NOT_PLAIN = [
    'm{a="x\\"y"} 1',
    'm{job="other"} 1',
    'm{instance="",job="other",exported_job="x"} 1',
    'm{job=""} 1',
    '{"m",a="b"} 1',
    '{"m.n"} 1',
    'm{"a.b"="c"} 1',
    'm{__name__="n"} 1',
]


@pytest.mark.parametrize("honor_labels", [False, True])
@pytest.mark.parametrize("line", PLAIN + NOT_PLAIN)
def test_labels_are_those_of_labelling(line, honor_labels):
    how = labelling(honor_labels=honor_labels)
    expected = outcome(found_plainly, line, how)
    got = outcome(found_by_find_new, line, how)
    if isinstance(expected, str):
        assert got == expected
    else:
        assert got == (expected, line in PLAIN)


names = st.sampled_from(["a", "b", "le", "quantile", "job", "exported_job", "zone", "z", "aa", "A"])
values = st.sampled_from(["", "x", "1", "0.5", "1e3", "+Inf", "host", "100", "0.50", "é", "\\n"])
series = st.builds(
    lambda name, pairs: name + "{" + ",".join(f'{n}="{v}"' for n, v in pairs) + "}",
    st.sampled_from(["m", "m_bucket", "n", "up"]),
    st.lists(st.tuples(names, values), max_size=6, unique_by=lambda pair: pair[0]),
)
kinds = st.sampled_from(["histogram", "summary", "gauge"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(kinds, st.lists(series, max_size=5)), max_size=4),
    st.sampled_from([TARGET, {}, {"le": "t", "zz": "y"}]),
    st.booleans(),
)
@example([("histogram", ['m{le="1"}', 'm{le="1"}', 'm{le="0.50"}', 'm{le="1"}'])], TARGET, False)
def test_many_series_are_labelled_as_one_by_one(families, target, honor_labels):
    lines = []
    for number, (kind, some) in enumerate(families):
        lines += [f"# TYPE f{number} {kind}", *(text + " 1" for text in some)]
    body = ("\n".join(lines) + "\n").encode()
    how = labelling(target=target, honor_labels=honor_labels)
    assert found_by_find_new(body, how)[0] == found_plainly(body, how)


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"label_limit": 5}, id="too many labels"),
        pytest.param({"label_name_length_limit": 8}, id="a name too long"),
        pytest.param({"label_value_length_limit": 9}, id="a value too long"),
    ],
)
@pytest.mark.parametrize("line", ['m{a="1"} 1', 'm{a="1",b="22"} 1', 'm{a="1234567890"} 1'])
def test_what_is_beyond_a_limit_is_refused_as_by_labelling(line, limits):
    how = labelling(limits=ScrapeLimits(**limits))
    expected = outcome(found_plainly, line, how)
    if isinstance(expected, str):
        assert outcome(found_by_find_new, line, how) == expected
    else:
        assert found_by_find_new(line.encode(), how) == (expected, 1)


@pytest.mark.parametrize(
    ("rules", "plain"),
    [
        pytest.param([RelabelRule(RelabelAction.DROP, ("a",), regex="1")], 0, id="by a label"),
        pytest.param(
            [RelabelRule(RelabelAction.DROP, ("__name__", "a"), regex="m;1")],
            0,
            id="by name and label",
        ),
        pytest.param(
            [RelabelRule(RelabelAction.DROP, ("__name__",), regex="m.*")], 4, id="drop by name"
        ),
        pytest.param(
            [RelabelRule(RelabelAction.KEEP, ("__name__",), regex="n")], 4, id="keep by name"
        ),
        pytest.param([RelabelRule(RelabelAction.DROP, ("__name__",), regex="x")], 4, id="nothing"),
        pytest.param([RelabelRule(RelabelAction.DROP, ("__name__",))], 4, id="everything"),
        pytest.param(
            [
                RelabelRule(RelabelAction.KEEP, ("__name__",), regex="[mn]"),
                RelabelRule(RelabelAction.DROP, ("__name__",), regex="n"),
            ],
            4,
            id="two by name",
        ),
        pytest.param([RelabelRule(RelabelAction.LABELDROP, regex="a")], 0, id="a label goes"),
    ],
)
def test_rules_decide_as_by_labelling(rules, plain):
    body = (
        b'm{a="1"} 1\nm{a="2"} 1\nn{a="1"} 1\nm{a="1"} 2\nn{a="\\\\"} 1\n'
        b'm{job="x"} 1\nmm 3\n{"m.n",a="1"} 1\n'
    )
    how = labelling(tuple(rules))
    got, by_kernel = found_by_find_new(body, how)
    assert got == found_plainly(body, how)
    assert by_kernel == plain


def test_more_labels_than_guessed_and_than_the_kernel_takes():
    wide = ",".join(f'l{n}="{n}"' for n in range(40))
    wider = ",".join(f'l{n}="{n}"' for n in range(70))
    lines = [f'm{{{wide},n="{n}"}} 1' for n in range(50)] + [f"n{{{wider}}} 1"]
    body = ("\n".join(lines) + "\n").encode()
    got, plain = found_by_find_new(body, labelling())
    assert got == found_plainly(body, labelling())
    assert plain == 50


@given(
    st.from_regex(r"[0-9]{0,7}(\.[0-9]{0,17})?", fullmatch=True)
    | st.floats(0, 1e7).map(repr)
    | st.integers(0, 10**7).map(str)
)
@example("+Inf")
@example("-Inf")
@example("0.0001")
@example("0.00001")
@example("999999")
@example("1000000")
@example("00")
@example("0")
@example(".5")
@example("5.")
@example("0.0")
@example("0.10")
def test_the_form_of_a_bound_is_told_only_where_it_is_right(text):
    data = np.frombuffer(text.encode() + bytes(16), np.uint8)
    form = bound_form(data, 0, len(text))
    if form >= 0:
        assert normal_float(text) == text + (".0" if form else "")


@pytest.mark.parametrize(("text", "form"), [("1", 1), ("0.005", 0), ("2.5", 0), ("+Inf", 0)])
def test_usual_bounds_are_clear(text, form):
    assert bound_form(np.frombuffer(text.encode() + bytes(16), np.uint8), 0, len(text)) == form
