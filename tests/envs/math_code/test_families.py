"""Every generated family: pure, solved by its program, varied, its own in structure, and harder at higher levels."""

import ast
import itertools
import json
import random
import re
import statistics
import sys
from collections import Counter

import pytest

from tests.envs.math_code.measure import (
    ASSET,
    LEVELS,
    draw,
    figures,
    median_work,
    normalised,
    run,
    runs,
    similarity,
    structure,
)
from tir_gym.envs.math_code.env import MathCode
from tir_gym.envs.math_code.families import FAMILIES
from tir_gym.scoring.math import equivalent

TOPICS = {
    "arithmetic",
    "number theory",
    "combinatorics",
    "probability",
    "algebra",
    "sequences",
    "linear algebra",
    "calculus",
    "geometry",
    "optimisation",
    "graphs",
    "simulation",
    "data",
}

MOST_ALIKE = 0.75
"""Two programs that have more of their structure in common would be one family."""

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
at_levels = pytest.mark.parametrize(
    "levels", [(1, 10), pytest.param(tuple(LEVELS), marks=pytest.mark.soak)], ids=["ends", "all"]
)
SHIPPED = json.loads(ASSET.read_text("utf-8"))


def test_there_are_enough_families_in_every_topic():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 44
    assert Counter(family.topic for family in FAMILIES).keys() == TOPICS
    assert min(Counter(family.topic for family in FAMILIES).values()) >= 4


@each_family
def test_a_problem_is_pure_in_generator_state_and_level(family):
    random.seed(5)
    expected = random.random()
    random.seed(5)
    for level in LEVELS:
        assert draw(family, level, 3) == draw(family, level, 3)
    assert random.random() == expected, "the global generator was touched"


@each_family
@at_levels
def test_program_and_gold_agree_on_10_draws(family, levels):
    """They are two algorithms: the program is the plain one, `gold_by` says what the gold rests on."""
    for level in levels:
        assert len(runs(family, level)) == 10
        for one in runs(family, level):
            assert one.shown == one.problem.answer, one.problem.prompt
        assert equivalent(one.shown, one.problem.answer)


@each_family
@at_levels
def test_a_program_computes_its_answer(family, levels):
    """No answer that is too long to stand there by chance stands in its program."""
    for level in levels:
        assert not [one for one in runs(family, level) if len(one.shown) > 6 and one.shown in one.problem.program]


@each_family
def test_programs_import_only_what_the_sandbox_has(family):
    for level in LEVELS:
        for node in ast.walk(ast.parse(draw(family, level, 0).program)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = sys.stdlib_module_names | {"numpy", "sympy"}
            assert all(module.partition(".")[0] in allowed for module in modules)


def test_structure_is_blind_to_names_constants_operators_and_data():
    one = "total = 0\nfor x in [1, 2, 3]:\n    if x % 2 == 0:\n        total += x\ntotal"
    same = "s = 7\nfor y in [(4, 5), 6]:\n    if y // 3 > 9:\n        s *= y\ns"
    assert structure(one) == structure(same)
    other = "total = 0\nfor x in [1, 2, 3]:\n    while x % 2 == 0:\n        total += x\ntotal"
    assert structure(one) != structure(other)
    assert similarity(structure(one), structure(other)) > 0.9
    assert similarity(structure(one), structure("max(x for x in range(9))")) < 0.5


@each_family
def test_a_family_is_one_structure(family):
    assert len({structure(draw(family, level, 0).program) for level in LEVELS}) == 1


def test_no_two_families_share_the_structure_of_their_program():
    structures = {family.name: structure(draw(family, 5, 0).program) for family in FAMILIES}
    alike = {
        (one, other): similarity(structures[one], structures[other])
        for one, other in itertools.combinations(structures, 2)
    }
    assert not {pair: value for pair, value in alike.items() if value > MOST_ALIKE}
    assert len(set(structures.values())) == len(FAMILIES)


def test_prompts_that_differ_in_their_story_only_are_the_same():
    assert normalised("Amara has  3 figs.\nOmar has 4.") == normalised("rosa has 3 PLUMS. Sven has 4.")
    assert normalised("Amara-Omar, Amara-Rosa") != normalised("Amara-Omar, Omar-Rosa")
    assert normalised("Amara has 3.") != normalised("Amara has 4.")


@each_family
def test_prompts_are_distinct(family):
    assert SHIPPED[family.name]["distinct_prompts"] >= 200
    assert len({normalised(draw(family, 1, number).prompt) for number in range(400)}) >= 200


@pytest.mark.soak
@each_family
@pytest.mark.parametrize("level", LEVELS)
def test_prompts_are_distinct_at_every_level(family, level):
    assert len({normalised(draw(family, level, number).prompt) for number in range(1000)}) >= 200


@each_family
def test_a_higher_level_is_more_work(family):
    work = SHIPPED[family.name]["work"]
    assert all(easier < harder for easier, harder in itertools.pairwise(work)), work
    assert work[-1] >= 2 * work[0]


@pytest.mark.soak
@each_family
def test_a_higher_level_is_more_work_with_other_draws_too(family):
    """More draws than the catalogue's, and others: the rise is the family's, not those draws'."""
    work = [
        statistics.median_low(run(draw(family, level, number).program)[1] for number in range(1000, 1040))
        for level in LEVELS
    ]
    assert all(easier < harder for easier, harder in itertools.pairwise(work)), work


def test_work_counts_statements_and_elements():
    assert run("x = 1\ny = x + 1\ny") == ("2", 3)
    assert run("total = 0\nfor x in range(5):\n    total += x\ntotal") == ("10", 3 + 5)
    assert run("sum(x * x for x in range(5) if x)") == ("30", 1 + 5)
    assert run("def f(n):\n    if n:\n        return f(n - 1)\n    return n\nf(3)") == ("0", 2 + 4 * 2)


@each_family
def test_the_shipped_work_is_that_measured(family):
    shipped = SHIPPED[family.name]["work"]
    assert (shipped[0], shipped[-1]) == (median_work(family, 1), median_work(family, 10))


@pytest.mark.soak
@each_family
def test_the_shipped_figures_are_those_measured(family):
    assert SHIPPED[family.name] == figures(family)


def test_the_catalogue_has_a_row_for_every_family():
    rows = MathCode().catalogue()
    assert [row["family"] for row in rows] == [family.name for family in FAMILIES] == list(SHIPPED)
    assert len({tuple(row) for row in rows}) == 1
    assert all(str(row["needs the tool"]).endswith(".") and row["gold by"] for row in rows)


@each_family
def test_no_answer_of_a_family_is_common(family):
    assert SHIPPED[family.name]["commonest_answer"] <= 0.02


def test_no_answer_is_common_in_the_mixture():
    """The floor of a policy that always gives the same answer."""
    rng = random.Random(11)
    for levels in (range(1, 11), range(1, 2)):
        answers = Counter(rng.choice(FAMILIES).make(rng, rng.choice(levels)).answer for _ in range(5000))
        assert answers.most_common(1)[0][1] <= 0.02 * 5000, answers.most_common(3)


def test_a_number_of_the_prompt_is_rarely_the_answer():
    """The floor of a policy that echoes a number it reads, even of the best one; it is never the only number."""
    rng = random.Random(12)
    hits = 0
    for _ in range(2000):
        problem = rng.choice(FAMILIES).make(rng, rng.randrange(1, 11))
        numbers = re.findall(r"-?\d+(?:/\d+)?", problem.prompt)
        hits += problem.answer in numbers
        assert set(numbers) != {problem.answer}
    assert hits <= 0.02 * 2000


FORMS = {
    "Give a single integer.": r"-?\d+",
    "Give the exact probability as a reduced fraction a/b.": r"\d+/\d+",
    "Give the exact value as an integer or a reduced fraction a/b.": r"-?\d+(/\d+)?",
}


@each_family
def test_answers_have_the_form_that_the_prompt_asks_for(family):
    for number in range(200):
        problem = draw(family, 1 + number % 10, number)
        (form,) = [form for ending, form in FORMS.items() if problem.prompt.endswith(f" {ending}")]
        assert re.fullmatch(form, problem.answer)
        assert "  " not in problem.prompt
        assert problem.prompt.isascii()
