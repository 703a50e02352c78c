"""The tags of Search-R1: `<think>`, `<search>query</search>`, `<answer>text</answer>`; the grammar is that of `tags`.

A turn is one call of `search(query)` or the answer, which ends the episode. The first action outside thoughts counts,
in `paper` mode the first anywhere. Results come in `<information>...</information>`; their layout (`Doc 1(Title: ...)`)
is the tool's affair.
"""

from dataclasses import dataclass
from types import MappingProxyType

from tir_gym.core.action import Part
from tir_gym.protocols.tags import TagReading, Tags

_INVALID = (
    "\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. "
    "If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n"
)


@dataclass(frozen=True)
class SearchR1(Tags):
    """Search-R1.

    `paper`: the text is cut after the first `</search>`, else after the first `</answer>`; in what is left the first
    of `<search>...</search>` and `<answer>...</answer>` is the action, its text stripped.
    """

    name = "search_r1"
    stop_strings = ("</search>", "</answer>")
    parameters = MappingProxyType({"search": "query"})
    result_frame = ("\n\n<information>", "</information>\n\n")
    source = "PeterGriffinJin/Search-R1@8b416d2 search_r1/llm_agent/generation.py"
    quirks = (
        "A query or an answer is read anywhere, out of <think> too.",
        "A stray </search> discards all that follows, an answer included.",
        "An opening tag without its closing tag is passed over, so an engine must keep the stop strings in the text.",
        "Text of any length between the first opening tag and the closing tag is the query, other tags included.",
        "An empty query is searched.",
        "Whatever is wrong with a turn, the policy reads the same sentences, written as its own words.",
        "Results are not neutralised: a passage can hold </information>, <answer> or a search.",
        "A failed search is shown like a result.",
        "The published code cuts results to a number of tokens; here they are whole.",
        "The published score reads the last <answer> of the whole rollout, passages included; here the turn's action.",
        "The prompt says what the published one says, in other words.",
    )

    def _reading(self, text: str) -> TagReading:
        return _SearchR1Reading(text, self.mode, self.parameters)

    def _shown_as_published(self, text: str) -> str:
        return text.strip()

    def render_feedback(self, text: str) -> str:
        """A `<feedback>` block; in paper mode the published sentences, whatever the text."""
        return _INVALID if self.mode == "paper" else super().render_feedback(text)


class _SearchR1Reading(TagReading):
    """One completion being read."""

    __slots__ = ()

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """The leftmost complete element before the cut, found without the backtracking of a regular expression."""
        text = self.text
        limit = len(text)
        for closing in ("</search>", "</answer>"):
            if (found := text.find(closing)) >= 0:
                limit = found + len(closing)
                break
        for start, tag in sorted((text.find(f"<{tag}>", 0, limit), tag) for tag in ("search", "answer")):
            body = start + len(tag) + 2
            stop = text.find(f"</{tag}>", body, limit) if start >= 0 else -1
            if stop >= 0:
                self._take(tag, start, body, stop)
                return
        opening = text.rfind("<search>")
        if cut and opening >= 0 and "</search>" not in text and "</answer>" not in text:
            self.attempted = True
            self.cut_call(opening, limit)
        self.think_before(limit)
        self.tail(limit)

    def _take(self, tag: str, start: int, body: int, stop: int) -> None:
        self.attempted = True
        end = stop + len(tag) + 3
        self.think_before(start)
        self.span(Part.CALL if tag == "search" else Part.ANSWER, start, end)
        if tag == "search":
            self.take_call(tag, body, stop)
        else:
            self.take_answer(body, stop)
        self.tail(end)
