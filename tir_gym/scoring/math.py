r"""Equivalence of final mathematical answers, decided without evaluating anything.

`equivalent(answer, gold)` reads both sides with one small grammar and compares the typed values exactly. What the
grammar does not cover falls to equality of normalised LaTeX, so the verdict errs towards "unequal".

Rules worth knowing:

- **Which part is read.** The last complete `\boxed{...}`; without a box, what follows the last "answer is" or
  "answer:"; otherwise the whole text. Prose is never searched for numbers.
- **Numbers are exact.** `0.5` equals `1/2`; no decimal equals `1/3`; integers are never compared approximately.
- **Percent is a factor of 1/100.** `10%` equals `10\%`, `10 percent`, `0.1` and `1/10`, and differs from `10`.
- **Units.** A currency sign or a unit word of a fixed list (`UNIT_WORDS`) may stand on one side only: `$18`,
  `18 dollars` and `18` are equal. Two different units are unequal (`10 cm`, `10 m`); nothing is converted.
- **Names.** `x = 5`, `f(x) = 5` and `x \in S` equal the bare value; two different names are unequal.
- **Commas.** `1,234` at the top level is one number. Inside brackets a comma always separates: `(1,234)` is a pair
  (write `1{,}234` or `1\,234` there).
- **Several values.** `(1, 2)` and `[1, 2)` are ordered and keep their brackets; `\{1, 2\}`, `1, 2` and `1 or 2` are
  orderless collections. A collection never equals one value, so dumping several answers is wrong.
- **Digits** are ASCII; full-width forms are read as ASCII, other Unicode digits are plain text. `nan` equals nothing,
  itself included; `inf` is `\infty`.

Bounds: texts over `MAX_LENGTH` characters (after a box is taken out) and integers over `MAX_DIGITS` equal nothing;
other numerals over `MAX_PARTS_DIGITS`, exponents over `MAX_EXPONENT`, brackets nested deeper than `MAX_DEPTH` and lists
over `MAX_STRUCTURE` characters are text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from tir_gym.scoring.numerals import (
    CURRENCY_MARK,
    GROUP_MARK,
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_PARTS_DIGITS,
    UNIT_WORDS,
    Number,
    integer,
    number,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_EXPONENT",
    "MAX_LENGTH",
    "MAX_PARTS_DIGITS",
    "MAX_STRUCTURE",
    "UNIT_WORDS",
    "Choice",
    "Collection",
    "Named",
    "Number",
    "Ordered",
    "Text",
    "Value",
    "equivalent",
    "last_boxed",
    "parse",
]

MAX_LENGTH = 2048
MAX_DEPTH = 8
MAX_STRUCTURE = 512


@dataclass(frozen=True, slots=True)
class Choice:
    """An upper-case option letter: `A`, `(A)`, `A.`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Text:
    """Anything else: LaTeX normalised for spelling (`\\dfrac`, `\\frac12`, spaces), compared as a string."""

    key: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """A tuple, list or interval: values in order with their brackets."""

    opening: str
    closing: str
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """Values without order: each distinct value with its count (always 1 in a `\\{...\\}` set)."""

    counts: frozenset[tuple[Value, int]]


@dataclass(frozen=True, slots=True)
class Named:
    """`name = value` or `name \\in value`."""

    name: str
    value: Value


Value: TypeAlias = Number | Choice | Text | Ordered | Collection | Named


def equivalent(answer: str, gold: str) -> bool:
    """Whether two final answers denote the same thing under the rules of this module. Symmetric; never raises.

    >>> equivalent(r"so \\boxed{\\frac12}", "0.5"), equivalent("3 or 4", "3"), equivalent("10%", "10")
    (True, False, False)
    """
    left = parse(answer)
    if left is None:
        return False
    right = parse(gold)
    return right is not None and _same(left, right)


def parse(text: str) -> Value | None:
    """Read the final answer out of `text` as a typed value; None if there is none (empty, over-long, `nan`)."""
    content = text if _INTEGER.fullmatch(text) else _final_part(text).strip()
    if _INTEGER.fullmatch(content):
        return integer(content)
    if not content.isascii():
        content = content[: MAX_LENGTH + 1].translate(_ASCII_FORMS)
    if not content or len(content) > MAX_LENGTH:
        return None
    cleaned = " ".join(_clean(content).split()).strip(_MARKUP).removesuffix(".").rstrip(_MARKUP)
    if not cleaned or cleaned.lower() in {"nan", "+nan", "-nan"}:
        return None
    return _value(cleaned, MAX_DEPTH)


def last_boxed(text: str) -> str | None:
    r"""Content of the `\boxed{...}` that closes last, braces balanced; None without a complete one. Linear time."""
    if "box" not in text:
        return None
    last: tuple[int, int] | None = None
    starts: list[int] = []
    for token in _BRACE.finditer(text):
        mark = token.group()
        if mark == "}":
            start = starts.pop() if starts else -1
            if start >= 0:
                last = (start, token.start())
        elif mark == "{":
            starts.append(-1)
        elif len(mark) > 2:
            starts.append(token.end())
    return None if last is None else text[slice(*last)]


def _final_part(text: str) -> str:
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    if "nswer" in text or "NSWER" in text or text.lstrip().startswith("="):
        lead = None
        for lead in _LEAD.finditer(text):  # noqa: B007
            pass
        if lead is not None:
            text = text[lead.end() :]
    return text.partition("I hope it is correct")[0]


# --- spelling -----------------------------------------------------------------------------------------------------

_MARKUP = "*`'\" "
_INTEGER = re.compile(r"[+-]?[0-9]++")
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)
_LEAD = re.compile(r"\banswer(?: is)?:?\s++(?:= ?)?|\banswer:|\A\s*+= ", re.IGNORECASE)
_SEPARATOR = re.compile(r"\{,\}|,\\!\s*+")
_TOKEN = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|math(?:rm|bf|it|sf|tt)|operatorname|boxed|fbox)\s*+\{|\\[A-Za-z]++|\\.|[{}$]",
    re.DOTALL,
)

_ASCII_FORMS: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([0xA0, 0x2009, 0x202F, 0x3000], " "),
    **dict.fromkeys([0x2212, 0x2013, 0xFE63], "-"),
    **{ord(sign): f" {name} " for sign, name in {"×": "\\times", "≤": "\\leq", "≥": "\\geq", "≠": "\\neq"}.items()},
    **{ord(sign): name + " " for sign, name in {"π": "\\pi", "∞": "\\infty", "∪": "\\cup"}.items()},
    **{ord(sign): name for sign, name in {"²": "^2", "³": "^3", "°": "^\\circ"}.items()},
}

_COMMANDS: dict[str, str] = {
    **dict.fromkeys(["\\left", "\\right", "\\!", "\\displaystyle", "\\big", "\\Big", "\\bigl", "\\bigr"], ""),
    **dict.fromkeys(["\\,", "\\;", "\\:", "\\ ", "\\quad", "\\qquad", "\\(", "\\)", "\\[", "\\]"], " "),
    **dict.fromkeys(["\\dfrac", "\\tfrac", "\\cfrac"], "\\frac"),
    **dict.fromkeys(["\\le", "\\leqslant"], "\\leq"),
    **dict.fromkeys(["\\ge", "\\geqslant"], "\\geq"),
    "\\ne": "\\neq",
    "\\lt": "<",
    "\\gt": ">",
    "\\lbrace": "\\{",
    "\\rbrace": "\\}",
    "\\degree": "^\\circ",
    "\\%": "%",
    "\\$": CURRENCY_MARK,
}


def _clean(text: str) -> str:
    """Drop spacing and size commands, math delimiters and text wrappers; currency dollars become `CURRENCY_MARK`."""
    if not any(sign in text for sign in "\\${"):
        return text
    dollar = CURRENCY_MARK if text.count("$") - text.count("\\$") == 1 else " "
    text = _SEPARATOR.sub(GROUP_MARK, text)
    out: list[str] = []
    kept: list[bool] = []
    end = 0
    for match in _TOKEN.finditer(text):
        out.append(text[end : match.start()])
        end = match.end()
        mark = match.group()
        if mark == "$":
            out.append(dollar)
        elif mark == "{":
            kept.append(True)
            out.append(mark)
        elif mark == "}":
            out.append(mark if not kept or kept.pop() else " ")
        elif len(mark) > 2 and mark[-1] == "{":
            kept.append(False)
            out.append(" ")
        else:
            out.append(_COMMANDS.get(mark, mark))
    out.append(text[end:])
    return "".join(out)


_SHORT_FRACTION = re.compile(r"\\(frac|sqrt) ?([0-9a-zA-Z])")
_SHORT_DENOMINATOR = re.compile(r"(\\frac\{[^{}]*+\}) ?([0-9a-zA-Z])")
_SINGLE_SCRIPT = re.compile(r"([\^_]) ?\{ ?([0-9a-zA-Z]) ?\}")
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])|(?<=[0-9]) (?=[A-Za-z])|(?<=[A-Za-z]) (?=[0-9])")
_RELATIONS = (("<=", "\\leq "), (">=", "\\geq "), ("!=", "\\neq "))
_INFINITIES = {"inf": "\\infty", "infinity": "\\infty", "oo": "\\infty"}


def _text(body: str) -> Text:
    sign, word = (body[0], body[1:].lower()) if body[:1] in {"+", "-"} else ("", body.lower())
    if word in _INFINITIES:
        return Text(sign.replace("+", "") + _INFINITIES[word])
    if "\\" in body or "^" in body or "_" in body:
        body = _SHORT_FRACTION.sub(r"\\\1{\2}", body)
        body = _SHORT_DENOMINATOR.sub(r"\1{\2}", body)
        body = _SINGLE_SCRIPT.sub(r"\1\2", body)
    for plain, latex in _RELATIONS:
        body = body.replace(plain, latex)
    body = _LOOSE_SPACE.sub("", " ".join(body.split()))
    return Text(body.casefold() if len(body) > 1 and body.replace(" ", "").isalpha() else body)


# --- structure ----------------------------------------------------------------------------------------------------

_CHOICE = re.compile(r"\(([A-Z])\)|([A-Z])[.)]?")
_NAMED = re.compile(
    r"([A-Za-z]|\\[A-Za-z]++|[A-Za-z]_[0-9A-Za-z]|[A-Za-z] ?\( ?[a-z] ?\)) ?(?:=(?!=)|\\in(?![A-Za-z])) ?"
)
_BRACKETS = frozenset("([")
_CLOSERS = frozenset(")]}")
_STRUCTURE = re.compile(r"\\[{}]|\\[A-Za-z]++|[()\[\]{},;]| (?:and|or) ")


def _value(body: str, depth: int) -> Value:
    choice = _CHOICE.fullmatch(body)
    if choice is not None:
        return Choice(choice[1] or choice[2])
    numeral = number(body)
    if numeral is not None:
        return numeral
    if depth == 0 or len(body) > MAX_STRUCTURE:
        return _text(body)
    named = _NAMED.match(body)
    if named is not None and "=" not in body[named.end() :] and named.end() < len(body):
        return Named(named[1].replace(" ", ""), _value(body[named.end() :], depth - 1))
    parts, wrapped = _split(body)
    if len(parts) > 1:
        items = [_value(part, depth - 1) if part else None for part in parts]
        return _text(body) if None in items else _collection(item for item in items if item is not None)
    if wrapped:
        return _bracketed(body, depth) or _text(body)
    return _text(body)


def _split(body: str) -> tuple[list[str], bool]:
    """Parts between top-level separators, and whether one pair of brackets wraps the whole body."""
    parts: list[str] = []
    level = start = 0
    first_close = -1
    for match in _STRUCTURE.finditer(body):
        mark = match.group()[-1]
        if mark in "([{":
            level += 1
        elif mark in _CLOSERS:
            level -= 1
            if level == 0 and first_close < 0:
                first_close = match.end()
        elif level == 0 and not mark.isalpha() and (mark != "," or not _joins_digits(body, match.start())):
            parts.append(body[start : match.start()].strip())
            start = match.end()
    parts.append(body[start:].strip())
    if len(parts) > 1 and parts[-1].startswith(("and ", "or ")):
        parts[-1] = parts[-1].partition(" ")[2]
    opens = body[0] in _BRACKETS or body.startswith(("{", "\\{"))
    return parts, opens and level == 0 and first_close == len(body)


def _joins_digits(body: str, at: int) -> bool:
    """Whether the comma at `at` can only be a thousands separator: a digit before it and exactly three after it."""
    after = body[at + 1 : at + 5]
    return body[at - 1 : at].isdigit() and len(after) >= 3 and after[:3].isdigit() and not after[3:].isdigit()


def _bracketed(body: str, depth: int) -> Value | None:
    opening = body[:2] if body[0] == "\\" else body[0]
    closing = body[-2:] if body[-2:] in {"\\}"} else body[-1]
    inner = body[len(opening) : len(body) - len(closing)].strip()
    parts = _inner_parts(inner)
    if not all(parts):
        return None
    if opening in {"{", "\\{"}:
        if opening == "{" and len(parts) == 1:
            return _value(inner, depth - 1)
        return _collection({_value(part, depth - 1) for part in parts})
    if len(parts) == 1 and opening == "(" and closing == ")":
        return _value(inner, depth - 1)
    return Ordered(opening, closing, tuple(_value(part, depth - 1) for part in parts))


def _inner_parts(inner: str) -> list[str]:
    parts: list[str] = []
    level = start = 0
    for match in _STRUCTURE.finditer(inner):
        mark = match.group()[-1]
        if mark in "([{":
            level += 1
        elif mark in _CLOSERS:
            level -= 1
        elif level == 0 and mark in ",;":
            parts.append(inner[start : match.start()].strip())
            start = match.end()
    return [*parts, inner[start:].strip()]


def _collection(items: Iterable[Value]) -> Collection:
    return Collection(frozenset(Counter(items).items()))


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, Named) or isinstance(right, Named):
        left_name, left = (left.name, left.value) if isinstance(left, Named) else ("", left)
        right_name, right = (right.name, right.value) if isinstance(right, Named) else ("", right)
        return (left_name == right_name or not left_name or not right_name) and _same(left, right)
    if isinstance(left, Number) and isinstance(right, Number):
        return left.value == right.value and (left.unit == right.unit or not left.unit or not right.unit)
    if isinstance(left, Ordered) and isinstance(right, Ordered):
        brackets = (left.opening, left.closing) == (right.opening, right.closing)
        pairs = zip(left.items, right.items, strict=False)
        return brackets and len(left.items) == len(right.items) and all(_same(one, two) for one, two in pairs)
    return left == right
