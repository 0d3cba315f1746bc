"""OTLP metrics, from protobuf or JSON, to one shape of plain dictionaries.

From: a decompressed ExportMetricsServiceRequest.   To: `otlp_translation.py`.

A table of fields describes each message; both decoders go by it, so that what comes of them is
alike: the JSON names of OTLP, numbers as numbers, attributes as pairs of key and text. Fields that
are not in the table are skipped. Attributes repeat from point to point, so their bytes are read
once for each request.
Source: opentelemetry-proto, `metrics.proto` and `common.proto`; OTLP specification, JSON encoding.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import orjson

from api.receivers.body_decoding import TooManyPartsError, json_of
from api.wire import WireError, read_varint

Message = dict[str, Any]
Attribute = tuple[str, str]

DEPTH_MAX = 64
"""Attributes may hold lists of lists; deeper ones than this are refused."""

MESSAGES_MAX, FIELDS_MAX = 300_000, 3_000_000
"""In a request. An empty message is two bytes, and a dictionary: thirty kilobytes of gzip held a
thread for two minutes and took gigabytes. 20 MiB have fewer data points than that."""

TEXT, BYTES, HEX, WHOLE, SIGNED, ZIGZAG, FIXED, SIGNED_FIXED, DOUBLE, FLAG = range(10)
DOUBLES, FIXEDS, WHOLES, MESSAGE, MESSAGES, ATTRIBUTES, ENUM = range(10, 17)

_WIRE = {
    TEXT: 2, BYTES: 2, HEX: 2, WHOLE: 0, SIGNED: 0, ZIGZAG: 0, FIXED: 1, SIGNED_FIXED: 1,
    DOUBLE: 1, FLAG: 0, MESSAGE: 2, MESSAGES: 2, ATTRIBUTES: 2, ENUM: 0,
}  # fmt: skip
_LISTS = {DOUBLES: ("d", 1), FIXEDS: ("Q", 1), WHOLES: ("", 0)}


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: int
    of: str = ""


_TIMES = {2: _Field("startTimeUnixNano", FIXED), 3: _Field("timeUnixNano", FIXED)}
_TEMPORALITY = {2: _Field("aggregationTemporality", ENUM)}

MESSAGES_OF: dict[str, dict[int, _Field]] = {
    "Request": {1: _Field("resourceMetrics", MESSAGES, "ResourceMetrics")},
    "ResourceMetrics": {
        1: _Field("resource", MESSAGE, "Resource"),
        2: _Field("scopeMetrics", MESSAGES, "ScopeMetrics"),
    },
    "Resource": {1: _Field("attributes", ATTRIBUTES)},
    "ScopeMetrics": {
        1: _Field("scope", MESSAGE, "Scope"),
        2: _Field("metrics", MESSAGES, "Metric"),
        3: _Field("schemaUrl", TEXT),
    },
    "Scope": {
        1: _Field("name", TEXT), 2: _Field("version", TEXT), 3: _Field("attributes", ATTRIBUTES),
    },
    "Metric": {
        1: _Field("name", TEXT), 2: _Field("description", TEXT), 3: _Field("unit", TEXT),
        5: _Field("gauge", MESSAGE, "Gauge"), 7: _Field("sum", MESSAGE, "Sum"),
        9: _Field("histogram", MESSAGE, "Histogram"),
        10: _Field("exponentialHistogram", MESSAGE, "ExponentialHistogram"),
        11: _Field("summary", MESSAGE, "Summary"),
    },
    "Gauge": {1: _Field("dataPoints", MESSAGES, "NumberPoint")},
    "Sum": {
        1: _Field("dataPoints", MESSAGES, "NumberPoint"), **_TEMPORALITY,
        3: _Field("isMonotonic", FLAG),
    },
    "Histogram": {1: _Field("dataPoints", MESSAGES, "HistogramPoint"), **_TEMPORALITY},
    "ExponentialHistogram": {1: _Field("dataPoints", MESSAGES, "ExponentialPoint"), **_TEMPORALITY},
    "Summary": {1: _Field("dataPoints", MESSAGES, "SummaryPoint")},
    "NumberPoint": {
        **_TIMES, 4: _Field("asDouble", DOUBLE), 5: _Field("exemplars", MESSAGES, "Exemplar"),
        6: _Field("asInt", SIGNED_FIXED), 7: _Field("attributes", ATTRIBUTES),
        8: _Field("flags", WHOLE),
    },
    "HistogramPoint": {
        **_TIMES, 4: _Field("count", FIXED), 5: _Field("sum", DOUBLE),
        6: _Field("bucketCounts", FIXEDS), 7: _Field("explicitBounds", DOUBLES),
        8: _Field("exemplars", MESSAGES, "Exemplar"), 9: _Field("attributes", ATTRIBUTES),
        10: _Field("flags", WHOLE),
    },
    "ExponentialPoint": {
        1: _Field("attributes", ATTRIBUTES), **_TIMES, 4: _Field("count", FIXED),
        5: _Field("sum", DOUBLE), 6: _Field("scale", ZIGZAG), 7: _Field("zeroCount", FIXED),
        8: _Field("positive", MESSAGE, "Buckets"), 9: _Field("negative", MESSAGE, "Buckets"),
        10: _Field("flags", WHOLE), 11: _Field("exemplars", MESSAGES, "Exemplar"),
        14: _Field("zeroThreshold", DOUBLE),
    },
    "Buckets": {1: _Field("offset", ZIGZAG), 2: _Field("bucketCounts", WHOLES)},
    "SummaryPoint": {
        **_TIMES, 4: _Field("count", FIXED), 5: _Field("sum", DOUBLE),
        6: _Field("quantileValues", MESSAGES, "Quantile"), 7: _Field("attributes", ATTRIBUTES),
        8: _Field("flags", WHOLE),
    },
    "Quantile": {1: _Field("quantile", DOUBLE), 2: _Field("value", DOUBLE)},
    "Exemplar": {
        2: _Field("timeUnixNano", FIXED), 3: _Field("asDouble", DOUBLE),
        4: _Field("spanId", HEX), 5: _Field("traceId", HEX), 6: _Field("asInt", SIGNED_FIXED),
        7: _Field("filteredAttributes", ATTRIBUTES),
    },
    "KeyValue": {1: _Field("key", TEXT), 2: _Field("value", MESSAGE, "AnyValue")},
    "AnyValue": {
        1: _Field("stringValue", TEXT), 2: _Field("boolValue", FLAG), 3: _Field("intValue", SIGNED),
        4: _Field("doubleValue", DOUBLE), 5: _Field("arrayValue", MESSAGE, "ArrayValue"),
        6: _Field("kvlistValue", MESSAGE, "KeyValueList"), 7: _Field("bytesValue", BYTES),
    },
    "ArrayValue": {1: _Field("values", MESSAGES, "AnyValue")},
    "KeyValueList": {1: _Field("values", MESSAGES, "KeyValue")},
}  # fmt: skip
"""The fields of each message by number."""


class _Reading:
    """What is known of a request so far: attributes read before, and how much there was."""

    __slots__ = ("attributes", "fields", "messages")

    def __init__(self) -> None:
        self.attributes: dict[bytes, Attribute] = {}
        self.messages = self.fields = 0

    def begin(self) -> None:
        """Count a message. Raises TooManyPartsError."""
        self.messages += 1
        if self.messages > MESSAGES_MAX:
            raise TooManyPartsError(MESSAGES_MAX, "messages")

    def count(self, more: int) -> None:
        """Count fields and numbers. Raises TooManyPartsError."""
        self.fields += more
        if self.fields > FIELDS_MAX:
            raise TooManyPartsError(FIELDS_MAX, "fields")


_BY_NAME = {
    message: {field.name: field for field in fields.values()}
    for message, fields in MESSAGES_OF.items()
}


def decode_protobuf(body: bytes) -> Message:
    """Return a request. Raises WireError, TooManyPartsError."""
    return _read("Request", body, _Reading(), 0)


def _read(kind: str, data: bytes, reading: _Reading, depth: int) -> Message:
    """Return one message."""
    reading.begin()
    if depth > DEPTH_MAX:
        raise WireError("proto: exceeded maximum recursion depth")
    fields = MESSAGES_OF[kind]
    out: Message = {}
    at, end, count = 0, len(data), 0
    while at < end:
        count += 1
        if count > FIELDS_MAX:
            break
        tag = data[at]
        at += 1
        if tag > 127:
            at, tag = read_varint(data, at - 1)
        wire = tag & 7
        field = fields.get(tag >> 3)
        number = 0
        start = at
        if wire == 2:
            if at < end and data[at] < 128:
                start = at + 1
                at = start + data[at]
            else:
                start, number = read_varint(data, at)
                at = start + number
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        elif wire == 0:
            if at < end and data[at] < 128:
                number = data[at]
                at += 1
            else:
                at, number = read_varint(data, at)
        else:
            raise WireError(f"proto: {kind}: illegal tag {tag >> 3} (wire type {wire})")
        if at > end:
            raise WireError("unexpected EOF")
        if field is not None:
            _put(out, field, wire, data[start:at] if wire else b"", number, reading, depth)
    reading.count(count)
    return out


def _put(
    out: Message,
    field: _Field,
    wire: int,
    raw: bytes,
    number: int,
    reading: _Reading,
    depth: int,
) -> None:
    """Put one field's value into its message."""
    kind, name = field.kind, field.name
    if kind in _LISTS:
        reading.count(len(raw) if kind == WHOLES else len(raw) >> 3)
        _put_list(out.setdefault(name, []), field, wire, raw, number)
        return
    if wire != _WIRE[kind]:
        raise WireError(f"proto: wrong wireType = {wire} for field {name}")
    if kind == ATTRIBUTES:
        pair = reading.attributes.get(raw)
        if pair is None:
            pair = _attribute(_read("KeyValue", raw, reading, depth + 1))
            reading.attributes[raw] = pair
        out.setdefault(name, []).append(pair)
    elif kind == FIXED:
        out[name] = int.from_bytes(raw, "little")
    elif kind == DOUBLE:
        out[name] = struct.unpack("<d", raw)[0]
    elif kind == SIGNED_FIXED:
        out[name] = int.from_bytes(raw, "little", signed=True)
    elif kind == MESSAGES:
        out.setdefault(name, []).append(_read(field.of, raw, reading, depth + 1))
    elif kind == MESSAGE:
        # A message that comes twice is one: its fields are merged.
        held, more = out.get(name), _read(field.of, raw, reading, depth + 1)
        out[name] = more if held is None else _merged(held, more)
    elif kind == TEXT:
        out[name] = _text(raw)
    elif kind == HEX:
        out[name] = raw.hex()
    elif kind == BYTES:
        out[name] = raw
    elif kind == FLAG:
        out[name] = number != 0
    elif kind == SIGNED:
        out[name] = number - (number >> 63 << 64)
    elif kind == ZIGZAG:
        out[name] = (number >> 1) ^ -(number & 1)
    else:
        out[name] = number


def _merged(held: Message, more: Message) -> Message:
    for name, value in more.items():
        old = held.get(name)
        if isinstance(value, list) and isinstance(old, list):
            old += value  # not a new list each time: one of a few bytes may come very often
        else:
            held[name] = value
    return held


def _put_list(values: list[float], field: _Field, wire: int, raw: bytes, number: int) -> None:
    """Add the numbers of a list, packed or one."""
    code, single = _LISTS[field.kind]
    if wire not in (2, single):
        raise WireError(f"proto: wrong wireType = {wire} for field {field.name}")
    if code:
        if len(raw) % 8:
            raise WireError("unexpected EOF")
        values += struct.unpack(f"<{len(raw) // 8}{code}", raw)
    elif wire == 0:
        values.append(number)
    else:
        at = 0
        while at < len(raw):
            at, number = read_varint(raw, at)
            values.append(number)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError("proto: string field contains invalid UTF-8") from None


def _attribute(pair: Message) -> Attribute:
    return pair.get("key", ""), value_text(pair.get("value", {}))


def value_text(value: Message) -> str:
    """Return an AnyValue as a label value: what it says, lists and maps as JSON.

    >>> value_text({"boolValue": True}), value_text({"doubleValue": 2.0}), value_text({})
    ('true', '2', '')
    """
    plain = _plain(value)
    match plain:
        case None:
            return ""
        case str():
            return plain
        case bytes():
            return base64.b64encode(plain).decode()
        case bool():
            return "true" if plain else "false"
        case float() if not math.isfinite(plain):
            return "NaN" if plain != plain else "+Inf" if plain > 0 else "-Inf"
        case float():
            return _float_text(plain)
        case int():
            return str(plain)
    return json.dumps(
        plain, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=_json_bytes
    )


def _float_text(number: float) -> str:
    if number == int(number) and abs(number) < 1e21:
        return str(int(number))
    text = repr(number)
    if "e" in text and 1e-6 <= abs(number) < 1e21:
        return f"{number:.20f}".rstrip("0")
    return text.replace("e-0", "e-")


def _json_bytes(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _plain(value: Message) -> Any:  # noqa: ANN401 - whatever an attribute may hold
    for name, held in value.items():
        if name == "arrayValue":
            return [_plain(each) for each in held.get("values", [])]
        if name == "kvlistValue":
            pairs = held.get("values", [])
            return {pair.get("key", ""): _plain(pair.get("value", {})) for pair in pairs}
        return held
    return None


def decode_json(body: bytes) -> Message:
    """Return a request. Raises WireError, with the place of what is wrong, TooManyPartsError."""
    try:
        parsed = json_of(body)
    except orjson.JSONDecodeError as error:
        raise WireError(f"json: {error}") from None
    return _from_json("Request", parsed, "", 0)


def _from_json(kind: str, value: object, place: str, depth: int) -> Message:
    if not isinstance(value, dict):
        raise WireError(f"json: {place or 'request'} is no object")
    if depth > DEPTH_MAX:
        raise WireError(f"json: {place} is nested too deep")
    out: Message = {}
    for name, held in value.items():
        field = _BY_NAME[kind].get(name)
        if field is not None and held is not None:
            out[name] = _json_value(field, held, f"{place}.{name}" if place else name, depth)
    return out


def _json_value(field: _Field, held: Any, place: str, depth: int) -> Any:  # noqa: ANN401 - JSON
    kind = field.kind
    if kind == MESSAGE:
        return _from_json(field.of, held, place, depth + 1)
    if kind in (MESSAGES, ATTRIBUTES, DOUBLES, FIXEDS, WHOLES):
        if not isinstance(held, list):
            raise WireError(f"json: {place} is no list")
        places = (f"{place}[{number}]" for number in range(len(held)))
        if kind == MESSAGES:
            return [
                _from_json(field.of, each, at, depth + 1)
                for each, at in zip(held, places, strict=False)
            ]
        if kind == ATTRIBUTES:
            return [
                _attribute(_from_json("KeyValue", each, at, depth + 1))
                for each, at in zip(held, places, strict=False)
            ]
        read = _json_float if kind == DOUBLES else _json_count
        return [read(each, at) for each, at in zip(held, places, strict=False)]
    if kind in (TEXT, HEX, BYTES):
        return _json_text(kind, held, place)
    if kind == FLAG:
        if not isinstance(held, bool):
            raise WireError(f"json: {place} is neither true nor false")
        return held
    if kind == DOUBLE:
        return _json_float(held, place)
    if kind == ENUM and isinstance(held, str) and held.startswith("AGGREGATION_TEMPORALITY_"):
        return {"DELTA": 1, "CUMULATIVE": 2}.get(held.removeprefix("AGGREGATION_TEMPORALITY_"), 0)
    if kind in (SIGNED, SIGNED_FIXED, ZIGZAG):
        return _json_whole(held, place)
    return _json_count(held, place)


def _json_text(kind: int, held: object, place: str) -> str | bytes:
    if not isinstance(held, str):
        raise WireError(f"json: {place} is no string")
    if kind == BYTES:
        try:
            return base64.b64decode(held, validate=True)
        except ValueError:
            raise WireError(f"json: {place} is no base64") from None
    if kind == HEX:
        try:
            return bytes.fromhex(held).hex()
        except ValueError:
            raise WireError(f"json: {place} is no hexadecimal text") from None
    return held


def _json_whole(held: object, place: str) -> int:
    """Return a whole number; 64-bit ones come as strings, so that JavaScript does not round."""
    if isinstance(held, str):
        digits = held.removeprefix("-")
        if digits.isdecimal() and digits.isascii() and len(digits) <= 20:
            held = int(held)
    if isinstance(held, float) and held.is_integer():
        held = int(held)
    if isinstance(held, bool) or not isinstance(held, int) or not -(1 << 63) <= held < 1 << 64:
        raise WireError(f"json: {place} is no whole number of 64 bits")
    return held


def _json_count(held: object, place: str) -> int:
    number = _json_whole(held, place)
    if number < 0:
        raise WireError(f"json: {place} is negative")
    return number


def _json_float(held: object, place: str) -> float:
    if isinstance(held, str):
        words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
        try:
            return words[held] if held in words else float(held)
        except ValueError:
            raise WireError(f"json: {place} is no number") from None
    if isinstance(held, bool) or not isinstance(held, int | float):
        raise WireError(f"json: {place} is no number")
    return float(held)
