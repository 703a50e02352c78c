import re
from collections.abc import Generator
from typing import Any

from tir_gym.core.action import Action, ToolCall


def follow(plan: Any) -> Generator[Action, str, None]:
    seen = yield Action(calls=(ToolCall("read", {}),))
    (word,) = re.findall(
        r"\b[aeioumnrst]{6,15}\b", re.sub(r"<[^>]*>|\"[a-z_]+\":|\bresult\b|\b(reader|assistant)\b", " ", seen)
    )[-1:]
    told = yield Action(message=f"The word is {word}")
    yield Action(calls=(ToolCall("submit", {"word": told.rsplit(None, 1)[-1]}),))
