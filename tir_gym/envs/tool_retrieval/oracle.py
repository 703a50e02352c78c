"""The oracle's course: search for every need, name the tool whose description says it, or none."""

import re
from collections.abc import Generator, Mapping, Sequence

from tir_gym.core.action import Action, ToolCall

_FOUND = re.compile(r"Tool \d+: (\S+) \| (.*?)(?=Tool \d+: |\Z)", re.DOTALL)


def follow(plan: Sequence[Mapping[str, str]]) -> Generator[Action, str, None]:
    """All searches in one turn, then the answer, if they found anything at all."""
    calls = tuple(ToolCall("search", {"query": step["query"]}) for step in plan)
    seen = yield Action(thought="Which tools are there?", calls=calls)
    found = _FOUND.findall(seen)
    if found:
        names = [next((name for name, text in found if step["text"] in text), "none") for step in plan]
        yield Action(thought="These are the ones.", answer="; ".join(names))
