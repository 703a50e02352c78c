"""Every registered id is a Gymnasium environment without a caveat."""

import copy
import json
import pickle
import random
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList

from tests.play import ALL_IDS, as_bytes, make, plain, play_oracle, replay
from tir_gym.core.spaces import Unicode
from tir_gym.core.transcript import Source
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES

pytestmark = pytest.mark.parametrize("env_id", ALL_IDS)


def test_check_env_has_nothing_to_say(env_id):
    env = gym.make(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_observations_and_actions_are_in_their_spaces(env_id):
    env = make(env_id)
    for observation, *_ in replay(env, 3, play_oracle(env, 3)):
        assert env.observation_space.contains(observation)
    assert isinstance(env.action_space, Unicode)
    assert env.action_space.contains(env.action_space.sample())
    env.close()


def test_reset_without_seed_goes_on_to_other_episodes(env_id):
    env = make(env_id)
    seeds = {env.reset(seed=5)[1]["seed"], *(env.reset()[1]["seed"] for _ in range(4))}
    assert len(seeds) == 5
    again = make(env_id)
    assert seeds == {again.reset(seed=5)[1]["seed"], *(again.reset()[1]["seed"] for _ in range(4))}
    env.close()
    again.close()


def test_task_id_fixes_the_task_and_the_seed_the_rest(env_id):
    env = make(env_id)
    _, info = env.reset(seed=1)
    _, same = env.reset(seed=99, options={"task_id": info["task"]["id"]})
    assert same["task"] == info["task"]
    assert same["seed"] != info["seed"]
    with pytest.raises(KeyError, match="no-such-task"):
        env.reset(options={"task_id": "no-such-task"})
    with pytest.raises(ValueError, match="task_id"):
        env.reset(options={"tsak_id": "x"})
    env.close()


def test_same_seed_and_actions_give_the_same_bytes(env_id):
    env = make(env_id)
    texts = play_oracle(env, 11)
    first, second = replay(env, 11, texts), replay(env, 11, texts)
    assert as_bytes(first) == as_bytes(second)
    other = replay(env, 12, texts)
    assert as_bytes(first) != as_bytes(other)
    env.close()


REPLAY = """
import json, sys
from tests.play import *
for env_id, texts in json.load(sys.stdin).items():
    env = make(env_id)
    print(as_bytes(replay(env, 4, texts)).decode())
    env.close()
"""


@pytest.fixture(scope="module")
def elsewhere():
    """What the oracle's texts bring here and in another process, for every id."""
    texts, here = {}, {}
    for env_id in ALL_IDS:
        env = make(env_id)
        texts[env_id] = play_oracle(env, 4)
        here[env_id] = as_bytes(replay(env, 4, texts[env_id]))
        env.close()
    asked = json.dumps(texts).encode()
    there = subprocess.run([sys.executable, "-c", REPLAY], input=asked, capture_output=True, check=True).stdout
    return here, dict(zip(ALL_IDS, there.splitlines(), strict=True))


def test_same_bytes_in_another_process(env_id, elsewhere):
    here, there = elsewhere
    assert there[env_id] == here[env_id]


def test_global_random_state_is_left_alone(env_id):
    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), pickle.dumps(np.random.get_state())
    env = make(env_id)
    play_oracle(env, 2)
    env.close()
    assert (random.getstate(), pickle.dumps(np.random.get_state())) == before


def test_environments_and_their_constructors_pickle(env_id):
    env = gym.make(env_id)
    texts = play_oracle(env.unwrapped, 6)
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    assert as_bytes(replay(twin, 6, texts)) == as_bytes(replay(env.unwrapped, 6, texts))
    remade = gym.make(pickle.loads(pickle.dumps(env.spec)))
    assert as_bytes(replay(remade.unwrapped, 6, texts)) == as_bytes(replay(env.unwrapped, 6, texts))
    for one in (env, twin, remade):
        one.close()


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            yield from leaves(item, f"{path}/{key}")
    else:
        yield path, type(value)


def test_info_has_the_same_typed_leaves_at_every_step_of_every_policy(env_id):
    env = make(env_id)
    shapes = set()
    for name, make_policy in POLICIES.items():
        if name == "gold":
            continue
        seen = []
        original_step = env.step

        def spy(action, step=original_step, seen=seen):
            result = step(action)
            seen.append(result[4])
            return result

        env.step = spy
        play(env, make_policy, 8)
        del env.step
        seen.append(env.reset(seed=8)[1])
        shapes |= {tuple(leaves(info)) for info in seen}
    assert len(shapes) == 1
    (shape,) = shapes
    assert {kind for _, kind in shape} <= {str, int, float, bool, list}
    env.close()


def test_info_keys_are_those_of_every_other_domain(env_id):
    here, reference = make(env_id), make(ALL_IDS[0])
    assert dict(leaves(here.reset(seed=0)[1])) == dict(leaves(reference.reset(seed=0)[1]))
    here.close()
    reference.close()


def test_infos_of_eight_episodes_merge_and_come_apart_without_loss(env_id):
    env = make(env_id)
    texts = [play_oracle(env, seed) for seed in range(8)]
    vector = SyncVectorEnv([lambda env_id=env_id: gym.make(env_id) for _ in range(8)])
    splitter = DictInfoToList(vector)
    _, infos = splitter.reset(seed=list(range(8)))
    singles = [env.reset(seed=seed)[1] for seed in range(8)]
    assert [plain(info) for info in infos] == [plain(info) for info in singles]
    _, _, _, _, infos = splitter.step(tuple(own[0] for own in texts))
    for seed in range(8):
        env.reset(seed=seed)
        assert plain(env.step(texts[seed][0])[4]) == plain(infos[seed])
    vector.close()
    env.close()


def test_every_call_returns_new_objects(env_id):
    env = make(env_id)
    texts = play_oracle(env, 9)
    turns = replay(env, 9, texts)
    frozen = copy.deepcopy(turns)

    def scribble(value):
        if isinstance(value, dict):
            for item in value.values():
                scribble(item)
            value.clear()
        elif isinstance(value, list):
            for item in value:
                scribble(item)
            value.clear()

    again = []
    for number, turn in enumerate([env.reset(seed=9), *[None] * len(texts)]):
        result = turn or env.step(texts[number - 1])
        again.append(copy.deepcopy(result))
        scribble(result[-1])
    assert as_bytes(again) == as_bytes(frozen)
    env.close()


def test_steps_after_the_end_change_nothing(env_id):
    env = make(env_id)
    play_oracle(env, 1)
    before, transcript = env.get_state(), len(env.transcript)
    ended = env.episode.outcome
    observation, reward, terminated, truncated, info = env.step("<answer>1</answer>")
    assert (reward, info["outcome"], terminated or truncated) == (0.0, ended.value, True)
    assert (env.get_state(), len(env.transcript)) == (before, transcript)
    assert env.observation_space.contains(observation)
    env.close()


def test_shared_memory_is_refused_where_gymnasium_would_return_constant_text(env_id):
    with pytest.raises((ValueError, TypeError), match="shared_memory"):
        AsyncVectorEnv([lambda: gym.make(env_id)] * 2, shared_memory=True)


def test_rendering_shows_who_wrote_what(env_id, capsys):
    env = make(env_id, render_mode="ansi")
    play_oracle(env, 0)
    shown = env.render()
    assert {entry.source.value for entry in env.transcript} >= {Source.SYSTEM.value, Source.POLICY.value}
    assert "policy" in shown
    assert "solved" in shown
    human = make(env_id, render_mode="human")
    play_oracle(human, 0)
    assert "policy" in capsys.readouterr().out
    with pytest.raises(ValueError, match="render_mode"):
        make(env_id, render_mode="rgb_array")
    env.close()
    human.close()
