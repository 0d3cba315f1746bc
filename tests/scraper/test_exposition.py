import gzip
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scraper.columns import Columns
from scraper.exposition import parse, read_entry
from scraper.media_type import OPENMETRICS, media_type
from scraper.series_cache import SeriesCache
from scraper.tokens import EntryKind, ParseError, series_labels
from tests.conftest import corpora_root

CORPUS = corpora_root() / "exposition"


def plain(body, *, openmetrics):
    """The oracle: entry by entry in Python."""
    if not body:
        return []
    if not openmetrics:
        body += b"\n"
    at, found = 0, []
    while True:
        entry = read_entry(body, at, openmetrics=openmetrics)
        if entry.kind is EntryKind.END:
            return found
        if entry.kind is EntryKind.SERIES:
            found.append((body[entry.start : entry.stop], entry.value, entry.time_ms))
        assert entry.next > at
        at = entry.next


def columns(exposition):
    """What the kernel found, in the oracle's form."""
    return [
        (
            exposition.series_text(n),
            float(exposition.values[n]),
            int(exposition.times_ms[n]) if exposition.explicit[n] else None,
        )
        for n in range(exposition.sample_count)
    ]


def attempt(read):
    """The result with comparable NaNs, or the error's text."""
    try:
        return [
            (text, "NaN" if math.isnan(v) else np.float64(v).tobytes(), t) for text, v, t in read()
        ]
    except ParseError as e:
        return str(e)


def corpus_cases():
    """Every text file of the corpus with what Prometheus did, once or twice."""
    if not CORPUS.is_dir():
        return
    for name, entry in json.loads((CORPUS / "expected.json").read_text()).items():
        if name.endswith(".pb.bin"):
            continue
        if "accepted" in entry:
            yield pytest.param(name, entry["content_type"], entry, id=name)
        else:
            yield pytest.param(
                name, entry["content_type"], entry["as_openmetrics"], id=f"{name} as OpenMetrics"
            )
            yield pytest.param(
                name, "text/plain; version=0.0.4", entry["as_text"], id=f"{name} as text"
            )


@pytest.mark.parametrize(("name", "content_type", "expected"), list(corpus_cases()))
def test_corpus_is_read_as_by_the_oracle(name, content_type, expected, corpora):
    body = (corpora / "exposition" / name).read_bytes()
    openmetrics = media_type(content_type) == OPENMETRICS
    got = attempt(lambda: columns(parse(body, openmetrics=openmetrics)))
    assert got == attempt(lambda: plain(body, openmetrics=openmetrics))
    if not expected["accepted"]:
        # One file is refused for its labels, which come after parsing; see test_ingest.
        assert got == expected["error"] or "is not unique" in expected["error"]


def test_gzip_capture_is_text_as_well(corpora):
    body = gzip.decompress(
        (corpora / "exposition/captured/node_exporter-1.11.1.other.txt.gz").read_bytes()
    )
    assert attempt(lambda: columns(parse(body))) == attempt(lambda: plain(body, openmetrics=False))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"a 1\n", [(b"a", 1, None)], id="a bare name"),
        pytest.param(b"a 1", [(b"a", 1, None)], id="the last line needs no end"),
        pytest.param(b"\n\n a 1\n", [(b"a", 1, None)], id="blank lines and leading blanks"),
        pytest.param(b'a\t{ b = "c" , } 1 \t 7 \n', [(b'a\t{ b = "c" , }', 1, 7)], id="blanks"),
        pytest.param(b'a{b="c"d="e"} 1\n', [(b'a{b="c"d="e"}', 1, None)], id="no comma needed"),
        pytest.param(b'a{b="}"} 1\n', [(b'a{b="}"}', 1, None)], id="a brace in a value"),
        pytest.param(b'a{b="\\"x"} 1\n', [(b'a{b="\\"x"}', 1, None)], id="an escaped quote"),
        pytest.param(b'a{b="x\ny"} 1\n', [(b'a{b="x\ny"}', 1, None)], id="a newline in a value"),
        pytest.param(b'{"a.b",c="d"} 1\n', [(b'{"a.b",c="d"}', 1, None)], id="a quoted name"),
        pytest.param(b'{c="d","a.b"} 1\n', [(b'{c="d","a.b"}', 1, None)], id="a quoted name last"),
        pytest.param(b'a{"b c"="d"} 1\n', [(b'a{"b c"="d"}', 1, None)], id="a quoted label"),
        pytest.param(b"a1.5\n", [(b"a1", 0.5, None)], id="a value needs no blank before it"),
        pytest.param(b"a +INF\n", [(b"a", math.inf, None)], id="infinity in capitals"),
        pytest.param(b"# TYPE\n#HELP\n# a b\na 1\n", [(b"a", 1, None)], id="mere comments"),
        pytest.param(b"a 1\n\0a 2\n", [(b"a", 1, None)], id="a zero byte ends the text, as there"),
        pytest.param(b"a 1\n#x\0\na 2\n", [(b"a", 1, None)], id="or one in a bare comment"),
        pytest.param(b"# x\0y\na 1\n", [(b"a", 1, None)], id="but not after a blank"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_text_that_is_accepted(body, expected):
    assert columns(parse(body)) == expected
    assert plain(body, openmetrics=False) == expected


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"a", 'expected value after metric, got "\\n" ("INVALID") while parsing: "a\\n"'),
        (b"a{b='c'} 1\n", 'expected label value, got "\'" ("INVALID") while parsing: "a{b=\'"'),
        (b'a{b=\n"c"} 1\n', 'expected label value, got "\\n" ("INVALID") while parsing: "a{b=\\n"'),
        (
            b'a{\xff="foo"} 1\n',
            'expected label name, got "\\xff" ("INVALID") while parsing: "a{\\xff"',
        ),
        (b'a{b="\xff"} 1\n', 'invalid UTF-8 label value: "\\"\\xff\\""'),
        (b"a true\n", 'strconv.ParseFloat: parsing "true": invalid syntax while parsing: "a true"'),
        (b'{b="c"} 1\n', 'metric name not set while parsing: "{b=\\"c\\"}"'),
        (b"{abc} 1\n", 'expected equal, got "} " ("BCLOSE") while parsing: "{abc} "'),
        (b"a{b} 1\n", 'metric name already set while parsing: "a{b}"'),
        (
            b"a 1e999\n",
            'strconv.ParseFloat: parsing "1e999": value out of range while parsing: "a 1e999"',
        ),
        (
            b"a 1 1 1\n",
            'expected next entry after timestamp, got "1" ("INVALID") while parsing: "a 1 1 1"',
        ),
        (
            b"a 1 -1\n",
            'expected timestamp or new record, got "-" ("INVALID") while parsing: "a 1 -"',
        ),
        (b"a 1\r\n", 'strconv.ParseFloat: parsing "1\\r": invalid syntax while parsing: "a 1\\r"'),
        (b"# TYPE a foo\n", 'invalid metric type "foo"'),
        (b"# HELP a \xff\n", 'help text "\\xff" is not a valid utf8 string'),
        (b"b{ 2\n", 'expected label name, got "2" ("INVALID") while parsing: "b{ 2"'),
    ],
)
def test_text_that_is_refused(body, error):
    with pytest.raises(ParseError, match=re.escape(error)):
        parse(body)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"a 1\n", "data does not end with # EOF"),
        (b"a 1\n# EOF\nx", "unexpected data after # EOF"),
        (b"a 1 Inf\n# EOF\n", "invalid timestamp +Inf"),
        (b"\n# EOF\n", "expected a valid start token"),
        (b"a 1\n\n# EOF\n", "expected a valid start token"),
        (b"a  1\n# EOF\n", "expected value after metric"),
        (b'a{ b="c"} 1\n# EOF\n', "expected label name"),
        (b"a 1 # {b} 1\n# EOF\n", "expected label name"),
        (b"# UNIT a_b c\n# EOF\n", 'unit "c" not a suffix of metric "a_b"'),
    ],
)
def test_openmetrics_that_is_refused(body, error):
    with pytest.raises(ParseError, match=re.escape(error)):
        parse(body, openmetrics=True)


def test_the_count_of_samples_before_an_error_is_kept():
    with pytest.raises(ParseError) as caught:
        parse(b"a 1\nb 2\n# TYPE c nothing\nc 3\n")
    assert caught.value.samples == 2


def test_openmetrics_times_are_seconds_and_exemplars_are_spans():
    body = b'a 1 1.5 # {id="x # {"} 0.5 2\nb{c="d"} 2 # {} 1e-3\n# EOF\n'
    found = parse(body, openmetrics=True)
    assert columns(found) == [(b"a", 1, 1500), (b'b{c="d"}', 2, None)]
    spans = zip(found.exemplar_start, found.exemplar_stop, strict=True)
    assert [body[a:b] for a, b in spans] == [b'{id="x # {"} 0.5 2', b"{} 1e-3"]
    assert found.exemplar_sample.tolist() == [0, 1]


def test_values_beyond_the_exact_range_are_rounded_correctly():
    texts = [
        "0.49000000000000005",
        "9007199254740993",
        "1.7976931348623157e308",
        "5e-324",
        "1e-400",
    ]
    found = parse("".join(f"a {text}\n" for text in texts).encode())
    assert found.values.tolist() == [float(text) for text in texts]


def test_every_nan_gets_one_bit_pattern():
    found = parse(b"a NaN\nb nan\n")
    assert found.values.view(np.uint64).tolist() == [0x7FF8000000000001] * 2


# ---------------------------------------------------------------------- properties and damage


TOKENS = st.sampled_from(
    [
        b"a", b"a_total", b"le", b"1", b"2.5", b"-1e3", b"NaN", b"+Inf", b" ", b" ", b" ", b"\t",
        b"\n", b"\n", b"\n", b"{", b"}", b'"', b"=", b",", b"\\", b"# ", b"#", b"TYPE ", b"HELP ",
        b"UNIT ", b"EOF", b"# EOF\n", b"counter", b" # {", b'{a="b"} ', b"a 1\n", b'a{b="c"} 1 5\n',
        b"\xc3\xa4", b"\xff", b"\0", b"0x1", b"_", b"1795465841.394",
    ]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(TOKENS, max_size=30).map(b"".join), st.booleans())
def test_token_soup_is_read_as_by_the_oracle(body, openmetrics):
    if openmetrics:
        body += b"# EOF\n"
    got = attempt(lambda: columns(parse(body, openmetrics=openmetrics)))
    assert got == attempt(lambda: plain(body, openmetrics=openmetrics))


DAMAGED = [
    "captured/demo.om.txt",
    "captured/python-client-0.26.txt",
    "captured/prometheus-3.5.3-federate.txt",
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DAMAGED), st.data())
def test_damaged_bodies_are_read_as_by_the_oracle(name, data):
    if not CORPUS.is_dir():
        pytest.skip("no corpora")
    body = bytearray((CORPUS / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(body[: data.draw(st.integers(0, len(body)))])
    openmetrics = name.endswith(".om.txt")
    got = attempt(lambda: columns(parse(body, openmetrics=openmetrics)))
    assert got == attempt(lambda: plain(body, openmetrics=openmetrics))


# --------------------------------------------------------------------------------- the cache


def learn(cache, found):
    """Add what is not known yet; return the texts, whose refs are their numbers."""
    new = {}
    for n in np.flatnonzero(found.entries < 0).tolist():
        new.setdefault(found.series_text(n), n)
    first = list(new.values())
    lengths = np.array([len(text) for text in new], np.int32)
    refs = np.arange(cache.count, cache.count + len(new), dtype=np.int64)
    cache.add(found.low[first], found.high[first], lengths, refs)
    return list(new)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=40), min_size=1, max_size=5),
    st.data(),
)
def test_series_are_found_by_their_text_and_doubles_are_marked(scrapes, data):
    cache = SeriesCache()
    texts = [b"m%d" % n if n % 2 else b'm{l="%d"}' % n for n in range(31)]
    entry_texts = []
    for scrape in scrapes:
        generation = cache.begin()
        found = parse(b"".join(texts[n] + b" 1\n" for n in scrape), cache=cache)
        known = {text: entry for entry, text in enumerate(entry_texts)}
        assert found.unknown == sum(texts[n] not in known for n in scrape)
        seen = set()
        for sample, n in enumerate(scrape):
            assert found.entries[sample] == known.get(texts[n], -1)
            if found.entries[sample] >= 0:
                assert bool(found.duplicate[sample]) == (n in seen)
                assert cache.seen[found.entries[sample]] == generation
            seen.add(n)
        entry_texts += learn(cache, found)
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(cache.count)))
            cache.keep(np.array(order, np.int64))
            entry_texts = [entry_texts[n] for n in order]


def test_half_a_hash_does_not_make_a_series_known():
    for half in ("low", "high"):
        cache = SeriesCache()
        cache.begin()
        learn(cache, parse(b"a 1\n"))
        getattr(cache, half)[:] = getattr(parse(b"b 1\n"), half)[0]
        cache.keep(np.array([0]))
        assert parse(b"a 1\n", cache=cache).entries.tolist() == [-1]
        assert parse(b"b 1\n", cache=cache).entries.tolist() == [-1]


def test_what_stood_in_the_cache_before_is_told():
    cache = SeriesCache()
    first = cache.begin()
    learn(cache, parse(b"a 1\n", cache=cache))
    second = cache.begin()
    found = parse(b"a 1\nb 1\na 2\n", cache=cache)
    assert found.seen_before.tolist() == [first, 0, second]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_columns_that_are_used_again_grow_and_give_the_same(openmetrics):
    used = Columns(room=1)
    for count in (1, 2, 700, 3):
        lines = [b'# TYPE m%d counter\nm%d_total{l="x"} %d' % (n, n, n) for n in range(count)]
        if openmetrics:
            lines = [line + b' # {a="b"} 1' for line in lines] + [b"# EOF"]
        body = b"\n".join(lines) + b"\n"
        again = parse(body, openmetrics=openmetrics, columns=used)
        assert again.sample_count == count
        assert columns(again) == columns(parse(body, openmetrics=openmetrics))


def test_a_known_name_is_not_found_in_a_longer_one():
    cache = SeriesCache()
    cache.begin()
    learn(cache, parse(b"ab 1\n", cache=cache))
    found = parse(b'ab_c 1\nab{x="y"} 1\nab {x="y"} 1\nab 1\n', cache=cache)
    assert found.entries.tolist() == [-1, -1, -1, 0]


# --------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a", [("__name__", "a")]),
        (b'a{b="c",d=""}', [("__name__", "a"), ("b", "c"), ("d", "")]),
        (b'a\t{b="c"}', [("__name__", "a"), ("b", "c")]),
        (b'a{ b = "c" , }', [("__name__", "a"), ("b", "c")]),
        (b'a{b="}=,",c="{"}', [("__name__", "a"), ("b", "}=,"), ("c", "{")]),
        (b'a{b="c"d="e"}', [("__name__", "a"), ("b", "c"), ("d", "e")]),
        (b"a{}", [("__name__", "a")]),
        ('a{b="ä"}'.encode(), [("__name__", "a"), ("b", "ä")]),
        (b'{"a.b","c d"="e"}', [("__name__", "a.b"), ("c d", "e")]),
        (rb'a{b="\\x\"y\nz\q"}', [("__name__", "a"), ("b", '\\x"y\nz\\q')]),
    ],
)
def test_labels_of_a_series_text(text, expected):
    assert series_labels(text, openmetrics=False) == expected
