"""The chat API's assistant message, as a message or as its canonical JSON text.

    {"role":"assistant","reasoning_content":TEXT,"content":TEXT|null,
     "tool_calls":[{"id":ID,"type":"function","function":{"name":NAME,"arguments":"JSON object as text"}}]}

With tool calls, content is thought. Without, it is the answer, or the message where there is a peer.
`reasoning_content` (or `reasoning`) is thought. `content` may be a list of parts, `arguments` an object. Calls that
cannot be read are errors, the others run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.core.action import Action, ParseError, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import ShownResult, ToolSpec
from tir_gym.protocols.json_args import BadJson, Member, decode, decode_members, encode
from tir_gym.protocols.reading import Reading, Syntax
from tir_gym.protocols.teaching import sample_call, tool_list
from tir_gym.protocols.untrusted import label, neutralizer

_KNOWN = ("role", "reasoning_content", "reasoning", "content", "tool_calls")
_LOOKS_LIKE_MESSAGE = re.compile(r'\s*+(?:\{\s*+["}]|\[\s*+\{\s*+"role")')
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_neutral = neutralizer(())


def text_of_content(content: Any) -> str | None:
    """The text of a message's content (a string, None, or a list of parts, of which text counts); None for others."""
    if content is None:
        return ""
    if isinstance(content, str):
        return str(content)
    if not isinstance(content, list | tuple):
        return None
    texts = []
    for part in content:
        text = part.get("text", "") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning beside a message's content, "" for none."""
    for key in ("reasoning_content", "reasoning"):
        if isinstance(said := message.get(key), str) and said:
            return str(said)
    return ""


@dataclass(frozen=True)
class OpenAI(Syntax):
    """Native tool calls. Lenient reading takes text that is no JSON message as content, and a missing role or missing
    arguments as meant; text that begins like a message or speaks of `"tool_calls"` is never content.
    """

    name = "openai"
    stop_strings = ()
    native = True

    def _reading(self, text: str) -> Reading:
        return _MessageReading(text, self.mode)

    def from_message(self, message: dict[str, Any], *, peer: bool = False) -> Action:
        """The message as an action whose `raw` is the message's JSON; never raises."""
        if not isinstance(message, Mapping):
            return _refused(ParseErrorType.BAD_ACTION, f"a message is a dict, not {type(message).__name__}")
        try:
            text = encode({key: message[key] for key in _KNOWN if key in message})
        except BadJson as error:
            return _refused(ParseErrorType.BAD_JSON, f"the message is not JSON data: {error}")
        reading = _MessageReading(text, self.mode)
        try:
            reading.message_of(decode_members(text), cut=False, peer=peer)
        except BadJson as error:
            reading.attempted = True
            reading.error(ParseErrorType.BAD_JSON, f"the message is not JSON data: {error}", 0, len(text))
        return reading.action()

    def to_message(self, action: Action) -> dict[str, Any]:
        """The message itself, with native tool calls. Raises `NotExpressible`."""
        message: dict[str, Any] = decode(self.format(action))
        return message

    def _write(self, action: Action) -> str:
        self._refuse(action, ("confidence", "finish"), "a chat message has no place for it")
        content = action.message if action.answer is None else action.answer
        message: dict[str, Any] = {"role": "assistant"}
        if action.thought:
            message["reasoning_content"] = action.thought
        message["content"] = content
        if action.calls:
            message["tool_calls"] = [_written(call, i) for i, call in enumerate(action.calls)]
        return encode(message)

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """The API takes names of at most 64 letters, digits, `_` and `-`."""
        for tool in tools:
            if not _NAME.fullmatch(tool.name):
                return f"tool {tool.name!r}: a name has at most 64 letters, digits, _ and -"
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The message format by an example made from the first tool, and the list of tools.

        A chat engine that is given the tools natively needs none of this.
        """
        lines = ["Write each turn as one assistant message in JSON, with your reasoning in reasoning_content."]
        if tools:
            lines += ["To call tools, for example:", self.format(Action(calls=(sample_call(tools),)))]
        use = "talks to the other party" if peer else "is your final answer"
        example = '{"role":"assistant","content":"your words"}'
        lines.append(f"A message without tool_calls {use}: {example}")
        if tools:
            lines += ["", "Tools:", tool_list(tools)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """A JSON array of tool messages, in call order."""
        return encode([_result(result, i) for i, result in enumerate(results)])

    def render_feedback(self, text: str) -> str:
        """A JSON array of one user message."""
        return encode([{"role": "user", "content": _neutral(text)}])


class _MessageReading(Reading):
    """One assistant message being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        """Read one assistant message as JSON text. Plain text that was cut is thought, not an answer."""
        if not self.text or self.text.isspace():
            return
        try:
            members = decode_members(self.text)
        except BadJson as error:
            self._not_a_message(str(error), cut, peer)
            return
        if not self.strict and members.keys().isdisjoint(_KNOWN):
            self._plain(cut, peer)
        else:
            self.message_of(members, cut, peer)

    def _not_a_message(self, why: str, cut: bool, peer: bool) -> None:
        """The text is no JSON object."""
        meant = '"tool_calls"' in self.text
        if not self.strict and not meant and not _LOOKS_LIKE_MESSAGE.match(self.text):
            self._plain(cut, peer)
            return
        self.attempted = True
        if cut and meant:
            self.cut_call(0, len(self.text))
        else:
            message = f"the turn is not an assistant message in JSON: {why}"
            self.error(ParseErrorType.BAD_JSON, message, 0, len(self.text))
        self.span(Part.TEXT, 0, len(self.text))

    def _plain(self, cut: bool, peer: bool) -> None:
        """The whole text is content."""
        if cut:
            self.attempted = True
            self.error(ParseErrorType.UNCLOSED_TAG, "the completion was cut before its end", 0, len(self.text))
            self._think(self.text, 0, len(self.text))
            return
        self.fault(ParseErrorType.BAD_JSON, "plain text is taken as content", 0, len(self.text))
        self._say(self.text, 0, len(self.text), peer)

    def message_of(self, members: dict[str, Member], cut: bool, peer: bool) -> None:
        """The text is a JSON object with these members."""
        end = len(self.text)
        role = members["role"].value if "role" in members else None
        if role != "assistant":
            report = self.fault if role is None else self.error
            report(ParseErrorType.BAD_ACTION, 'an assistant message has "role": "assistant"', 0, end)
            if role is not None or self.strict:
                self.attempted = True
                return
        acts = "tool_calls" in members and members["tool_calls"].value not in (None, [])
        for key, (value, start, stop) in members.items():
            if key == "content":
                self._content(value, start, stop, acts, cut, peer)
            elif key in {"reasoning_content", "reasoning"}:
                if isinstance(value, str) and value:
                    self._think(value, start, stop)
            elif key == "tool_calls" and acts:
                self._calls(value, start, stop, cut)

    def _content(self, value: Any, start: int, end: int, acts: bool, cut: bool, peer: bool) -> None:
        text = text_of_content(value)
        if text is None:
            self.attempted = True
            self.error(ParseErrorType.BAD_ACTION, "content is text, null or a list of parts", start, end)
        elif acts:
            if text:
                self._think(text, start, end)
        elif cut and text:
            self.attempted = True
            self.error(ParseErrorType.UNCLOSED_TAG, "the completion was cut before its end", start, end)
            self._think(text, start, end)
        elif value is not None:
            self._say(text, start, end, peer)

    def _think(self, text: str, start: int, end: int) -> None:
        self.thoughts.append(text)
        self.span(Part.THOUGHT, start, end)

    def _say(self, text: str, start: int, end: int, peer: bool) -> None:
        self.attempted = True
        self.span(Part.MESSAGE if peer else Part.ANSWER, start, end)
        if peer:
            self.message = text
        else:
            self.answer = text

    def _calls(self, calls: Any, start: int, end: int, cut: bool) -> None:
        self.attempted = True
        self.span(Part.CALL, start, end)
        if not isinstance(calls, list):
            self.error(ParseErrorType.BAD_ACTION, "tool_calls is a list", start, end)
            return
        for i, call in enumerate(calls):
            function = call.get("function") if isinstance(call, dict) else None
            name = function.get("name") if isinstance(function, dict) else None
            if not isinstance(function, dict) or not isinstance(name, str) or not name:
                message = f'tool_calls[{i}] is not {{"function": {{"name": ..., "arguments": ...}}}}'
                self.error(ParseErrorType.BAD_ACTION, message, start, end)
                continue
            arguments = self._arguments(function.get("arguments"), start, end, cut and i == len(calls) - 1)
            if arguments is not None:
                given = call.get("id")
                known = isinstance(given, str) and _ID.fullmatch(given)
                self.calls.append(ToolCall(name, arguments, given if known else ""))

    def _arguments(self, given: Any, start: int, end: int, cut: bool) -> dict[str, Any] | None:
        if given is None or given == "":
            self.fault(ParseErrorType.BAD_JSON, "arguments are missing; write {} for none", start, end)
            return None if self.strict else {}
        why = "they are not an object"
        if isinstance(given, str):
            try:
                given = decode(given)
            except BadJson as error:
                why = str(error)
        if isinstance(given, dict):
            return given
        if cut:
            self.cut_call(start, end)
        else:
            self.error(ParseErrorType.BAD_JSON, f"the arguments are not a JSON object: {why}", start, end)
        return None


def _refused(kind: ParseErrorType, message: str) -> Action:
    return Action(errors=(ParseError(kind, message),))


def _written(call: ToolCall, index: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": encode(call.arguments)}
    return {"id": call.id or f"call_{index}", "type": "function", "function": function}


def _result(result: ShownResult, index: int) -> dict[str, Any]:
    text = _neutral(result.text)
    return {
        "role": "tool",
        "tool_call_id": result.call.id if _ID.fullmatch(result.call.id) else f"call_{index}",
        "name": label(result.call.name),
        "content": f"[error: {label(result.error)}]\n{text}" if result.error else text,
    }
