import pytest

from scraper.metadata import LINES_SPARE, FamilyMetadata, TargetMetadata, parse_metadata
from scraper.tokens import ParseError


@pytest.mark.parametrize(
    ("line", "openmetrics", "expected"),
    [
        (b"# HELP a b c", False, ("HELP", "a", "b c")),
        (b"#  HELP\ta  b ", False, ("HELP", "a", " b ")),
        (b"# HELP a", False, ("HELP", "a", "")),
        (b"# HELP a  \t", False, ("HELP", "a", "")),
        (rb"# HELP a \\x\ny\"", False, ("HELP", "a", '\\x\ny\\"')),
        (rb"# HELP a \\x\ny\"", True, ("HELP", "a", '\\x\ny"')),
        (b"# TYPE a untyped", False, ("TYPE", "a", "unknown")),
        (b"# TYPE a unknown", True, ("TYPE", "a", "unknown")),
        (b'# TYPE "a.b" gauge', True, ("TYPE", "a.b", "gauge")),
        (b"# UNIT a_seconds seconds", True, ("UNIT", "a_seconds", "seconds")),
        (b"# UNIT a ", True, ("UNIT", "a", "")),
    ],
)
def test_lines(line, openmetrics, expected):
    found = parse_metadata(line, openmetrics=openmetrics)
    assert (found.kind, found.family, found.text) == expected


def test_parts_of_a_family_come_together_and_the_last_word_counts():
    metadata = TargetMetadata()
    lines = [b"# HELP a first", b"# TYPE a counter", b"# HELP a second", b"# TYPE b gauge"]
    metadata.update(lines, 1, openmetrics=False)
    assert metadata.families == {
        "a": FamilyMetadata("a", "counter", "second"),
        "b": FamilyMetadata("b", "gauge"),
    }
    assert metadata.knows(1)
    assert not metadata.knows(2)


def test_a_line_is_judged_by_its_format():
    metadata = TargetMetadata()
    line = b"# TYPE a gaugehistogram"
    metadata.parse(line, openmetrics=True)
    with pytest.raises(ParseError, match="invalid metric type"):
        metadata.parse(line, openmetrics=False)


def test_lines_of_failed_scrapes_do_not_pile_up():
    metadata = TargetMetadata()
    for n in range(3 * LINES_SPARE):
        metadata.parse(b"# HELP a %d" % n, openmetrics=False)
    assert len(metadata._lines) <= LINES_SPARE + 1


def test_targets_that_say_the_same_share_one_copy():
    line = b"# HELP shared_by_targets A text."
    first, second = TargetMetadata(), TargetMetadata()
    for target in (first, second):
        target.update([bytes(bytearray(line))], 1, openmetrics=False)
    family = "shared_by_targets"
    assert first.families[family] is second.families[family]
    assert next(iter(first._lines)) is next(iter(second._lines))


def test_what_a_scrape_that_failed_had_said_goes_for_what_is_known():
    metadata = TargetMetadata()
    metadata.update([b"# TYPE a counter", b"# HELP a old"], 1, openmetrics=False)
    lines = (b"# HELP a new", b"# TYPE b gauge")
    metadata.note([metadata.parse(line, openmetrics=False) for line in lines])
    assert metadata.families == {
        "a": FamilyMetadata("a", "counter", "new"),
        "b": FamilyMetadata("b", "gauge"),
    }
    assert not metadata.knows(1)


def test_scrapes_that_fail_with_ever_new_families_do_not_fill_the_memory():
    metadata = TargetMetadata()
    for number in range(2 * LINES_SPARE):
        line = f"# TYPE m{number} gauge".encode()
        metadata.note([metadata.parse(line, openmetrics=False)])
    assert len(metadata.families) <= LINES_SPARE + 1
