"""The oracle's course: make the planned transfers, answer with the balance that was read then."""

import re
from collections.abc import Generator, Sequence

from tests.toys.ledger.world import Transfer
from tir_gym.core.action import Action, ToolCall


def follow(plan: Sequence[Transfer]) -> Generator[Action, str, None]:
    """Transfer turn by turn, read both balances at once, and close the books if they are level."""
    for transfer in plan:
        yield Action(thought="The richer one pays.", calls=(ToolCall("transfer", transfer._asdict()),))
    pair = (plan[0].source, plan[0].target)
    reads = tuple(ToolCall("balance", {"account": account}) for account in pair)
    seen = yield Action(thought="Are they level?", calls=reads)
    held = re.findall(r"(\w+) holds (\d+) ", seen)
    if tuple(name for name, _ in held) == pair and held[0][1] == held[1][1]:
        yield Action(thought="They are.", calls=(ToolCall("close_books", {"balance": int(held[0][1])}),))
