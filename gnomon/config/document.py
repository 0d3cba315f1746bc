"""Strict YAML with positions: every value knows its line and path, every field must be known.

From: the text of a file.   To: the decoding modules beside this one.
Two kinds of faults, as in Prometheus: fields that are unknown, doubled or of a wrong type are
collected and reported together (`yaml: unmarshal errors:`, a line each); a value that is against a
rule ends the reading at once (`Section.fail`). Ours add the path to Prometheus' texts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import yaml

from gnomon.config.go_scalars import BOOLEANS, FLOAT, TAG, UINT64_MAX, go_tag, whole
from gnomon.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SHOWN_CHARS = 10


class ConfigError(ValueError):
    """The configuration cannot be used; the text says what is wrong and where."""


def go_quote(text: str) -> str:
    r"""Return a text in double quotes with Go's escapes, as Prometheus' messages show it.

    >>> go_quote("a\udcffb")
    '"a\\xffb"'
    """
    out = []
    for char in text:
        if "\udc80" <= char <= "\udcff":
            out.append(f"\\x{ord(char) - 0xDC00:02x}")
        elif char in '"\\':
            out.append("\\" + char)
        elif char in "\a\b\f\n\r\t\v":
            out.append("\\" + "abfnrtv"["\a\b\f\n\r\t\v".index(char)])
        elif not char.isprintable():
            out.append(f"\\x{ord(char):02x}" if ord(char) < 128 else f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def valid_utf8(text: str) -> bool:
    """Say whether a text came from valid UTF-8 (`!!binary` may bring anything)."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


@dataclass(slots=True)
class Problems:
    """What was found wrong so far in one document; `sections` are checked for unknown fields."""

    found: list[tuple[int, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def add(self, node: yaml.Node, text: str, path: str) -> None:
        """Note one fault at a node."""
        self.found.append((line_of(node), f"line {line_of(node)}: {text} (at {path})"))
        self.paths.append(path)

    def within(self, section: str) -> bool:
        """Say whether a fault was found in a section, given by its path."""
        return any(path.startswith((f"{section}.", f"{section}[")) for path in self.paths)

    def raise_if_any(self) -> None:
        """Raise ConfigError with all faults, in the order of the file."""
        for section in self.sections:
            section.note_unknown()
        # They refer back to this: without that the document goes as soon as nobody reads it.
        self.sections.clear()
        self.raise_found()

    def raise_found(self) -> None:
        """Raise ConfigError with the faults found so far, if there are any."""
        if self.found:
            lines = dict.fromkeys(text for _, text in sorted(self.found, key=lambda item: item[0]))
            raise ConfigError("yaml: unmarshal errors:\n  " + "\n  ".join(lines))


def line_of(node: yaml.Node) -> int:
    """Return the line of a node, from 1."""
    return int(node.start_mark.line) + 1


def read_document(text: str, type_name: str) -> tuple[Section, Problems]:
    """Parse one YAML document into its top section; an empty text is an empty section.

    Raises ConfigError (`yaml: line N: ...`) for what is no YAML.
    """
    try:
        documents = _composed(text)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"yaml: {_place(error)}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"yaml: {error}") from error
    if len(documents) > 1:
        line = line_of(documents[1])
        raise ConfigError(f"yaml: line {line}: a second document; a configuration has one")
    problems = Problems()
    node = documents[0] if documents else None
    section = Section(None, type_name, "", problems)
    if node is not None and not is_null(node):
        if isinstance(node, yaml.MappingNode):
            section = Section(node, type_name, "", problems)
        else:
            problems.add(node, f"cannot unmarshal {_shown(node)} into {type_name}", "top level")
    return section, problems


def _place(error: yaml.MarkedYAMLError) -> str:
    """Return the line as Go's reader of YAML counts it: where it parses it is one behind."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ""
    line = int(mark.line) + isinstance(error, yaml.scanner.ScannerError)
    return f"line {line}: " if line else ""


def _composed(text: str) -> list[yaml.Node]:
    """Return the documents of a text. Raises YAMLError.

    By libyaml where it is there, which Go's reader is a copy of: its messages are the same, and
    ten thousand targets take 0.3 s instead of 4.
    """
    quick = getattr(yaml, "CSafeLoader", None)
    if quick is not None:
        with contextlib.suppress(UnicodeError), without_collection():
            return list(yaml.compose_all(text, Loader=quick))
    return list(yaml.compose_all(text, Loader=yaml.SafeLoader))


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keep the garbage collector away while a document is read.

    Its nodes are so many that all objects of the process are looked at again and again: 1.3 s of
    the 1.6 that ten thousand targets took. They form no cycles, and go as soon as they are read.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_null(node: yaml.Node) -> bool:
    """Say whether a node is null (an empty value is one)."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{TAG}null"


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        value = node.value
        if len(value) > _SHOWN_CHARS:
            value = value[: _SHOWN_CHARS - 3] + "..."
        return f"{_short(go_tag(node))} `{value}`"
    return "!!seq" if isinstance(node, yaml.SequenceNode) else "!!map"


def _short(tag: str) -> str:
    return tag.replace(TAG, "!!")


def scalar_text(node: yaml.ScalarNode) -> str:
    """Return the text of a scalar as written; `!!binary` is decoded, bad UTF-8 as surrogates."""
    if node.tag == f"{TAG}binary":
        try:
            data = base64.b64decode("".join(node.value.split()), validate=True)
        except binascii.Error as error:
            raise ConfigError("yaml: !!binary value contains invalid base64 data") from error
        return data.decode("utf-8", errors="surrogateescape")
    return str(node.value)


_LISTS = {
    "scrape_configs": "[]*config.ScrapeConfig",
    "static_configs": "[]*targetgroup.Group",
    "file_sd_configs": "[]*file.SDConfig",
    "http_sd_configs": "[]*http.SDConfig",
    "dns_sd_configs": "[]*dns.SDConfig",
    "consul_sd_configs": "[]*consul.SDConfig",
    "kubernetes_sd_configs": "[]*kubernetes.SDConfig",
    "serverset_sd_configs": "[]*zookeeper.ServersetSDConfig",
    "nerve_sd_configs": "[]*zookeeper.NerveSDConfig",
    "selectors": "[]kubernetes.SelectorConfig",
    "relabel_configs": "[]*relabel.Config",
    "metric_relabel_configs": "[]*relabel.Config",
    "write_relabel_configs": "[]*relabel.Config",
    "remote_write": "[]*config.RemoteWriteConfig",
    "remote_read": "[]*config.RemoteReadConfig",
}
"""What Prometheus calls the type of a list, in messages."""


class Section:
    """One mapping of the document. Reading a field makes it known; the rest is unknown.

    Getters return the default where the field is missing or null. A wrong type is noted in
    `problems` and the default returned, so that all faults of a file are told at once.
    """

    def __init__(
        self, node: yaml.MappingNode | None, type_name: str, path: str, problems: Problems
    ) -> None:
        self.node, self.type_name, self.path, self.problems = node, type_name, path, problems
        self._known: set[str] = set()
        self._keys: dict[str, yaml.Node] = {}
        self._values: dict[str, yaml.Node] = {}
        if node is not None:
            self._take(node)
        problems.sections.append(self)

    def _take(self, node: yaml.MappingNode) -> None:
        for key, value in _pairs(node):
            name = scalar_text(key) if isinstance(key, yaml.ScalarNode) else _shown(key)
            if name in self._values:
                text = f"field {name} already set in type {self.type_name}"
                self.problems.add(key, text, self.at(name))
                continue
            self._keys[name], self._values[name] = key, value

    def at(self, name: str = "") -> str:
        """Return the path of a field."""
        return ".".join(part for part in (self.path, name) if part) or "top level"

    def names(self) -> list[str]:
        """Return the fields that are written, in their order."""
        return list(self._values)

    def has(self, name: str) -> bool:
        """Say whether a field is written with a value that is not null."""
        return name in self._values and not is_null(self._values[name])

    def written(self, name: str) -> bool:
        """Say whether a field is written, null or not."""
        return name in self._values

    def fail(self, text: str, name: str = "") -> NoReturn:
        """Raise ConfigError with a rule's text and the place of the field (or of the section).

        Rules are for sections whose fields are of the right types: others are told first.
        """
        if self.problems.within(self.path):
            self.problems.raise_found()
        node = self._keys.get(name, self.node)
        where = f"line {line_of(node)}, {self.at(name)}" if node is not None else self.at(name)
        raise ConfigError(f"{text} ({where})")

    def note_unknown(self) -> None:
        """Add a problem for each field that nobody read; once all are read, before rules."""
        for name, key in self._keys.items():
            if name not in self._known:
                self._known.add(name)
                text = f"field {name} not found in type {self.type_name}"
                self.problems.add(key, text, self.at(name))

    def not_yet(self, name: str, what: str = "") -> None:
        """Refuse a field that Prometheus knows and we do not have."""
        self._known.add(name)
        text = f"{what or name} is known to Prometheus but not supported by Gnomon yet"
        self.problems.add(self._keys[name], text, self.at(name))

    def ignore(self, name: str) -> None:
        """Accept a field without looking at it."""
        self._known.add(name)

    def _null(self, name: str) -> bool:
        """Say whether a field is written, and null: to Go that is zero, not the default."""
        return name in self._values and is_null(self._values[name])

    def _scalar(self, name: str, into: str) -> yaml.ScalarNode | None:
        self._known.add(name)
        node = self._values.get(name)
        if node is None or is_null(node):
            return None
        if not isinstance(node, yaml.ScalarNode):
            self._mismatch(node, into, name)
            return None
        return node

    def _mismatch(self, node: yaml.Node, into: str, name: str) -> None:
        self.problems.add(node, f"cannot unmarshal {_shown(node)} into {into}", self.at(name))

    def string(self, name: str, default: str = "", *, into: str = "string") -> str:
        """Return a scalar as text, whatever its type; null is the empty one."""
        node = self._scalar(name, into)
        if node is None:
            return "" if self._null(name) else default
        return scalar_text(node)

    def boolean(self, name: str, default: bool, *, inherited: bool = False) -> bool:
        """Return a boolean. Null is false, or, where it is `inherited`, the default."""
        node = self._scalar(name, "bool")
        if node is None:
            return default and (inherited or not self._null(name))
        if go_tag(node) != f"{TAG}bool":
            self._mismatch(node, "bool", name)
            return default
        return BOOLEANS[node.value]

    def integer(self, name: str, default: int = 0, *, signed: bool = False) -> int:
        """Return an integer, not negative unless `signed`; null is 0."""
        into = "int" if signed else "uint"
        node = self._scalar(name, into)
        if node is None:
            return 0 if self._null(name) else default
        value: object = None
        tag, digits = go_tag(node), node.value.replace("_", "")
        if tag == f"{TAG}int":
            value = whole(digits)
        elif tag == f"{TAG}float" and FLOAT.fullmatch(digits):
            value = float(digits)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or (value < 0 and not signed) or abs(value) > UINT64_MAX:
            self._mismatch(node, into, name)
            return default
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a float; null is 0."""
        node = self._scalar(name, "float64")
        if node is None:
            return 0.0 if self._null(name) else default
        try:
            return float(node.value.replace("_", ""))
        except ValueError:
            self._mismatch(node, "float64", name)
            return default

    def _parsed(self, name: str, parse: Callable[[str], int], into: str) -> int | None:
        node = self._scalar(name, into)
        if node is None:
            return None
        try:
            return parse(scalar_text(node))
        except ConfigError:
            raise
        except ValueError as error:
            self.fail(str(error), name)

    def duration_ms(self, name: str) -> int | None:
        """Return a duration in milliseconds, None where it is not written."""
        return self._parsed(name, parse_duration, "model.Duration")

    def size_bytes(self, name: str) -> int | None:
        """Return a size in bytes, None where it is not written."""
        return self._parsed(name, parse_size, "units.Base2Bytes")

    def items(self, name: str, into: str = "list") -> list[yaml.Node] | None:
        """Return the nodes of a list, None where it is not written."""
        self._known.add(name)
        node = self._values.get(name)
        if node is None or is_null(node):
            return None
        if not isinstance(node, yaml.SequenceNode):
            self._mismatch(node, into, name)
            return None
        return list(node.value)

    def strings(self, name: str, into: str = "[]string") -> tuple[str, ...]:
        """Return a list of texts."""
        out = []
        for node in self.items(name, into) or []:
            if isinstance(node, yaml.ScalarNode):
                out.append("" if is_null(node) else scalar_text(node))
            else:
                self._mismatch(node, "string", name)
        return tuple(out)

    def section(self, name: str, type_name: str) -> Section | None:
        """Return a mapping, None where it is not written."""
        self._known.add(name)
        node = self._values.get(name)
        if node is None or is_null(node):
            return None
        if not isinstance(node, yaml.MappingNode):
            self._mismatch(node, type_name, name)
            return None
        return Section(node, type_name, self.at(name), self.problems)

    def sections(self, name: str, type_name: str, *, null_text: str) -> list[Section]:
        """Return a list of mappings; a null among them fails with `null_text`."""
        out = []
        for number, node in enumerate(self.items(name, _LISTS.get(name, "list")) or []):
            if is_null(node):
                self.fail(null_text, name)
            if not isinstance(node, yaml.MappingNode):
                self._mismatch(node, type_name, f"{name}[{number}]")
                continue
            out.append(Section(node, type_name, f"{self.at(name)}[{number}]", self.problems))
        return out

    def pairs(self, name: str) -> list[tuple[str, yaml.Node]]:
        """Return the entries of a map with free keys; a doubled key is noted."""
        self._known.add(name)
        node = self._values.get(name)
        if node is None or is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            self._mismatch(node, "map", name)
            return []
        out: dict[str, yaml.Node] = {}
        for key, value in _pairs(node):
            text = scalar_text(key) if isinstance(key, yaml.ScalarNode) else _shown(key)
            if text in out:
                self.problems.add(key, f"key {go_quote(text)} already set in map", self.at(name))
            out[text] = value
        return list(out.items())

    def texts(self, name: str) -> dict[str, str]:
        """Return a map of texts."""
        out = {}
        for key, node in self.pairs(name):
            if isinstance(node, yaml.ScalarNode):
                out[key] = "" if is_null(node) else scalar_text(node)
            else:
                self._mismatch(node, "string", f"{name}.{key}")
        return out

    def lists_of_texts(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return a map of lists of texts."""
        out = {}
        for key, node in self.pairs(name):
            if isinstance(node, yaml.SequenceNode) and all(
                isinstance(item, yaml.ScalarNode) for item in node.value
            ):
                out[key] = tuple(scalar_text(item) for item in node.value)
            elif is_null(node):
                out[key] = ()
            else:
                self._mismatch(node, "[]string", f"{name}.{key}")
        return out

    def empty(self, name: str) -> bool:
        """Say whether a field holds nothing: missing, null, or empty all the way down."""
        node = self._values.get(name)
        return node is None or _empty(node)

    def labels(self, name: str) -> dict[str, str]:
        """Return a label set; names and values are checked."""
        out = self.texts(name)
        for label, value in out.items():
            if label == "" or not valid_utf8(label):
                self.fail(f"{go_quote(label)} is not a valid label name", name)
            if not valid_utf8(value):
                self.fail(f"{go_quote(value)} is not a valid label value", name)
        return out


def _empty(node: yaml.Node) -> bool:
    if isinstance(node, yaml.MappingNode):
        return all(_empty(value) for _, value in node.value)
    if isinstance(node, yaml.SequenceNode):
        return not node.value
    return is_null(node)


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the entries of a mapping, those merged with `<<` last and never over its own."""
    own = {key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == f"{TAG}merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        else:
            yield key, value
    for source in merged:
        if isinstance(source, yaml.MappingNode):
            for key, value in _pairs(source):
                if key.value not in own:
                    own.add(key.value)
                    yield key, value
