"""Every environment in every protocol that it is declared to be playable in; the others are refused by name."""

import warnings

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from tests.play import ALL_IDS, as_bytes, make, play_oracle, replay, text_of
from tir_gym import make_vec
from tir_gym.core.action import Action
from tir_gym.core.domain import misfit
from tir_gym.envs import compatibility
from tir_gym.envs.registration import domain_of
from tir_gym.protocols import PROTOCOLS
from tir_gym.protocols import protocol as find_protocol
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import NEGATIVE_CONTROLS, POLICIES

PAIRS = [(env_id, name) for env_id in ALL_IDS for name, reason in compatibility(env_id).items() if not reason]
MISFITS = [(env_id, name, reason) for env_id in ALL_IDS for name, reason in compatibility(env_id).items() if reason]
every_pair = pytest.mark.parametrize(("env_id", "protocol"), PAIRS)
EPISODES = [2, pytest.param(20, marks=pytest.mark.soak)]


def test_every_protocol_fits_some_environment():
    assert {name for _, name in PAIRS} == set(PROTOCOLS)


@pytest.mark.parametrize(("env_id", "protocol", "reason"), MISFITS)
def test_a_protocol_that_does_not_fit_is_refused_with_the_reason(env_id, protocol, reason):
    with pytest.raises(ValueError, match=protocol) as refusal:
        gym.make(env_id, protocol=protocol)
    assert reason in str(refusal.value)


@every_pair
def test_it_is_a_gymnasium_environment(env_id, protocol):
    env = make(env_id, protocol=protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    env.close()


@every_pair
@pytest.mark.parametrize("mode", ["strict", "paper"])
@pytest.mark.parametrize("episodes", EPISODES)
def test_the_oracle_solves_tasks_in_every_mode(env_id, protocol, mode, episodes):
    if mode == "paper" and (
        not getattr(PROTOCOLS[protocol], "source", "") or misfit(domain_of(env_id), find_protocol(protocol, "paper"))
    ):
        mode = "lenient"
    env = make(env_id, protocol=protocol, protocol_mode=mode, max_turns=40)
    for seed in range(episodes):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
        assert not env.episode.tally.format_errors
    env.close()


@every_pair
@pytest.mark.parametrize("episodes", EPISODES)
def test_negative_controls_earn_nothing(env_id, protocol, episodes):
    env = make(env_id, protocol=protocol, max_turns=2)
    for control in NEGATIVE_CONTROLS:
        scores = []
        for seed in range(episodes):
            play(env, POLICIES[control], seed)
            assert env.episode.outcome.valid, env.episode.failure
            scores.append(env.rewards[1])
        assert sum(scores) / len(scores) <= 0.05, control
    env.close()


@every_pair
def test_single_vector_and_replay_give_the_same_bytes(env_id, protocol):
    env = make(env_id, protocol=protocol, max_turns=40)
    texts = play_oracle(env, 5)
    state = env.get_state()
    alone = replay(env, 5, texts)
    vector = make_vec(env_id, 2, protocol=protocol, max_turns=40)
    observations, infos = vector.reset(seed=[5, 5])
    together = [text_of(observation) for observation in _rows(observations, 2)]
    assert together == [text_of(alone[0][0])] * 2
    rewards = []
    for text, step in zip(texts, alone[1:], strict=True):
        observations, reward, _, _, infos = vector.step([text, text])
        rewards.append(reward.tolist())
        assert reward.tolist() == [step[1]] * 2
        ended = step[2] or step[3]
        seen = infos["final_obs"] if ended else _rows(observations, 2)
        assert [text_of(one) for one in seen] == [text_of(step[0])] * 2
    assert rewards[-1] == [1.0, 1.0]
    env.set_state(state)
    assert as_bytes([env.get_state().digest]) == as_bytes([state.digest])
    vector.close()
    env.close()


def _rows(observations, count):
    if isinstance(observations, dict):
        return [{key: value[row] for key, value in observations.items()} for row in range(count)]
    return list(observations)


@every_pair
def test_the_system_prompt_can_be_replaced(env_id, protocol):
    derived = make(env_id, protocol=protocol)
    whole = text_of(derived.reset(seed=1)[0])
    wrapped = make(env_id, protocol=protocol, system_prompt="Be brief.\n{instructions}\n--\n{tools}\n{other}")
    replaced = text_of(wrapped.reset(seed=1)[0])
    bare = make(env_id, protocol=protocol, system_prompt="")
    task = text_of(bare.reset(seed=1)[0])
    system, end = whole[: len(whole) - len(task)].rstrip("\n"), whole[len(whole) - len(task) :]
    assert end == task
    instructions, tools = system.split("\n\n", 1)
    assert replaced.startswith(f"Be brief.\n{instructions}\n--\n{tools}\n{{other}}")
    assert replaced.endswith(task)
    for env in (derived, wrapped, bare):
        env.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_answer_of_a_turn_is_written_and_read_alike(protocol):
    p = PROTOCOLS[protocol]
    assert p.parse(p.format(Action(answer="42"))).answer == "42"
