"""The oracle's course: look at the tables, run the planned query, and go on with what it returned."""

import re
from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall

_RETURNED = re.compile(r"\((?:first )?\d+ (?:of .*)?rows?\b")
_CELL = re.compile(r"-\n(.*)\n\(1 row\)")
_CHANGED = re.compile(r"done, \d+ rows? changed")
_BEGIN, _END = "ORACLE ANSWER:", ":END"


def follow(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """The course of a plan: a query to submit, a query and a program for one table, or statements that change."""
    yield Action(thought="What is there?", calls=(ToolCall("list_tables", {}),))
    if "statements" in plan:
        yield from _change(plan)
    else:
        yield from _compute(plan) if "python" in plan else _query(plan)


def _query(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """Describe one of the query's tables, run it, and answer with it once its result is seen."""
    for table in plan["tables"][:1]:
        yield Action(thought="What is in it?", calls=(ToolCall("describe_table", {"table": table}),))
    seen = yield Action(thought="Does this query do it?", calls=(ToolCall("query", {"sql": plan["sql"]}),))
    if _RETURNED.search(seen):
        yield Action(thought="It does.", answer=plan["sql"])


def _compute(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """Find the group with the query, give it to the program, and answer with the number that this printed."""
    seen = yield Action(thought="Which rows are meant?", calls=(ToolCall("query", {"sql": plan["sql"]}),))
    if not (cell := _CELL.search(seen.replace("\\n", "\n"))):  # some protocols show results as JSON
        return
    *lines, last = plan["python"].splitlines()
    code = "\n".join([f"KEY = {cell[1].strip()!r}", *lines, f"print({_BEGIN!r}, round(float({last}), 6), {_END!r})"])
    seen = yield Action(thought="A program settles the rest.", calls=(ToolCall("python", {"code": code}),))
    _, found, rest = seen.partition(_BEGIN)
    answer, ended, _ = rest.partition(_END)
    if found and ended:
        yield Action(thought="The program says so.", answer=answer.strip())


def _change(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """Describe the tables concerned, run the statements one by one, and say that it is done if each of them was."""
    for table in plan["tables"][:2]:
        yield Action(thought="What is in it?", calls=(ToolCall("describe_table", {"table": table}),))
    for statement in plan["statements"]:
        seen = yield Action(thought="This changes it.", calls=(ToolCall("execute", {"sql": statement}),))
        if not _CHANGED.search(seen):
            return
    yield Action(thought="All of it is done.", answer="done")
