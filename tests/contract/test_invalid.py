"""What could not be run or judged is invalid, which is not 0."""

import math

import gymnasium as gym
import numpy as np
import pytest

import tir_gym
from tests.play import ALL_IDS, make, play_oracle
from tir_gym.core.episode import Episode
from tir_gym.core.tool import EnvError
from tir_gym.core.verify import Score
from tir_gym.wrappers import MaskInvalid

pytestmark = pytest.mark.parametrize("env_id", ALL_IDS)


@pytest.fixture(params=["raises", "says so", "out of range"])
def broken_judge(request, env_id, monkeypatch):
    def score(self, evidence, gold):
        if request.param == "raises":
            raise ZeroDivisionError("the judge fell over")
        return Score(0.5, valid=False, reason="cannot tell") if request.param == "says so" else Score(7.0)

    verifier = type(make(env_id).setting.domain.verifier())
    monkeypatch.setattr(verifier, "score", score)


def check_invalid(result, outcome):
    _, reward, terminated, truncated, info = result
    assert math.isnan(reward)
    assert (terminated, truncated) == (False, True)
    assert (info["outcome"], info["valid"]) == (outcome, False)
    assert math.isnan(info["rewards"]["base"])
    assert math.isnan(info["rewards"]["total"])
    assert info["failure"]


def test_an_episode_that_cannot_be_judged_is_invalid(env_id, broken_judge):
    env = make(env_id)
    env.reset(seed=0)
    check_invalid(env.finish("done"), "judge_error")
    env.close()


@pytest.mark.parametrize("backend", ["alone", "inline"])
def test_an_episode_that_could_not_begin_is_invalid_in_its_only_step_too(env_id, backend, monkeypatch):
    monkeypatch.setattr(Episode, "start", lambda episode: episode.abort("no world"))
    if backend == "alone":
        env = make(env_id)
        *_, info = env.reset(seed=0)
        assert not info["valid"]
        check_invalid(env.step("hm"), "env_error")
        check_invalid(env.step("hm"), "env_error")
        env.close()
        return
    vector = tir_gym.make_vec(env_id, 2)
    vector.reset(seed=0)
    _, rewards, terminations, truncations, infos = vector.step(["hm", "hm"])
    vector.close()
    assert np.isnan(rewards).all()
    assert (terminations.tolist(), truncations.tolist()) == ([False, False], [True, True])
    assert not infos["final_info"]["valid"].any()


def break_tools(monkeypatch, env_id):
    def fail(self, tool, arguments):
        raise EnvError("the back end is down")

    for actor in make(env_id).setting.domain.actors:
        monkeypatch.setattr(make(env_id).setting.domain.toolkits[actor.name], "run", fail)


def test_a_failure_of_ours_in_a_tool_is_invalid(env_id, monkeypatch):
    texts = play_oracle(make(env_id), 0)
    break_tools(monkeypatch, env_id)
    env = make(env_id)
    env.reset(seed=0)
    check_invalid(env.step(texts[0]), "env_error")
    env.close()


def test_an_invalid_episode_spoils_no_other_of_the_batch(env_id, monkeypatch):
    texts = [play_oracle(make(env_id), seed) for seed in range(3)]
    vector = tir_gym.make_vec(env_id, 3)
    vector.reset(seed=[0, 1, 2])
    vector.slots[1].episode.setting.domain.verifier()
    monkeypatch.setattr(type(vector.slots[1].episode), "_verify", _fail_for(vector.slots[1].episode))
    ended = {}
    for turn in range(max(map(len, texts))):
        actions = [own[turn] if turn < len(own) else "" for own in texts]
        _, rewards, terminations, truncations, infos = vector.step(actions)
        for i in range(3):
            if (terminations[i] or truncations[i]) and i not in ended:
                ended[i] = (float(rewards[i]), bool(infos["final_info"]["valid"][i]))
    assert ended[0] == ended[2] == (1.0, True)
    assert math.isnan(ended[1][0])
    assert not ended[1][1]
    vector.close()


def _fail_for(chosen):
    original = Episode._verify

    def verify(self):
        if self.task.id == chosen.task.id:
            self.failure = "no judge"
            from tir_gym.core.outcome import Outcome

            self._conclude(Outcome.JUDGE_ERROR)
        else:
            original(self)

    return verify


def test_mask_invalid_gives_a_number_to_libraries_that_cannot_mask(env_id, broken_judge):
    env = MaskInvalid(gym.make(env_id), value=-0.25)
    env.reset(seed=0)
    _, reward, _, truncated, info = env.step({"role": "assistant", "content": "7"} if False else _giving_up(env))
    assert (reward, truncated, info["valid"], info["restarts"]) == (-0.25, True, False, 0)
    env.close()


def _giving_up(env):
    from tir_gym import Action

    return Action(finish="done")


def test_mask_invalid_can_start_the_same_episode_again(env_id, broken_judge):
    env = MaskInvalid(gym.make(env_id), on_invalid="restart", max_restarts=2)
    first, info = env.reset(seed=0)
    task, seed = info["task"], info["seed"]
    for restarts in (1, 2):
        observation, reward, terminated, truncated, info = env.step(_giving_up(env))
        assert (reward, terminated, truncated, info["restarts"]) == (0.0, False, False, restarts)
        assert (info["task"], info["seed"], info["turn"]) == (task, seed, 0)
        assert _text(observation) == _text(first)
    _, reward, _, truncated, info = env.step(_giving_up(env))
    assert (reward, truncated, info["restarts"]) == (0.0, True, 2)
    env.close()


def _text(observation):
    return observation if isinstance(observation, str) else observation["text"]
