r"""Reading a final answer: from a cleaned text to a typed value.

Structure is read from the outside in, by the separators and relations at the top level of brackets; what remains is a
numeral, an expression, or text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from tir_gym.scoring.expression import (
    MINUS,
    NotMath,
    Op,
    Sym,
    TooLarge,
    add,
    mul,
    names,
    read,
)
from tir_gym.scoring.numerals import CURRENCY_MARK, GROUP_MARK, Number, number, unit_name
from tir_gym.scoring.sets import EMPTY, EVERYTHING, RealSet, solved
from tir_gym.scoring.spelling import text_key
from tir_gym.scoring.values import (
    Based,
    Choice,
    Equation,
    Expression,
    Inequality,
    Items,
    Matrix,
    Named,
    Ordered,
    Ratio,
    Text,
    Value,
    as_set,
    leaf,
    node_of,
)

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "MAX_STRUCTURE", "value"]

MAX_DEPTH = 8
MAX_STRUCTURE = 1200
MAX_ITEMS = 64


_INFINITE = frozenset({"inf", "infinity"})
_SHORT_WORDS = frozenset(
    ["no", "on", "is", "so", "up", "go", "of", "to", "at", "by", "if", "it", "in", "an", "as", "do", "am", "pm"]
)
"""Two letters that are a word, not a product."""
_REPEATING = re.compile(r"(-?)([0-9]{0,40})\.([0-9]{0,40})\\overline ?\{ ?([0-9]{1,40}) ?\}")
_CHOICE = re.compile(r"\(([A-Z])\)|([A-Z])[.)]?")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2}) ?([ap])\.? ?m\.?", re.IGNORECASE)
_BASED = re.compile(r"([0-9A-F]{1,400}) ?_ ?(?:\{ ?([0-9]{1,2}) ?\}|([0-9]{1,2}))")
_RATIO = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:real )?solutions?(?: exists?)?|empty set|\\varnothing|\\\{ ?\\\}"
)
_ALL_REALS = re.compile(r"(?:x \\in )?(?:all real numbers|all reals|\\mathbb ?\{ ?R ?\}|\\mathbb R)", re.IGNORECASE)
_MARK = re.compile(
    r"\\[{}]|\\[A-Za-z]++|[()\[\]{}]|[,;:|]| (?:and|or)(?= )|<=|>=|!=|<|>|=|(?<=[0-9a-z}]) (?:and|or)(?= )"
)
_RELATIONS = {
    "<": "<", ">": ">", "\\leq": "<=", "<=": "<=", "\\geq": ">=", ">=": ">=", "\\neq": "!=", "!=": "!=", "=": "=",
    "\\in": "in",
}  # fmt: skip


@dataclass(slots=True)
class _Scan:
    """The marks at the top level of a body, and whether one pair of brackets wraps the whole of it."""

    marks: list[tuple[int, int, str]]
    wrapped: bool
    balanced: bool


def _scan(body: str) -> _Scan:
    marks: list[tuple[int, int, str]] = []
    level = 0
    first_close = -1
    for match in _MARK.finditer(body):
        mark = match.group().strip()
        if mark in {"(", "[", "{", "\\{", "\\begin", "\\lfloor", "\\lceil"}:
            level += 1
        elif mark in {")", "]", "}", "\\}", "\\end", "\\rfloor", "\\rceil"}:
            level -= 1
            if level == 0 and first_close < 0:
                first_close = match.end()
        elif level == 0:
            marks.append((match.start(), match.end(), mark))
    opens = body[0] in "([{" or body.startswith("\\{")
    return _Scan(marks, opens and level == 0 and first_close == len(body), level == 0)


def value(body: str, depth: int = MAX_DEPTH) -> Value:
    """Read a cleaned, stripped text. Raises `NotMath` for an empty one, nothing else."""
    if not body:
        raise NotMath("a value is missing")
    choice = _CHOICE.fullmatch(body)
    if choice is not None:
        return Choice(choice[1] or choice[2])
    numeral = number(body)
    if numeral is not None:
        return numeral
    if len(body) > MAX_STRUCTURE or depth == 0:
        return Text(text_key(body), depth == 0)
    word = body.replace(" ", "").isalpha() and len(body) > 2 and body.lower() not in _INFINITE
    if word or body.lower() in _SHORT_WORDS:
        return _words(body)
    try:
        return _structure(body, depth) or _words(body)
    except NotMath:
        return _words(body)
    except TooLarge:
        return Text(text_key(body), beyond=True)


def _words(body: str) -> Value:
    if _NO_SOLUTION.fullmatch(body.lower()) or body == "\\varnothing":
        return EMPTY
    if _ALL_REALS.fullmatch(body):
        return EVERYTHING
    time = _TIME.fullmatch(body)
    return Text(f"{int(time[1])}:{time[2]}{time[3].lower()}m" if time is not None else text_key(body))


def _structure(body: str, depth: int) -> Value | None:
    based = _BASED.fullmatch(body)
    if based is not None:
        return Based(based[1].lstrip("0") or "0", int(based[2] or based[3]))
    repeating = _REPEATING.fullmatch(body)
    if repeating is not None:
        sign, whole, start, cycle = repeating.groups()
        shown = Fraction(int((whole + start) or "0"), 10 ** len(start))
        exact = shown + Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(start))
        return Number(-exact if sign else exact)
    if _TIME.fullmatch(body) or _NO_SOLUTION.fullmatch(body) or _ALL_REALS.fullmatch(body):
        return _words(body)
    scan = _scan(body)
    if not scan.balanced:
        return None
    if scan.wrapped:
        return _bracketed(body, depth)
    if body.startswith("\\begin"):
        matrix = _matrix(body, depth)
        if matrix is not None:
            return matrix
    for kinds in ({";"}, {"or"}, {",", "and"}):
        parts = _cut(body, scan, kinds)
        if len(parts) > 1:
            return _listed(parts, "or" in kinds, depth)
    colon = next((mark for mark in scan.marks if mark[2] == ":"), None)
    if colon is not None and body[colon[1] :].strip().startswith(("(", "[", "\\varnothing")):
        return _twice(body[: colon[0]].strip(), body[colon[1] :].strip(), depth)
    relations = [mark for mark in scan.marks if mark[2] in _RELATIONS or mark[2] == "\\approx"]
    if relations:
        return _related(body, relations, depth)
    if any(mark[2] in {"\\cup", "\\setminus"} for mark in scan.marks):
        return _union(body, scan, depth)
    if any(mark[2] == ":" for mark in scan.marks):
        return _ratio(body, scan, depth)
    if "\\pm" in body or "\\mp" in body:
        return Items(tuple(value(text, depth - 1) for text in _both_signs(body)))
    return _expression(body)


def _twice(first: str, second: str, depth: int) -> Value | None:
    """`-1 < x <= 1 : (-1, 1]`: one set written in two ways."""
    if not first:
        return None
    stated = value(first, depth - 1)
    bare = as_set(stated.value if isinstance(stated, Named) else stated)
    return stated if bare is not None and bare == as_set(value(second, depth - 1)) else None


def _both_signs(body: str) -> list[str]:
    upper, lower = body, body
    for sign, one, two in (("pm", "+", "-"), ("mp", "-", "+")):
        upper = re.sub(rf"\\{sign}(?![A-Za-z])", one, upper)
        lower = re.sub(rf"\\{sign}(?![A-Za-z])", two, lower)
    return [text.strip().removeprefix("+").strip() for text in (upper, lower)]


def _cut(body: str, scan: _Scan, kinds: set[str]) -> list[str]:
    parts: list[str] = []
    start = 0
    for at, end, mark in scan.marks:
        if mark in kinds and (mark != "," or not _joins_digits(body, at)):
            parts.append(body[start:at].strip())
            start = end
    last = body[start:].strip()
    parts = [*parts, last]
    if len(parts) > 1:  # "1, 2, and 3"
        parts = [re.sub(r"^(?:and|or) ", "", part) for part in parts]
        parts = [part for i, part in enumerate(parts) if part or i == len(parts)]
    return parts


def _joins_digits(body: str, at: int) -> bool:
    """Whether the comma at `at` can only be a thousands separator: a digit before it and exactly three after it."""
    after = body[at + 1 : at + 5]
    return body[at - 1 : at].isdigit() and len(after) >= 3 and after[:3].isdigit() and not after[3:].isdigit()


def _listed(parts: list[str], either: bool, depth: int) -> Value | None:
    if len(parts) > MAX_ITEMS:
        raise TooLarge("too many values")
    if not all(parts):
        return None
    items = [value(part, depth - 1) for part in parts]
    if any(isinstance(item, Text) and item.beyond for item in items):
        raise TooLarge("a value over the limits")
    sets = [(item, item.value) for item in items if isinstance(item, Named) and isinstance(item.value, RealSet)]
    if len(sets) == len(items) and len({item.label for item, _ in sets}) == 1:
        first, joined = sets[0]
        for _, part in sets[1:]:
            both = joined.union(part) if either else joined.meet(part)
            if both is None:
                return None
            joined = both
        return Named(first.label, joined, first.plain)
    flat: list[Value] = []
    for one in items:
        keep = isinstance(one, Items) and any(isinstance(part, Named) for part in one.items)
        flat += [one] if keep or not isinstance(one, Items) else one.items
    named = [item for item in flat if isinstance(item, Named)]
    one_label = len({item.label for item in named}) == 1
    if one_label and (len(named) == len(flat) or (len(named) == 1 and isinstance(flat[0], Named))):
        inner: list[Value] = []
        for member in flat:
            bare = member.value if isinstance(member, Named) else member
            inner += bare.items if isinstance(bare, Items) else [bare]
        return Named(named[0].label, Items(tuple(inner)), named[0].plain)
    return Items(tuple(flat))


# --- brackets -----------------------------------------------------------------------------------------------------


def _bracketed(body: str, depth: int) -> Value | None:
    opening = body[:2] if body[0] == "\\" else body[0]
    closing = "\\}" if body.endswith("\\}") else body[-1]
    inner = body[len(opening) : len(body) - len(closing)].strip()
    if not inner:
        return EMPTY if opening in {"{", "\\{"} else None
    scan = _scan(inner)
    if not scan.balanced:
        return None
    if opening == "\\{":
        bar = next((mark for mark in scan.marks if mark[2] in {"|", ":"}), None)
        if bar is not None:
            if not _label(inner[: bar[0]].partition("\\in")[0].strip()):
                return None
            return value(inner[bar[1] :].strip(), depth - 1)
    parts = _cut_inside(inner, scan)
    if len(parts) > MAX_ITEMS:
        raise TooLarge("too many values")
    if not all(parts):
        return None
    if len(parts) == 1 and (opening, closing) in {("(", ")"), ("{", "}")}:
        return value(inner, depth - 1)
    items = tuple(value(part, depth - 1) for part in parts)
    if any(isinstance(item, Text) and item.beyond for item in items):
        raise TooLarge("a value over the limits")
    if opening in {"{", "\\{"}:
        flat: list[Value] = []
        for item in items:
            flat += item.items if isinstance(item, Items) else [item]
        return Items(tuple(dict.fromkeys(flat)))
    return Ordered(opening, closing, items)


def _cut_inside(inner: str, scan: _Scan) -> list[str]:
    """Parts between commas or semicolons; inside brackets every comma separates."""
    parts: list[str] = []
    start = 0
    for at, end, mark in scan.marks:
        if mark in {",", ";"}:
            parts.append(inner[start:at].strip())
            start = end
    return [*parts, inner[start:].strip()]


_MATRIX = re.compile(r"\\begin ?\{ ?([pbB]?matrix|array) ?\}(?:\{[lcr| ]*\})?(.*?)\\end ?\{ ?\1 ?\}", re.DOTALL)


def _matrix(body: str, depth: int) -> Value | None:
    matches = list(_MATRIX.finditer(body))
    if not matches or _MATRIX.sub("", body).strip():
        return None
    product: tuple[tuple[Value, ...], ...] | None = None
    for match in matches:
        rows = [[cell.strip() for cell in row.split("&")] for row in match[2].split("\\\\") if row.strip()]
        if not rows or len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > MAX_ITEMS:
            return None
        if not all(cell for row in rows for cell in row):
            return None
        read_rows = tuple(tuple(value(cell, depth - 1) for cell in row) for row in rows)
        product = read_rows if product is None else _multiplied(product, read_rows)
    return Matrix(product) if product is not None else None


_Rows: TypeAlias = tuple[tuple[Value, ...], ...]


def _multiplied(left: _Rows, right: _Rows) -> _Rows:
    if len(left[0]) != len(right):
        raise NotMath("matrices that cannot be multiplied")
    columns = list(zip(*right, strict=True))
    return tuple(
        tuple(leaf(add(*(mul(node_of(a), node_of(b)) for a, b in zip(row, column, strict=True)))) for column in columns)
        for row in left
    )


# --- relations ----------------------------------------------------------------------------------------------------

_SUBSCRIPT = r"(?:_(?:\{[^{}]*\}|[0-9A-Za-z]))?"
_LABEL = re.compile(
    rf"[A-Za-z]{_SUBSCRIPT}'*|\\[a-zA-Z]+{_SUBSCRIPT}|[A-Z]{{2,4}}|[A-Z]?[a-z]{{3,}}(?: [A-Za-z]+)?"
    r"|[fghFGHPQNTSER](?:_[0-9A-Za-z])?(?: ?\^ ?\{ ?-1 ?\})? ?\( ?[a-zA-Z0-9, ]+ ?\)"
    r"|\([A-Za-z](?:_[0-9A-Za-z])?(?: ?, ?[A-Za-z](?:_[0-9A-Za-z])?)+\)|(?:m ?)?\\angle [A-Za-z ]+(?:_\{?[0-9]+\}?)?"
    rf"|\| ?[A-Z]{{2}} ?\||[A-Za-z]+{_SUBSCRIPT}(?: ?: ?[A-Za-z]+{_SUBSCRIPT})+"
)
_NO_LABEL = frozenset({"\\pi", "e", "i", "\\infty", "\\frac", "\\sqrt", "sin", "cos", "tan"})


def _label(text: str) -> str:
    """The label that `text` is, spaces dropped; "" if it is none."""
    if len(text) > 60 or text in _NO_LABEL or not _LABEL.fullmatch(text):
        return ""
    return re.sub(r"[ {}]", "", text)


def _related(body: str, marks: list[tuple[int, int, str]], depth: int) -> Value | None:
    about = next((mark for mark in marks if mark[2] == "\\approx"), None)
    if about is not None:  # what follows is a gloss
        exact = body[: about[0]].strip()
        return value(exact, depth - 1) if exact else None
    sides: list[str] = []
    start = 0
    for at, end, _ in marks:
        sides.append(body[start:at].strip())
        start = end
    sides.append(body[start:].strip())
    if not all(sides):
        return None
    signs = [_RELATIONS[mark[2]] for mark in marks]
    if set(signs) == {"="}:
        return _equated(sides, depth)
    if signs == ["in"] and _label(sides[0]):
        inner = value(sides[1], depth - 1)
        return Named(_label(sides[0]), inner, _plain(sides[0]))
    if "=" in signs or "in" in signs or len(sides) > 3:
        return None
    return _bounded(sides, signs)


def _plain(text: str) -> bool:
    return len(text) == 1 or "_" in text or text.startswith("\\")


def _equated(sides: list[str], depth: int) -> Value | None:
    first, last = sides[0], sides[-1]
    label = _label(first)
    if not label and len(sides) == 2 and _label(last):
        first, last, label = last, first, _label(last)
    if label:
        inner = value(last, depth - 1)
        if isinstance(inner, Text):
            if inner.beyond:
                raise TooLarge("a side over the limits")
            if len(sides) > 2:
                return None
        return Named(label, inner, _plain(first))
    if len(sides) != 2:
        return None
    node = add(read(first), mul(MINUS, read(last)))
    return Equation(node) if names(node) else None


def _bounded(sides: list[str], signs: list[str]) -> Value | None:
    """`a < x < b`, `x > a`, `|x| < a` as a set of reals with its label; other inequalities as they are."""
    ends = [None if _label(side) else read(side) for side in sides]
    if len(sides) == 3:
        middle = sides[1]
        directions = {sign[0] for sign in signs}
        if len(directions) != 1 or "!" in directions:
            return None
        low, high = (0, 2) if signs[0][0] == "<" else (2, 0)
        closed = [len(sign) == 2 for sign in signs]
        below, above = ends[low], ends[high]
        if below is None or above is None:
            return None
        found = RealSet.between(below, closed[0 if low == 0 else 1], above, closed[1 if low == 0 else 0])
        if _label(middle):
            return Named(_label(middle), found, _plain(middle))
        node = ends[1]
        if isinstance(node, Op) and node.op == "abs" and isinstance(node.args[0], Sym):
            mirrored = found.mirrored()
            return None if mirrored is None else Named(node.args[0].name, mirrored)
        return None
    left, right, sign = ends[0], ends[1], signs[0]
    label = _label(sides[0])
    flip = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    if not label and _label(sides[1]):
        label, left, right, sign = _label(sides[1]), right, left, flip.get(sign, sign)
    if label and right is not None:
        if label not in names(right):
            return Named(label, RealSet.beyond(right, sign), True)
        left = Sym(label)
    one = left if left is not None else Sym(_label(sides[0]))
    two = right if right is not None else Sym(_label(sides[1]))
    if isinstance(one, Op) and one.op == "abs" and isinstance(one.args[0], Sym) and not names(two):
        outer = RealSet.around(two, sign)
        return None if outer is None else Named(one.args[0].name, outer)
    if sign[0] == "<":
        one, two, sign = two, one, flip[sign]
    node = add(one, mul(MINUS, two))
    isolated = solved(node, sign)
    if isolated is not None:
        return Named(*isolated)
    return Inequality(node, sign) if names(node) else None


def _union(body: str, scan: _Scan, depth: int) -> Value | None:
    at = 0
    whole: RealSet | None = None
    operator = "\\cup"
    for start, end, mark in [*(m for m in scan.marks if m[2] in {"\\cup", "\\setminus"}), (len(body), len(body), "")]:
        part = as_set(value(body[at:start].strip(), depth - 1))
        if part is None:
            return None
        joined = part if whole is None else whole.union(part) if operator == "\\cup" else whole.without(part)
        if joined is None:
            return None
        whole = joined
        at, operator = end, mark
    return whole


def _ratio(body: str, scan: _Scan, depth: int) -> Value | None:
    marks = [mark for mark in scan.marks if mark[2] == ":"]
    starts = [0, *(end for _, end, _ in marks)]
    parts = [body[start:end].strip() for start, end in zip(starts, [*(m[0] for m in marks), len(body)], strict=True)]
    if not all(parts) or len(parts) > 4:
        return None
    if any(part[0] in "([" for part in parts):
        return None
    return Ratio(tuple(read(part) for part in parts), _RATIO.fullmatch(body.replace(" ", "")) is not None)


# --- expressions --------------------------------------------------------------------------------------------------

_GROUPED = re.compile(rf"(?<![0-9.])[0-9]{{1,3}}(?:[,{GROUP_MARK}][0-9]{{3}})+(?![0-9])")
_UNIT_TAIL = re.compile(
    r"(?:(?<=[0-9)}\]])|(?<=\\pi)|(?<= )) ?"
    r"((?:[A-Za-z/]{1,20} ){0,3}[A-Za-z]{2,20}(?: ?\^ ?\{? ?[23] ?\}?)?)$"
)
_DEGREE = re.compile(r" ?\^ ?(?:\\circ|\{ ?\\circ ?\})$")


def _expression(body: str) -> Value:
    body = _GROUPED.sub(lambda match: match.group().replace(",", "").replace(GROUP_MARK, ""), body)
    unit = ""
    if body.startswith(CURRENCY_MARK):
        unit, body = "dollar", body[1:]
    if _DEGREE.search(body[-16:]) and not unit:
        return leaf(read(_DEGREE.sub("", body)), "degree")
    tail = _UNIT_TAIL.search(body[-60:])
    if tail is not None and not unit:
        start = len(body) - len(body[-60:]) + tail.start(1)
        words = body[start:].split(" ")
        for skip in range(len(words)):
            name = unit_name(" ".join(words[skip:]))
            if name is not None:
                unit = name
                body = (body[:start] + " ".join(words[:skip])).strip()
                break
    if not body:
        raise NotMath("a unit alone")
    found = leaf(read(body), unit)
    return found if isinstance(found, Expression) or unit else replace(found, unit=unit)
