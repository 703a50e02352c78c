"""Thousands of episodes leave nothing behind."""

import gc
import subprocess
import sys

import pytest

import tir_gym
from tests.play import ALL_IDS, SHIPPED_IDS, SLOW_IDS, full, make, play_oracle, replay
from tests.processes import check_nothing_left, descendants, footprint, resident_mb, wait_until_gone


def play_many(env_id, count, different):
    """Oracle episodes, some of them forked, some abandoned half-way; returns resident memory along the way."""
    env = make(env_id)
    memory = []
    for number in range(count):
        seed = number % different
        texts = play_oracle(env, seed)
        if seed % 10 == 0:
            replay(env, seed, texts[:1])
            for twin in tir_gym.fork(env, 2):
                twin.close()
        if seed % 4 == 0:
            replay(env, seed, texts[:1])
        if number % (count // 8) == 0:
            gc.collect()
            memory.append(resident_mb())
    env.close()
    return memory


def check_no_trace(env_id, count, different):
    play_many(env_id, 16, 16)
    before = footprint()
    memory = play_many(env_id, count, different)
    check_nothing_left(before)
    assert memory[-1] - memory[2] < 8.0, memory


@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_100_episodes_leave_nothing_and_memory_is_flat(env_id):
    """Of 20 tasks again and again: what caches keep of them is there when the count begins."""
    check_no_trace(env_id, 100, 20)


@pytest.mark.soak
@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_10000_episodes_leave_nothing_and_memory_is_flat(env_id):
    """All different, but where databases are kept (up to 128 MB), which 200 tasks have filled when the count begins."""
    check_no_trace(env_id, full(10_000, env_id), 200 if env_id in SLOW_IDS else 10_000)


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_close_leaves_nothing_of_a_batch_in_mid_episode(env_id):
    env = make(env_id)
    texts = [play_oracle(env, seed)[0] for seed in range(8)]
    env.close()
    before = footprint()
    vector = tir_gym.make_vec(env_id, 8)
    vector.reset(seed=list(range(8)))
    vector.step(texts)
    vector.close()
    vector.close()
    check_nothing_left(before)


WITHOUT_PROCESSES = ("tir/SearchQA-v0", "tir/ToolRetrieval-v0")
LAST_USER = """
import sys
from tests.play import make, play_oracle, replay
from tests.processes import descendants
env = make(sys.argv[1])
replay(env, 0, play_oracle(env, 0)[:1])
print(*descendants(), flush=True)
if sys.argv[2] == "close":
    env.close()
    print(*descendants(), flush=True)
else:
    import os, signal
    {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "forget": lambda: None}[sys.argv[2]]()
"""


ENDINGS = ["kill", "close", "forget"]
ENDS = [
    pytest.param(env_id, ending, marks=[] if ending == ENDINGS[number % 3] else pytest.mark.soak)
    for number, env_id in enumerate(SHIPPED_IDS)
    for ending in ENDINGS
]


@pytest.mark.parametrize(("env_id", "ending"), ENDS)
def test_no_process_outlives_the_last_environment_nor_the_host(env_id, ending):
    done = subprocess.run(
        [sys.executable, "-c", LAST_USER, env_id, ending], capture_output=True, text=True, check=False
    )
    during, *after = [set(map(int, line.split())) for line in done.stdout.splitlines()]
    assert during or env_id in WITHOUT_PROCESSES, done.stderr
    assert (done.returncode == 0) == (ending != "kill"), done.stderr
    if ending == "close":
        assert after == [set()]
    wait_until_gone(during)
    assert not during & descendants(1)
