"""The oracle's course: inspect as planned, solve in the interpreter what it saw, answer with what that printed."""

import re
from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall

_BEGIN, _END = "ORACLE ANSWER:", ":END"
_ITEM = re.compile(r"([A-Z]{2}\d)\W+weight\W+(\d+)\W+value\W+(\d+)\W+class\W+(\w+)")
_SOLVER = """
from itertools import combinations
groups = {}
for label, (_, _, kind) in items.items():
    groups.setdefault(kind if kind in at_most else label, []).append(label)
best = {0: (0, ())}
for kind, members in groups.items():
    ways = [way for size in range(at_most.get(kind, 1) + 1) for way in combinations(members, size)]
    found = {}
    for weight, (value, chosen) in best.items():
        for way in ways:
            heavy = weight + sum(items[label][0] for label in way)
            worth = value + sum(items[label][1] for label in way)
            if heavy <= capacity and worth > found.get(heavy, (-1,))[0]:
                found[heavy] = worth, chosen + way
    best = found
"""


def follow(plan: dict[str, Any]) -> Generator[Action, str, None]:
    """Inspect batch by batch, then run a program that holds what the inspections showed, and answer with its print."""
    items: dict[str, tuple[int, int, str]] = {}
    at_most: dict[str, int] = {}
    for batch in plan["inspect"]:
        seen = yield Action(thought="What are these?", calls=(ToolCall("inspect", {"ids": batch}),))
        items |= {label: (int(weight), int(value), kind) for label, weight, value, kind in _ITEM.findall(seen)}
        rule = seen.partition("at_most")[2].partition("}")[0]
        at_most |= {kind: int(count) for kind, count in re.findall(r"(\w+)\W+(\d+)", rule)}
    known = f"items = {items!r}\nat_most = {at_most!r}\ncapacity = {plan['capacity']}"
    shown = f"print({_BEGIN!r}, ', '.join(max(best.values())[1]), {_END!r})"
    code = f"{known}{_SOLVER}{shown}"
    seen = yield Action(thought="A program finds the best of them.", calls=(ToolCall("python", {"code": code}),))
    _, found, rest = seen.partition(_BEGIN)
    answer, ended, _ = rest.partition(_END)
    if found and ended:
        yield Action(thought="The program says so.", answer=answer.strip())
