"""Text to tokens, with Prometheus' lexer states and its messages.

To: `parse.py`.

There are three states: statements, inside braces (words are labels, never keywords), and a
duration after `[` until its first number (after which statements go on, as in Prometheus).
One compiled pattern per state finds the usual token; what is rare or wrong is looked at by hand.
A lexical error is data: the parser raises it only when it needs that token, because what was
reduced before may have been wrong earlier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from promql.literals import code_point, quote_character, scan_duration, scan_number
from promql.quoting import quote


def _names(text: str) -> list[str]:
    return text.split()


_PLAIN = _names(
    "COLON COMMA DURATION EQL IDENTIFIER LEFT_BRACE LEFT_BRACKET LEFT_PAREN METRIC_IDENTIFIER "
    "NUMBER RIGHT_BRACE RIGHT_BRACKET RIGHT_PAREN STRING"
)
_OPERATORS = _names(
    "ADD AT ATAN2 DIV EQLC EQL_REGEX GTE GTR LAND LOR LSS LTE LUNLESS MOD MUL NEQ NEQ_REGEX POW "
    "SUB TRIM_LOWER TRIM_UPPER"
)
_AGGREGATORS = _names(
    "AVG BOTTOMK COUNT COUNT_VALUES GROUP LIMITK LIMIT_RATIO MAX MIN QUANTILE STDDEV STDVAR SUM "
    "TOPK"
)
_KEYWORDS = _names(
    "ANCHORED BOOL BY FILL FILL_LEFT FILL_RIGHT GROUP_LEFT GROUP_RIGHT IGNORING OFFSET ON SMOOTHED "
    "WITHOUT"
)
_PREPROCESSORS = _names("START END STEP RANGE MIN_OF MAX_OF")

TERMINALS = ("ERROR", *_PLAIN, *_OPERATORS, *_AGGREGATORS, *_KEYWORDS, *_PREPROCESSORS)
"""Every terminal of `grammar.lark`; a token's kind is its index here."""

KIND_OF = {name: kind for kind, name in enumerate(TERMINALS)}

END_OF_INPUT = -1
"""The kind of the token after the last one."""

LEXICAL_ERROR = -2
"""The kind of a token that could not be read; `Tokens.fault` says why."""

OPERATOR_KINDS = frozenset(KIND_OF[name] for name in _OPERATORS)
AGGREGATOR_KINDS = frozenset(KIND_OF[name] for name in _AGGREGATORS)
KEYWORD_KINDS = frozenset(KIND_OF[name] for name in _KEYWORDS)

_WORDS = {
    "and": KIND_OF["LAND"],
    "or": KIND_OF["LOR"],
    "unless": KIND_OF["LUNLESS"],
    "atan2": KIND_OF["ATAN2"],
    "inf": KIND_OF["NUMBER"],
    "nan": KIND_OF["NUMBER"],
    **{name.lower(): KIND_OF[name] for name in (*_AGGREGATORS, *_KEYWORDS, *_PREPROCESSORS)},
}
_DURATION_WORDS = {name: KIND_OF[name.upper()] for name in ("step", "range", "min_of", "max_of")}
_FILLS = frozenset(KIND_OF[name] for name in ("FILL", "FILL_LEFT", "FILL_RIGHT"))
_SIGNS = {
    "+": KIND_OF["ADD"],
    "-": KIND_OF["SUB"],
    "*": KIND_OF["MUL"],
    "/": KIND_OF["DIV"],
    "%": KIND_OF["MOD"],
    "^": KIND_OF["POW"],
    ",": KIND_OF["COMMA"],
    "@": KIND_OF["AT"],
    "=": KIND_OF["EQL"],
    "==": KIND_OF["EQLC"],
    "!=": KIND_OF["NEQ"],
    "<": KIND_OF["LSS"],
    "<=": KIND_OF["LTE"],
    ">": KIND_OF["GTR"],
    ">=": KIND_OF["GTE"],
    "</": KIND_OF["TRIM_UPPER"],
    ">/": KIND_OF["TRIM_LOWER"],
    "=~": KIND_OF["EQL_REGEX"],
    "!~": KIND_OF["NEQ_REGEX"],
}
_IDENTIFIER, _METRIC_IDENTIFIER = KIND_OF["IDENTIFIER"], KIND_OF["METRIC_IDENTIFIER"]
_NUMBER, _DURATION, _STRING = KIND_OF["NUMBER"], KIND_OF["DURATION"], KIND_OF["STRING"]
_LEFT_PAREN, _RIGHT_PAREN = KIND_OF["LEFT_PAREN"], KIND_OF["RIGHT_PAREN"]
_LEFT_BRACE, _RIGHT_BRACE = KIND_OF["LEFT_BRACE"], KIND_OF["RIGHT_BRACE"]
_LEFT_BRACKET, _RIGHT_BRACKET = KIND_OF["LEFT_BRACKET"], KIND_OF["RIGHT_BRACKET"]
_COLON = KIND_OF["COLON"]

# Strings without escapes are read at once; everything else about strings goes through _string.
_STATEMENT = re.compile(
    r"""[ \t\n\r]+|\#[^\r\n]*
    |(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<number>[0-9]+(?:\.[0-9]+)?)(?![0-9A-Za-z_.])
    |(?P<duration>[0-9]+(?:ms|[smhdwy]))(?![0-9A-Za-z_.])
    |(?P<string>"[^"\\\n\ufffd\ud800-\udfff]*"|'[^'\\\n\ufffd\ud800-\udfff]*')
    |(?P<sign>==|!=|<=|>=|</|>/|[-+*/%^,@<>])
    |(?P<open>[({\[])|(?P<close>[)\]])
    """,
    re.VERBOSE,
)
_IN_BRACES = re.compile(
    r"""[ \t\n\r]+|\#[^\r\n]*
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>"[^"\\\n\ufffd\ud800-\udfff]*"|'[^'\\\n\ufffd\ud800-\udfff]*')
    |(?P<sign>=~|!~|!=|=|,)
    |(?P<close>})
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t\n\r]*")
_LETTERS = re.compile(r"[A-Za-z_]*")
_NOT_UTF8 = re.compile(r"[\ufffd\ud800-\udfff]")
_ESCAPE_DIGITS = {"x": (2, 16, 255), "u": (4, 16, 0x10FFFF), "U": (8, 16, 0x10FFFF)}


@dataclass(slots=True)
class Tokens:
    """The tokens of a text as columns; the last kind is END_OF_INPUT or LEXICAL_ERROR.

    `starts` and `stops` are character offsets, stop exclusive. `fault` is the message of the
    lexical error, whose position is the last of `starts`.
    """

    text: str
    kinds: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    fault: str = ""

    def add(self, kind: int, start: int, stop: int) -> None:
        """Append one token."""
        self.kinds.append(kind)
        self.starts.append(start)
        self.stops.append(stop)

    def value(self, index: int) -> str:
        """Return the text of one token."""
        return self.text[self.starts[index] : self.stops[index]]


class _FaultError(Exception):
    """The lexer cannot go on; the token is taken to start at `start`."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(message)
        self.start = start


def tokenize(text: str) -> Tokens:
    """Return all tokens up to the end or to the first lexical error; never raises."""
    tokens = Tokens(text)
    try:
        end = _Scanner(tokens).run()
        tokens.add(END_OF_INPUT, end, end)
    except _FaultError as fault:
        tokens.fault = str(fault)
        tokens.add(LEXICAL_ERROR, fault.start, len(text))
    return tokens


class _Scanner:
    """The lexer's state while it reads one text."""

    def __init__(self, tokens: Tokens) -> None:
        self.text, self.tokens, self.add = tokens.text, tokens, tokens.add
        self.paren_depth = 0
        self.bracket_open = False
        self.got_colon = False
        # As in Prometheus this is never unset: it is about the first bracket of a text only.
        self.got_duration = False

    def run(self) -> int:
        """Read statements to the end and return where that is."""
        text, add, match, size = self.text, self.add, _STATEMENT.match, len(self.text)
        at = 0
        while at < size:
            found = match(text, at)
            if found is None:
                at = self._unusual(at)
                continue
            group, stop = found.lastgroup, found.end()
            if group is None:
                at = stop
            elif group == "word":
                at = self._word(at, stop)
            elif group == "sign":
                add(_SIGNS[found.group()], at, stop)
                at = stop
            elif group == "string":
                add(_STRING, at, stop)
                at = stop
            elif group == "number":
                add(_NUMBER, at, stop)
                at = stop
            elif group == "duration":
                add(_DURATION, at, stop)
                at = stop
            elif group == "open":
                at = self._open(at)
            else:
                at = self._close(at)
        if self.paren_depth:
            raise _FaultError("unclosed left parenthesis", at)
        if self.bracket_open:
            raise _FaultError("unclosed left bracket", at)
        return at

    def _open(self, at: int) -> int:
        character = self.text[at]
        if character == "(":
            self.add(_LEFT_PAREN, at, at + 1)
            self.paren_depth += 1
            return at + 1
        if character == "{":
            self.add(_LEFT_BRACE, at, at + 1)
            return self._braces(at + 1)
        if self.bracket_open:
            raise _FaultError("unexpected left bracket '['", at)
        self.add(_LEFT_BRACKET, at, at + 1)
        self.got_colon = False
        self.bracket_open = True
        return self._duration(at + 1)

    def _close(self, at: int) -> int:
        if self.text[at] == ")":
            self.paren_depth -= 1
            if self.paren_depth < 0:
                raise _FaultError("unexpected right parenthesis ')'", at + 1)
            self.add(_RIGHT_PAREN, at, at + 1)
        else:
            if not self.bracket_open:
                raise _FaultError("unexpected right bracket ']'", at)
            self.add(_RIGHT_BRACKET, at, at + 1)
            self.bracket_open = False
        return at + 1

    def _word(self, at: int, stop: int) -> int:
        text = self.text
        if self.bracket_open:
            return self._word_in_brackets(at)
        word = text[at:stop]
        kind = _WORDS.get(word.lower())
        if kind is None:
            kind = _METRIC_IDENTIFIER if ":" in word else _IDENTIFIER
        elif kind in _FILLS:
            # A keyword only before a parenthesis, so that a metric may be called fill.
            after = _SPACE.match(text, stop)
            if after is None or text[after.end() : after.end() + 1] != "(":
                kind = _IDENTIFIER
        self.add(kind, at, stop)
        return stop

    def _word_in_brackets(self, at: int) -> int:
        character = self.text[at]
        if character == ":":
            if self.got_colon:
                raise _FaultError("unexpected colon ':'", at)
            self.got_colon = True
            self.add(_COLON, at, at + 1)
            return at + 1
        stop = self._duration_word(at)
        if stop is None:
            fault = f"unexpected character: {quote_character(character)}, expected ':'"
            raise _FaultError(fault, at)
        return stop

    def _duration_word(self, at: int) -> int | None:
        found = _LETTERS.match(self.text, at)
        stop = found.end() if found else at
        kind = _DURATION_WORDS.get(self.text[at:stop].lower())
        if kind is None:
            return None
        self.got_duration = True
        self.add(kind, at, stop)
        return stop

    def _unusual(self, at: int) -> int:
        """Read what the pattern of statements does not know."""
        text, character = self.text, self.text[at]
        following = text[at + 1 : at + 2]
        if "0" <= character <= "9" or (character == "." and "0" <= following <= "9"):
            return self._number(at)
        if character in "\"'`":
            return self._string(at)
        if character == "=":
            if following == "~":
                raise _FaultError("unexpected character after '=': '~'", at)
            self.add(_SIGNS["="], at, at + 1)
            return at + 1
        if character == "!":
            fault = f"unexpected character after '!': {quote_character(following)}"
            raise _FaultError(fault, at)
        raise _FaultError(f"unexpected character: {quote_character(character)}", at)

    def _braces(self, at: int) -> int:
        text, add, match, size = self.text, self.add, _IN_BRACES.match, len(self.text)
        while at < size:
            found = match(text, at)
            if found is None:
                at = self._unusual_in_braces(at)
                continue
            group, stop = found.lastgroup, found.end()
            if group == "word":
                add(_IDENTIFIER, at, stop)
            elif group == "sign":
                add(_SIGNS[found.group()], at, stop)
            elif group == "string":
                add(_STRING, at, stop)
            elif group == "close":
                add(_RIGHT_BRACE, at, stop)
                return stop
            at = stop
        raise _FaultError("unexpected end of input inside braces", at)

    def _unusual_in_braces(self, at: int) -> int:
        character = self.text[at]
        if character in "\"'`":
            return self._string(at)
        if character == "!":
            following = quote_character(self.text[at + 1 : at + 2])
            raise _FaultError(f"unexpected character after '!' inside braces: {following}", at)
        if character == "{":
            raise _FaultError("unexpected left brace '{'", at)
        fault = f"unexpected character inside braces: {quote_character(character)}"
        raise _FaultError(fault, at)

    def _duration(self, at: int) -> int:
        """Read after `[` up to and with the first number, or to the closing bracket."""
        text = self.text
        while True:
            found = _SPACE.match(text, at)
            at = found.end() if found else at
            character = text[at : at + 1]
            if not character:
                raise _FaultError("unexpected end of input in duration expression", at)
            following = text[at + 1 : at + 2]
            if "0" <= character <= "9" or (character == "." and "0" <= following <= "9"):
                self.got_duration = True
                return self._number(at)
            if character == "]":
                self.bracket_open = self.got_colon = False
                self.add(_RIGHT_BRACKET, at, at + 1)
                return at + 1
            if character == ":":
                at = self._colon_in_duration(at)
            elif character == "(":
                self.add(_LEFT_PAREN, at, at + 1)
                self.paren_depth += 1
                at += 1
            elif character == ")":
                at = self._close(at)
            elif character in "+-*/%^,":
                self.add(_SIGNS[character], at, at + 1)
                at += 1
            else:
                stop = self._duration_word(at)
                if stop is None:
                    written = quote_character(character)
                    raise _FaultError(f"unexpected character in duration expression: {written}", at)
                at = stop

    def _colon_in_duration(self, at: int) -> int:
        if not self.got_duration:
            fault = "unexpected colon before duration in duration expression"
            raise _FaultError(fault, at + 1)
        if self.got_colon:
            raise _FaultError("unexpected repeated colon in duration expression", at + 1)
        self.got_colon = True
        self.add(_COLON, at, at + 1)
        return at + 1

    def _number(self, at: int) -> int:
        text = self.text
        good, stop = scan_number(text, at)
        if good:
            self.add(_NUMBER, at, stop)
            return stop
        good, stop = scan_duration(text, stop)
        if good:
            self.add(_DURATION, at, stop)
            return stop
        raise _FaultError(f"bad number or duration syntax: {quote(text[at:stop])}", at)

    def _string(self, start: int) -> int:
        """Read a string that is raw, has escapes or is wrong."""
        text, mark = self.text, self.text[start]
        if mark == "`":
            end = text.find("`", start + 1)
            broken = _NOT_UTF8.search(text, start + 1, end if end >= 0 else len(text))
            if broken:
                raise _FaultError("invalid UTF-8 rune", start)
            if end < 0:
                raise _FaultError("unterminated raw string", start)
            self.add(_STRING, start, end + 1)
            return end + 1
        at = start + 1
        while True:
            character = text[at : at + 1]
            if character == mark:
                self.add(_STRING, start, at + 1)
                return at + 1
            if character == "\\":
                at = self._escape(start, at + 1, mark)
                continue
            if not character or character == "\n":
                raise _FaultError("unterminated quoted string", start)
            if _NOT_UTF8.match(character):
                raise _FaultError("invalid UTF-8 rune", start)
            at += 1

    def _escape(self, start: int, at: int, mark: str) -> int:
        text = self.text
        character = text[at : at + 1]
        if not character:
            raise _FaultError("escape sequence not terminated", start)
        if character in "abfnrtv\\" or character == mark:
            return at + 1
        if "0" <= character <= "7":
            count, base, most = 3, 8, 255
        elif character in _ESCAPE_DIGITS:
            count, base, most = _ESCAPE_DIGITS[character]
            at += 1
        else:
            raise _FaultError(f"unknown escape sequence {code_point(character)}", start)
        value = 0
        for _ in range(count):
            digit = text[at : at + 1]
            number = int(digit, 16) if digit and digit in "0123456789abcdefABCDEF" else 16
            if number >= base:
                if not digit:
                    raise _FaultError("escape sequence not terminated", start)
                fault = f"illegal character {code_point(digit)} in escape sequence"
                raise _FaultError(fault, start)
            value = value * base + number
            at += 1
        if value > most or 0xD800 <= value < 0xE000:
            raise _FaultError("escape sequence is an invalid Unicode code point", start)
        return at
