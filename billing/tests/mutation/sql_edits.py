"""Edits of SQL and PL/pgSQL text, found by its tokens alone: what they make need not compile.

Aims at mistakes that people make: a boundary, a sign, a condition left out, a statement forgotten, the wrong kind.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from billing.tests.mutation.edits import Edit

_TOKEN = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|[A-Za-z_]\w*|\d+(?:\.\d+)?|:=|=>|<>|<=|>=|->>|->|\|\||::|[^\s\w]",
)
FUNCTION = re.compile(
    r"^create (?:or replace )?function public\.(?P<name>\w+)\(.*?\bas \$\$(?P<body>.*?)\$\$;", re.DOTALL | re.MULTILINE
)
_OPENING, _CLOSING = "([", ")]"

# Where a condition, an item of a list or an operand ends, at its own depth of brackets.
_ENDS = frozenset(
    ("and", "or", "then", "loop", "order", "group", "limit", "returning", "window", "for", "left", "join", "cross",
     "else", "when", "into", "union", "end", "where", "having", "except", "on", "from", "offset")
)  # fmt: skip
_COMPARISONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "=": ("<>",),
    "<>": ("=",),
}
_SWAPS = {"least": "greatest", "greatest": "least", "min": "max", "max": "min", "sum": "max", "true": "false",
          "false": "true", "and": "or", "or": "and"}  # fmt: skip
# Words that may stand for each other without anything else noticing.
_VOCABULARIES = tuple(
    words.split()
    for words in (
        "burn expiry return_expired overshoot late_capture debt_payment adjustment take_back grant",
        "debt_settlement debt_reversal debt_reopened adjustment_debt take_back_debt reversal",
        "hold lot purchase",
        "open frozen closed",
        "captured voided lapsed",
        "authorize charge usage capture",
        "charged authorized replayed conflict insufficient price_missing granted reversed adjusted taken_back",
        "organization_unknown organization_suspended hold_unknown lot_unknown cause_unknown nothing_left too_much",
        "already_captured already_voided",
        "input output cache_write cache_read request",
        "reload_due exhausted",
        "level refusal",
        "api workbench claude_code",
        "promotional purchase auto_reload",
    )
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number, a literal or a sign, and how many brackets are open around it."""

    text: str
    start: int
    end: int
    depth: int

    @property
    def low(self) -> str:
        return self.text.lower()


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """The tokens of a stretch of text, without comments."""
    depth = 0
    found = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        word = match[0]
        if word.startswith("--"):
            continue
        if word in _CLOSING:
            depth -= 1
        found.append(Token(word, match.start(), match.end(), depth))
        if word in _OPENING:
            depth += 1
    return found


def edits(text: str, start: int, end: int, *, is_procedural: bool) -> Iterator[Edit]:
    """Every edit of a stretch of SQL. ``is_procedural``: it is the body of a PL/pgSQL function."""
    found = tokens(text, start, end)
    betweens = _between_ands(found)
    for index in range(len(found)):
        yield from _of_a_token(found, index, betweens)
        yield from _of_a_clause(text, found, index, betweens)
    if is_procedural:
        yield from _of_statements(found)


def _of_a_token(found: list[Token], index: int, betweens: frozenset[int]) -> Iterator[Edit]:
    token = found[index]
    before = found[index - 1].low if index else ""
    after = found[index + 1].low if index + 1 < len(found) else ""
    for new in _COMPARISONS.get(token.text, ()):
        yield Edit("comparison", token.start, token.end, new)
    if token.low in _SWAPS and index not in betweens and (token.low not in ("min", "max", "sum") or after == "("):
        yield Edit("word", token.start, token.end, _SWAPS[token.low])
    if token.text in "+-":
        is_binary = bool(index) and (found[index - 1].text in ")]" or re.match(r"\w|'", found[index - 1].text))
        if is_binary and before not in _ENDS | {"select", "return", "by"}:
            yield Edit("arithmetic", token.start, token.end, "-" if token.text == "+" else "+")
        else:
            yield Edit("sign", token.start, token.end, "")
    if token.text == "*" and before not in ("(", "select", ".") and index:
        yield Edit("arithmetic", token.start, token.end, "+")
    if token.text.isdigit() and not (before in ("select", "perform", "returning") or _is_place(found, index)):
        yield Edit("constant", token.start, token.end, str(int(token.text) + 1))
        if int(token.text):
            yield Edit("constant", token.start, token.end, str(int(token.text) - 1))
    if token.text.startswith("'"):
        yield from _of_a_literal(token, before)
    if token.low == "found" and before != "not":
        yield Edit("found", token.start, token.end, "not found")
    if token.low == "not" and after in ("found", "exists", "in", "distinct", "null", "between"):
        yield Edit("not", token.start, token.end, "")
    if token.low in ("exists", "between") and before != "not":
        yield Edit("not", token.start, token.end, f"not {token.text}")
    if token.low == "in" and after == "(" and before not in ("not", "for"):
        yield Edit("not", token.start, token.end, "not in")
    if token.low == "is" and after in ("null", "distinct"):
        yield Edit("not", token.start, token.end, "is not")


def _of_a_literal(token: Token, before: str) -> Iterator[Edit]:
    word = token.text[1:-1]
    if before == "exception":
        return
    if before == "interval" and (number := re.match(r"\d+", word)):
        for other in (int(number[0]) + 1, int(number[0]) - 1):
            yield Edit("interval", token.start, token.end, f"'{other}{word[number.end() :]}'")
        return
    for vocabulary in _VOCABULARIES:
        if word in vocabulary:
            other_word = vocabulary[(vocabulary.index(word) + 1) % len(vocabulary)]
            yield Edit("word", token.start, token.end, f"'{other_word}'")
            return
    if word == "UTC":
        yield Edit("word", token.start, token.end, "'Asia/Tokyo'")
    elif re.fullmatch(r"[a-z0-9_]+", word):
        yield Edit("word", token.start, token.end, f"'{word}_'" if word.isalpha() else "'XX000'")
    elif word == "":
        yield Edit("word", token.start, token.end, "'x'")


def _of_a_clause(text: str, found: list[Token], index: int, betweens: frozenset[int]) -> Iterator[Edit]:
    token = found[index]
    after = found[index + 1].low if index + 1 < len(found) else ""
    if token.low == "and" and index not in betweens:
        yield Edit("condition left out", token.start, found[_end_of(found, index + 1) - 1].end, "")
    if token.low == "where" and _end_of(found, index + 1) > index + 1:
        yield Edit("condition left out", found[index + 1].start, found[_end_of(found, index + 1) - 1].end, "true")
    if token.low in ("if", "elsif", "when", "while"):
        yield from _negated(text, found, index)
    if token.text == "||":
        yield Edit("operand left out", token.start, found[_end_of(found, index + 1, {"||"}) - 1].end, "")
    if token.low == "coalesce" and after == "(":
        yield from _defaults(text, found, index)
    if token.low in ("row", "jsonb_build_array") and after == "(":
        yield from _values_left_out(found, index)
    if token.low in ("order", "partition") and after == "by":
        yield from _orders(found, index)
    if token.low == "set":
        yield from _settings(found, index)
    if token.low == "limit" and after != ")":
        yield Edit("clause left out", token.start, found[_end_of(found, index + 1) - 1].end, "")
    if token.low == "distinct" and after not in ("from", "on"):
        yield Edit("clause left out", token.start, token.end, "")
    if token.low == "union" and after == "all":
        yield Edit("clause left out", found[index + 1].start, found[index + 1].end, "")
    if token.low == "left" and after == "join":
        yield Edit("clause left out", token.start, token.end, "")
    if token.low == "for" and after == "no":
        yield Edit("clause left out", token.start, found[index + 3].end, "")


def _between_ands(found: list[Token]) -> frozenset[int]:
    """The places of the "and"s that belong to a "between"."""
    waiting: list[int] = []
    places = set()
    for index, token in enumerate(found):
        if token.low == "between":
            waiting.append(token.depth)
        elif token.low == "and" and token.depth in waiting:
            waiting.remove(token.depth)
            places.add(index)
    return frozenset(places)


def _end_of(found: list[Token], begin: int, ends: set[str] | None = None) -> int:
    """The place after the condition, item or operand that begins at ``begin``."""
    depth = found[begin].depth if begin < len(found) else 0
    waits_for_and = False
    cases = 0
    for index in range(begin, len(found)):
        token = found[index]
        if token.depth < depth:
            return index
        if token.depth > depth:
            continue
        if token.low == "case":
            cases += 1
        elif token.low == "end" and cases:
            cases -= 1
            continue
        if cases:
            continue
        if token.low == "between":
            waits_for_and = True
        elif token.low == "and" and waits_for_and:
            waits_for_and = False
        elif (
            (token.low in _ENDS and not (token.low == "from" and found[index - 1].low == "distinct"))
            or token.text in ",;"
            or (ends and token.text in ends)
        ) and index > begin:
            return index
    return len(found)


def _is_place(found: list[Token], index: int) -> bool:
    """Whether a number is the place of a column: in a list after "by"."""
    while index > 0 and (found[index].text.isdigit() or found[index].text == ","):
        index -= 1
    return found[index].low == "by"


def _negated(text: str, found: list[Token], index: int) -> Iterator[Edit]:
    """A condition turned around: up to its "then", its "loop" or its end."""
    for end in range(index + 1, len(found)):
        token = found[end]
        if token.depth < found[index].depth:
            return
        if token.depth == found[index].depth and token.low in ("then", "loop", ";"):
            if end > index + 1:
                start, stop = found[index + 1].start, found[end - 1].end
                yield Edit("condition turned", start, stop, f"not coalesce({text[start:stop]}, false)")
            return


def _items(found: list[Token], begin: int) -> list[tuple[int, int]]:
    """First and last place of each item of a list that begins at ``begin``, at its depth."""
    items = []
    while begin < len(found):
        end = _end_of(found, begin)
        items.append((begin, end - 1))
        if end >= len(found) or found[end].text != "," or found[end].depth != found[begin].depth:
            return items
        begin = end + 1
    return items


def _arguments(found: list[Token], index: int) -> tuple[list[tuple[int, int]], int]:
    """First and last place of each argument of the call at ``index``, and the place of its closing bracket."""
    depth = found[index].depth
    close = next(place for place in range(index + 2, len(found)) if found[place].depth == depth)
    inner = range(index + 2, close)
    commas = [place for place in inner if found[place].text == "," and found[place].depth == depth + 1]
    firsts, ends = [index + 2, *(place + 1 for place in commas)], [*commas, close]
    return [(first, end - 1) for first, end in zip(firsts, ends, strict=True) if end > first], close


def _defaults(text: str, found: list[Token], index: int) -> Iterator[Edit]:
    """A "coalesce" that is one of its arguments alone."""
    arguments, close = _arguments(found, index)
    for first, last in arguments:
        kept = text[found[first].start : found[last].end]
        yield Edit("coalesce", found[index].start, found[close].end, f"({kept})")


def _values_left_out(found: list[Token], index: int) -> Iterator[Edit]:
    """A row that lacks one of its values."""
    for first, last in _arguments(found, index)[0]:
        if found[first].low != "null":
            yield Edit("value left out", found[first].start, found[last].end, "null::text")


def _orders(found: list[Token], index: int) -> Iterator[Edit]:
    items = _items(found, index + 2)
    for number, (first, last) in enumerate(items):
        if found[index].low == "order":
            if found[last].low in ("desc", "asc"):
                yield Edit("order", found[last].start, found[last].end, "")
            else:
                yield Edit("order", found[last].end, found[last].end, " desc")
        if len(items) > 1:
            start = found[first].start if number == 0 else found[items[number - 1][1]].end
            stop = found[items[1][0]].start if number == 0 else found[last].end
            yield Edit("order", start, stop, "")


def _settings(found: list[Token], index: int) -> Iterator[Edit]:
    items = _items(found, index + 1)
    for number, (first, last) in enumerate(items):
        if len(items) > 1:
            start = found[first].start if number == 0 else found[items[number - 1][1]].end
            stop = found[items[1][0]].start if number == 0 else found[last].end
            yield Edit("column not set", start, stop, "")


def _of_statements(found: list[Token]) -> Iterator[Edit]:
    """Statements left out, initial values and whole "if"s too."""
    begin = next((index for index, token in enumerate(found) if token.low == "begin"), 0)
    for index in range(begin):
        if found[index].text == ":=":
            rest = range(index, len(found))
            end = next(place for place in rest if found[place].text == ";" and not found[place].depth)
            yield Edit("initial value left out", found[index].start, found[end - 1].end, "")
    cases = 0
    is_start = True
    for index in range(begin + 1, len(found)):
        token = found[index]
        if is_start and token.text != ";":
            yield from _statement_left_out(found, index)
        is_start = False
        if token.low == "case" and found[index - 1].low != "end":
            cases += 1
        elif token.low == "end" and cases:
            cases -= 1
        elif not cases and not token.depth:
            is_start = token.text == ";" or token.low in ("then", "else", "loop")


def _statement_left_out(found: list[Token], index: int) -> Iterator[Edit]:
    first = found[index].low
    if first in ("for", "while", "end", "return", "elsif", "else"):
        if first == "return" and found[index + 1].low == "next":
            yield Edit("statement left out", found[index].start, found[index + 2].end, "")
        return
    if first == "if":
        nested = 0
        for end in range(index, len(found)):
            if found[end].low == "if":
                nested += -1 if found[end - 1].low == "end" else 1
                if nested == 0:
                    yield Edit("statement left out", found[index].start, found[end + 1].end, "")
                    return
        return
    for end in range(index, len(found)):
        if found[end].text == ";" and found[end].depth == found[index].depth:
            yield Edit("statement left out", found[index].start, found[end].end, "null;")
            return
