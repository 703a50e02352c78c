"""A verdict is recomputed from the file alone, or by replay, and nothing is rescored that is not the same task."""

import math
from dataclasses import dataclass, replace

import pytest

from tests.play import ALL_IDS, make
from tir_gym.core.domain import Domain
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.core.view import EpisodeView
from tir_gym.envs import domain_of
from tir_gym.envs.math_code.env import MathCode
from tir_gym.envs.registration import make_setting
from tir_gym.rewards import RewardComponent, RewardProgram
from tir_gym.rewards.program import Base
from tir_gym.rollout import collect, record_of
from tir_gym.rollout.rescore import (
    NeedsReplay,
    RescoreError,
    Rescorer,
    evidence_of,
    rescore,
    same_verdict,
    tally_of,
)

MATH = "tir/MathCode-v0"


def played(env_id, policy, seeds=range(2), **options):
    """Records as they are read from a file."""
    env = make(env_id, **options)
    try:
        return [EpisodeRecord.model_validate_json(r.model_dump_json()) for r in collect(env, policy, seeds)]
    finally:
        env.close()


def falsified(record, value):
    """The record with another verdict written into it."""
    verdict = record.verdict.model_copy(update={"value": value, "reason": "by hand"})
    outcome = "solved" if value == 1.0 else "failed"
    update = {"verdict": verdict, "outcome": outcome, "rewards": {"base": value}, "total": value}
    return record.model_copy(update=update)


@pytest.mark.parametrize("env_id", ALL_IDS)
@pytest.mark.parametrize("policy", ["oracle", "random", "tag-injection"])
def test_every_environment_is_rescored_to_what_it_was(env_id, policy):
    with Rescorer() as again:
        for record in played(env_id, policy):
            try:
                assert again(record).model_dump_json() == record.model_dump_json()
            except NeedsReplay:
                assert domain_of(env_id).world is not Domain.world
            assert again(record, reverify=True).model_dump_json() == record.model_dump_json()


@pytest.mark.parametrize("env_id", ["toy/Helpdesk-v0", "toy/Ledger-v0"])
def test_a_verdict_that_looks_at_the_world_says_so(env_id):
    (record,) = played(env_id, "oracle", [0])
    with pytest.raises(NeedsReplay, match="looks at the world: replay with --reverify"):
        rescore(record)


@pytest.mark.parametrize("reverify", [False, True])
@pytest.mark.parametrize("policy", ["oracle", "constant"])
def test_a_false_verdict_is_put_right(policy, reverify):
    (record,) = played(MATH, policy, [3])
    false = falsified(record, 1.0 - record.verdict.value)
    assert not same_verdict(false, record)
    right = rescore(false, reverify=reverify)
    assert same_verdict(right, record)
    assert right.verdict == record.verdict
    assert right.transcript == record.transcript


def test_a_false_verdict_over_a_world_is_put_right_by_replay():
    (record,) = played("toy/Ledger-v0", "oracle", [3])
    assert same_verdict(rescore(falsified(record, 0.0), reverify=True), record)


def test_evidence_from_the_file_is_the_live_evidence():
    env = make(MATH)
    env.reset(seed=2)
    env.call("python", {"code": "print(1 / 0)"})
    env.step("<think>no</think><confidence>0.25</confidence><answer>7</answer> and more")
    live, record = env.episode.evidence, record_of(env)
    env.close()
    again = evidence_of(EpisodeRecord.model_validate_json(record.model_dump_json()), env.episode.task)
    assert (again.answer, again.calls, again.policy_text, again.ended_by, again.task) == (
        live.answer,
        live.calls,
        live.policy_text,
        live.ended_by,
        live.task,
    )
    assert again.answer.confidence == 0.25
    assert "more" not in again.policy_text[-1]
    assert again.task.gold == Gold()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_counts_from_the_file_are_the_live_counts(env_id):
    env = make(env_id)
    for policy in ("oracle", "random", "tag-injection", "null"):
        for record in collect(env, policy, range(2)):
            counted, live = tally_of(record), env.episode.tally
            live.this_turn = 0
            assert counted == live
    env.close()


def test_an_answer_by_a_tool_keeps_its_origin():
    (record,) = played("toy/Handover-v0", "oracle", [0])
    answer = evidence_of(record, make_setting("toy/Handover-v0").tasks.find(record.state.task.id)).answer
    assert answer.origin == "call"
    assert answer.text == record.answer
    assert rescore(record).verdict.value == 1.0


def test_other_tasks_are_reported_and_not_rescored():
    (record,) = played(MATH, "oracle", [1])
    task = record.state.task.model_copy(update={"fingerprint": "0123456789abcdef"})
    moved = record.model_copy(update={"state": record.state.model_copy(update={"task": task})})
    for reverify in (False, True):
        with pytest.raises(RescoreError, match=r"0123456789abcdef.*other tasks"):
            rescore(moved, reverify=reverify)
    lost = record.state.task.model_copy(update={"id": "mathcode/train/any/none/0"})
    with pytest.raises(RescoreError, match="cannot be found"):
        rescore(record.model_copy(update={"state": record.state.model_copy(update={"task": lost})}))


def test_an_environment_or_option_unknown_here_is_reported():
    (record,) = played(MATH, "oracle", [1])
    elsewhere = record.model_copy(update={"state": record.state.model_copy(update={"env_id": "far/Away-v0"})})
    with pytest.raises(RescoreError, match="far/Away-v0"):
        rescore(elsewhere)
    with pytest.raises(RescoreError, match="colour"):
        rescore(record.model_copy(update={"options": {"colour": "red"}}))


def test_options_of_the_record_are_those_of_the_setting():
    records = played(MATH, "oracle", range(2), protocol="openai", difficulty=2, split="test", max_turns=3)
    assert all(same_verdict(rescore(record), record) for record in records)


def test_a_changed_past_is_not_reverified():
    (record,) = played(MATH, "oracle", [1])
    first, *rest = record.state.actions
    forged = first.model_copy(update={"raw": first.raw.replace("print", "print  ")})
    state = record.state.model_copy(update={"actions": (forged, *rest)})
    with pytest.raises(RescoreError, match="replay of"):
        rescore(record.model_copy(update={"state": state}), reverify=True)
    told = record.transcript[0].model_copy(update={"text": "another prompt"})
    state = record.state.model_copy(update={"digest": "00" * 16})
    forged = record.model_copy(update={"state": state, "transcript": (told, *record.transcript[1:])})
    with pytest.raises(RescoreError, match="replay of"):
        rescore(forged, reverify=True)


@dataclass(frozen=True)
class Count(RewardComponent):
    channels = ("calls",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"calls": -0.125 * len(view.evidence.calls)}


def test_a_reward_program_is_needed_where_it_was_used():
    program = RewardProgram((Base(), Count()))
    (record,) = played(MATH, "oracle", [1], rewards=program)
    assert record.total == 0.875
    with pytest.raises(RescoreError, match=r"channels \['base', 'calls'\].*\['base'\]"):
        rescore(record)
    setting = make_setting(MATH, rewards=program)
    false = record.model_copy(update={"total": 9.0, "rewards": {"base": 1.0, "calls": 8.0}})
    for reverify in (False, True):
        assert rescore(false, reverify=reverify, setting=setting).total == 0.875


class Broken(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        raise OSError("the judge is ill")


@dataclass(frozen=True)
class IllMath(MathCode):
    def verifier(self) -> Verifier:
        return Broken()


def test_an_episode_that_could_not_be_judged_is_judged_later_and_a_failing_judge_makes_it_invalid():
    setting = make_setting(MATH)
    (record,) = played(MATH, "constant", [0])
    ill = replace(setting, domain=IllMath())
    broken = rescore(record, setting=ill)
    assert (broken.outcome, broken.valid, broken.failure) == ("judge_error", False, "OSError: the judge is ill")
    assert math.isnan(broken.total)
    assert math.isnan(broken.rewards["base"])
    assert same_verdict(rescore(broken), record)
    assert same_verdict(rescore(broken, reverify=True), record)


def test_what_has_no_verdict_is_left_as_it_is():
    (record,) = played(MATH, "constant", [0])
    for outcome in ("env_error", ""):
        same = record.model_copy(update={"outcome": outcome})
        assert rescore(same) is same


def test_settings_are_made_once_and_released():
    made = []

    def setting_for(record):
        made.append(make_setting(record.state.env_id, **record.options))
        return made[-1]

    records = played(MATH, "constant", range(3)) + played(MATH, "constant", range(2), difficulty=2)
    with Rescorer(setting_for) as again:
        assert all(same_verdict(again(record), record) for record in records)
    assert len(made) == 2


def test_an_empty_answer_is_not_no_answer():
    env = make(MATH)
    env.reset(seed=0)
    env.step("<answer></answer>")
    record = record_of(env)
    env.close()
    assert evidence_of(record, env.episode.task).answer == env.episode.answer
    assert env.episode.answer is not None
