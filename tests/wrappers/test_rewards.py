"""Reward wrappers act the same around one environment, in a vector environment, in processes and from a file."""

import math
import pickle
from functools import partial
from itertools import permutations

import gymnasium as gym
import numpy as np
import pytest

import tir_gym
from tests.play import as_bytes, make, plain, replay
from tir_gym.drivers.env import ToolEnv
from tir_gym.rewards import Gate, RewardProgram, Term
from tir_gym.rewards.checklist import Item
from tir_gym.rewards.correctness import ExactMatch
from tir_gym.rewards.efficiency import TAPO
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


def test_wrappers_act_in_processes_as_around_one():
    alone = five(gym.make(ID))
    wanted = [float(turn[1]) for turn in played(alone)[1:]]
    alone.close()
    makers = [partial(_made_in_a_process, ID)] * 2
    vector = gym.vector.AsyncVectorEnv(
        makers, shared_memory=False, context="spawn", autoreset_mode=gym.vector.AutoresetMode.DISABLED
    )
    try:
        vector.reset(seed=[3, 3])
        got = [vector.step([text, text])[1].tolist() for text in texts()]
    finally:
        vector.close()
    assert got == [[value, value] for value in wanted]


def _made_in_a_process(env_id):
    import tests.toys  # noqa: F401  registers the toy environments

    return five(gym.make(env_id))


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
