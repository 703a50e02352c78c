"""The oracle's course: run the plan, answer with what it printed."""

import ast
from collections.abc import Generator

from tir_gym.core.action import Action, ToolCall

_BEGIN, _END = "ORACLE ANSWER:", ":END"


def follow(plan: str) -> Generator[Action, str, None]:
    """Run the program in the interpreter so that its last value is printed between marks, and answer with that text."""
    seen = yield Action(thought="A program settles this.", calls=(ToolCall("python", {"code": _printing(plan)}),))
    _, found, rest = seen.partition(_BEGIN)
    answer, ended, _ = rest.partition(_END)
    if found and ended:
        yield Action(thought="The program says so.", answer=answer.strip())


def _printing(plan: str) -> str:
    """The program with its last expression printed between the marks."""
    *_, last = ast.parse(plan).body
    if not isinstance(last, ast.Expr):
        raise ValueError("a plan ends in an expression, whose value is the answer")
    before = "\n".join(plan.splitlines()[: last.lineno - 1])
    return f"{before}\nprint({_BEGIN!r}, {ast.unparse(last.value)}, {_END!r})"
