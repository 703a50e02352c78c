"""The tasks: two accounts to level with few transfers."""

import random

from tests.toys.ledger.world import Transfer
from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet

GENERATED = "ledger"
NAMES = (
    *("Alder", "Aspen", "Beech", "Birch", "Cedar", "Cherry", "Cypress", "Elder", "Elm", "Fir", "Ginkgo", "Hazel"),
    *("Hemlock", "Holly", "Juniper", "Larch", "Laurel", "Linden", "Maple", "Myrtle", "Oak", "Olive", "Pine", "Plane"),
    *("Poplar", "Rowan", "Sequoia", "Spruce", "Sycamore", "Walnut", "Willow", "Yew"),
)


def draw(rng: random.Random, level: int) -> Draft:
    """Books in which the two accounts differ by more than fewer transfers can level."""
    names = rng.sample(NAMES, 3 + level)
    limit = rng.randrange(20, 60) * level
    transfers = 1 + level // 3
    common = rng.randrange(300, 1000) * level
    moved = min(rng.randrange(limit * (transfers - 1), limit * transfers) + 1, common)
    balances = {name: rng.randrange(2 * common) for name in names}
    poor, rich = rng.sample(names, 2)
    balances |= {poor: common - moved, rich: common + moved}
    first, second = sorted((poor, rich))
    prompt = (
        f"Bring the accounts {first} and {second} to equal balances with at most {transfers} transfers of at most "
        f"{limit} each, without changing any other balance. Then answer with their common balance, a whole number."
    )
    data = {"balances": balances, "pair": [first, second], "limit": limit, "transfers": transfers}
    return Draft(prompt, Gold(str(common), plan_for(balances, first, second, limit)), f"level in {transfers}", data)


def plan_for(balances: dict[str, int], first: str, second: str, limit: int) -> list[Transfer]:
    """The transfers that level two accounts, found from the balances alone."""
    rich, poor = (first, second) if balances[first] > balances[second] else (second, first)
    plan = []
    while gap := (balances[rich] - balances[poor]) // 2:
        plan.append(Transfer(rich, poor, min(gap, limit)))
        balances = {**balances, rich: balances[rich] - plan[-1].amount, poor: balances[poor] + plan[-1].amount}
    return plan


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated tasks (None). Raises `ValueError` for any other source."""
    if source is not None:
        raise ValueError(f"tasks={source!r}: there are generated tasks only, tasks=None")
    return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)
