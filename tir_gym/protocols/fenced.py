r"""Free text with code fences and a box, as in ToRA, ToRL, SimpleTIR and ReTool.

The first ```` ```python ```` or ```` ```py ```` block is a call of the tool `python` with `{"code": ...}`, and what
follows it is tail. The last complete `\boxed{...}` outside blocks, before any such block, is the answer, and what
follows it is tail, code too; an empty box counts only where the turn has neither another nor a block. A box after a
block that asks to run code is an error (the result was not seen), the code runs. Everything before is thought. Without
block and box the turn is a message where there is a peer, else void.

Blocks are those of CommonMark: a line of three or more back ticks opens one, a line of at least as many and nothing
else closes it, so a longer fence holds code that has fences. Blocks in other languages are thought.

In `paper` mode this is SimpleTIR: the first ```` ``` ````, ```` ```py ```` or ```` ```python ```` with a new line after
it, wherever it stands, opens the code, the next ```` ``` ```` that begins a line closes it, and a box before the code
wins over the code. Results come as `Code execution result: ...`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult, ToolSpec
from tir_gym.protocols.boxes import BOX, BoxReading, content_of, find_boxes
from tir_gym.protocols.teaching import tool_list
from tir_gym.protocols.text_syntax import TextSyntax
from tir_gym.protocols.untrusted import label, neutralizer

TOOL, ARGUMENT = "python", "code"
_FENCE = re.compile(r"`(?<!``)(``+)([^`\n]*+)$|<code>", re.MULTILINE)
_LANGUAGES = frozenset({"python", "py"})
_TICKS = re.compile(r"`{3,}+")
_RETOOL_INNER = re.compile(r"\s*+(`{3,}+)(?:python|py)?[ \t\r]*+\n")
_PUBLISHED_FENCE = re.compile(r"```(?:py|python)?\n")
_PUBLISHED_CHARS = 512
_neutral = neutralizer(("code", "interpreter"))


@dataclass(frozen=True)
class Fenced(TextSyntax):
    r"""Code fences and `\boxed{}` for a toolkit of one tool, `python(code)`.

    Lenient reading also takes a block without a language, a fence that does not begin its line, ReTool's
    `<code>...</code>`, and a last block that the text's end closes (not where the completion was cut for length).
    """

    name = "fenced"
    stop_strings: ClassVar[tuple[str, ...]] = ("```output", "<interpreter>")
    source = "ltzheng/SimpleTIR@3a07892 recipe/simpletir/agent_utils.py"
    quirks: ClassVar[tuple[str, ...]] = (
        "A fence opens code anywhere, inside a line and after more than three back ticks too.",
        "The closing fence of a block in another language opens code, if a fence follows.",
        "A block with nothing in it is not closed by its fence.",
        "Code without a closing fence is passed over, so an engine must keep it in the text.",
        "A box before the code ends the episode; the published rollout runs the code as well before it ends.",
        "A box in the code or in what it prints ends the published rollout; here the code runs and nothing ends.",
        "final_answer(), which the published sandbox adds to the code, is not defined.",
        "A turn with neither code nor box ends the published rollout; here that is for void_ends to say.",
        "Where there is another party, a turn without code and box is said to it; the published loop has none.",
        "An unclosed box ends the episode as an empty answer and a format error.",
        "Of boxes the last with balanced braces counts; the published scorer was not read.",
        "A result is cut in its middle to 512 characters, and to its last line where the code failed.",
        "Code that prints nothing is answered by nothing, and a faulty turn by a new line.",
        "Results are not neutralised: one can hold a box or code.",
        "The prompt says what the published one says, in other words.",
    )

    def _reading(self, text: str) -> "FencedReading":
        return FencedReading(text, self.mode)

    def _write(self, action: Action) -> str:
        self._refuse(action, ("confidence", "finish"), "free text has no place for it")
        if action.message is not None:
            return action.message
        said = f"{BOX}{action.answer}}}" if action.answer is not None else self._write_code(action.calls)
        return f"{action.thought}\n{said}" if action.thought else said

    def _write_code(self, calls: Sequence[ToolCall]) -> str:
        if len(calls) > 1 or calls[0].name != TOOL or set(calls[0].arguments) != {ARGUMENT}:
            raise NotExpressible(self.name, "calls", f"a turn is one call of {TOOL}({ARGUMENT})")
        code = str(calls[0].arguments[ARGUMENT])
        return f"```python\n{code}\n```" if self.mode == "paper" else block("python", code)

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
        """An output block a call, whose fence is longer than any in the result; in paper mode a line of plain text."""
        if self.mode == "paper":
            return "".join([_published_result(result) for result in results])
        return "\n".join([_result(result) for result in results])

    def render_feedback(self, text: str) -> str:
        """A feedback block; in paper mode a new line, whatever the text."""
        return "\n" if self.mode == "paper" else block("feedback", _neutral(text))


class FencedReading(BoxReading):
    """One completion being read."""

    __slots__ = ()

    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar."""
        code, closing, prose = self.blocks()
        limit = code.start if code else len(self.text)
        unclosed = self._answer(prose, code is None) if BOX in self.text[:limit] else -1
        if self.answer is not None:
            return
        if code:
            self.call(code, closing, cut)
        elif unclosed >= 0:
            self.no_closing_brace(unclosed, limit)
        else:
            self.speak(peer)

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
        found, unclosed = find_boxes(self.text, prose)
        filled = [box for box in found if content_of(self.text, box)]
        boxes = filled or (found if may_be_empty else [])
        if not boxes:
            return -1 if found else unclosed
        self.take_last(boxes)
        return -1

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """The first code block, or a box before it."""
        text = self.text
        opening = _PUBLISHED_FENCE.search(text)
        stop = text.find("\n```", opening.end()) if opening else -1
        limit = opening.start() if opening and stop >= 0 else len(text)
        if BOX in text[:limit]:
            self._answer_as_published(limit)
        elif opening and stop >= 0:
            self.attempted = True
            end = stop + len("\n```")
            self.think(limit)
            self.span(Part.CALL, limit, end)
            self.calls.append(ToolCall(TOOL, {ARGUMENT: text[opening.end() : stop].strip()}))
            self.tail(end)
        elif cut and opening:
            self.attempted = True
            self.think(opening.start())
            message = "the code block is not closed; it did not run"
            self.error(ParseErrorType.CUT_CALL, message, opening.start(), limit)
        else:
            self.speak(peer)

    def _answer_as_published(self, limit: int) -> None:
        if self._answer([(0, limit)], True) < 0:
            self.repairs.clear()
            return
        self.attempted = True
        self.answer = ""
        start = self.text.index(BOX)
        self.think(start)
        self.span(Part.ANSWER, start, len(self.text))
        self.error(ParseErrorType.UNCLOSED_TAG, "\\boxed{ has no closing brace", start, limit)

    def call(self, opening: "_Fence", closing: "_Fence | None", cut: bool) -> None:
        """Make a call of the code between two fences."""
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
        if (box := tail.find(BOX)) >= 0:
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
    """A fenced block whose fence is longer than any run of back ticks in the text."""
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0)) if "```" in text else "```"
    return f"{fence}{language}\n{text}\n{fence}"


def _result(result: ShownResult) -> str:
    text = _neutral(result.text)
    return block("output", f"[error: {label(result.error)}]\n{text}" if result.error else text)


def _published_result(result: ShownResult) -> str:
    text = "\n".join(result.text.splitlines()[-1:]) if result.error else result.text
    if len(text) > _PUBLISHED_CHARS:
        half = _PUBLISHED_CHARS // 2
        note = f"\n..._This content has been truncated to stay below {_PUBLISHED_CHARS} characters_...\n"
        text = text[:half] + note + text[-half:]
    return f"\nCode execution result: {text}\n" if text else ""
