"""One set of rules: the vector driver gives what single environments give."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

import tir_gym
from tests.play import ALL_IDS, as_bytes, make, plain, play_oracle, replay
from tir_gym.core.seeding import episode_seed

pytestmark = pytest.mark.parametrize("env_id", ALL_IDS)


def take_apart(infos, index):
    """The info of one slot."""
    return {
        key: take_apart(value, index) if isinstance(value, dict) else plain(value[index])
        for key, value in infos.items()
        if not key.startswith("_") and infos[f"_{key}"][index]
    }


def observation_of(observations, index):
    if isinstance(observations, dict):
        return {key: value[index] for key, value in observations.items()}
    return observations[index]


def test_both_drivers_give_the_same_bytes(env_id):
    env = make(env_id)
    texts = [play_oracle(env, seed) for seed in range(6)]
    alone = [replay(env, seed, texts[seed]) for seed in range(6)]
    vector = tir_gym.make_vec(env_id, 6)
    observations, infos = vector.reset(seed=list(range(6)))
    together = [[(observation_of(observations, i), take_apart(infos, i))] for i in range(6)]
    ended = [False] * 6
    for turn in range(max(map(len, texts))):
        actions = [own[turn] if turn < len(own) else "" for own in texts]
        observations, rewards, terminations, truncations, infos = vector.step(actions)
        for i in range(6):
            if ended[i]:
                continue
            over = bool(terminations[i] or truncations[i])
            observation = infos["final_obs"][i] if over else observation_of(observations, i)
            info = take_apart(infos["final_info"], i) if over else take_apart(infos, i)
            together[i].append((observation, float(rewards[i]), bool(terminations[i]), bool(truncations[i]), info))
            ended[i] = over
    assert all(ended)
    assert as_bytes(together) == as_bytes(alone)
    vector.close()
    env.close()


def test_the_next_episode_starts_in_the_same_step_and_nothing_of_the_last_is_lost(env_id):
    vector = gym.make_vec(env_id, num_envs=3, max_turns=1)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    vector.reset(seed=[5, 6, 7])
    observations, rewards, terminations, truncations, infos = vector.step([""] * 3)
    assert (terminations | truncations).all()
    assert rewards.dtype == np.float64
    single = make(env_id, max_turns=1)
    for i, seed in enumerate((5, 6, 7)):
        single.reset(seed=seed)
        end = single.step("")
        assert plain(infos["final_obs"][i]) == plain(end[0])
        assert take_apart(infos["final_info"], i) == plain(end[4])
        observation, info = single.reset()
        assert plain(observation_of(observations, i)) == plain(observation)
        assert info["seed"] == infos["seed"][i] == episode_seed(seed, 0, 1)
    vector.close()
    single.close()


def test_slots_of_one_base_seed_have_seeds_of_their_own(env_id):
    vector = tir_gym.make_vec(env_id, 4)
    _, infos = vector.reset(seed=1)
    assert infos["seed"].tolist() == [episode_seed(1, slot, 0) for slot in range(4)]
    _, infos = vector.reset()
    assert infos["seed"].tolist() == [episode_seed(1, slot, 1) for slot in range(4)]
    vector.close()


def test_a_group_starts_from_one_task_and_one_seed(env_id):
    vector = tir_gym.make_vec(env_id, 3)
    _, infos = vector.reset(seed=[4, 4, 4])
    assert len(set(infos["state_digest"])) == 1
    _, infos = vector.reset(seed=[4, 5, 6], options={"task_id": infos["task"]["id"][0]})
    assert len(set(infos["task"]["id"])) == 1
    assert len(set(infos["seed"])) == 3
    vector.close()


def test_spaces_are_those_of_the_single_environment_batched(env_id):
    vector, single = tir_gym.make_vec(env_id, 2), make(env_id)
    assert vector.single_observation_space == single.observation_space
    assert vector.observation_space == batch_space(single.observation_space, 2)
    observations, _ = vector.reset(seed=0)
    assert vector.observation_space.contains(observations)
    assert vector.action_space.contains(vector.action_space.sample())
    for wrong in (["a"], "ab"):
        with pytest.raises(ValueError, match="expected 2"):
            vector.step(wrong)
    with pytest.raises(ValueError, match="expected 2"):
        vector.reset(seed=[1])
    vector.close()
    single.close()


def test_gymnasiums_own_vector_environments_carry_ours(env_id):
    vector = gym.make_vec(env_id, num_envs=2, vectorization_mode="sync")
    observations, _ = vector.reset(seed=[1, 2])
    single = make(env_id)
    assert plain(observation_of(observations, 1)) == plain(single.reset(seed=2)[0])
    vector.close()
    single.close()
