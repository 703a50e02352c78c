"""The table of rewards is complete, and its lines of code run; so do the recipes."""

import inspect
import re
from pathlib import Path

import gymnasium as gym
import pytest

import tir_gym
from tir_gym import wrappers
from tir_gym.recipes import PROTOCOLS, recipes
from tir_gym.rewards import RewardProgram, schedules
from tir_gym.rewards.catalogue import components, program_of
from tir_gym.rollout import advantages, metrics
from tir_gym.scoring import calibration, retrieval

TABLE = Path(__file__).parents[2] / "docs" / "rewards.md"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in TABLE.read_text().splitlines()
    if re.match(r"\| [A-Z]\w+ \|", line)
]
PAPERS = {
    *("search_r1", "toolrl", "otc", "retool", "simpletir", "tool_star", "arpo", "matchtir", "cm2", "ikea", "aspo"),
    *(
        "lightsearcher",
        "hdpo",
        "deepeyes",
        "toolorchestra",
        "router_r1",
        "calibration_dichotomy",
        "spear",
        "prs",
        "torl",
        "rlcr",
        "icrl",
        "smart",
        "astra",
        "toolcomp",
        "ruscarl",
        "rare",
        "bats",
        "spa",
        "portool",
    ),
}


def test_every_component_has_a_row_and_every_row_a_component():
    assert sorted(row[0] for row in ROWS) == sorted(components())
    assert {len(row) for row in ROWS} == {7}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_line_of_a_row_adds_its_component(row):
    env = gym.make("toy/Archive-v0")
    line = row[6].strip("`")
    made = eval(line, {"env": env, **{name: getattr(wrappers, name) for name in wrappers.__all__}})
    terms = made.unwrapped.setting.rewards.terms
    assert row[0] in {type(term.component).__name__ for term in terms}
    kind = components()[row[0]]
    assert ("group" in row[4]) == kind.needs_group
    assert ("text" in row[4]) == kind.reads_tool_text
    made.close()


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_is_a_line_and_says_what_it_is(name):
    recipe = getattr(tir_gym.recipes, name)
    assert recipe.__doc__
    env = recipe(gym.make("toy/Archive-v0"))
    program = env.unwrapped.setting.rewards
    assert program_of(program.data()) == program
    assert "base" in program.channels
    env.close()
    vector = tir_gym.make_vec("toy/Archive-v0", 2, wrappers=[recipe])
    assert vector.setting.rewards == program
    vector.close()


def test_the_table_of_recipes_is_what_they_say_of_themselves():
    lines = ["| recipe | paper | set-up |", "|---|---|---|"]
    for name, recipe in recipes().items():
        paper, _, setup = " ".join(recipe.__doc__.split()).partition(": ")
        lines.append(f"| `{name}` | {paper} | {setup} |")
    assert "\n".join(lines) in TABLE.read_text(), "put this into docs/rewards.md:\n" + "\n".join(lines)


@pytest.mark.parametrize("module", [advantages, metrics, schedules, calibration, retrieval], ids=lambda m: m.__name__)
def test_every_function_of_a_measure_is_named(module):
    own = [name for name, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    named = set(re.findall(r"`(?:\w+\.)*(\w+)`", TABLE.read_text()))
    assert not [name for name in own if not name.startswith("_") and name not in named]


def test_the_papers_that_were_asked_for_are_there():
    assert set(recipes()) >= PAPERS
    assert set(PROTOCOLS) <= set(recipes())


def test_a_recipe_goes_around_the_bare_environment():
    env = wrappers.FormatReward(gym.make("toy/Archive-v0"))
    with pytest.raises(ValueError, match="around a recipe"):
        tir_gym.recipes.otc(env)
    more = wrappers.FormatReward(tir_gym.recipes.otc(gym.make("toy/Archive-v0")), weight=0.1)
    assert more.unwrapped.setting.rewards != RewardProgram()
    assert set(more.unwrapped.setting.rewards.channels) == {"base", "format", "otc"}
    env.close()
    more.close()
