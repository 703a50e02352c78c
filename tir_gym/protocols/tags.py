"""Flat tags: thoughts, then one action in a tag of its own. What the grammars of Search-R1 and Tool-Star share.

    turn    = { <think>TEXT</think> } [confidence] action
    action  = <TOOL>TEXT</TOOL> | <answer>TEXT</answer> [confidence]
    confidence = <confidence>NUMBER</confidence>

A tool's tag is its name and TEXT its only argument. TEXT is anything up to the first closing tag of its kind; space
around it means nothing, but in a thought only one new line at either end. There is no escape: text that holds its own
closing tag is not expressible. A completion may begin inside a thought, because chat templates open `<think>` for the
policy: what stands before a `</think>` that comes before all other tags is thought.

The first action outside thoughts ends the turn; what follows it is tail, never parsed. An answer after a call is an
error (the result was not seen), the call runs. Of two answers the first counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.json_calls import element, without_layout
from tir_gym.protocols.reading import Mode, Reading
from tir_gym.protocols.teaching import sample_call, tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

_TAGS = ("think", "search", "python", "answer", "confidence", "information", "result", "feedback")
_neutral = neutralizer(_TAGS)


@dataclass(frozen=True)
class Tags(TextSyntax):
    """A syntax of flat tags.

    Lenient reading takes text outside tags as thought (as the message, where there is a peer and no action), ends a
    thought without a closing tag at the next action, and closes the last tag where the text ends. The last two mends
    are not made in a completion cut for length.
    """

    parameters: ClassVar[Mapping[str, str]]
    """The tools that can be called, each with its only parameter."""
    result_frame: ClassVar[tuple[str, str]]
    """What stands before and after the text of a result."""

    def _write(self, action: Action) -> str:
        self._refuse(action, ("finish",), "only an answer ends the episode")
        if action.message is not None and self.mode != "lenient":
            raise NotExpressible(self.name, "message", "there is no tag for it, and text outside tags says nothing")
        if action.confidence is not None and self.mode == "paper":
            raise NotExpressible(self.name, "confidence", "the published grammar has no place for it")
        lines = [element("think", action.thought)] if action.thought else []
        if action.confidence is not None:
            lines.append(f"<confidence>{float(action.confidence)!r}</confidence>")
        if action.message is not None:
            lines.append(action.message)
        elif action.answer is not None:
            lines.append(element("answer", self._write_answer(action.answer)))
        else:
            lines.append(self._write_call(action.calls))
        return "\n".join(lines)

    def _write_answer(self, answer: str) -> str:
        return answer

    def _write_call(self, calls: Sequence[ToolCall]) -> str:
        call = calls[0]
        argument = call.arguments.get(self.parameters.get(call.name, ""))
        if len(calls) > 1 or len(call.arguments) != 1 or not isinstance(argument, str):
            raise NotExpressible(self.name, "calls", f"a turn is one call of {self._signatures()}")
        return element(call.name, argument)

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Only tools that have a tag, with exactly its text as required argument, and at least one."""
        fitting = bool(tools) and all(self._fits(tool) for tool in tools)
        if fitting and len({tool.name for tool in tools}) == len(tools):
            return ""
        given = ", ".join(f"{tool.name}({', '.join(tool.parameter_names)})" for tool in tools)
        return f"{self.name} calls nothing but {self._signatures()}; the toolkit is: {given or 'empty'}"

    def _fits(self, tool: ToolSpec) -> bool:
        parameter = self.parameters.get(tool.name, "")
        schema = tool.parameters.get("properties", {}).get(parameter, {})
        return list(tool.parameters.get("required", ())) == [parameter] and schema.get("type") == "string"

    def _signatures(self) -> str:
        return " or ".join(f"{name}({parameter})" for name, parameter in self.parameters.items())

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example of each tool, and the list of tools."""
        lines = ["Think inside <think>...</think>, then act once."]
        if tools:
            before, after = (part.strip() for part in self.result_frame)
            examples = [self.format(Action(calls=(sample_call([tool]),))) for tool in tools]
            lines += [
                "To call a tool write, for example:",
                *examples,
                f"Stop after it: its result comes in {before}...{after}, and you think again.",
            ]
        if peer and self.mode == "lenient":
            lines.append("To talk to the other party write your words without any tag.")
        lines.append(f"To give your final answer write {self.format(Action(answer='your answer'))}.")
        if self.mode != "paper":
            lines.append("You may put <confidence>a number from 0 to 1</confidence> right before it.")
        if tools:
            lines += ["", "Tools:", tool_list(tools)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """A framed block a call, in call order; in paper mode the text as it is, without a mark for errors."""
        return "".join([self._result(result) for result in results])

    def _result(self, result: ShownResult) -> str:
        before, after = self.result_frame
        if self.mode == "paper":
            return f"{before}{self._shown_as_published(result.text)}{after}"
        error = f"[error: {label(result.error)}]\n" if result.error else ""
        return f"{before}{error}{_neutral(result.text)}{after}"

    def _shown_as_published(self, text: str) -> str:
        return text

    def render_feedback(self, text: str) -> str:
        """A `<feedback>` block; no published form is known for it."""
        return f"\n<feedback>\n{_neutral(text)}\n</feedback>\n"


class TagReading(Reading):
    """One completion being read."""

    __slots__ = ("_actions", "_loose", "_openings", "parameters")

    def __init__(self, text: str, mode: Mode, parameters: Mapping[str, str]) -> None:
        super().__init__(text, mode)
        self.parameters = parameters
        actions = "|".join([*parameters, "answer"])
        self._actions = re.compile(f"<({actions})>")
        self._openings = re.compile(f"<(think|confidence|{actions})>")
        self._loose: dict[tuple[int, int], int] = {}

    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar."""
        at = self._begun_thought()
        while opening := self._openings.search(self.text, at):
            self._outside(at, opening.start())
            if opening[1] == "think":
                at = self._think(opening, cut)
            elif opening[1] == "confidence":
                at = self.confidence_element(opening)
            else:
                self._act(opening, cut)
                break
        else:
            self._outside(at, len(self.text))
            if peer and not self.strict and self._say():
                return
        if self._loose:
            message = "text stands outside <think>...</think>"
            self.fault(ParseErrorType.TEXT_BETWEEN_TAGS, message, *next(iter(self._loose)))

    def take_answer(self, start: int, end: int) -> None:
        """Use the answer whose text stands at [start, end)."""
        self.answer = self.text[start:end].strip()

    def take_call(self, tag: str, start: int, end: int) -> None:
        """Make a call of the text at [start, end)."""
        self.calls.append(ToolCall(tag, {self.parameters[tag]: self.text[start:end].strip()}))

    def think_before(self, end: int) -> None:
        """All text before `end` is thought, without a `<think>` that encloses the whole."""
        thought = self.text[:end].strip()
        if not thought:
            return
        start = self.text.index(thought[0])
        self.span(Part.THOUGHT, start, start + len(thought))
        if thought.startswith("<think>") and thought.endswith("</think>"):
            thought = without_layout(thought.removeprefix("<think>").removesuffix("</think>"))
        if thought:
            self.thoughts.append(thought)

    def _outside(self, start: int, end: int) -> None:
        """Text outside tags: thought where reading is lenient, else of no use."""
        piece = self.text[start:end].strip()
        if not piece:
            return
        start = self.text.index(piece[0], start)
        self._loose[start, start + len(piece)] = len(self.thoughts)
        self.span(Part.TEXT if self.strict else Part.THOUGHT, start, start + len(piece))
        if not self.strict:
            self.thoughts.append(piece)

    def _say(self) -> bool:
        """Make the text outside tags a message, if there is any."""
        if not self._loose:
            return False
        self.attempted = True
        said = set(self._loose.values())
        self.message = "\n".join(self.thoughts[i] for i in self._loose.values())
        self.thoughts = [thought for i, thought in enumerate(self.thoughts) if i not in said]
        self.spans = [
            span._replace(part=Part.MESSAGE) if (span.start, span.end) in self._loose else span for span in self.spans
        ]
        return True

    def _think(self, opening: re.Match[str], cut: bool) -> int:
        start, body = opening.span()
        stop = self.text.find("</think>", body)
        end = stop + len("</think>")
        if stop < 0:
            action = None if self.strict or cut else self._actions.search(self.text, body)
            stop = end = action.start() if action else len(self.text)
            report = self.fault if action else self.error
            report(ParseErrorType.UNCLOSED_TAG, "<think> has no </think>", start, end)
        return self._thought(start, body, stop, end)

    def _begun_thought(self) -> int:
        """Read a thought that the prompt has opened; returns where it ends, 0 for none."""
        stop = self.text.find("</think>")
        if stop < 0 or self._openings.search(self.text, 0, stop):
            return 0
        return self._thought(0, 0, stop, stop + len("</think>"))

    def _thought(self, start: int, body: int, stop: int, end: int) -> int:
        if thought := without_layout(self.text[body:stop]):
            self.thoughts.append(thought)
        self.span(Part.THOUGHT, start, end)
        return end

    def _act(self, opening: re.Match[str], cut: bool) -> None:
        self.attempted = True
        tag, (start, body) = opening[1], opening.span()
        is_call = tag in self.parameters
        stop = self.text.find(f"</{tag}>", body)
        end = stop + len(tag) + 3
        used = True
        if stop < 0:
            stop = end = len(self.text)
            used = not (cut or self.strict)
            if cut and is_call:
                self.cut_call(start, end)
            else:
                report = self.fault if used else self.error
                report(ParseErrorType.UNCLOSED_TAG, f"<{tag}> has no </{tag}>", start, end)
        self.span(Part.CALL if is_call else Part.ANSWER, start, end)
        if used and is_call:
            self.take_call(tag, body, stop)
        elif used:
            self.take_answer(body, stop)
            if self.confidence is None:
                end = self.confidence_after(end)
        self._after(end, is_call)

    def _after(self, end: int, is_call: bool) -> None:
        tail = self.tail(end)
        answer = tail.find("<answer>")
        if answer >= 0 and is_call:
            message = "an answer cannot come with a call whose result you have not seen"
            self.error(ParseErrorType.ANSWER_WITH_CALL, message, end + answer, len(self.text))
        elif answer >= 0:
            message = "there are two answers; the first counts"
            self.fault(ParseErrorType.DUPLICATE_ANSWER, message, end + answer, len(self.text))
        elif tail and self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's action", end, len(self.text))
