r"""Where `\boxed{...}` stands in a text, and free text in which it is the answer."""

import re
from collections.abc import Iterable, Sequence

from tir_gym.core.action import ParseErrorType, Part
from tir_gym.protocols.reading import Reading

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


class BoxReading(Reading):
    r"""One completion of free text being read: before its one action all is thought."""

    __slots__ = ()

    def think(self, end: int) -> None:
        """Everything before `end` is thought, but for one new line that is layout."""
        thought = self.text[:end].removesuffix("\n")
        if thought:
            self.thoughts.append(thought)
            self.span(Part.THOUGHT, 0, len(thought))

    def speak(self, peer: bool) -> None:
        """Text without an action is a message where there is a peer."""
        if peer and self.text and not self.text.isspace():
            self.attempted = True
            self.message = self.text
            self.span(Part.MESSAGE, 0, len(self.text))
        else:
            self.think(len(self.text))

    def take_answer(self, answer: str, start: int, end: int) -> None:
        """The answer stands at [start, end); all before it is thought, all after it tail."""
        self.attempted = True
        self.think(start)
        self.span(Part.ANSWER, start, end)
        self.answer = answer
        self.tail(end)

    def take_last(self, boxes: Sequence[tuple[int, int]]) -> None:
        """The last of these boxes is the answer; other content in one before it is a fault."""
        start, end = boxes[-1]
        self.take_answer(content_of(self.text, boxes[-1]), start, end)
        if any(box[1] <= start and content_of(self.text, box) != self.answer for box in boxes[:-1]):
            self.fault(ParseErrorType.DUPLICATE_ANSWER, "there are several boxes; the last counts", start, end)

    def no_closing_brace(self, start: int, limit: int) -> None:
        """The box that begins at `start` is not closed before `limit`; all of the text before that is thought."""
        self.attempted = True
        self.think(limit)
        self.error(ParseErrorType.UNCLOSED_TAG, "\\boxed{ has no closing brace", start, limit)
