"""JSON as the protocols read and write it: exactly the standard, bounded, and the same at any stack depth."""

import json
import math
import re
from typing import Any, NamedTuple

MAX_DEPTH = 64
"""Arrays and objects nested deeper are refused, so that no later step meets Python's recursion limit."""

MAX_DIGITS = 4_300
"""Integers of more digits are refused; the default limit of Python, whose conversion takes quadratic time."""


class BadJson(ValueError):  # noqa: N818
    """The text is not JSON as it is accepted here, or the value cannot be written as JSON; the message says why."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadJson("a key is given twice in one object")
    return members


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadJson(f"an integer has more than {MAX_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJson("a number is too large")
    return value


def _constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant)
_REPEATING = json.JSONDecoder(parse_int=_int, parse_float=_float, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SPACED = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_SPACE = r"[ \t\n\r]*+"
_KEY = rf'("[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*"){_SPACE}:{_SPACE}'
_FIRST_KEY = re.compile(rf"{_SPACE}\{{{_SPACE}{_KEY}")
_NEXT_KEY = re.compile(rf"{_SPACE},{_SPACE}{_KEY}")
_END = re.compile(rf"{_SPACE}\}}{_SPACE}\Z")
_EMPTY = re.compile(rf"{_SPACE}\{{{_SPACE}\}}{_SPACE}\Z")
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\(u[dD][89a-fA-F])?.", re.DOTALL)
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*"?|[\[{]|[\]}]', re.DOTALL)
# No possessive group above: Python before 3.11.5 matches those wrongly (cpython issue 106052).


def encode(value: Any, *, spaced: bool = False) -> str:
    """Compact JSON, characters beyond ASCII as they are. Raises `BadJson` for what is not JSON data.

    `spaced`: with a space after commas and colons, as the chat templates of models write it.
    """
    try:
        return (_SPACED if spaced else _ENCODER).encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadJson(str(error)) from None


def decode(text: str, *, repeats: bool = False) -> Any:
    """The value of a JSON text. With `repeats`, of a key given twice the last value counts, as in Python.

    Raises `BadJson` also where Python is more generous than the standard or the result could not be used: NaN and
    infinities, keys given twice, escaped unpaired surrogates, nesting beyond `MAX_DEPTH`, integers beyond
    `MAX_DIGITS`.
    """
    _refuse_deep(text)
    try:
        value = (_REPEATING if repeats else _DECODER).decode(text)
    except (ValueError, RecursionError) as error:
        raise _explained(error) from None
    _refuse_half_pairs(text)
    return value


class Member(NamedTuple):
    """One member of an object: its value, and where it stands, from the key's quote to the value's end."""

    value: Any
    start: int
    end: int


def decode_members(text: str) -> dict[str, Member]:
    """The members of a JSON text that is an object, in order. Raises `BadJson` like `decode`."""
    _refuse_deep(text)
    try:
        members = _members(text)
    except (ValueError, RecursionError) as error:
        raise _explained(error) from None
    _refuse_half_pairs(text)
    return members


def _members(text: str) -> dict[str, Member]:
    members: dict[str, Member] = {}
    key = _FIRST_KEY.match(text)
    at = 0
    while key:
        name = decode(key[1]) if "\\" in key[1] else key[1][1:-1]
        if name in members:
            raise BadJson(f"the key {name[:40]!r} is given twice")
        value, at = _DECODER.raw_decode(text, key.end())
        members[name] = Member(value, key.start(1), at)
        key = _NEXT_KEY.match(text, at)
    if not (_END if members else _EMPTY).match(text, at):
        raise BadJson(f"an object's next key or end is expected at character {at}")
    return members


def _refuse_deep(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRUCTURE.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadJson(f"it is nested deeper than {MAX_DEPTH} levels")
        elif first in "]}":
            depth -= 1


def _refuse_half_pairs(text: str) -> None:
    if "\\u" in text and any(escape[1] for escape in _ESCAPE.finditer(text)):
        raise BadJson("a \\u escape is half of a surrogate pair")


def _explained(error: Exception) -> BadJson:
    if isinstance(error, BadJson):
        return error
    if isinstance(error, json.JSONDecodeError):
        return BadJson(f"{error.msg[0].lower()}{error.msg[1:]} at character {error.pos}")
    return BadJson("a number or the nesting is beyond what is read")
