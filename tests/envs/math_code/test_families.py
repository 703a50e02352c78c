"""Every generated family: pure, solvable by its program, varied, and harder at higher levels."""

from __future__ import annotations

import ast
import contextlib
import io
import random
import re
import sys
from collections import Counter
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest

from tir_gym.envs.math_code.families import FAMILIES, Family, Problem
from tir_gym.scoring.math import equivalent

LEVELS = range(1, 11)
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def draw(family: Family, level: int, seed: int) -> Problem:
    return family.make(random.Random(f"{family.name}/{level}/{seed}"), level)


def result_of(program: str) -> str:
    """The value of the last expression, as it prints."""
    tree = ast.parse(program)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr), "the last line must be an expression"
    scope: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(tree.body[:-1], []), "<program>", "exec"), scope)
        value = eval(compile(ast.Expression(last.value), "<program>", "eval"), scope)
    assert not printed.getvalue(), "a plan prints nothing: its last expression is the answer"
    return str(value)


def work_of(program: str) -> int:
    """Steps of the interpreter (line, call and return events) inside the program's own code."""
    events = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal events
        if frame.f_code.co_filename != "<program>":
            return None
        events += 1
        return trace

    code = compile(program, "<program>", "exec")
    before = sys.gettrace()
    with contextlib.redirect_stdout(io.StringIO()):
        sys.settrace(trace)
        try:
            exec(code, {"__name__": "__main__"})
        finally:
            sys.settrace(before)
    return events


def test_names_are_unique_and_every_topic_is_there() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 16
    assert {family.topic for family in FAMILIES} >= {
        "number theory",
        "combinatorics",
        "probability",
        "linear algebra",
        "algebra",
        "sequences",
        "geometry",
        "optimisation",
        "graphs",
        "simulation",
        "calendar",
        "data",
    }
    assert all(family.needs_tool.endswith(".") for family in FAMILIES)


@each_family
def test_a_problem_is_pure_in_generator_state_and_level(family: Family) -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    for level in LEVELS:
        assert draw(family, level, 3) == draw(family, level, 3)
    assert random.random() == expected, "the global generator was touched"


@each_family
@pytest.mark.parametrize("level", LEVELS)
def test_the_program_gives_the_answer(family: Family, level: int) -> None:
    for seed in range(4 if level < 8 else 2):
        problem = draw(family, level, seed)
        shown = result_of(problem.program)
        assert shown == problem.answer, problem.prompt
        assert equivalent(shown, problem.answer)


@each_family
def test_programs_import_only_what_the_sandbox_has(family: Family) -> None:
    for level in LEVELS:
        for node in ast.walk(ast.parse(draw(family, level, 0).program)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = sys.stdlib_module_names | {"numpy", "sympy"}
            assert all(module.partition(".")[0] in allowed for module in modules)


def _skeleton(program: str) -> str:
    """The syntax tree without names and constants."""
    kinds = [type(node).__name__ for node in ast.walk(ast.parse(program))]
    return " ".join(kind for kind in kinds if kind not in {"Constant", "Load", "Store", "Tuple", "UnaryOp", "USub"})


def test_no_two_families_share_the_structure_of_their_program() -> None:
    seen: dict[str, str] = {}
    for family in FAMILIES:
        for level in (1, 5, 10):
            assert seen.setdefault(_skeleton(draw(family, level, 0).program), family.name) == family.name


@each_family
def test_prompts_are_distinct(family: Family) -> None:
    for level in (1, 6):
        prompts = {draw(family, level, seed).prompt for seed in range(1000 if level == 1 else 260)}
        assert len(prompts) >= 200


@each_family
def test_a_higher_level_is_more_work(family: Family) -> None:
    work = [sum(work_of(draw(family, level, seed).program) for seed in range(3)) for level in LEVELS]
    assert work[0] < work[3] < work[6] < work[9]
    for easier, harder in pairwise(work):
        assert harder >= 0.8 * easier
    assert work[9] >= 2 * work[0]


@each_family
def test_no_answer_is_common_in_the_top_half(family: Family) -> None:
    answers = Counter(draw(family, 6 + seed % 5, seed).answer for seed in range(400))
    assert answers.most_common(1)[0][1] <= 0.02 * 400, answers.most_common(3)


def test_no_answer_is_common_in_the_mixture() -> None:
    """The floor of a policy that always gives the same answer."""
    rng = random.Random(11)
    answers = Counter(rng.choice(FAMILIES).make(rng, rng.randrange(1, 11)).answer for _ in range(2000))
    assert answers.most_common(1)[0][1] <= 0.02 * 2000, answers.most_common(3)


def test_a_number_of_the_prompt_is_rarely_the_answer() -> None:
    """The floor of a policy that echoes a number it reads, even of the best one; it is never the only number."""
    rng = random.Random(12)
    hits = 0
    for _ in range(2000):
        problem = rng.choice(FAMILIES).make(rng, rng.randrange(1, 11))
        numbers = re.findall(r"-?\d+(?:/\d+)?", problem.prompt)
        hits += problem.answer in numbers
        assert set(numbers) != {problem.answer}
    assert hits <= 0.02 * 2000


@each_family
def test_answers_and_prompts_have_their_canonical_form(family: Family) -> None:
    for level in LEVELS:
        problem = draw(family, level, 1)
        form = r"\d+/\d+" if family.topic == "probability" else r"-?\d+"
        assert re.fullmatch(form, problem.answer)
        assert ("reduced fraction" if family.topic == "probability" else "single integer") in problem.prompt
        assert "  " not in problem.prompt
        assert problem.prompt.isascii()
