r"""Calls as JSON objects in `<tool_call>` tags: what the grammars of Hermes and ToolRL share.

    turn   = { <think>TEXT</think> } action
    action = <tool_call>...</tool_call> ... | <LAST>TEXT</LAST> [<confidence>NUMBER</confidence>]

LAST is `answer` or `response`. TEXT is anything up to the first closing tag of its kind, without one new line at either
end; there is no escape. In JSON there is one, its own: a `<` that begins a tag or a chat template's token is written
`\u003c`, so arguments can hold any text. A completion may begin inside a thought, because chat templates open `<think>`
for the policy: what stands before a `</think>` that nothing opens is thought.

The first action outside thoughts ends the turn; what follows it is tail, never parsed. A tag of the environment (a
result, feedback) where an action is expected is made up: it ends the reading, and the turn has no action.
"""

import re
from typing import Any, ClassVar

from tir_gym.core.action import ParseErrorType, Part, ToolCall
from tir_gym.protocols.json_args import BadJson, decode, encode
from tir_gym.protocols.reading import Reading

CALL, CALL_END = "<tool_call>", "</tool_call>"
_TAG_IN_JSON = re.compile(r"<(?=/?[a-z_]+>|\|)")
_NEXT_CALL = re.compile(r"\s*+<(tool_call)>")
_OTHER_KEY = {"arguments": "parameters", "parameters": "arguments"}


def write_call(call: ToolCall, key: str) -> str:
    """The call as a JSON object of `name` and `key`. Raises `BadJson` for arguments that are not JSON data."""
    return _TAG_IN_JSON.sub(r"\\u003c", encode({"name": call.name, key: call.arguments}, spaced=True))


def element(tag: str, text: str) -> str:
    """Text in a tag, on lines of its own where it has several."""
    return f"<{tag}>\n{text}\n</{tag}>" if "\n" in text else f"<{tag}>{text}</{tag}>"


def without_layout(text: str) -> str:
    """The text of an element, without the new lines that `element` adds."""
    return text.removeprefix("\n").removesuffix("\n")


class JsonCallReading(Reading):
    """One completion being read."""

    __slots__ = ()
    key: ClassVar[str]
    """The key of the arguments in a call."""
    last: ClassVar[str]
    """The tag of the last word."""
    openings: ClassVar[re.Pattern[str]]
    """The opening tags that mean something outside others; group 1 is the name."""

    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar."""
        at = self._begun_thought()
        while opening := self.openings.search(self.text, at):
            self.outside(at, opening.start())
            if opening[1] == "think":
                at = self._think(opening)
                continue
            if opening[1] == "tool_call":
                self._calls(opening, cut)
            elif opening[1] == self.last:
                self._last_word(opening, cut, peer)
            else:
                self.tail(opening.start())
            return
        self.plain(at, cut, peer)

    def outside(self, start: int, end: int) -> None:
        """Text [start, end) outside tags and before an action: thought."""
        if piece := self.text[start:end].strip():
            start = self.text.index(piece[0], start)
            self.thoughts.append(piece)
            self.span(Part.THOUGHT, start, start + len(piece))

    def plain(self, start: int, cut: bool, peer: bool) -> None:
        """Text from `start` to the end where the turn has no tag of an action: thought."""
        self.outside(start, len(self.text))

    def block(self, index: int, start: int, end: int) -> None:
        """Take the calls in the `index`-th `<tool_call>`, whose content is [start, end): one JSON object."""
        self.take_json(self.text[start:end], start, end)

    def say(self, text: str, peer: bool) -> None:
        """Take the last word of the turn."""
        self.answer = text

    def after_calls(self, end: int) -> None:
        """What follows the calls is tail; an answer in it is an error."""
        tail = self.tail(end)
        if (answer := tail.find(f"<{self.last}>")) >= 0:
            message = "an answer cannot come with calls whose results you have not seen"
            self.error(ParseErrorType.ANSWER_WITH_CALL, message, end + answer, len(self.text))
        elif tail and self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's calls", end, len(self.text))

    def take_json(self, text: str, start: int, end: int) -> None:
        """Take the call that this JSON text, at [start, end), describes; or report what is wrong with it."""
        try:
            self.take_object(decode(text), start, end)
        except BadJson as error:
            nested = ParseErrorType.NESTED_TAG if CALL in text else ParseErrorType.BAD_JSON
            self.error(nested, f"the call is not JSON: {error}", start, end)

    def take_object(self, value: Any, start: int, end: int) -> None:
        """Take the call that this JSON value, at [start, end), describes; or report what is wrong with it."""
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str) or not name:
            message = f'write a call as {{"name": "TOOL", "{self.key}": {{...}}}}'
            self.error(ParseErrorType.BAD_ACTION, message, start, end)
            return
        faults = len(self.errors)
        other = _OTHER_KEY[self.key]
        key = other if other in value and self.key not in value else self.key
        if not value.keys() <= {"name", self.key}:
            message = f'a call has the keys "name" and "{self.key}" only'
            self.fault(ParseErrorType.BAD_ACTION, message, start, end)
        arguments = self._arguments(value.get(key), start, end)
        if arguments is not None and len(self.errors) == faults:
            self.calls.append(ToolCall(name, arguments))

    def _arguments(self, given: Any, start: int, end: int) -> dict[str, Any] | None:
        if given is None:
            self.fault(ParseErrorType.BAD_JSON, f'"{self.key}" is missing; write {{}} for none', start, end)
            return {}
        if isinstance(given, str):
            self.fault(ParseErrorType.BAD_JSON, f'"{self.key}" is text; write the object itself', start, end)
            try:
                given = decode(given)
            except BadJson:
                given = None
        if isinstance(given, dict):
            return given
        self.error(ParseErrorType.BAD_JSON, f'"{self.key}" is not a JSON object', start, end)
        return None

    def _begun_thought(self) -> int:
        """Read a thought that the prompt has opened; returns where it ends, 0 for none."""
        stop = self.text.find("</think>")
        if stop < 0 or self.text.find("<think>", 0, stop) >= 0:
            return 0
        return self._thought(0, 0, stop)

    def _think(self, opening: re.Match[str]) -> int:
        stop = self.text.find("</think>", opening.end())
        if stop >= 0:
            return self._thought(opening.start(), opening.end(), stop)
        end = len(self.text)
        self.error(ParseErrorType.UNCLOSED_TAG, "<think> has no </think>", opening.start(), end)
        return self._thought(opening.start(), opening.end(), end)

    def _thought(self, start: int, body: int, stop: int) -> int:
        if thought := without_layout(self.text[body:stop]):
            self.thoughts.append(thought)
        end = min(stop + len("</think>"), len(self.text))
        self.span(Part.THOUGHT, start, end)
        return end

    def _calls(self, opening: re.Match[str] | None, cut: bool) -> None:
        self.attempted = True
        index = end = 0
        while opening:
            start, body = opening.start(1) - 1, opening.end()
            stop = self.text.find(CALL_END, body)
            closed = stop >= 0
            end = stop + len(CALL_END) if closed else len(self.text)
            self.span(Part.CALL, start, end)
            if not closed and cut:
                self.cut_call(start, end)
                return
            if not closed:
                self.fault(ParseErrorType.UNCLOSED_TAG, "<tool_call> has no </tool_call>", start, end)
            if closed or not self.strict:
                self.block(index, body, stop if closed else end)
            index += 1
            opening = _NEXT_CALL.match(self.text, end)
        self.after_calls(end)

    def _last_word(self, opening: re.Match[str], cut: bool, peer: bool) -> None:
        self.attempted = True
        start, body = opening.span()
        stop = self.text.find(f"</{self.last}>", body)
        end = stop + len(self.last) + 3
        used = True
        if stop < 0:
            stop = end = len(self.text)
            used = not (cut or self.strict)
            report = self.fault if used else self.error
            report(ParseErrorType.UNCLOSED_TAG, f"<{self.last}> has no </{self.last}>", start, end)
        if used:
            self.say(without_layout(self.text[body:stop]), peer)
        self.span(Part.ANSWER if self.message is None else Part.MESSAGE, start, end)
        self._after_last_word(self.confidence_after(end) if self.answer is not None else end)

    def _after_last_word(self, end: int) -> None:
        tail = self.tail(end)
        if (second := tail.find(f"<{self.last}>")) >= 0:
            message = f"there are two <{self.last}>; the first counts"
            self.fault(ParseErrorType.DUPLICATE_ANSWER, message, end + second, len(self.text))
        elif tail and self.strict:
            message = f"text follows <{self.last}>"
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, message, end, len(self.text))
