"""Reward wrappers act the same around one environment, in a vector environment, in processes and from a file."""

import math
import pickle
from functools import partial
from itertools import permutations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import tir_gym
from tests.play import as_bytes, make, plain, replay
from tir_gym.drivers.env import ToolEnv
from tir_gym.rewards import Clip, Gate, RewardProgram, Staged, Term
from tir_gym.rewards.checklist import Item
from tir_gym.rewards.correctness import ExactMatch
from tir_gym.rewards.efficiency import TAPO
from tir_gym.rewards.schedules import Stages
from tir_gym.rollout import record_of, rescore, reward
from tir_gym.wrappers import (
    CalibrationReward,
    ChecklistReward,
    CombineRewards,
    CorrectnessReward,
    FormatReward,
    MaskInvalid,
    RewardChannels,
    ToolEfficiencyReward,
    fork,
)
from tir_gym.wrappers.vector import RewardChannels as VectorRewardChannels

ID = "toy/Archive-v0"
LOOKED = Item("looked", "Did it look?", "called", (("tool", "search"),))
FIVE = (
    partial(FormatReward, weight=0.1),
    partial(CorrectnessReward, kind="exact_match"),
    partial(ToolEfficiencyReward, kind="tapo", weight=0.5),
    partial(CalibrationReward, kind="brier", weight=0.25),
    partial(ChecklistReward, kind="checklist", items=(LOOKED,), weight=0.2),
)


def five(env, order=range(5)):
    for place in order:
        env = FIVE[place](env)
    return env


def texts(env_id=ID):
    """Two calls, the second a repetition, then a wrong answer that is half sure."""
    tool = make(env_id).setting.domain.declared_tools("agent")[0]
    (parameter,) = tool.parameter_names
    call = make(env_id).setting.protocol.format(
        tir_gym.Action(thought="Who?", calls=(tir_gym.ToolCall(tool.name, {parameter: "person-1"}),))
    )
    return [call, call, "<think>So.</think><confidence>0.5</confidence><answer>1</answer>"]


def played(env, seed=3):
    turns = replay(env, seed, texts())
    assert turns[-1][2]
    return turns


def test_the_five_wrappers_add_their_channels():
    env = five(gym.make(ID))
    *_, (_, reward_, _, _, info) = played(env)
    channels = info["rewards"]
    assert set(channels) == {"base", "format", "tapo", "calibration", "checklist", "total"}
    assert channels["tapo"] == pytest.approx(-0.1)
    assert channels["calibration"] == -0.25
    assert (channels["format"], channels["checklist"]) == (1.0, 1.0)
    assert channels["total"] == pytest.approx(0.1 * 1 - 0.5 * 0.1 - 0.25 * 0.25 + 0.2 * channels["checklist"])
    assert reward_ == pytest.approx(channels["total"] - 0.2 * channels["checklist"])  # the item came earlier
    env.close()


def test_the_order_of_the_wrappers_has_no_effect():
    seen = set()
    for order in list(permutations(range(5)))[::7]:
        env = five(gym.make(ID), order)
        seen.add(as_bytes(played(env)))
        env.close()
    assert len(seen) == 1


def test_wrappers_act_in_a_vector_environment_as_around_one():
    alone = five(gym.make(ID))
    wanted = [[float(turn[1]) for turn in played(alone, seed)[1:]] for seed in (3, 4)]
    alone.close()
    vector = tir_gym.make_vec(ID, 2, wrappers=FIVE)
    vector.reset(seed=[3, 4])
    got = [vector.step([text, text])[1] for text in texts()]
    assert np.array(got).T.tolist() == wanted
    vector.close()


GATED = (
    partial(FormatReward, weight=0.1),
    partial(CalibrationReward, kind="brier", weight=0.5, only_if_correct=True, low=-0.2),
    partial(ToolEfficiencyReward, kind="otc_ppo", only_if_correct=True, schedule=Stages((0.5, 1.0), 10)),
    partial(CombineRewards, combine=Clip(-0.5, 1.4, Gate("format", otherwise=-1.0))),
)
STAGED = (
    partial(FormatReward, kind="turns"),
    partial(CalibrationReward, kind="margin", b=0.25),
    partial(CombineRewards, combine=Staged((("format", 0.2), ("calibration", 0.3), ("base", 0.5)))),
)


def stacked(env, wrappers):
    for wrapper in wrappers:
        env = wrapper(env)
    return env


def courses(env_id=ID):
    """Right and 60 % sure, wrong and 50 % sure, right without form; of the task that seed 3 draws."""
    env = make(env_id)
    env.reset(seed=3)
    gold = env.episode.task.gold.answer
    env.close()
    call, again, wrong = texts(env_id)
    right = f"<think>So.</think><confidence>0.6</confidence><answer>{gold}</answer>"
    return [[call, again, right], [call, again, wrong], [call, "and so", right]]


@pytest.mark.parametrize("wrappers", [GATED, STAGED], ids=["gated", "staged"])
def test_gates_and_stages_give_the_same_numbers_in_any_order_live_in_a_vector_and_from_the_record(wrappers):
    for course in courses():
        seen = set()
        for order in list(permutations(wrappers))[::4]:
            env = stacked(gym.make(ID), order)
            turns = replay(env, 3, course)
            seen.add(as_bytes(turns))
            record = record_of(env.unwrapped)
            assert reward(type(record).model_validate_json(record.model_dump_json())).total == record.total
            env.close()
        assert len(seen) == 1
        vector = tir_gym.make_vec(ID, 2, wrappers=wrappers)
        vector.reset(seed=[3, 3])
        got = [vector.step([text, text])[1].tolist() for text in course]
        vector.close()
        assert got == [[turn[1]] * 2 for turn in turns[1:]]


def test_permuting_a_batch_permutes_its_rewards_and_changes_none():
    vector = tir_gym.make_vec(ID, 3, wrappers=GATED)
    found = {}
    for order in permutations(range(3)):
        vector.reset(seed=[3] * 3)
        chosen = [courses()[place] for place in order]
        rewards = [vector.step(list(texts_))[1].tolist() for texts_ in zip(*chosen, strict=True)]
        for place, own in zip(order, zip(*rewards, strict=True), strict=True):
            assert found.setdefault(place, own) == own
    vector.close()
    assert len(set(found.values())) == 3


def test_gates_and_stages_do_what_they_say():
    right, wrong, formless = courses()
    totals = {}
    for name, wrappers in (("gated", GATED), ("staged", STAGED)):
        env = stacked(gym.make(ID), wrappers)
        for course, played_ in (("right", right), ("wrong", wrong), ("formless", formless)):
            *_, (*_, info) = replay(env, 3, played_)
            totals[name, course] = info["rewards"]["total"]
        env.close()
    otc = math.cos(2 * math.pi / 5)
    assert totals["gated", "right"] == pytest.approx(1.0 + 0.1 - 0.5 * 0.16 + 0.5 * otc)
    assert totals["gated", "wrong"] == pytest.approx(0.1)
    assert totals["gated", "formless"] == -0.5
    margin = 1 - 0.25 * 0.16
    assert totals["staged", "right"] == pytest.approx(0.2 + 0.3 * margin + 0.5 * margin)
    assert totals["staged", "wrong"] == pytest.approx(0.2)
    assert totals["staged", "formless"] == pytest.approx(2 / 3 * (0.2 + 0.3 * margin + 0.5 * margin))


def test_wrappers_act_in_processes_as_around_one():
    stacks = (FIVE, GATED)
    alone = []
    for wrappers in stacks:
        env = stacked(gym.make(ID), wrappers)
        alone.append([float(turn[1]) for turn in replay(env, 3, courses()[0])[1:]])
        env.close()
    makers = [partial(_made_in_a_process, ID, wrappers) for wrappers in stacks]
    vector = gym.vector.AsyncVectorEnv(
        makers, shared_memory=False, context="spawn", autoreset_mode=gym.vector.AutoresetMode.DISABLED
    )
    try:
        vector.reset(seed=[3] * len(stacks))
        got = [vector.step([text] * len(stacks))[1].tolist() for text in courses()[0]]
    finally:
        vector.close()
    assert np.array(got).T.tolist() == alone


def _made_in_a_process(env_id, wrappers):
    import tests.toys  # noqa: F401  registers the toy environments

    return stacked(gym.make(env_id), wrappers)


def test_the_record_alone_gives_the_same_rewards():
    env = five(gym.make(ID))
    played(env)
    record = type(made := record_of(env.unwrapped)).model_validate_json(made.model_dump_json())
    assert record.reward_program
    assert rescore(record) == record
    assert reward(record) == record
    other = reward(record, rewards=RewardProgram((ExactMatch(), Term(TAPO(), 2.0))))
    assert other.rewards == {"base": 0.0, "tapo": -0.1}
    assert other.total == -0.2
    assert other.reward_channels == ("base", "tapo")
    env.close()


def test_channels_can_be_left_unsummed():
    for order in ((RewardChannels, FIVE[0]), (FIVE[0], RewardChannels)):
        env = gym.make(ID)
        for wrapper in order:
            env = wrapper(env)
        *_, (_, vector, _, _, info) = played(env)
        inner = env
        while not isinstance(inner, RewardChannels):
            inner = inner.env
        assert inner.reward_names == ("base", "format")
        assert inner.reward_space.contains(np.asarray(vector))
        assert inner.reward_space == env.unwrapped.reward_space  # where MO-Gymnasium looks
        assert env.unwrapped.reward_dim == len(vector) == 2
        assert np.asarray(vector).tolist() == [info["rewards"]["base"], info["rewards"]["format"]] == [0.0, 1.0]
        env.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_channels_of_a_vector_environment_are_those_of_its_slots(mode):
    given = [FIVE[0], FIVE[4]]
    vector = VectorRewardChannels(tir_gym.make_vec(ID, 2, wrappers=given, autoreset_mode=mode))
    singles = [RewardChannels(given[1](given[0](gym.make(ID)))) for _ in range(2)]
    assert vector.reward_names == singles[0].reward_names == ("base", "checklist", "format")
    vector.reset(seed=[3, 4])
    for single, seed in zip(singles, (3, 4), strict=True):
        single.reset(seed=seed)
    said, over = texts(), [False, False]
    for turn in range(6):
        actions = [said[turn % 3], said[(turn + 1) % 3]]
        _, rewards, *_ = vector.step(actions)
        assert rewards.shape == (2, 3)
        for i, single in enumerate(singles):
            if over[i] and mode is AutoresetMode.NEXT_STEP:
                single.reset()
                expected, over[i] = np.zeros(3), False
            else:
                _, expected, terminated, truncated, _ = single.step(actions[i])
                over[i] = terminated or truncated
                if over[i] and mode is AutoresetMode.SAME_STEP:
                    single.reset()
            assert np.array_equal(rewards[i], expected, equal_nan=True)
            assert vector.reward_space.contains(rewards[i])
    with pytest.raises(TypeError, match="SyncVectorEnv"):
        VectorRewardChannels(gym.make_vec(ID, num_envs=1, vectorization_mode="sync"))
    vector.close()
    for single in singles:
        single.close()


def test_a_combination_may_come_before_what_it_names_and_not_without_it():
    env = CombineRewards(gym.make(ID), Gate("format"))
    with pytest.raises(ValueError, match=r"names \['format'\]"):
        env.reset(seed=3)
    env = FormatReward(env)
    env.reset(seed=3)
    env.close()


def test_a_combination_gates_the_rest():
    env = CombineRewards(FormatReward(gym.make(ID)), Gate(otherwise=-1.0))
    assert played(env)[-1][1] == -1.0
    env.close()


def test_a_reward_that_waits_for_its_group_is_nan_and_can_be_masked():
    env = ToolEfficiencyReward(gym.make(ID), "otc")
    *_, (_, value, _, _, info) = played(env)
    assert math.isnan(value)
    assert info["valid"]
    assert not math.isnan(info["rewards"]["base"])
    env.close()
    masked = MaskInvalid(ToolEfficiencyReward(gym.make(ID), "otc"), value=-7.0)
    assert played(masked)[-1][1] == -7.0
    masked.close()


def test_wrapped_environments_are_made_again_pickled_and_forked():
    env = five(gym.make(ID))
    wanted = as_bytes(played(env))
    again = gym.make(env.spec)
    assert as_bytes(played(again)) == wanted
    again.close()
    copied = pickle.loads(pickle.dumps(env))
    assert as_bytes(played(copied)) == wanted
    copied.close()
    env.reset(seed=3)
    env.step(texts()[0])
    (twin,) = fork(env)
    ends = [[plain(each.step(text)) for text in texts()[1:]] for each in (env, twin)]
    assert ends[0] == ends[1]
    for each in (env, twin):
        each.close()


def test_a_wrapper_says_what_is_wrong():
    env = gym.make(ID)
    with pytest.raises(ValueError, match=r"no kind 'colour'; there are .*toolrl"):
        FormatReward(env, "colour")
    with pytest.raises(TypeError, match=r"kind 'tapo'.*colour"):
        ToolEfficiencyReward(env, "tapo", colour=1)
    with pytest.raises(TypeError, match="belong to the component"):
        ToolEfficiencyReward(env, TAPO(), cap=2)
    with pytest.raises(TypeError, match="not CartPole"):
        FormatReward(gym.make("CartPole-v1"))
    with pytest.raises(TypeError, match="MaskInvalid does more"):
        tir_gym.make_vec(ID, 2, wrappers=[MaskInvalid])
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="before `reset`"):
        FormatReward(env)
    env.close()


def test_progress_and_groups_hold_from_the_next_reset_on():
    env = ToolEfficiencyReward(gym.make(ID), "spear", total=10)
    inner = env.unwrapped
    assert isinstance(inner, ToolEnv)
    inner.set_progress(5, 10)
    env.reset(seed=3)
    inner.set_progress(10, 10)
    for text in texts():
        *_, info = env.step(text)
    assert info["rewards"]["spear"] == pytest.approx(0.1)
    assert inner.began_with[1].step == 5
    assert record_of(inner).progress.step == 5
    assert played(env)[-1][4]["rewards"]["spear"] == 0.0
    with pytest.raises(ValueError, match="at least 0"):
        inner.set_progress(-1)
    env.close()
