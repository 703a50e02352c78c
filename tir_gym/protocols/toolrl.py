r"""ToolRL's tags: thoughts, then calls, a response, or both.

    <think>TEXT</think>
    <tool_call>
    {"name": "TOOL", "parameters": {...}}
    {"name": "TOOL", "parameters": {...}}
    </tool_call>
    <response>TEXT</response>

The grammar is that of `json_calls`: one `<tool_call>` a turn, with one JSON object a line. `<response>` without a call
is the answer and ends the episode; where there is a peer, it is a message. A `<response>` right after the calls is
words to go with them: it is kept in the transcript and ends nothing. Of two responses the first counts. Results come in
`<obs>`; a policy that writes one itself before it acts has no action there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.json_args import BadJson, decode
from tir_gym.protocols.json_calls import CALL, CALL_END, JsonCallReading, element, write_call
from tir_gym.protocols.teaching import sample_call
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

_OWN_TAGS = ("obs", "user", "feedback")
_NEXT_RESPONSE = re.compile(r"\s*+<response>")
_BEGIN, _END = "<|im_start|>assistant", "<|im_end|>"
_neutral = neutralizer(("think", "tool_call", "response", "confidence", *_OWN_TAGS))


@dataclass(frozen=True)
class ToolRL(TextSyntax):
    """ToolRL.

    Lenient reading mends text outside tags (it is thought), several `<tool_call>` in a row, calls that are not one a
    line (a single object on several lines, a list), a call that calls its parameters `arguments`, leaves them out or
    gives them as JSON text, one with further keys, and a last tag that the text's end closes (not where the completion
    was cut for length).

    `paper`: the calls are those that the reward function reads, all of them or none. It never takes a response out of
    the text, so here that is done as it does it for calls: from the first `<response>` to the next `</response>`, in a
    turn without `<tool_call>`. The thought is the one whose length it rewards. The source was read in a fork
    (neruzZ-JPG/ToolRL@2e09bf3), not at its origin.
    """

    name = "toolrl"
    stop_strings = ("</response>", "<obs>")
    source = "qiancheng0/ToolRL@8cee13e verl/utils/reward_score/rlla.py"
    quirks = (
        "A call is read anywhere, out of <think> too: the first <tool_call> of the text counts, and only it.",
        "A </tool_call> anywhere in the text will do: a <tool_call> that is never closed is read to the end.",
        "One line of <tool_call> that is not JSON, an empty one too, spoils all calls of the turn.",
        "Keys beside name and parameters are ignored; of a key given twice the last value counts.",
        "All before the last <|im_start|>assistant in the text, and all from the next <|im_end|> on, is ignored.",
        "A mention of <tool_call> in a turn without calls takes its <response> away.",
        "The source reads NaN, infinities, unpaired surrogates and nesting beyond 64 levels; here they are an error.",
        "The source scores calls without a name or parameters in part; here they spoil all calls of the turn.",
        "Results are not neutralised: a tool's text can close its <obs> and open a turn.",
        "A failed call is shown like a result.",
        "The prompt says what the published one says, in other words; the list of tools has its form.",
    )

    def _reading(self, text: str) -> JsonCallReading:
        return _ToolRLReading(text, self.mode)

    def _write(self, action: Action) -> str:
        self._refuse(action, ("finish",), "only a response ends the episode")
        if action.confidence is not None and (action.answer is None or self.mode == "paper"):
            raise NotExpressible(self.name, "confidence", "it goes with a response that is the answer")
        lines = [element("think", action.thought)]
        said = action.answer if action.message is None else action.message
        if said is None:
            lines += [CALL, *(write_call(call, "parameters") for call in action.calls), CALL_END]
        else:
            lines.append(element("response", said))
        if action.confidence is not None:
            lines.append(f"<confidence>{float(action.confidence)!r}</confidence>")
        return "\n".join(lines)

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Any tools: a name is any text."""
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The tools as the published prompt numbers them, and the syntax by an example made from the first tool."""
        lines = []
        if tools:
            lines += ["**Available Tools**", *(_numbered(i, tool) for i, tool in enumerate(tools, 1)), ""]
        lines += ["**Output Format**", "Think first, then act."]
        if tools:
            example = Action("your reasoning", (sample_call(tools),))
            lines += [
                "To call tools write one JSON object a line, for example:",
                self.format(example),
                'Without parameters give "parameters": {}. Stop after the calls: each result comes in <obs>...</obs>.',
            ]
        use = "To talk to the other party" if peer else "To give your final answer"
        lines += [f"{use} write:", self.format(Action("your reasoning", answer="your words"))]
        if self.mode != "paper" and not peer:
            lines.append("You may put <confidence>a number from 0 to 1</confidence> right after it.")
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """An `<obs>` a call, in call order; in paper mode the text as it is, without a mark for errors."""
        return "\n".join([self._result(result) for result in results])

    def _result(self, result: ShownResult) -> str:
        if self.mode == "paper":
            return f"<obs> {result.text} </obs>"
        error = f"[error: {label(result.error)}] " if result.error else ""
        return f"<obs> {error}{_neutral(result.text)} </obs>"

    def render_feedback(self, text: str) -> str:
        """A `<feedback>` block; there is no published form."""
        return f"<feedback> {_neutral(text)} </feedback>"


def _numbered(number: int, tool: ToolSpec) -> str:
    properties = tool.parameters.get("properties", {})
    return f"{number}. Name: {tool.name}\nDescription: {tool.description}\nParameters: {properties!r}"


class _ToolRLReading(JsonCallReading):
    """One completion being read."""

    __slots__ = ()
    key = "parameters"
    last = "response"
    openings = re.compile(rf"<(think|tool_call|response|{'|'.join(_OWN_TAGS)})>")

    def outside(self, start: int, end: int) -> None:
        """Text [start, end) outside tags: thought where reading is lenient, else of no use."""
        piece = self.text[start:end].strip()
        if not piece:
            return
        start = self.text.index(piece[0], start)
        end = start + len(piece)
        self.fault(ParseErrorType.TEXT_BETWEEN_TAGS, "text stands outside <think>...</think>", start, end)
        self.span(Part.TEXT if self.strict else Part.THOUGHT, start, end)
        if not self.strict:
            self.thoughts.append(piece)

    def block(self, index: int, start: int, end: int) -> None:
        """One JSON object a line between `<tool_call>` and `</tool_call>`, which have lines of their own."""
        if index:
            message = "all calls of a turn stand in one <tool_call>, one a line"
            self.fault(ParseErrorType.TEXT_BETWEEN_TAGS, message, start, end)
            if self.strict:
                return
        body = self.text[start:end]
        framed = body.startswith("\n") and body.endswith("\n")
        lines = [line for line in body.split("\n") if line.strip()]
        if self.strict and not (framed and body.count("\n") == len(lines) + 1):
            message = "write <tool_call>, each call and </tool_call> on a line of its own, without empty lines"
            self.error(ParseErrorType.BAD_ACTION, message, start, end)
            return
        whole = None if self.strict or (lines and isinstance(_value(lines[0]), dict)) else _value(body)
        if not isinstance(whole, dict | list) or not whole:
            for line in lines or [""]:
                self.take_json(line, start, end)
            return
        self.fault(ParseErrorType.BAD_JSON, "write each call as an object on one line", start, end)
        for value in whole if isinstance(whole, list) else [whole]:
            self.take_object(value, start, end)

    def say(self, text: str, peer: bool) -> None:
        """The response: a message where there is a peer, else the answer."""
        if peer:
            self.message = text
        else:
            self.answer = text

    def after_calls(self, end: int) -> None:
        """A response may follow the calls; it ends nothing."""
        if response := _NEXT_RESPONSE.match(self.text, end):
            start = self.text.index("<", end)
            stop = self.text.find("</response>", response.end())
            end = stop + len("</response>") if stop >= 0 else len(self.text)
            if stop < 0:
                self.fault(ParseErrorType.UNCLOSED_TAG, "<response> has no </response>", start, end)
            self.span(Part.TEXT, start, end)
        if self.tail(end) and self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's calls", end, len(self.text))

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """The calls as the reward function reads them."""
        text = self.text
        begin = text.rfind(_BEGIN)
        begin = begin + len(_BEGIN) if begin >= 0 else 0
        limit = text.find(_END, begin)
        limit = limit if limit >= 0 else len(text)
        if "<think>" in text[begin:limit] and "</think>" in text[begin:limit]:
            thought = text[begin:limit].rpartition("<think>")[2].partition("</think>")[0].strip()
            self.thoughts += [thought] if thought else []
        tag = next((tag for tag in ("tool_call", "response") if text.find(f"<{tag}>", begin, limit) >= 0), "")
        start = text.find(f"<{tag}>", begin, limit) if tag else limit
        if text[:start].strip():
            self.span(Part.THOUGHT, 0, start)
        if not tag:
            self.tail(limit)
            return
        self.attempted = True
        body, stop, end = self._split(tag, start, limit)
        unfinished = cut and stop == end
        if tag == "response":
            if unfinished:
                self.error(ParseErrorType.UNCLOSED_TAG, "<response> has no </response>", start, end)
            else:
                self.say(text[body:stop].strip(), peer)
            self.span(Part.ANSWER if self.message is None else Part.MESSAGE, start, end)
        else:
            if unfinished:
                self.cut_call(start, end)
            elif text.find(CALL_END, begin, limit) < 0:
                self.error(ParseErrorType.UNCLOSED_TAG, "<tool_call> has no </tool_call>", start, end)
            else:
                self._published_lines(start, body, stop)
            self.span(Part.CALL, start, end)
        self.tail(end)

    def _split(self, tag: str, start: int, limit: int) -> tuple[int, int, int]:
        """Where the content of the element at `start` begins and ends, and where the element ends.

        The content goes to the closing tag, or else to the next opening tag, or else to `limit`.
        """
        body = start + len(tag) + 2
        after = self.text.find(f"<{tag}>", body, limit)
        after = after if after >= 0 else limit
        stop = self.text.find(f"</{tag}>", body, after)
        return (body, stop, stop + len(tag) + 3) if stop >= 0 else (body, after, after)

    def _published_lines(self, start: int, body: int, stop: int) -> None:
        calls = []
        for line in self.text[body:stop].strip().split("\n"):
            try:
                value = decode(line, repeats=True)
            except BadJson as error:
                self.error(ParseErrorType.BAD_JSON, f"a line is not JSON, so no call runs: {error}", start, stop)
                return
            name, parameters = (value.get("name"), value.get("parameters")) if isinstance(value, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(parameters, dict):
                message = 'write a call as {"name": "TOOL", "parameters": {...}}; a line is not one, so no call runs'
                self.error(ParseErrorType.BAD_ACTION, message, start, stop)
                return
            calls.append(ToolCall(name, parameters))
        self.calls += calls


def _value(text: str) -> Any:
    """The value of a JSON text, None where it is not JSON."""
    try:
        return decode(text)
    except BadJson:
        return None
