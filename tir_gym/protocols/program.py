r"""The action is a program that calls the tools, as in CodeAct, smolagents and AppWorld.

The first ```` ```python ```` or ```` ```py ```` block is the program, what stands before it is thought and what follows
it is tail, a second block too. Every tool is a function in it, by the tool's own name; what it prints and the value of
its last expression come back. `final_answer(answer, confidence=None)` ends the episode: called in a program that runs,
or as a program of its own whose arguments are a string and a number, which is the answer without being run. Without a
block the turn is a message where there is a peer, else void.

Grammar: definition by this project. Blocks are read as in `fenced`, boxes mean nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.core.action import Action, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ToolSpec
from tir_gym.protocols.fenced import ARGUMENT, TOOL, Fenced, FencedReading, block
from tir_gym.protocols.json_args import decode, encode
from tir_gym.protocols.reading import probability
from tir_gym.protocols.teaching import sample_call, signature

FINAL = "final_answer"
_LITERAL = re.compile(
    rf'\s*{FINAL}\(\s*("[^"\\\n]*(?:\\(?:["\\nrtbf]|u00[0-9a-f]{{2}})[^"\\\n]*)*")'
    r"\s*(?:,\s*confidence\s*=\s*([0-9.eE+-]{1,32})\s*)?\)\s*"
)
_SHOW = "print({0} if isinstance({0}, str) else json.dumps({0}, ensure_ascii=False))"


@dataclass(frozen=True)
class Program(Fenced):
    """A program a turn, for any toolkit.

    Lenient reading also takes a block without a language, a fence that does not begin its line, `<code>...</code>`, and
    a last block that the text's end closes (not where the completion was cut for length).
    """

    name = "python"
    stop_strings = ("```output",)
    source = ""
    quirks = ()

    def _reading(self, text: str) -> FencedReading:
        return _ProgramReading(text, self.mode)

    def program(self, calls: Sequence[ToolCall]) -> ToolCall:
        """These calls as a program that prints what each returns: text as it is, all else as JSON."""
        lines = ["import json"]
        for call in calls:
            lines += [
                f"shown = {call.name}(**json.loads({encode(encode(call.arguments))}))",
                _SHOW.format("shown"),
            ]
        return ToolCall(TOOL, {ARGUMENT: "\n".join(lines)})

    def _write(self, action: Action) -> str:
        self._refuse(action, ("finish",), "a program ends the episode by an answer only")
        if action.message is not None:
            return action.message
        if action.answer is not None:
            confidence = "" if action.confidence is None else f", confidence={float(action.confidence)!r}"
            said = block("python", f"{FINAL}({encode(action.answer)}{confidence})")
        else:
            if action.confidence is not None:
                raise NotExpressible(self.name, "confidence", "it goes with an answer")
            said = self._write_code(action.calls)
        return f"{action.thought}\n{said}" if action.thought else said

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Names of tools and parameters are those of Python functions, and code can call all tools but `python`."""
        for tool in tools:
            if tool.name != TOOL and not tool.from_code:
                return f"tool {tool.name!r} needs the session that would call it"
            for name in (tool.name, *tool.parameter_names):
                if not name.isidentifier():
                    return f"tool {tool.name!r}: {name!r} cannot be a name in a program"
        return ""

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example made from the first tool, and the functions."""
        functions = [tool for tool in tools if tool.name != TOOL]
        interpreter = " ".join(tool.description for tool in tools if tool.name == TOOL)
        lines = [
            "Think freely in plain text, then act by one Python program in a block:",
            block("python", _example([tool for tool in functions if tool.name != FINAL])),
            "Stop after it: its output comes in a block of its own.",
            *([f"The interpreter: {interpreter}"] if interpreter else ()),
        ]
        if peer:
            lines.append("A turn without a program is said to the other party.")
        lines += [
            "When you have seen all you need, give your final answer by a program:",
            block("python", f'{FINAL}("your answer")'),
            "",
            "Functions in a program:",
            *(f"- {signature(tool)}\n  {tool.description}" for tool in functions),
        ]
        return "\n".join(lines)


def _example(functions: Sequence[ToolSpec]) -> str:
    if not functions:
        return "total = sum(range(10))\nprint(total)"
    call = sample_call(functions)
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    return f"result = {call.name}({arguments})\nprint(result)"


class _ProgramReading(FencedReading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        """Find the program, or a message."""
        code, closing, _ = self.blocks()
        if code:
            self.call(code, closing, cut)
            self._take_literal()
        else:
            self.speak(peer)

    def after(self, tail: str, end: int) -> None:
        """Text after the program means nothing."""

    def _take_literal(self) -> None:
        """A program that is nothing but an answer of literals is the answer."""
        if not self.calls:
            return
        literal = _LITERAL.fullmatch(self.calls[0].arguments[ARGUMENT])
        if literal is None:
            return
        confidence = probability(literal[2]) if literal[2] else None
        if literal[2] and confidence is None:
            return
        self.calls.clear()
        self.answer, self.confidence = decode(literal[1]), confidence
        self.spans = [span._replace(part=Part.ANSWER) if span.part is Part.CALL else span for span in self.spans]
