"""Slots in worker processes (and Ray actors): the same bytes, whoever dies; nothing is left."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tir_gym
from tests.drivers.game import Game, Killer, chaos, play
from tests.drivers.test_vector import rows
from tests.play import as_bytes, make
from tests.processes import check_nothing_left, descendants, footprint, wait_until_gone
from tir_gym.core.interfaces import Executor, ForkError
from tir_gym.drivers import share
from tir_gym.executors import ForkServer
from tir_gym.wrappers import ToolEfficiencyReward

ENV_ID = "tir/OpaqueKnapsack-v0"
SERVER = ForkServer(preload=(), spare=0)
CALL = '<call name="python"><arg name="code">{}</arg></call>'
COUNT = CALL.format("import random; n = globals().get('n', 0) + 1; print(n, random.random())")
ASK = CALL.format("print(inspect(0), inspect(1))")
TEXTS = [COUNT, ASK, "<think>hm</think>", "neither call nor answer", "<answer>0</answer>"]
HONEST = [COUNT, COUNT, COUNT, "<think>hm</think>", "<answer>0</answer>"]
"""Without calls of tools in code: what had called one is not repeated when its interpreter is killed."""
MODES = ["SameStep", "NextStep", "Disabled"]
SLOTS = 4


def links_of(vector):
    return [share.link for share in vector._seats._shares]


def kill(vector, k):
    os.kill(links_of(vector)[k]._process.pid, signal.SIGKILL)


@pytest.fixture
def envs():
    made = []

    def build(num_envs=SLOTS, env_id=ENV_ID, **options):
        options = {"backend": "process", "workers": 2, "executor": SERVER} | options
        made.append(tir_gym.make_vec(env_id, num_envs, **options))
        return made[-1]

    yield build
    for vector in made:
        vector.close()


@pytest.fixture(scope="module")
def single():
    env = make(ENV_ID)
    yield env
    env.close()


@pytest.fixture(scope="module")
def pairs():
    """For each autoreset mode, an environment in this process and one in workers."""
    made = {}

    def of(mode):
        if mode not in made:
            options = {"backend": "process", "workers": 2, "executor": SERVER}
            made[mode] = [
                tir_gym.make_vec(ENV_ID, SLOTS, autoreset_mode=mode),
                tir_gym.make_vec(ENV_ID, SLOTS, autoreset_mode=mode, **options),
            ]
        return made[mode]

    yield of
    for pair in made.values():
        for vector in pair:
            vector.close()


@pytest.fixture(scope="module")
def spread(pairs):
    return pairs("SameStep")[1]


# --- the same bytes ---------------------------------------------------------------------------------------------------
SLOT = st.integers(0, SLOTS - 1)
SCRIPTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(TEXTS), min_size=SLOTS, max_size=SLOTS).map(lambda said: dict(enumerate(said))),
        st.none() | st.tuples(SLOT, SLOT),
    ),
    min_size=2,
    max_size=5,
)
ORDERS = st.integers(0, 2**32).map(random.Random)
SEEDS = st.lists(st.integers(0, 9), min_size=SLOTS, max_size=SLOTS)


def in_step(game, script):
    for said, copy in script:
        game.step(list(said.values()))
        if copy:
            game.copy(*copy)
    return game


@pytest.mark.parametrize("mode", ["SameStep", *(pytest.param(mode, marks=pytest.mark.soak) for mode in MODES[1:])])
@settings(max_examples=settings.default.max_examples // 10, phases=[Phase.generate])
@given(seeds=SEEDS, script=SCRIPTS, rng=ORDERS)
def test_a_batch_of_actions_gives_the_same_bytes_however_it_is_played(pairs, single, mode, seeds, script, rng):
    inline, spread = pairs(mode)
    played = [
        in_step(Game(inline, seeds), script),
        play(Game(inline, seeds), script, rng),
        play(Game(spread, seeds), script, rng),
    ]
    assert len({as_bytes(episode.turns for episode in game.now) for game in played}) == 1
    for game in played:
        assert game.check(single) == (0, 0)


# --- whoever dies -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seed", "deaths"), [(1, 8), *(pytest.param(seed, 60, marks=pytest.mark.soak) for seed in range(2, 12))]
)
def test_killing_workers_servers_and_sandboxes_at_random_loses_nothing(envs, single, seed, deaths):
    before = footprint()
    vector = envs()
    killer = Killer(random.Random(seed), lambda: [link._process.pid for link in links_of(vector)])
    chaos(vector, single, HONEST, killer, deaths)
    below = descendants() - before[0]
    vector.close()
    wait_until_gone(below)
    check_nothing_left(before)


@pytest.mark.soak
def test_workers_killed_at_a_reset_or_while_others_are_replayed_lose_nothing(spread, single):
    kill(spread, 1)
    game = Game(spread, range(SLOTS))
    game.step([COUNT] * SLOTS)
    kill(spread, 0)
    game.send(dict.fromkeys(range(SLOTS), COUNT))
    while not spread._seats._shares[0].lines[0].replaying:
        spread._seats.advance(60.0)
    kill(spread, 0)
    game.receive(SLOTS)
    assert game.check(single) == (0, 0)


def test_only_the_episode_that_cannot_be_played_again_is_lost(spread):
    spread.reset(seed=1)
    spread.step([CALL.format("import time; print(time.time_ns())"), COUNT, COUNT, COUNT])
    kill(spread, 0)
    turns = {slot: turn for slot, turn, _ in rows_of(spread, [COUNT] * SLOTS)}
    *_, truncated, info = turns[0]
    assert (truncated, info["outcome"], info["valid"]) == (True, "env_error", False)
    assert "could not be played again" in info["failure"]
    assert all(turns[i][0].split("\n")[1].startswith("2 ") for i in (1, 2, 3))
    turns = {slot: turn for slot, turn, _ in rows_of(spread, [COUNT] * SLOTS)}
    assert [turns[i][0].split("\n")[1].split()[0] for i in range(SLOTS)] == ["1", "3", "3", "3"]


def rows_of(vector, actions):
    vector.send(actions)
    return rows(vector.recv(len(actions)))


def test_what_had_ended_begins_anew_though_its_worker_died(pairs):
    _, spread = pairs("NextStep")
    spread.reset(seed=1)
    spread.step(["<answer>0</answer>"] * SLOTS)
    kill(spread, 0)
    _, _, terminated, _, infos = spread.step([COUNT] * SLOTS)
    assert (terminated.tolist(), infos["turn"].tolist()) == ([False] * SLOTS, [0] * SLOTS)


def test_what_the_trainer_said_holds_in_the_worker_that_follows_a_dead_one(envs):
    vector = envs(1, workers=1, wrappers=[partial(ToolEfficiencyReward, kind="spear", total=10)])
    vector.set_progress(5)
    kill(vector, 0)
    vector.reset(seed=1)
    vector.step([COUNT])
    *_, infos = vector.step(["<answer>0</answer>"])
    assert infos["final_info"]["rewards"]["spear"].tolist() == [pytest.approx(0.05)]


def test_the_tools_on_offer_are_told_here_also_of_copies_and_when_a_worker_died(spread, single):
    single.reset(seed=1)
    spread.reset(seed=1)
    kill(spread, 0)
    spread.fork_env(0, [SLOTS - 1])
    assert [spread.tools(i) for i in range(SLOTS)] == [single.tools] * SLOTS


@pytest.mark.soak
def test_what_timed_out_is_replayed_as_recorded(envs):
    vector = envs(1, workers=1, call_timeout_s=3.0)
    vector.reset(seed=1)
    first = vector.step([COUNT])[0]
    observations, *_, infos = vector.step([CALL.format("import time; n = 7; time.sleep(600)")])
    assert "Stopped" in observations[0]
    kill(vector, 0)
    observations, *_, infos = vector.step(["<think>hm</think>"])
    assert infos["turn"].tolist() == [3]
    assert infos["valid"].tolist() == [True]
    assert vector.step([CALL.format("print(n)")])[0] != first


@dataclass(frozen=True)
class Deadly(Executor):
    """Kills the process that opens a session."""

    at: str = "open"
    thing: object = field(default=None)

    def acquire(self):
        if self.at == "acquire":
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    def release(self):
        return

    def open(self, limits, seed, tools=()):
        os.kill(os.getpid(), signal.SIGKILL)

    def report(self):
        return {}


@pytest.mark.soak
def test_a_turn_that_kills_every_worker_is_given_up_and_its_neighbours_go_on(envs, monkeypatch):
    monkeypatch.setattr(share, "DEATHS", 3)
    vector = envs(2, workers=1, executor=Deadly())
    vector.reset(seed=1)
    vector.step(["<think>a</think>"] * 2)
    turns = {slot: turn for slot, turn, _ in rows_of(vector, [COUNT, "<think>b</think>"])}
    assert turns[0][-1]["failure"] == "3 workers died at this turn"
    assert turns[1][-1]["turn"] == 2
    assert turns[1][-1]["valid"]


@pytest.mark.soak
def test_workers_that_cannot_live_are_not_started_for_ever(envs, monkeypatch):
    monkeypatch.setattr(share, "DEATHS", 2)
    before = descendants()
    vector = envs(1, workers=1, executor=Deadly("acquire"))
    with pytest.raises(RuntimeError, match=r"2 workers died in succession before they had anything to say"):
        vector.reset(seed=1)
    wait_until_gone(descendants() - before)


# --- what is left -----------------------------------------------------------------------------------------------------
@pytest.mark.soak
def test_nothing_is_left_of_workers_whether_they_live_or_die(envs):
    before = footprint()
    vector = envs()
    vector.reset(seed=1)
    vector.step([COUNT] * SLOTS)
    kill(vector, 0)
    vector.send([CALL.format("while True: pass")] * SLOTS)
    mine = descendants() - before[0]
    vector.close()
    vector.close()
    wait_until_gone(mine)
    check_nothing_left(before)


@pytest.mark.soak
def test_workers_do_not_outlive_a_parent_that_is_killed():
    program = f"""
import sys; sys.path[:] = {sys.path!r}
import tir_gym
from tests.processes import descendants
from tir_gym.executors import ForkServer
vector = tir_gym.make_vec("{ENV_ID}", 2, backend="process", workers=2, executor=ForkServer(preload=()))
vector.reset(seed=1)
vector.send(["<think>a</think>"] * 2)
print(*descendants(), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        below = set(map(int, process.stdout.readline().split()))
        process.kill()
    assert len(below) > 2
    wait_until_gone(below)


# --- the face ---------------------------------------------------------------------------------------------------------
def test_other_tasks_run_while_workers_are_waited_for(spread):
    spread.reset(seed=1)
    ticks = []

    async def tick():
        while True:
            ticks.append(0)
            await asyncio.sleep(0)

    async def played():
        ticking = asyncio.create_task(tick())
        spread.send([CALL.format("import time; time.sleep(0.3)"), COUNT, "<think>a</think>", COUNT])
        order = [slot async for batch in spread for slot, *_ in rows(batch)]
        ticking.cancel()
        return order

    assert sorted(asyncio.run(played())) == [0, 1, 2, 3]
    assert len(ticks) > 3


def test_turns_in_workers_are_cancelled_and_resets_break_them_off(spread):
    spread.reset(seed=1)
    spread.send([CALL.format("while True: pass")] * SLOTS)
    spread.cancel([0, 3])
    assert {slot: turn[-1]["failure"] for slot, turn, _ in rows(spread.recv(2))} == {
        0: "the turn was cancelled",
        3: "the turn was cancelled",
    }
    _, infos = spread.reset(seed=[5] * SLOTS, options={"reset_mask": np.array([False, True, True, False])})
    assert infos["_turn"].tolist() == [False, True, True, False]
    assert spread.in_flight == 0
    assert [turn[-1]["turn"] for _, turn, _ in rows_of(spread, ["<think>a</think>"] * SLOTS)] == [1] * SLOTS


def test_a_copy_that_cannot_be_made_leaves_its_slot_as_it_was(spread):
    spread.reset(seed=1)
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    spread.step([CALL.format(thread + "; print(time.time_ns())"), COUNT, COUNT, COUNT])
    with pytest.raises(ForkError, match="thread"):
        spread.fork_env(0, [1])
    with pytest.raises(ForkError, match="cannot be played again in the worker of slot 2"):
        spread.fork_env(0, [2])
    observations, *_ = spread.step([COUNT] * SLOTS)
    assert [text.split("\n")[1].split()[0] for text in observations] == ["1", "2", "2", "2"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"executor": Deadly(thing=lambda: 0)}, TypeError, r"a worker\['executor'\]\.thing .*does not pickle"),
        ({"workers": 3}, ValueError, "workers=3 must be from 1 to the number of slots, 2"),
        ({"workers": 0}, ValueError, "workers=0"),
        ({"max_running": 1}, ValueError, "max_running=1 cannot be split between 2 workers"),
        ({"backend": "inline"}, ValueError, "workers and worker_options are for"),
        ({"backend": "thread"}, ValueError, "thread"),
        ({"worker_options": {"num_cpus": 1}}, ValueError, "worker_options are for"),
        ({"backend": "ray", "workers": None}, ValueError, "needs workers=n"),
    ],
)
def test_what_cannot_be_is_refused_at_once(envs, options, error, message):
    before = footprint()
    with pytest.raises(error, match=message):
        envs(2, **options)
    check_nothing_left(before)


def test_errors_of_a_worker_are_raised_here_and_groups_must_pickle(spread):
    spread.reset(seed=1)
    with pytest.raises(KeyError, match="no-such-task"):
        spread.reset(seed=1, options={"task_id": "no-such-task"})
    assert spread.in_flight == 0
    with pytest.raises(RuntimeError, match="call reset first"):
        spread.step(["<think>a</think>"] * SLOTS)
    with pytest.raises(TypeError, match="groups"):
        spread.set_groups(SimpleNamespace(view=lambda *task: None))
    with pytest.raises(RuntimeError, match="live in workers"):
        _ = spread.slots
    spread.reset(seed=1)
    assert [turn[-1]["turn"] for _, turn, _ in rows_of(spread, ["<think>a</think>"] * SLOTS)] == [1] * SLOTS
