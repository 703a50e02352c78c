import re
from collections.abc import Generator

from tir_gym.core.action import Action, ToolCall


def follow(plan: str) -> Generator[Action, str, None]:
    seen = yield Action(thought="Where?", calls=(ToolCall("search", {"query": plan}),))
    (town,) = re.findall(r"born in (town-\d+)", seen)
    seen = yield Action(thought="And when?", calls=(ToolCall("search", {"query": town}),))
    (year,) = re.findall(r"founded in (\d+)", seen)
    yield Action(thought="There it is.", answer=year)
