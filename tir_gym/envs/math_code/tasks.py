"""The tasks: generated families, or a benchmark in its published file."""

import random

from tir_gym.core.task import Draft, GeneratedTasks, Gold, JsonlTasks, TaskSet
from tir_gym.envs.math_code.benchmarks import BENCHMARKS
from tir_gym.envs.math_code.families import FAMILIES

__all__ = ["BENCHMARKS", "GENERATED", "draw", "make_tasks"]

GENERATED = "mathcode"


def draw(rng: random.Random, level: int) -> Draft:
    """A problem of a random family at a difficulty from 1 to 10."""
    family = rng.choice(FAMILIES)
    problem = family.make(rng, level)
    return Draft(problem.prompt, Gold(answer=problem.answer, plan=problem.program), family.name)


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated families (None), or a benchmark's file ("NAME:PATH"). Raises `ValueError` for any other source."""
    if source is None:
        return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)
    name, colon, path = source.partition(":")
    if not colon or name not in BENCHMARKS:
        raise ValueError(f"tasks={source!r} is not NAME:PATH with NAME one of {sorted(BENCHMARKS)}")
    if difficulty is not None:
        raise ValueError(f"difficulty={difficulty} chooses among generated tasks; {name} has its own")
    return JsonlTasks(name, path, BENCHMARKS[name], split=split)
