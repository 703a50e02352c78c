"""The tasks: generated families, and loaders for benchmarks in their published files."""

import random
import re
from typing import Any

from tir_gym.core.task import Draft, Fields, GeneratedTasks, Gold, JsonlTasks, TaskSet
from tir_gym.envs.math_code.families import FAMILIES

GENERATED = "mathcode"


def draw(rng: random.Random, level: int) -> Draft:
    """A problem of a random family at a difficulty from 1 to 10."""
    family = rng.choice(FAMILIES)
    problem = family.make(rng, level)
    return Draft(problem.prompt, Gold(answer=problem.answer, plan=problem.program), family.name)


def after_hashes(text: Any) -> str:
    """GSM8K keeps the final answer after `####`. Raises `ValueError` where there is none."""
    _, found, answer = str(text).rpartition("####")
    if not found:
        raise ValueError("the answer has no '####' line")
    return answer.strip()


def worked_steps(text: Any) -> str | None:
    """GSM8K's worked solution as a program: its `<<5*4=20>>` marks in order, exact, the last one the answer.

    None where a mark holds more than arithmetic, or where the last one is not the final answer.
    """
    marks = re.findall(r"<<([^<>=]+)=([^<>]+)>>", str(text))
    if not marks or marks[-1][1].strip() != after_hashes(text).replace(",", ""):
        return None
    steps = []
    for expression, _ in marks:
        if not re.fullmatch(r"[\d.+\-*/() ]+", expression):
            return None
        steps.append(re.sub(r"\d*\.?\d+", r'Fraction("\g<0>")', expression.strip()))
    return "\n".join(["from fractions import Fraction", *steps])


def first_or_all(value: Any) -> Any:
    """A list of accepted answers stays a list, a single answer becomes text."""
    return [str(item) for item in value] if isinstance(value, list) else str(value)


BENCHMARKS = {
    "gsm8k": Fields(
        prompt="question", answer="answer", plan="answer", read_answer=after_hashes, read_plan=worked_steps
    ),
    "math500": Fields(
        prompt="problem", answer="answer", difficulty="level", family="subject", read_answer=first_or_all
    ),
    "aime": Fields(prompt="problem", answer="answer", id="id", read_answer=first_or_all),
}
"""Known files: how to read the columns of each. For others build `JsonlTasks` and pass it as `tasks=`."""


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
