"""Reading SQL as tokens: enough to see clauses at the top level and the literals used. Nothing is run."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))"""
    r"""|(?P<text>'(?:[^']|'')*'?)"""
    r"""|(?P<quoted>"(?:[^"]|"")*"?|`[^`]*`?|\[[^\]]*\]?)"""
    r"""|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"""
    r"""|(?P<word>[^\W\d]\w*|[@:$]\w+)"""
    r"""|(?P<mark><=|>=|<>|!=|==|\|\||->>|->|.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token with its place; `depth` counts the brackets it stands in. A bracket stands at the depth outside it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    @property
    def word(self) -> str:
        """In capitals, where it is a bare word; else ""."""
        return self.text.upper() if self.kind == "word" else ""


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement, white space and comments left out; takes linear time and never raises."""
    found = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        text = match.group()
        if text == ")" and kind == "mark":
            depth = max(0, depth - 1)
        found.append(Token(kind, text, match.start(), match.end(), depth))
        if text == "(" and kind == "mark":
            depth += 1
    return found


def order_by(sql: str) -> Token | None:
    """The `ORDER` of the statement's own ORDER BY, if it has one; not that of a subquery, window or aggregate."""
    found = tokens(sql)
    for position, token in enumerate(found[:-1]):
        if token.depth == 0 and token.word == "ORDER" and found[position + 1].word == "BY":
            return token
    return None


def literals(sql: str) -> tuple[str | int | float, ...]:
    """The different texts and numbers in a statement, in the order in which they first stand there."""
    held: dict[str | int | float, None] = {}
    for token in tokens(sql):
        if token.kind == "text":
            held[token.text[1:-1].replace("''", "'")] = None
        elif token.kind == "number":
            held[int(token.text) if token.text.isdecimal() else float(token.text)] = None
    return tuple(held)


def names(sql: str) -> frozenset[str]:
    """The words and quoted names of a statement, in small letters."""
    kinds = ("word", "quoted")
    return frozenset(token.text.strip('"`[]').lower() for token in tokens(sql) if token.kind in kinds)
