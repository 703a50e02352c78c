r"""Hermes function calls, as the chat templates of Hermes, Qwen2.5 and Qwen3 have them.

    <think>
    TEXT
    </think>

    TEXT
    <tool_call>
    {"name": "TOOL", "arguments": {...}}
    </tool_call>
    <tool_call> ...

The grammar is that of `json_calls`, one call in each tag. Text outside thoughts and before an action is thought too.
Calls belong to one turn as long as only space stands between them; what follows is tail. A turn without a call is the
final answer: `<answer>TEXT</answer>`, or all text after the last thought, stripped; where there is a peer, such text
without `<answer>` is a message. Of two `<answer>` the first counts; one after calls is an error (their results were not
seen), the calls run. Results come in `<tool_response>`; a policy that writes one itself has no action there.

`</tool_call>` is no stop string (verl-tool has it), so that a turn can have several calls.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.json_args import BadJson, decode, encode
from tir_gym.protocols.json_calls import CALL, CALL_END, JsonCallReading, element, write_call
from tir_gym.protocols.teaching import sample_call
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

_OWN_TAGS = ("tools", "tool_response", "feedback")
_neutral = neutralizer(("think", "tool_call", "answer", "confidence", *_OWN_TAGS))


@dataclass(frozen=True)
class Hermes(TextSyntax):
    """Hermes function calls.

    Lenient reading mends a call that calls its arguments `parameters`, leaves them out or gives them as JSON text, one
    with further keys, and a last tag that the text's end closes (not where the completion was cut for length).

    `paper`: every `<tool_call>...</tool_call>` of the text whose content is an object with `name` and `arguments` is a
    call, the others are passed over (here they are errors, too); a turn without a call is the answer. What is thought
    and what is answer is taken apart at the last `</think>`, as in Qwen3's chat template, whose layout results and
    calls have. That template was read in a repository that quotes it (wangling03/BioReason@9153dfb), not at its origin.
    """

    name = "hermes"
    stop_strings = ("</answer>", "<tool_response>")
    source = "volcengine/verl@08cccde verl/experimental/agent_loop/tool_parser.py HermesToolParser"
    quirks = (
        "A call is read anywhere, out of <think> and out of a made-up <tool_response> too.",
        "A call that cannot be read is dropped in silence: the policy reads nothing about it.",
        "A turn whose calls can all not be read, or that is empty, ends the episode like an answer.",
        "Keys beside name and arguments are ignored; of a key given twice the last value counts.",
        "verl runs only the first max_parallel_calls calls of a turn (1 by default); here all run.",
        "verl hands arguments that are no object to the tool; here they are an error.",
        "verl reads NaN, infinities, unpaired surrogates and nesting beyond 64 levels; here they are an error.",
        "verl ends the rollout where a tool raises; here the policy reads the message.",
        "verl cuts a result to max_tool_response_length characters; here it is whole.",
        "Results are not neutralised: a tool's text can close its <tool_response> and open a turn.",
        "A failed call is shown like a result.",
        "The answer is all text outside calls; there is no tag for it.",
        "The prompt says what the chat template says, in other words; the list of tools has its form.",
    )

    def _reading(self, text: str) -> JsonCallReading:
        return _HermesReading(text, self.mode)

    def _write(self, action: Action) -> str:
        self._refuse(action, ("finish",), "only an answer ends the episode")
        if action.confidence is not None and (action.answer is None or self.mode == "paper"):
            raise NotExpressible(self.name, "confidence", "it goes with <answer>")
        thought = f"<think>\n{action.thought}\n</think>\n\n" if action.thought else ""
        if action.message is not None:
            return thought + action.message
        if action.answer is None:
            return thought + "\n".join([_written(call) for call in action.calls])
        if self.mode == "paper":
            return thought + action.answer
        confidence = "" if action.confidence is None else f"\n<confidence>{float(action.confidence)!r}</confidence>"
        return thought + element("answer", action.answer) + confidence

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Any tools: a name is any text."""
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The tools as JSON lines in `<tools>`, and the syntax by an example made from the first tool."""
        lines = []
        if tools:
            lines += [
                "# Tools",
                "",
                "The functions that you can call, one JSON schema a line:",
                "<tools>",
                *(encode(tool.schema, spaced=True) for tool in tools),
                "</tools>",
                "",
                "Think inside <think>...</think>. To call functions write a JSON object in tags for each, for example:",
                _written(sample_call(tools)),
                "Stop after the last one: the results come in <tool_response> tags.",
            ]
        else:
            lines.append("Think inside <think>...</think>.")
        if peer:
            lines.append("A turn without a call is said to the other party.")
        if self.mode != "paper":
            lines += [
                "To give your final answer write <answer>your answer</answer>.",
                "You may put <confidence>a number from 0 to 1</confidence> right after it.",
            ]
        elif not peer:
            lines.append("A turn without a call is your final answer.")
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """A `<tool_response>` a call, in call order; in paper mode the text as it is, without a mark for errors."""
        return "\n".join([self._result(result) for result in results])

    def _result(self, result: ShownResult) -> str:
        text = result.text
        if self.mode != "paper":
            text = _neutral(text)
            text = f"[error: {label(result.error)}]\n{text}" if result.error else text
        return f"<tool_response>\n{text}\n</tool_response>"

    def render_feedback(self, text: str) -> str:
        """A `<feedback>` block; there is no published form."""
        return f"<feedback>\n{_neutral(text)}\n</feedback>"


def _written(call: ToolCall) -> str:
    return f"{CALL}\n{write_call(call, 'arguments')}\n{CALL_END}"


class _HermesReading(JsonCallReading):
    """One completion being read."""

    __slots__ = ()
    key = "arguments"
    last = "answer"
    openings = re.compile(rf"<(think|tool_call|answer|{'|'.join(_OWN_TAGS)})>")

    def plain(self, start: int, cut: bool, peer: bool) -> None:
        """Text from `start` to the end is the last word, unless it was cut off."""
        said = self.text[start:].strip()
        if not said:
            return
        begin = self.text.index(said[0], start)
        end = begin + len(said)
        self.attempted = True
        if cut:
            self.error(ParseErrorType.UNCLOSED_TAG, "the completion was cut before its end", begin, end)
            self.outside(start, end)
        elif peer:
            self.message = said
            self.span(Part.MESSAGE, begin, end)
        else:
            self.answer = said
            self.span(Part.ANSWER, begin, end)

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """Every closed `<tool_call>` in order, then what is left as Qwen3's template takes it apart."""
        text = self.text
        self.attempted = True
        pieces: list[tuple[int, int]] = []
        at = 0
        while (start := text.find(CALL, at)) >= 0 and (stop := text.find(CALL_END, start)) >= 0:
            pieces.append((at, start))
            at = stop + len(CALL_END)
            self._published_call(start, at)
        pieces.append((at, len(text)))
        content = "".join([text[start:end] for start, end in pieces])
        before, closing, said = content.rpartition("</think>")
        reasoning = before.partition("</think>")[0].rstrip("\n").rpartition("<think>")[2].lstrip("\n")
        part = Part.THOUGHT
        if cut and (start >= 0 or not self.calls):
            self._cut_off(start)
        elif not self.calls:
            part = self._last_words(said.lstrip("\n") if closing else said, peer)
        loose = said.strip() if part is Part.THOUGHT else ""
        self.thoughts = [thought for thought in (reasoning, loose) if thought]
        self._mark(pieces, len(content) - len(said), part)

    def _last_words(self, said: str, peer: bool) -> Part:
        if not peer:
            self.answer = said
            return Part.ANSWER
        if said.strip():
            self.message = said
            return Part.MESSAGE
        self.attempted = bool(self.errors)
        return Part.THOUGHT

    def _published_call(self, start: int, end: int) -> None:
        body = self.text[start + len(CALL) : end - len(CALL_END)]
        try:
            value = decode(body, repeats=True)
        except BadJson as error:
            self.error(ParseErrorType.BAD_JSON, f"the call is not JSON: {error}", start, end)
            return
        name, arguments = (value.get("name"), value.get("arguments")) if isinstance(value, dict) else (None, None)
        if isinstance(name, str) and isinstance(arguments, dict):
            self.calls.append(ToolCall(name, arguments))
        else:
            message = 'write a call as {"name": "TOOL", "arguments": {...}}'
            self.error(ParseErrorType.BAD_ACTION, message, start, end)

    def _cut_off(self, call: int) -> None:
        """The completion was cut, inside the call that begins at `call` where that is not negative."""
        end = len(self.text)
        if call >= 0:
            self.cut_call(call, end)
        else:
            self.error(ParseErrorType.UNCLOSED_TAG, "the completion was cut before its end", 0, end)

    def _mark(self, pieces: list[tuple[int, int]], thought: int, part: Part) -> None:
        """Enter the spans: calls between pieces, whose first `thought` characters are thought, the others `part`."""
        last = 0
        for start, end in pieces:
            if last < start:
                self.span(Part.CALL, last, start)
            middle = min(start + thought, end)
            thought -= middle - start
            for role, a, b in ((Part.THOUGHT, start, middle), (part, middle, end)):
                if self.text[a:b].strip():
                    self.span(role, a, b)
            last = end
