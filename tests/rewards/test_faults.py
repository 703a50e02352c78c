"""A component that raises is our fault: its channel is invalid, the error is kept, and nobody's episode is lost."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest

import tir_gym
from tests.play import make
from tests.rewards.views import searched
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.view import EpisodeView
from tir_gym.rewards import Base, Combine, RewardComponent, RewardProgram, Term
from tir_gym.rewards.calibration import Margin
from tir_gym.rewards.calls import BFCL, MatchTIR, ToolRLCorrectness
from tir_gym.rewards.checklist import Checklist, Item, Rubric
from tir_gym.rewards.efficiency import IKEA, SPEAR, ToolStar
from tir_gym.rollout import NeedsReplay, record_of, rescore, reward
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES

ID = "toy/Archive-v0"


@dataclass(frozen=True)
class Broken(RewardComponent):
    """Divides by zero, gives what is no number, or forgets its channel."""

    channels: ClassVar[tuple[str, ...]] = ("broken",)
    per_step: ClassVar[bool] = True

    how: str = "raise"

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        if self.how == "raise":
            raise ZeroDivisionError("no turns left to divide by")
        return {"infinite": {"broken": math.inf}, "text": {"broken": "high"}, "other": {"broke": 1.0}}[self.how]


@dataclass(frozen=True)
class LooksAtTheWorld(RewardComponent):
    """Reads the world."""

    channels: ClassVar[tuple[str, ...]] = ("looks",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"looks": float(bool(view.evidence.world.digest()))}


class BrokenCombination(Combine):
    def total(self, channels, weights):
        raise RuntimeError("cannot add")


def program(component):
    return RewardProgram((Base(), Term(component, 0.5)))


@pytest.mark.parametrize("how", ["raise", "infinite", "text", "other"])
def test_step_goes_on_and_says_what_failed(how):
    env = make(ID, rewards=program(Broken(how)))
    record = play(env, POLICIES["oracle"], 3)
    *_, info = env.step("")
    record = record_of(env)
    assert (record.outcome, record.valid, record.verdict.value) == ("solved", True, 1.0)
    assert (record.rewards["base"], math.isnan(record.rewards["broken"]), math.isnan(record.total)) == (1.0, True, True)
    assert record.reward_faults.keys() == {"broken"}
    assert record.reward_faults["broken"] in info["failure"]
    if how == "raise":
        assert record.reward_faults == {"broken": "ZeroDivisionError: no turns left to divide by"}
    env.close()


def test_the_record_gives_the_same_fault_again_and_the_file_keeps_it():
    env = make(ID, rewards=program(Broken()))
    play(env, POLICIES["oracle"], 3)
    record = record_of(env)
    env.close()
    loaded = EpisodeRecord.model_validate_json(record.model_dump_json())
    assert loaded.reward_faults == record.reward_faults
    setting = env.setting
    for again in (reward(loaded, setting=setting), rescore(loaded, setting=setting)):
        assert again.model_dump_json() == loaded.model_dump_json()
    mended = reward(loaded, rewards=program(ToolStar(boxed=False)), setting=setting)
    assert mended.reward_faults == {}
    assert not math.isnan(mended.total)


def test_one_slot_of_a_vector_environment_does_not_stop_the_others():
    vector = tir_gym.make_vec(ID, 2, rewards=program(Broken()))
    vector.reset(seed=[3, 4])
    _, rewards, *_, infos = vector.step(["<answer>1</answer>"] * 2)
    assert all(map(math.isnan, rewards))
    assert set(infos["final_info"]["rewards"]["base"]) == {0.0}
    vector.close()


def test_a_combination_that_raises_makes_the_total_invalid():
    earned = RewardProgram((Base(),), BrokenCombination()).earned(searched(score=1.0))
    assert (earned.channels, math.isnan(earned.total)) == ({"base": 1.0}, True)
    assert earned.faults == {"total": "RuntimeError: cannot add"}


def test_asked_directly_a_component_raises_its_own_error():
    with pytest.raises(ZeroDivisionError):
        program(Broken()).evaluate(searched())


def test_who_looks_at_the_world_is_sent_to_replay_and_is_no_fault():
    env = make("toy/Ledger-v0", rewards=program(LooksAtTheWorld()))
    play(env, POLICIES["oracle"], 3)
    record = record_of(env)
    env.close()
    assert (record.rewards["looks"], record.reward_faults) == (1.0, {})
    with pytest.raises(NeedsReplay, match="world"):
        reward(record, setting=env.setting)
    assert rescore(record, reverify=True, setting=env.setting).rewards == record.rewards


def test_gold_that_does_not_fit_is_a_fault_and_not_a_zero():
    for data in ({"calls": [{"tool": "search"}]}, {"calls": "search"}, {"calls": 5}):
        earned = program(MatchTIR()).earned(searched("a", data=data))
        assert math.isnan(earned.channels["calls.matchtir"])
        assert earned.faults
    bad = searched("a", data={"checklist": [{"id": "a", "question": "?", "rule": "nope"}]})
    assert "no predicate 'nope'" in program(Checklist()).earned(bad).faults["checklist"]


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: ToolRLCorrectness(schedule="max2"), r"schedule='max2' must be one of '', 'max1'"),
        (lambda: ToolRLCorrectness(grain="rough"), r"grain='rough' must be one of 'fine'"),
        (lambda: MatchTIR(matching="best"), r"matching='best' must be one of 'assignment'"),
        (lambda: IKEA(measure="em"), r"measure='em' must be one of 'score', 'exact_match'"),
        (lambda: SPEAR(total="100"), r"total='100' must be a whole number"),
        (lambda: Margin(b="half"), r"b='half' must be a number"),
        (lambda: ToolStar(boxed=1), r"boxed=1 must be of type bool"),
        (lambda: Checklist((Item("a", "?", "nope"),)), r"no predicate 'nope'"),
        (
            lambda: Rubric((Item("a", "?", "called", (("colour", 1), ("tool", "x"))),)),
            r"item 'a': rule 'called'.*colour",
        ),
        (lambda: Rubric((Item("a", "?", "called"),)), r"item 'a': rule 'called'.*tool"),
        (lambda: Checklist((Item("a", "?"), Item("a", "?"))), r"two items are called 'a'"),
        (lambda: Checklist((Item("a", "?", needs=("b",)),)), r"'a' needs \['b'\]"),
        (lambda: Term(BFCL), r"is no RewardComponent"),
    ],
)
def test_options_that_do_not_fit_are_refused_when_the_component_is_made(make_it, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_it()


def test_a_component_without_channels_is_refused():
    class Silent(RewardComponent):
        """Names nothing."""

        def evaluate(self, view):
            return {}

    with pytest.raises(TypeError, match="Silent names no channels"):
        RewardProgram((Silent(),))
