from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall


def follow(plan: Any) -> Generator[Action, str, None]:
    yield Action(calls=(ToolCall("manual", {"query": "brighten"}), ToolCall("brighten", {"factor": 200})))
    seen = yield Action(calls=(ToolCall("count_lit", {}),))
    numbers = [word for word in seen.replace("<", " ").replace(">", " ").replace('"', " ").split() if word.isdecimal()]
    yield Action(answer=numbers[-1])
