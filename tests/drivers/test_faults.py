"""When the fork server dies, episodes go on; one at whose code it dies again is invalid, the next go on."""

import contextlib
import math
import os
import signal
from dataclasses import astuple

import pytest

import tir_gym
from tests.play import as_bytes, make
from tests.processes import descendants, wait_until_gone
from tir_gym.core.interfaces import ForkError
from tir_gym.drivers.intake import to_action
from tir_gym.drivers.loop import Loop
from tir_gym.executors import ForkServer

CALL = '<call name="python"><arg name="code">x = 1</arg></call>'
LOOK = '<call name="python"><arg name="code">x + 1</arg></call>'


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it went with another
            os.kill(pid, number)


def kill_all(pids):
    signal_all(pids, signal.SIGSTOP)  # none lives to see and tell how another died
    signal_all(pids, signal.SIGKILL)
    wait_until_gone(pids)


STEP = '<call name="python"><arg name="code">x += 1; x</arg></call>'
HANG = '<call name="python"><arg name="code">while True: pass</arg></call>'


def begin(slot, text):
    slot.begin_step(to_action(slot.setting, text))


def end(*slots):
    loop = Loop()
    for number, slot in enumerate(slots):
        if slot.busy:
            loop.add(number, slot)
    while loop.busy:
        loop.run()
    loop.close()
    return [slot.result() for slot in slots]


def test_code_at_which_the_server_dies_twice_ends_its_episode_and_the_next_goes_on():
    before = descendants()
    env = make("tir/MathCode-v0", executor=ForkServer(preload=()))
    env.reset(seed=0)
    env.step(CALL)
    begin(env._slot, HANG)
    kill_all(descendants() - before)
    env._slot.poll()
    assert descendants() - before
    kill_all(descendants() - before)
    [result] = end(env._slot)
    assert math.isnan(result.reward)
    assert (result.terminated, result.truncated) == (False, True)
    assert (result.info["outcome"], result.info["valid"]) == ("env_error", False)
    assert result.info["failure"]
    env.reset(seed=1)
    env.step(CALL)
    assert "2" in env.step(LOOK)[0]
    env.close()
    wait_until_gone(descendants() - before)


def test_an_environment_goes_on_as_if_nothing_had_happened():
    before = descendants()
    played = []
    for kill in ("never", "between two calls", "while code is running"):
        env = make("tir/MathCode-v0", executor=ForkServer(preload=()))
        turns = [env.reset(seed=0), env.step(CALL), env.step(STEP)]
        pids = descendants() - before
        if kill == "between two calls":
            kill_all(pids)
        signal_all(pids, signal.SIGSTOP if kill == "while code is running" else signal.SIGCONT)
        begin(env._slot, STEP)
        if kill == "while code is running":
            kill_all(pids)
        [result] = end(env._slot)
        turns += [astuple(result), env.step("<answer>0</answer>")]
        played.append(as_bytes(turns))
        env.close()
    assert "3" in turns[3][0]
    assert played[0] == played[1] == played[2]
    wait_until_gone(descendants() - before)


def test_a_batch_loses_no_episode():
    before = descendants()
    vector = tir_gym.make_vec("tir/MathCode-v0", 4, executor=ForkServer(preload=()))
    vector.reset(seed=0)
    vector.step([CALL, CALL, CALL, "<think>not yet</think>"])
    pids = descendants() - before
    signal_all(pids, signal.SIGSTOP)
    begin(vector.slots[0], STEP)
    kill_all(pids)
    begin(vector.slots[1], STEP)
    begin(vector.slots[2], "<answer>0</answer>")
    begin(vector.slots[3], CALL)
    results = end(*vector.slots)
    assert [result.info["outcome"] for result in results] == ["", "", "failed", ""]
    assert "2" in results[0].observation
    assert "2" in results[1].observation
    vector.close()
    wait_until_gone(descendants() - before)


def test_a_fork_of_an_episode_that_lost_its_server_goes_on_alone():
    before = descendants()
    env = make("tir/MathCode-v0", executor=ForkServer(preload=()))
    env.reset(seed=0)
    env.step(CALL)
    kill_all(descendants() - before)
    [copy] = tir_gym.fork(env)
    assert "2" in env.step(STEP)[0]
    assert "3" in env.step(STEP)[0]
    assert "2" in copy.step(STEP)[0]
    env.close()
    copy.close()
    wait_until_gone(descendants() - before)


def test_a_fork_of_a_session_that_cannot_be_replayed_fails_and_leaves_nothing():
    before = descendants()
    env = make("tir/MathCode-v0", executor=ForkServer(preload=()), call_timeout_s=0.2)
    env.reset(seed=0)
    env.step(HANG)
    kill_all(descendants() - before)
    with pytest.raises(ForkError, match="session"):
        tir_gym.fork(env)
    env.close()
    wait_until_gone(descendants() - before)
