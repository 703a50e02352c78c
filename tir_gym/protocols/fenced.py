r"""Free text with code fences and a box, as in ToRA, ToRL, SimpleTIR and ReTool.

The first ```` ```python ```` or ```` ```py ```` block is a call of the tool `python` with `{"code": ...}`, and what
follows it is tail. The last complete `\boxed{...}` outside blocks, before any such block, is the answer, and what
follows it is tail, code too; an empty box counts only where the turn has neither another nor a block. A box after a
block that asks to run code is an error (the result was not seen), the code runs. Everything before is thought. Without
block and box the turn is a message where there is a peer, else void.

Blocks are those of CommonMark: a line of three or more back ticks opens one, a line of at least as many and nothing
else closes it, so a longer fence holds code that has fences. Blocks in other languages are thought.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.reading import Reading
from tir_gym.protocols.teaching import tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

TOOL, ARGUMENT = "python", "code"
_FENCE = re.compile(r"`(?<!``)(``+)([^`\n]*+)$|<code>", re.MULTILINE)
_LANGUAGES = frozenset({"python", "py"})
_BRACE = re.compile(r"(\\boxed\{)|\\.|([{}])", re.DOTALL)
_TICKS = re.compile(r"`{3,}+")
_RETOOL_INNER = re.compile(r"\s*+(`{3,}+)(?:python|py)?[ \t\r]*+\n")
_neutral = neutralizer(("code", "interpreter"))


@dataclass(frozen=True)
class Fenced(TextSyntax):
    r"""Code fences and `\boxed{}` for a toolkit of one tool, `python(code)`.

    Lenient reading also takes a block without a language, a fence that does not begin its line, ReTool's
    `<code>...</code>`, and a last block that the text's end closes (not where the completion was cut for length).
    """

    name = "fenced"
    stop_strings: ClassVar[tuple[str, ...]] = ("```output", "<interpreter>")

    def parse(self, text: str, *, cut: bool = False, peer: bool = False) -> Action:
        """One completion as an action; with `peer`, text without block or box is a message."""
        reading = FencedReading(str(text), self.mode)
        reading.read(cut, peer)
        return reading.action()

    def _write(self, action: Action) -> str:
        for field in ("confidence", "finish"):
            if getattr(action, field) is not None:
                raise NotExpressible(self.name, field, "free text has no place for it")
        if action.message is not None:
            return action.message
        if action.answer is not None:
            said = f"\\boxed{{{action.answer}}}"
        else:
            call = action.calls[0]
            if len(action.calls) > 1 or call.name != TOOL or set(call.arguments) != {ARGUMENT}:
                raise NotExpressible(self.name, "calls", "a turn is one call of python(code)")
            said = block("python", str(call.arguments[ARGUMENT]))
        return f"{action.thought}\n{said}" if action.thought else said

    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """Only `python(code)`, alone."""
        if len(tools) == 1 and tools[0].name == TOOL and tuple(tools[0].parameter_names) == (ARGUMENT,):
            return ""
        given = ", ".join(f"{tool.name}({', '.join(tool.parameter_names)})" for tool in tools)
        return f"code fences call exactly one tool, {TOOL}({ARGUMENT}); the toolkit is: {given or 'empty'}"

    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The syntax by an example, and the tool."""
        lines = ["Think freely in plain text."]
        if tools:
            lines += [
                "To run code, end your turn with one block:",
                block("python", "total = sum(range(10))\nprint(total)"),
                "You get what it prints in an output block and go on.",
            ]
        if peer:
            lines.append("A turn without code and box is said to the other party.")
        lines.append("When you have seen all you need, give your final answer as \\boxed{your answer}.")
        if tools:
            lines += ["", "Tools:", tool_list(tools)]
        return "\n".join(lines)

    def render_results(self, results: Sequence[ShownResult]) -> str:
        """An output block a call, whose fence is longer than any in the result."""
        return "\n".join([_result(result) for result in results])

    def render_feedback(self, text: str) -> str:
        """A feedback block."""
        return block("feedback", _neutral(text))


class FencedReading(Reading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        code, closing, prose = self.blocks()
        limit = code.start if code else len(self.text)
        unclosed = self._answer(prose, code is None) if "\\boxed{" in self.text[:limit] else -1
        if self.answer is not None:
            return
        if code:
            self.call(code, closing, cut)
        elif unclosed >= 0:
            self.attempted = True
            self.think(limit)
            self.error(ParseErrorType.UNCLOSED_TAG, "\\boxed{ has no closing brace", unclosed, limit)
        elif peer and self.text and not self.text.isspace():
            self.attempted = True
            self.message = self.text
            self.span(Part.MESSAGE, 0, limit)
        else:
            self.think(limit)

    def blocks(self) -> tuple["_Fence | None", "_Fence | None", list[tuple[int, int]]]:
        """The fence that opens the first code block and the one that closes it, and where prose stands before it."""
        code: _Fence | None = None
        other: _Fence | None = None
        prose: list[tuple[int, int]] = []
        at = 0
        for match in _FENCE.finditer(self.text):
            fence = _fence(match)
            if opened := code or other:
                if not (fence.ticks >= opened.ticks and fence.begins_line and not fence.language):
                    continue
                if code:
                    return code, fence, prose
                other, at = None, fence.end
            elif self._is_code(fence):
                code = fence
                prose.append((at, fence.start))
                if not fence.ticks:
                    break
            elif fence.begins_line and fence.ticks:
                other = fence
                prose.append((at, fence.start))
        if code is None and other is None:
            prose.append((at, len(self.text)))
        return code, None, prose

    def _is_code(self, fence: "_Fence") -> bool:
        if self.strict:
            return fence.begins_line and fence.language in _LANGUAGES
        return fence.language in _LANGUAGES or not fence.ticks or (fence.begins_line and not fence.language)

    def _answer(self, prose: list[tuple[int, int]], may_be_empty: bool) -> int:
        """Take the last complete box; returns where the last incomplete one begins if there is no other, or -1."""
        boxes: list[tuple[int, int]] = []
        empty: list[tuple[int, int]] = []
        opened: list[int] = []
        for start, end in prose:
            for brace in _BRACE.finditer(self.text, start, end):
                if brace[1]:
                    opened.append(brace.start())
                elif brace[2] == "{":
                    opened.append(-1)
                elif brace[2] and opened and (begun := opened.pop()) >= 0:
                    filled = brace.start() > begun + len("\\boxed{")
                    (boxes if filled else empty).append((begun, brace.end()))
        boxes = boxes or (empty if may_be_empty else [])
        if not boxes:
            return -1 if empty else max(opened, default=-1)
        start, end = boxes[-1]
        self.attempted = True
        self.think(start)
        self.span(Part.ANSWER, start, end)
        self.answer = self.text[start + len("\\boxed{") : end - 1]
        self.tail(end)
        if any(b <= start and self.text[a + len("\\boxed{") : b - 1] != self.answer for a, b in boxes[:-1]):
            self.fault(ParseErrorType.DUPLICATE_ANSWER, "there are several boxes; the last counts", start, end)
        return -1

    def think(self, end: int) -> None:
        """Everything before `end` is thought, but for one new line that is layout."""
        thought = self.text[:end].removesuffix("\n")
        if thought:
            self.thoughts.append(thought)
            self.span(Part.THOUGHT, 0, len(thought))

    def call(self, opening: "_Fence", closing: "_Fence | None", cut: bool) -> None:
        text, start = self.text, opening.start
        self.attempted = True
        self.think(start)
        if opening.ticks:
            body = min(opening.end + 1, len(text))
            stop = max(body, closing.start - 1) if closing else -1
            end = closing.end if closing else 0
        else:
            body = opening.end
            stop = text.find("</code>", body)
            end = stop + len("</code>")
        closed = stop >= 0
        if not closed:
            stop = end = len(text)
        self.span(Part.CALL, start, end)
        if not closed and (cut or self.strict):
            kind = ParseErrorType.CUT_CALL if cut else ParseErrorType.UNCLOSED_TAG
            self.error(kind, "the code block is not closed; it did not run", start, end)
            return
        if not closed:
            self.fault(ParseErrorType.UNCLOSED_TAG, "the code block is closed by the end of the text", start, end)
        if not (opening.ticks and opening.begins_line and opening.language):
            self.fault(ParseErrorType.BAD_ACTION, "write a code block's fence as a line ```python", start, body)
        code = text[body:stop]
        self.calls.append(ToolCall(TOOL, {ARGUMENT: code if opening.ticks else _without_fence(code)}))
        self.after(self.tail(end), end)

    def after(self, tail: str, end: int) -> None:
        """What follows the call, from `end` on."""
        if (box := tail.find("\\boxed{")) >= 0:
            message = "an answer cannot come with code whose result you have not seen"
            self.error(ParseErrorType.ANSWER_WITH_CALL, message, end + box, len(self.text))


class _Fence(NamedTuple):
    """A line's fence with its length and the word after it, or `<code>` with no ticks."""

    start: int
    end: int
    ticks: int
    language: str
    begins_line: bool


def _fence(match: re.Match[str]) -> _Fence:
    start, end = match.span()
    if match[1] is None:
        return _Fence(start, end, 0, "", begins_line=False)
    line = match.string.rfind("\n", 0, start) + 1
    begins_line = line == start or (start - line <= 3 and match.string[line:start].isspace())
    return _Fence(line if begins_line else start, end, 1 + len(match[1]), match[2].strip().lower(), begins_line)


def _without_fence(code: str) -> str:
    """The code inside ReTool's tags, which is often fenced once more."""
    if opening := _RETOOL_INNER.match(code):
        inner = code[opening.end() :].rstrip()
        return inner.removesuffix(opening[1]).removesuffix("\n")
    return code.strip("\n")


def block(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0)) if "```" in text else "```"
    return f"{fence}{language}\n{text}\n{fence}"


def _result(result: ShownResult) -> str:
    text = _neutral(result.text)
    return block("output", f"[error: {label(result.error)}]\n{text}" if result.error else text)
