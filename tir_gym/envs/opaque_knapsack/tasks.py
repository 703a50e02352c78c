"""The tasks: shelves of items with random labels, and their exact optimum."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet
from tir_gym.envs.opaque_knapsack.world import Item

GENERATED = "opaqueknapsack"
PER_TURN = 4
"""Labels that may be inspected in one turn."""

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
DIGITS = "23456789"
CLASSES = ("amber", "coral", "ebony", "indigo", "ivory", "jade", "khaki", "lilac", "mauve", "ochre", "ruby", "teal")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a shelf is: `items` items of 2 * `limited` classes, of which `limited` classes are under the rule."""

    name: str
    levels: range
    items: int
    limited: int

    @property
    def budget(self) -> int:
        """Labels that may be inspected in all: 60 % of the items."""
        return self.items * 6 // 10


SIZES = (
    Size("easy", range(1, 4), 12, 2),
    Size("medium", range(4, 8), 20, 3),
    Size("hard", range(8, 11), 30, 4),
)


def sizes() -> list[dict[str, object]]:
    """The sizes as a table."""
    rows = [asdict(size) | {"budget": size.budget, "per_turn": PER_TURN} for size in SIZES]
    return [row | {"levels": f"{row['levels'][0]}-{row['levels'][-1]}"} for row in rows]


def draw(rng: random.Random, level: int) -> Draft:
    """A shelf whose optimum takes no more items than may be inspected."""
    size = next(size for size in SIZES if level in size.levels)
    while True:
        items = {label: Item(0, 0, "") for label in _labels(rng, size.items)}
        classes = rng.sample(CLASSES, 2 * size.limited)
        items = {label: Item(rng.randint(1, 20), rng.randint(1, 30), rng.choice(classes)) for label in items}
        capacity = sum(item.weight for item in items.values()) * 4 // 10
        at_most = dict.fromkeys(classes[: size.limited], rng.randint(1, 2))
        optimum, chosen = best_choice(items, capacity, at_most)
        if len(chosen) <= size.budget:
            break
    data = {"items": items, "at_most": at_most, "capacity": capacity, "budget": size.budget, "per_turn": PER_TURN}
    plan = {"capacity": capacity, "inspect": _batches(rng, list(items), chosen, size.budget)}
    gold = Gold(", ".join(chosen), plan, {"optimum": optimum})
    return Draft(_prompt(list(items), capacity, size.budget), gold, size.name, data)


def best_choice(items: Mapping[str, Item], capacity: int, at_most: Mapping[str, int]) -> tuple[int, list[str]]:
    """The greatest total value within `capacity` and the class limits, and a smallest choice of labels that has it.

    Exact: dynamic programming over weight, for a limited class over the number of its items too. An entry is one
    integer that sorts by value, then by fewer items, and holds the chosen ones as bits.
    """
    labels = list(items)
    best = np.zeros(capacity + 1, dtype=np.int64)
    for kind in dict.fromkeys(item.kind for item in items.values()):
        free = kind not in at_most
        layers = [best] if free else [best, *(best.copy() for _ in range(at_most[kind]))]
        for index, label in enumerate(labels):
            weight, value, own = items[label]
            if own != kind or weight > capacity:
                continue
            gain = ((value * 64 - 1) << 32) + (1 << index)
            for count in range(len(layers) - 1, -1 if free else 0, -1):
                before = layers[count if free else count - 1]
                taken = before[: capacity + 1 - weight] + gain
                layers[count][weight:] = np.maximum(layers[count][weight:], taken)
        best = layers[-1]
    final = int(best[-1])
    chosen = [label for index, label in enumerate(labels) if final >> index & 1]
    return sum(items[label].value for label in chosen), chosen


def _labels(rng: random.Random, count: int) -> list[str]:
    """Different labels of two letters and a digit."""
    numbers = rng.sample(range(len(LETTERS) ** 2 * len(DIGITS)), count)
    pairs = (divmod(number, len(DIGITS)) for number in numbers)
    return [LETTERS[pair // len(LETTERS)] + LETTERS[pair % len(LETTERS)] + DIGITS[digit] for pair, digit in pairs]


def _batches(rng: random.Random, labels: list[str], chosen: list[str], budget: int) -> list[list[str]]:
    """As many labels as the budget allows, an optimal choice among them, a turn's worth at a time."""
    others = [label for label in labels if label not in chosen]
    wanted = chosen + rng.sample(others, budget - len(chosen))
    rng.shuffle(wanted)
    return [wanted[start : start + PER_TURN] for start in range(0, budget, PER_TURN)]


def _prompt(labels: list[str], capacity: int, budget: int) -> str:
    return (
        f"There are {len(labels)} items: {', '.join(labels)}.\n"
        f"Choose items with a total weight of at most {capacity} and the greatest total value you can reach. "
        "Weights, values and classes are hidden until you inspect an item, "
        f"at most {PER_TURN} labels a turn and {budget} labels in all. "
        "Some classes are limited: an inspection tells which, and how many of their items may be chosen. "
        "Only items that you have inspected may be chosen."
    )


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated shelves (None). Raises `ValueError` for any other source."""
    if source is not None:
        raise ValueError(f"tasks={source!r}: there are generated tasks only, tasks=None")
    return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)
