import re
from collections.abc import Generator

from tir_gym.core.action import Action, ToolCall


def follow(plan: str) -> Generator[Action, str, None]:
    seen = yield Action(thought="Where?", calls=(ToolCall("bash", {"command": f"grep -rl {plan} ."}),))
    (path,) = re.findall(r"drawer-\d/paper-\d+\.txt", seen)
    seen = yield Action(thought="How long?", calls=(ToolCall("bash", {"command": f"cd drawer-0; wc -l < ../{path}"}),))
    count = re.findall(r"\b\d+\b", seen)[-1]
    yield Action(thought="That is it.", calls=(ToolCall("write_file", {"path": "answer.txt", "content": count}),))
    yield Action(calls=(ToolCall("hand_in", {}),))
