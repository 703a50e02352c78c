r"""Where `\boxed{...}` stands in a text."""

import re
from collections.abc import Iterable

_BRACE = re.compile(r"(\\boxed\{)|\\.|([{}])", re.DOTALL)
BOX = "\\boxed{"


def find_boxes(text: str, ranges: Iterable[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    r"""The boxes with balanced braces in these ranges of the text, and where the last unclosed one begins, or -1.

    A box is (start, end), braces included, in the order in which they close: an inner box before the outer one. Escaped
    braces (`\{`) count neither way.
    """
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    for start, end in ranges:
        for brace in _BRACE.finditer(text, start, end):
            if brace[1]:
                opened.append(brace.start())
            elif brace[2] == "{":
                opened.append(-1)
            elif brace[2] and opened and (begun := opened.pop()) >= 0:
                found.append((begun, brace.end()))
    return found, max(opened, default=-1)


def content_of(text: str, box: tuple[int, int]) -> str:
    """What stands between the braces of a box."""
    return text[box[0] + len(BOX) : box[1] - 1]
