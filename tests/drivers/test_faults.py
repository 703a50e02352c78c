"""When the fork server dies, the episodes that need it are invalid, the others and the next ones are not."""

import math
import os
import signal

import pytest

import tir_gym
from tests.play import make
from tests.processes import descendants, wait_until_gone
from tir_gym.core.interfaces import ForkError
from tir_gym.executors import ForkServer

CALL = '<call name="python"><arg name="code">x = 1</arg></call>'
LOOK = '<call name="python"><arg name="code">x + 1</arg></call>'


def kill_all(pids):
    for number in (signal.SIGSTOP, signal.SIGKILL):  # none lives to see and tell how another died
        for pid in pids:
            os.kill(pid, number)
    wait_until_gone(pids)


def test_one_environment_goes_on_with_the_next_episode():
    before = descendants()
    executor = ForkServer(preload=())
    env = make("tir/MathCode-v0", executor=executor)
    env.reset(seed=0)
    env.step(CALL)
    kill_all(descendants() - before)
    _, reward, terminated, truncated, info = env.step(LOOK)
    assert math.isnan(reward)
    assert (terminated, truncated) == (False, True)
    assert (info["outcome"], info["valid"]) == ("env_error", False)
    assert info["failure"]
    env.reset(seed=1)
    env.step(CALL)
    assert "2" in env.step(LOOK)[0]
    env.close()
    wait_until_gone(descendants() - before)


def test_a_batch_loses_only_the_episodes_that_were_using_it():
    before = descendants()
    executor = ForkServer(preload=())
    vector = tir_gym.make_vec("tir/MathCode-v0", 4, executor=executor)
    vector.reset(seed=0)
    vector.step([CALL, CALL, "<think>not yet</think>", "<think>not yet</think>"])
    kill_all(descendants() - before)
    _, rewards, terminations, truncations, infos = vector.step([LOOK, CALL, CALL, "<answer>0</answer>"])
    assert [math.isnan(reward) for reward in rewards] == [True, True, False, False]
    assert terminations.tolist() == [False, False, False, True]
    assert truncations.tolist() == [True, True, False, False]
    assert infos["final_info"]["outcome"][0] == infos["final_info"]["outcome"][1] == "env_error"
    observations, *_ = vector.step([CALL, CALL, LOOK, CALL])
    assert "2" in observations[2]
    vector.close()
    wait_until_gone(descendants() - before)


def test_a_fork_of_a_dead_session_fails_and_leaves_nothing():
    before = descendants()
    env = make("tir/MathCode-v0", executor=ForkServer(preload=()))
    env.reset(seed=0)
    env.step(CALL)
    kill_all(descendants() - before)
    with pytest.raises(ForkError, match="session"):
        tir_gym.fork(env)
    env.close()
    wait_until_gone(descendants() - before)
