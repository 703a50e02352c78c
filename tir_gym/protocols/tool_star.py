r"""The tags of Tool-Star and ARPO: `<think>`, `<search>`, `<python>`, `<answer>... \boxed{answer} ...</answer>`.

The grammar is that of `tags`. A turn is one call of `search(query)` or `python(code)`, or the answer, which ends the
episode: what the last box with balanced braces inside the tag holds. Lenient reading takes an answer without a box
whole. In `paper` mode a call wins over an answer in the same turn wherever it stands, and the call's text begins after
the last opening tag before its closing tag. Results of both tools come in `<result>...</result>`.
"""

from dataclasses import dataclass
from types import MappingProxyType

from tir_gym.core.action import ParseErrorType, Part
from tir_gym.protocols.boxes import BOX, content_of, find_boxes
from tir_gym.protocols.tags import TagReading, Tags


@dataclass(frozen=True)
class ToolStar(Tags):
    """Tool-Star.

    `paper`: generation stops at the first `</search>` or `</python>`, which is a call of that tool with the text since
    its last opening tag, stripped; without one, the first `<answer>...</answer>` is the answer.
    """

    name = "tool_star"
    stop_strings = ("</search>", "</python>")
    parameters = MappingProxyType({"search": "query", "python": "code"})
    result_frame = (" <result>\n", "\n</result>")
    source = (
        "threegold116/Tool-Star-OCT@0791964 (a fork of dongguanting/Tool-Star) "
        "Tool_Star_RL/src/verl/verl/workers/rollout/vllm_rollout/vllm_rollout.py, and re_search.py beside its rewards"
    )
    quirks = (
        "A call is read anywhere, out of <think> and <answer> too.",
        "A closing tag without its opening tag is a call with empty text.",
        "A call after an answer in the same turn runs, and the turn does not answer.",
        "A call without its closing tag is passed over, so an engine must keep the stop strings in the text.",
        "The published rollout ends at a turn with neither call nor answer; here that is for void_ends to say.",
        r"The answer is what follows the last \boxed{ up to its closing brace, braces counted without regard to \{.",
        r"After '\boxed ' with a space, the answer is all that follows it up to a dollar sign.",
        "An answer without a readable box ends the episode as an empty answer and a format error.",
        "The published score reads the first <answer> of the whole rollout, results included; here the turn's own.",
        "Results are not neutralised: one can hold </result>, <answer> or a call.",
        "A failed call is shown like a result.",
        "The fork cuts results to a number of tokens; here they are whole.",
        "The published rollout has no feedback on errors; here it comes in <feedback>.",
        "The prompt says what the published one says, in other words.",
    )

    def _reading(self, text: str) -> TagReading:
        return _ToolStarReading(text, self.mode, self.parameters)

    def _write_answer(self, answer: str) -> str:
        return f"{BOX}{answer}}}"


class _ToolStarReading(TagReading):
    """One completion being read."""

    __slots__ = ()

    def take_answer(self, start: int, end: int) -> None:
        """What the last box holds."""
        boxes, _ = find_boxes(self.text, [(start, end)])
        if boxes:
            self.answer = content_of(self.text, boxes[-1])
            return
        self.fault(ParseErrorType.BAD_ACTION, "write the answer as \\boxed{answer} inside <answer>", start, end)
        if not self.strict:
            super().take_answer(start, end)

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """The first closing tag of a tool, or the first answer."""
        text = self.text
        closings = [(text.find(f"</{tag}>"), tag) for tag in self.parameters]
        stop, tag = min((found for found in closings if found[0] >= 0), default=(-1, ""))
        if stop >= 0:
            opening = text.rfind(f"<{tag}>", 0, stop)
            body = opening + len(tag) + 2 if opening >= 0 else stop
            self._begin(Part.CALL, opening if opening >= 0 else stop, stop + len(tag) + 3)
            self.take_call(tag, body, stop)
            return
        opening = text.find("<answer>")
        stop = text.find("</answer>", opening + len("<answer>")) if opening >= 0 else -1
        if stop >= 0:
            self._begin(Part.ANSWER, opening, stop + len("</answer>"))
            self._take_published_box(opening + len("<answer>"), stop)
            return
        unclosed = max(text.rfind(f"<{tag}>") for tag in self.parameters)
        if cut and unclosed >= 0:
            self.attempted = True
            self.cut_call(unclosed, len(text))
        self.think_before(len(text))

    def _begin(self, part: Part, start: int, end: int) -> None:
        self.attempted = True
        self.think_before(start)
        self.span(part, start, end)
        self.tail(end)

    def _take_published_box(self, start: int, end: int) -> None:
        answer = _published_box(self.text[start:end])
        self.answer = answer or ""
        if answer is None:
            self.error(ParseErrorType.BAD_ACTION, "the answer has no readable \\boxed{...}", start, end)


def _published_box(text: str) -> str | None:
    """The last box as the published scorer finds it, or None where it finds none or fails."""
    spaced = text.rpartition("\\boxed ")
    if spaced[1]:
        return spaced[2].partition("$")[0]
    start = text.rfind("\\boxed")
    if start < 0 or not text.startswith(BOX, start):
        return None
    depth = 0
    for at in range(start + len(BOX) - 1, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + len(BOX) : at]
    return None
