r"""Tags around plain text: multi-line code needs no escaping, every other argument is JSON.

    turn    = { thought } [confidence] action
    action  = call { call } | answer [confidence] | message | finish
    thought = <think>TEXT</think>                 call = <call name="NAME"> { arg } </call>
    answer  = <answer>TEXT</answer>               arg  = <arg name="NAME">TEXT</arg>
    message = <message>TEXT</message>                  | <arg name="NAME" type="json">JSON</arg>
    finish  = <finish>TEXT</finish>               confidence = <confidence>NUMBER</confidence>

TEXT is anything up to the first closing tag of its kind. One new line right after the opening tag and one right before
the closing tag are layout. A backslash inside a closing tag is dropped in reading and added in writing, so that
`</arg>` inside TEXT is written `<\/arg>`, and `<\/arg>` is written `<\\/arg>`. Space between elements means nothing.

The first action ends the turn; what follows it is tail, never parsed. Calls belong to one action as long as only space
stands between them. An answer after calls is an error (their results were not seen), the calls run. Of two answers the
first counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import ShownResult, ToolSpec
from tir_gym.protocols.json_args import BadJson, decode, encode
from tir_gym.protocols.reading import Reading
from tir_gym.protocols.teaching import sample_call, tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

_TAGS = ("think", "call", "arg", "answer", "confidence", "message", "finish", "result", "feedback")
_OPEN = re.compile(r"<(?:(think|answer|confidence|message|finish)>|call(?P<attributes>\s[^<>]*+)?>)")
_NEXT_CALL = re.compile(r"\s*+<call(?P<attributes>\s[^<>]*+)?>")
_NAME = re.compile(r'\sname="([^"<>]+)"')
_ARG = re.compile(r'\s*+<arg name="([^"<>]+)"( type="json")?>')
_CLOSING = re.compile(rf"<(\\*+)(?=/(?:{'|'.join(_TAGS)})>)")
_ESCAPED = re.compile(rf"<\\(?=\\*+/(?:{'|'.join(_TAGS)})>)")
_neutral = neutralizer(_TAGS)


@dataclass(frozen=True)
class Xml(TextSyntax):
    """Our tags. Lenient reading takes text outside tags as thought and closes the last tag where the text ends.

    The last mend is what an engine needs that strips stop strings; it is not made in a completion cut for length, nor
    for an unclosed argument at the end of the text, which may be half of one. `</call>` is no stop string, so that a
    turn can have several calls; the start of a result is one, so that a policy cannot make up results at length.
    """

    name = "xml"
    stop_strings = ("</answer>", "</message>", "</finish>", '<result call="')

    def _reading(self, text: str) -> Reading:
        return _XmlReading(text, self.mode)

    def _write(self, action: Action) -> str:
        lines = []
        if action.thought:
            lines.append(_element("think", action.thought))
        if action.confidence is not None:
            lines.append(f"<confidence>{float(action.confidence)!r}</confidence>")
        for call in action.calls:
            arguments = "".join(_argument(name, value) + "\n" for name, value in call.arguments.items())
            lines.append(f'<call name="{call.name}">\n{arguments}</call>')
        for tag, said in (("answer", action.answer), ("message", action.message), ("finish", action.finish)):
            if said is not None:
                lines.append(_element(tag, said))
        return "\n".join(lines)

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Names of tools and parameters stand in quotes, so they have no `"`, `<` or `>`."""
        for tool in tools:
            for name in (tool.name, *tool.parameter_names):
                if not name or not set('"<>').isdisjoint(name):
                    return f'tool {tool.name!r}: the name {name!r} is empty or has one of " < >'
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example made from the first tool, and the list of tools."""
        lines = ["Think inside <think>...</think>, then act once."]
        if tools:
            lines += [
                "To call a tool write, for example:",
                self.format(Action(calls=(sample_call(tools),))),
                'A string argument is written as it is, any other value as JSON in <arg name="..." type="json">.',
                "Several calls may follow one another. Stop after the last one: their results come in <result> blocks.",
            ]
        if peer:
            lines.append("To talk to the other party write <message>your words</message>.")
        lines += [
            "To give your final answer write <answer>your answer</answer>.",
            "You may put <confidence>a number from 0 to 1</confidence> right before it.",
            "To end without an answer write <finish>the reason</finish>.",
            "Inside a tag, write a closing tag of this syntax with a backslash, as in <\\/answer>.",
        ]
        if tools:
            lines += ["", "Tools:", tool_list(tools)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """A `<result>` block a call, in call order."""
        return "\n".join([_result(result) for result in results])

    def render_feedback(self, text: str) -> str:
        """A `<feedback>` block."""
        return f"<feedback>\n{_neutral(text)}\n</feedback>"


class _XmlReading(Reading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        text = self.text
        loose: list[tuple[int, int]] = []
        at = 0
        while True:
            opening = _OPEN.search(text, at)
            start = opening.start() if opening else len(text)
            if start > at:
                self._outside(at, start, loose)
            if opening is None:
                break
            tag = opening[1]
            if tag == "think":
                at = self._think(opening)
            elif tag == "confidence":
                at = self.confidence_element(opening)
            else:
                self._act(opening, cut)
                return
        if loose and peer and not self.strict:
            self._say(loose)

    def _outside(self, start: int, end: int, loose: list[tuple[int, int]]) -> None:
        """Text outside tags: thought where reading is lenient, else of no use."""
        piece = self.text[start:end].strip()
        if not piece:
            return
        start = end - len(self.text[start:end].lstrip())
        end = start + len(piece)
        if not loose:
            self.fault(ParseErrorType.TEXT_BETWEEN_TAGS, "text stands outside <think>...</think>", start, end)
        loose.append((len(self.thoughts), len(self.spans)))
        self.span(Part.TEXT if self.strict else Part.THOUGHT, start, end)
        if not self.strict:
            self.thoughts.append(piece)

    def _say(self, loose: list[tuple[int, int]]) -> None:
        """Make the text outside tags a message."""
        self.attempted = True
        self.message = "\n".join(self.thoughts[i] for i, _ in loose)
        said, places = {i for i, _ in loose}, {j for _, j in loose}
        self.thoughts = [thought for i, thought in enumerate(self.thoughts) if i not in said]
        self.spans = [span._replace(part=Part.MESSAGE) if j in places else span for j, span in enumerate(self.spans)]

    def _think(self, opening: re.Match[str]) -> int:
        closing = self.text.find("</think>", opening.end())
        end = closing + len("</think>")
        if closing < 0:
            closing = end = len(self.text)
            self.error(ParseErrorType.UNCLOSED_TAG, "<think> has no </think>", opening.start(), end)
        if thought := _content(self.text, opening.end(), closing):
            self.thoughts.append(thought)
        self.span(Part.THOUGHT, opening.start(), end)
        return end

    def _act(self, opening: re.Match[str], cut: bool) -> None:
        self.attempted = True
        tag = opening[1]
        if tag is None:
            end = self._call_block(opening, cut)
        else:
            end = self._said(opening, tag, cut)
            if tag == "answer" and self.confidence is None:
                end = self.confidence_after(end)
        tail = self.tail(end)
        if not tail:
            return
        second = tail.find("<answer>")
        if tag is None and second >= 0:
            message = "an answer cannot come with calls whose results you have not seen"
            self.error(ParseErrorType.ANSWER_WITH_CALL, message, end + second, len(self.text))
        elif tag == "answer" and second >= 0:
            message = "there are two answers; the first counts"
            self.fault(ParseErrorType.DUPLICATE_ANSWER, message, end + second, len(self.text))
        elif self.strict:
            self.error(ParseErrorType.TEXT_BETWEEN_TAGS, "text follows the turn's action", end, len(self.text))

    def _said(self, opening: re.Match[str], tag: str, cut: bool) -> int:
        closing = self.text.find(f"</{tag}>", opening.end())
        end = closing + len(tag) + 3
        used = True
        if closing < 0:
            closing = end = len(self.text)
            used = not (cut or self.strict)
            report = self.fault if used else self.error
            report(ParseErrorType.UNCLOSED_TAG, f"<{tag}> has no </{tag}>", opening.start(), end)
        self.span(_PARTS[tag], opening.start(), end)
        if used:
            setattr(self, tag, _content(self.text, opening.end(), closing))
        return end

    def _call_block(self, opening: re.Match[str] | None, cut: bool) -> int:
        end = 0
        while opening is not None:
            end = self._call(opening, cut)
            opening = _NEXT_CALL.match(self.text, end)
        return end

    def _call(self, opening: re.Match[str], cut: bool) -> int:
        start = self.text.index("<", opening.start())
        closing = self.text.find("</call>", opening.end())
        end = closing + len("</call>")
        closed = closing >= 0
        if not closed:
            closing = end = len(self.text)
        self.span(Part.CALL, start, end)
        if cut and not closed:
            self.cut_call(start, end)
            return end
        name = _NAME.fullmatch(opening["attributes"] or "")
        if name is None:
            message = 'write <call name="TOOL"> with the name of the tool'
            self.error(ParseErrorType.BAD_ACTION, message, start, opening.end())
            return end
        arguments = self._arguments(opening.end(), closing, closed)
        if not closed and arguments is not None:
            self.fault(ParseErrorType.UNCLOSED_TAG, "<call> has no </call>", start, end)
        if arguments is not None and (closed or not self.strict):
            self.calls.append(ToolCall(name[1], arguments))
        return end

    def _arguments(self, at: int, end: int, closed: bool) -> dict[str, Any] | None:
        """The arguments in a call's body [at, end), or None and an error."""
        arguments: dict[str, Any] = {}
        while opening := _ARG.match(self.text, at, end):
            name, is_json = opening[1], opening[2]
            closing = self.text.find("</arg>", opening.end(), end)
            at = closing + len("</arg>")
            if closing < 0:
                report = self.fault if closed else self.error
                report(ParseErrorType.UNCLOSED_TAG, f"argument {name[:40]!r} has no </arg>", opening.start(), end)
                if self.strict or not closed:
                    return None
                closing = at = end
            if name in arguments:
                message = f"argument {name[:40]!r} is given twice in one call"
                self.error(ParseErrorType.BAD_ACTION, message, opening.start(), at)
                return None
            value = _content(self.text, opening.end(), closing)
            try:
                arguments[name] = decode(value) if is_json else value
            except BadJson as error:
                self.error(ParseErrorType.BAD_JSON, f"argument {name[:40]!r} is not JSON: {error}", opening.start(), at)
                return None
        rest = self.text[at:end]
        if not rest or rest.isspace():
            return arguments
        if _OPEN.match(rest.lstrip()):
            self.error(ParseErrorType.NESTED_TAG, "a call holds nothing but arguments", at, end)
        else:
            message = 'inside a call write each argument as <arg name="NAME">value</arg>'
            self.error(ParseErrorType.BAD_ACTION, message, at, end)
        return None


_PARTS = {"answer": Part.ANSWER, "message": Part.MESSAGE, "finish": Part.FINISH}


def _content(text: str, start: int, end: int) -> str:
    """The text of an element, without the new lines that are layout and with backslashes taken out."""
    if text.startswith("\n", start, end):
        start += 1
    if end > start and text[end - 1] == "\n":
        end -= 1
    content = text[start:end]
    return _ESCAPED.sub("<", content) if "<\\" in content else content


def _written(content: str) -> str:
    content = _CLOSING.sub(r"<\1\\", content) if "<" in content else content
    return f"\n{content}\n" if "\n" in content else content


def _element(tag: str, content: str) -> str:
    return f"<{tag}>{_written(content)}</{tag}>"


def _argument(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f'<arg name="{name}">{_written(value)}</arg>'
    return f'<arg name="{name}" type="json">{_written(encode(value))}</arg>'


def _result(result: ShownResult) -> str:
    error = f' error="{label(result.error)}"' if result.error else ""
    return f'<result call="{label(result.call.name)}"{error}>\n{_neutral(result.text)}\n</result>'
