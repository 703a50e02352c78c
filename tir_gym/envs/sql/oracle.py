"""The oracle's course: look at the tables, run the planned query, submit it if it returned something."""

import re
from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall

_RETURNED = re.compile(r"\((?:first )?\d+ (?:of .*)?rows?\b")


def follow(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """List the tables, describe one of the query's, run it, and answer with it once its result is seen."""
    yield Action(thought="What is there?", calls=(ToolCall("list_tables", {}),))
    for table in plan["tables"][:1]:
        yield Action(thought="What is in it?", calls=(ToolCall("describe_table", {"table": table}),))
    seen = yield Action(thought="Does this query do it?", calls=(ToolCall("query", {"sql": plan["sql"]}),))
    if _RETURNED.search(seen):
        yield Action(thought="It does.", answer=plan["sql"])
