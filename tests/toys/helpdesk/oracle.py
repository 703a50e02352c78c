import re
from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall


def follow(plan: Any) -> Generator[Action, str, None]:
    seen = yield Action(calls=(ToolCall("required_channel", {}),))
    (channel,) = re.findall(r"\b\d{3,4}\b", seen)
    yield Action(message=f"Please set the channel to {channel}.")
    yield Action(message="Then we are done. Goodbye!")
