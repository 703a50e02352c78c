"""Solvable through the tools, and by nothing cheaper."""

import dataclasses

import pytest

from tests.play import ALL_IDS, SHIPPED_IDS, full, make, play_oracle, text_of
from tir_gym.core.task import Gold
from tir_gym.core.tool import Output, ToolError
from tir_gym.core.transcript import TextPart
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import NEGATIVE_CONTROLS, POLICIES, oracle


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_the_oracle_solves_every_task(env_id):
    check_oracle(env_id, range(40))


@pytest.mark.soak
@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_the_oracle_solves_5000_tasks(env_id):
    check_oracle(env_id, range(full(5_000, env_id)))


def check_oracle(env_id, seeds):
    env = make(env_id)
    scores = []
    for seed in seeds:
        play_oracle(env, seed)
        assert env.episode.outcome.valid, env.episode.failure
        scores.append(env.rewards[1])
    assert sum(scores) / len(scores) >= 0.999
    env.close()


@pytest.mark.parametrize("control", NEGATIVE_CONTROLS)
@pytest.mark.parametrize("env_id", ALL_IDS)
@pytest.mark.parametrize("episodes", [50, pytest.param(1_000, marks=pytest.mark.soak)])
def test_negative_controls_stay_under_the_floor(env_id, control, episodes):
    env = make(env_id, max_turns=2)
    total, episodes = 0.0, min(episodes, full(1_000, env_id))
    for seed in range(episodes):
        play(env, POLICIES[control], seed)
        assert env.episode.outcome.valid, env.episode.failure
        total += env.rewards[1]
    assert total / episodes <= env.setting.domain.floor
    env.close()


def first_tool(kit):
    return next(iter(kit._tools))


@pytest.mark.parametrize("env_id", ALL_IDS)
@pytest.mark.parametrize("fault", ["silent", "refusing"])
def test_the_oracle_fails_where_the_tools_are_broken(env_id, fault, monkeypatch):
    """It takes its answer from what the tools return, so without them it has none."""
    env = make(env_id)

    def broken(self, **arguments):
        if fault == "refusing":
            raise ToolError("out of order")
        return Output((TextPart("0"),))

    for actor in env.setting.domain.actors:
        kit = env.setting.domain.toolkits[actor.name]
        tools = {name: dataclasses.replace(tool, body=broken) for name, tool in kit._tools.items()}
        monkeypatch.setattr(kit, "_tools", tools)
    for seed in range(10):
        try:
            play_oracle(env, seed)
        except (ValueError, IndexError):
            continue
        assert env.rewards[1] == 0.0
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_the_oracle_is_never_given_the_answer(env_id):
    env = make(env_id)
    for seed in range(20):
        _, info = env.reset(seed=seed)
        task = env.setting.tasks.find(info["task"]["id"])
        blind = dataclasses.replace(task, gold=dataclasses.replace(task.gold, answer="no answer here", data={}))
        player = oracle(env_id, blind, env.setting)
        observation, ended = env.reset(seed=seed)[0], False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(player.act(text_of(observation), info))
            ended = terminated or truncated
        assert reward == 1.0
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_gold_is_in_no_observation_info_tool_or_user_before_the_end(env_id):
    """Each is built from `Task.public`, whose gold part is empty."""
    env = make(env_id)
    env.reset(seed=3)
    episode = env.episode
    assert episode.task.gold != Gold()
    assert episode.evidence.task.gold == Gold()
    reachable = [*episode.toolkits.values(), *episode.users.values(), episode.world]
    assert not any(value is episode.task for holder in reachable for value in vars(holder or object).values())
    env.close()
