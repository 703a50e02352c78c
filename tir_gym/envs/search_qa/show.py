"""How passages are shown: with their ids, and never more than a budget of characters or tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tir_gym.core.interfaces import Hit, Passage

TokenCount = Callable[[str], int]
"""How many tokens a text has."""


@dataclass(frozen=True, slots=True)
class Room:
    """What an observation may hold: at most so many characters, and (0: no limit) so many tokens by `count`.

    Text is cut before the protocol puts its tags round it, so that no closing tag is ever lost.
    """

    chars: int
    tokens: int = 0
    count: TokenCount | None = None

    def fits(self, text: str) -> bool:
        """Whether the text is within the budget."""
        return len(text) <= self.chars and (not self.tokens or self.count is None or self.count(text) <= self.tokens)

    def cut(self, text: str) -> str:
        """The text, or the longest head of it that fits with a mark of the cut; found in a few counts of tokens."""
        if self.fits(text):
            return text
        low, high = 0, min(len(text), self.chars)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(text[:middle] + _CUT) else (low, middle - 1)
        return text[:low].rstrip() + _CUT


_CUT = " [...]"


def hits(found: Sequence[Sequence[Hit]], room: Room) -> tuple[str, list[str]]:
    """The passages of one or several queries as text, and the ids of those that are shown.

    Room is shared: what one passage leaves, later ones may use. A passage that comes twice is shown once.
    """
    wanted = list({hit.id: hit for one in found for hit in one}.values())
    if not wanted:
        return "Nothing was found; try other words.", []
    lines = [f"Doc {number}(Title: {hit.title}) [{hit.id}] {hit.text}" for number, hit in enumerate(wanted, 1)]
    text = "\n".join(lines)
    if room.fits(text):
        return text, [hit.id for hit in wanted]
    return _as_many_as_fit(wanted, lines, room)


def _as_many_as_fit(wanted: Sequence[Hit], lines: Sequence[str], room: Room) -> tuple[str, list[str]]:
    """The lines up to the first that has to be cut; one of which no text would be left is counted with the rest."""
    told, shown = "", list[str]()
    for hit, line in zip(wanted, lines, strict=True):
        text = room.cut(f"{told}\n{line}" if told else line)
        added = text[len(told) + bool(told) :]
        if len(added) <= len(line) - len(hit.text) + len(_CUT):
            left_out = f"({len(wanted) - len(shown)} more left out)"
            return f"{told}\n{left_out}" if told else left_out, shown
        told = f"{told}\n{added}" if told else added
        shown.append(hit.id)
        if added != line:
            break
    return told, shown


def pages(parts: Sequence[Passage], room: Room) -> list[tuple[str, list[str]]]:
    """A document in pages that fit, each with the ids of the passages on it."""
    made: list[tuple[str, list[str]]] = []
    text, ids = "", list[str]()
    for part in parts:
        rest = f"[{part.id}] {part.title}\n{part.text}"
        while rest:
            joined = f"{text}\n\n{rest}" if text else rest
            if room.fits(joined):
                text, ids, rest = joined, [*ids, part.id], ""
            elif text:
                made.append((text, ids))
                text, ids = "", []
            else:
                head = room.cut(rest)
                made.append((head, [part.id]))
                rest = rest[max(1, len(head) - len(_CUT)) :].lstrip()
    return [*made, (text, ids)] if text else made
