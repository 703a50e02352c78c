"""The tools of an actor whose action is a program: its domain's tools as functions, and a way to answer from code."""

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from tir_gym.core.interfaces import Limits
from tir_gym.core.tool import Submit, Tool, ToolError, Toolkit, as_output, tool
from tir_gym.core.transcript import CallErrorType, text_of
from tir_gym.tools.python import PythonToolkit


class ProgramToolkit(PythonToolkit):
    """Puts `python` and `final_answer` before the tools of another toolkit, whose own tools of these names win."""

    def __init__(self, inner: Toolkit, limits: Limits) -> None:
        super().__init__(limits.wall_s)
        self._inner = inner

    @tool(kind="control", effect="read")
    def final_answer(self, answer: JsonValue, confidence: float | None = None) -> Submit:
        """End the episode with your answer.

        Args:
            answer: The answer; what is not text is written as JSON.
            confidence: How sure you are, from 0 to 1.
        """
        if confidence is not None and not 0.0 <= confidence <= 1.0:
            raise ToolError(f"confidence={confidence!r} must be from 0 to 1", CallErrorType.TYPE_MISMATCH)
        return Submit("null" if answer is None else text_of(as_output(answer).content), confidence)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools now on offer."""
        theirs = {found.name: found for found in self._inner.tools}
        return tuple({**self._tools, **theirs}.values())

    @property
    def tools_version(self) -> int:  # type: ignore[override]
        """Rises whenever the set on offer changes."""
        return self._inner.tools_version

    def begin_turn(self, turn: int) -> None:
        """Told before the calls of each turn."""
        self._inner.begin_turn(turn)

    def _lookup(self, name: str) -> Tool | None:
        return self._inner._lookup(name) or self._tools.get(name)

    def run(self, tool: Tool, arguments: Mapping[str, Any]) -> Any:
        """Call a tool's body, on the toolkit that has it."""
        owner = self if self._tools.get(tool.name) is tool else self._inner
        return tool.body(owner, **arguments)
