"""What a family is, and the few helpers that every family shares."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

__all__ = ["EXACT", "FRACTION", "INTEGER", "WORDS", "Family", "Problem", "listing", "pick", "polynomial", "size"]

INTEGER = "Give a single integer."
FRACTION = "Give the exact probability as a reduced fraction a/b."
EXACT = "Give the exact value as an integer or a reduced fraction a/b."


@dataclass(frozen=True, slots=True)
class Problem:
    """One drawn problem.

    `prompt` is self-contained and says which form of answer is wanted; `answer` is the canonical gold, computed by an
    algorithm independent of `program`; `program` is Python source for a fresh interpreter with the standard library,
    numpy and sympy, whose last line is an expression that prints as exactly the answer.
    """

    prompt: str
    answer: str
    program: str


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of problem. `make(rng, level)` is pure in the state of `rng` and the level, 1 to 10.

    `needs_tool` says why levels 6 to 10 cannot be done in the head, `gold_by` which way the gold answer is computed:
    another one than the program's, so that each checks the other.
    """

    name: str
    topic: str
    needs_tool: str
    gold_by: str
    make: Callable[[random.Random, int], Problem]


WORDS: dict[str, list[str]] = json.loads(resources.files("tir_gym.assets").joinpath("words.json").read_text("utf-8"))
"""Names, items, goods, places, colours and jobs for the stories."""


def pick(rng: random.Random, kind: str, count: int) -> list[str]:
    """`count` different words of one kind."""
    return rng.sample(WORDS[kind], count)


def size(rng: random.Random, level: int, low: int, high: int) -> int:
    """A size in the level's own tenth of [low, high), so that a higher level is always larger."""
    step = (high - low) // 10
    return low + step * (level - 1) + rng.randrange(step)


def listing(words: Sequence[object]) -> str:
    """`a, b and c`."""
    *head, last = map(str, words)
    return f"{', '.join(head)} and {last}" if head else last


def polynomial(coefficients: list[int]) -> str:
    """`x^3 + 2x^2 - 5` from coefficients with the highest power first."""
    text = ""
    degree = len(coefficients) - 1
    for i, value in enumerate(coefficients):
        power = degree - i
        if value:
            number = "" if abs(value) == 1 and power else str(abs(value))
            variable = "" if power == 0 else "x" if power == 1 else f"x^{power}"
            sign = "-" if value < 0 else "+"
            text += f" {sign} {number}{variable}"
    return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text.removeprefix(" + ")
