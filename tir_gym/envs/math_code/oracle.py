"""The oracle's course: run the plan, answer with what it printed."""

import ast
from collections.abc import Generator

from tir_gym.core.action import Action, ToolCall

_MARK = "ORACLE ANSWER:"


def follow(plan: str) -> Generator[Action, str, None]:
    """Run the program in the interpreter so that its last value is printed after a mark, and answer with that text."""
    seen = yield Action(thought="A program settles this.", calls=(ToolCall("python", {"code": _printing(plan)}),))
    for line in seen.splitlines():
        if line.startswith(_MARK):
            yield Action(thought="The program says so.", answer=line.removeprefix(_MARK).strip())


def _printing(plan: str) -> str:
    """The program with its last expression printed after the mark."""
    *_, last = ast.parse(plan).body
    if not isinstance(last, ast.Expr):
        raise ValueError("a plan ends in an expression, whose value is the answer")
    lines = plan.splitlines()
    before = "\n".join(lines[: last.lineno - 1])
    return f"{before}\nprint({_MARK!r}, {ast.unparse(last.value)})"
