"""The vector environment misused, and what goes wrong in it: refused, or raised once, and nobody waits in vain."""

import resource

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode

import tir_gym
from tests.drivers.test_vector import ANSWER, HANG, MATH, rows
from tests.play import make
from tir_gym.core.episode import Episode
from tir_gym.core.seeding import episode_seed
from tir_gym.core.task import GeneratedTasks
from tir_gym.rewards.groups import GroupStore


@pytest.mark.parametrize(
    ("misuse", "error", "message"),
    [
        (lambda v: v.send([ANSWER], [0, 1]), ValueError, "1 actions for 2 slots"),
        (lambda v: v.send([ANSWER] * 2, [0, 0]), ValueError, "no slot twice"),
        (lambda v: v.send([ANSWER], [9]), ValueError, "there is no slot 9"),
        (lambda v: v.send([7], [0]), TypeError, "an action is"),
        (lambda v: v.send("a", [0]), ValueError, "one string"),
        (lambda v: v.send([ANSWER], [0.5]), TypeError, "integer"),
        (lambda v: v.cancel([2]), ValueError, "there is no slot 2"),
        (lambda v: v.get_state(-1), ValueError, "there is no slot -1"),
        (lambda v: v.tools(2), ValueError, "there is no slot 2"),
        (lambda v: v.fork_env(-1, [0]), ValueError, "there is no slot -1"),
        (lambda v: v.fork_env(0, [2]), ValueError, "there is no slot 2"),
        (lambda v: v.reset(seed=[5, 6], options={"task_id": ["x"]}), ValueError, "task_id: expected 2"),
        (lambda v: v.set_groups(GroupStore()), TypeError, r"GroupStore.freeze\(\)"),
        (lambda v: v.recv(0), ValueError, "min_ready=0"),
        (lambda v: tir_gym.make_vec(MATH, 2, max_running=0), ValueError, "max_running=0"),
        (lambda v: tir_gym.make_vec(MATH, 2, step_deadline_s=0), ValueError, "step_deadline_s=0"),
        (lambda v: tir_gym.make_vec(MATH, 2, straggler="shoot"), ValueError, "shoot"),
        (lambda v: tir_gym.make_vec(MATH, "2"), TypeError, "num_envs='2' must be int"),
        (lambda v: tir_gym.make_vec([], 2), ValueError, "no id was given"),
        (lambda v: tir_gym.make_vec(MATH, 2, render_mode="ansi"), ValueError, "is not rendered"),
        (lambda v: tir_gym.make_vec(MATH, 2).send([ANSWER] * 2), RuntimeError, "call reset first"),
        (lambda v: tir_gym.make_vec(MATH, 2).fork_env(0, [1]), RuntimeError, "slot 0: call reset first"),
        (lambda v: tir_gym.make_vec(MATH, 2).tools(1), RuntimeError, "slot 1: call reset first"),
    ],
)
def test_misuse_is_refused_and_changes_nothing(envs, misuse, error, message):
    vector = envs(2)
    vector.reset(seed=1)
    with pytest.raises(error, match=message):
        misuse(vector)
    assert vector.in_flight == 0
    *_, after = vector.step(["<think>hm</think>"] * 2)
    assert after["turn"].tolist() == [1, 1]


@pytest.mark.parametrize("options", [{}, {"backend": "process", "workers": 1}])
def test_after_a_reset_that_failed_nothing_is_waited_for_and_another_mends_it(envs, options):
    vector = envs(2, **options)
    _, infos = vector.reset(seed=1)
    with pytest.raises(KeyError, match="no-such-task"):
        vector.reset(seed=1, options={"task_id": [infos["task"]["id"][0], "no-such-task"]})
    assert vector.in_flight == 0
    assert vector.recv()[1].size == 0
    with pytest.raises(RuntimeError, match="call reset first"):
        vector.step([ANSWER] * 2)
    _, again = vector.reset(seed=1)
    assert again["seed"].tolist() == infos["seed"].tolist()
    assert vector.step([ANSWER] * 2)[1].size == 2


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_an_episode_that_cannot_begin_costs_no_other_slot_its_result(envs, mode, monkeypatch):
    vector = envs(3, "toy/Ledger-v0", autoreset_mode=mode)
    vector.reset(seed=1)
    begun = []

    def failing(setting, task, seed):
        begun.append(seed)
        if len(begun) in (2, 4):
            raise FileNotFoundError("the world of this task is gone")
        return Episode(setting, task, seed)

    monkeypatch.setattr("tir_gym.drivers.slot.Episode", failing)
    ends = [ANSWER] * 3
    if mode == "NextStep":
        vector.step(ends)
    with pytest.raises(FileNotFoundError, match="is gone"):
        vector.step(ends)
    assert vector.in_flight == 3
    _, rewards, terminations, _, infos = vector.recv(3)
    assert infos["outcome"].tolist() == ["", "failed", ""]
    assert terminations.tolist() == [mode == "SameStep"] * 3
    assert np.isnan(rewards).tolist() == [False, mode == "NextStep", False]
    vector.send(["<think>hm</think>"] * 3)
    with pytest.raises(FileNotFoundError, match="is gone"):
        vector.recv(3)
    _, rewards, terminations, *_ = vector.recv(3)
    assert (np.isnan(rewards).tolist(), terminations.any()) == ([False, True, False], False)
    assert vector.step(["<think>hm</think>"] * 3)[-1]["outcome"].tolist() == [""] * 3


def test_a_reset_breaks_off_what_is_in_flight(envs):
    vector = envs(2, max_running=1)
    vector.reset(seed=1)
    vector.send([HANG, HANG])
    vector.reset(seed=1)
    assert vector.in_flight == 0
    *_, infos = vector.step(["<think>hm</think>"] * 2)
    assert infos["turn"].tolist() == [1, 1]


def test_none_among_seeds_lets_a_slot_go_on(envs):
    vector = envs(2)
    vector.reset(seed=[1, 2])
    _, infos = vector.reset(seed=[None, 3])
    assert infos["seed"].tolist() == [episode_seed(1, 0, 1), episode_seed(3, 0, 0)]


class Torn(GeneratedTasks):
    """One of its tasks cannot be read."""

    def draw(self, seed):
        if seed == episode_seed(7, 0, 1):
            raise OSError("the file is torn")
        return super().draw(seed)


def torn_tasks():
    whole = make("toy/Ledger-v0").setting.tasks
    return Torn(whole.name, whole._generator)


@pytest.mark.parametrize("backend", ["inline", "process"])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_next_episode_that_cannot_begin_is_raised_and_holds_up_nobody(envs, backend, mode):
    vector = envs(3, "toy/Ledger-v0", tasks=torn_tasks(), autoreset_mode=mode, backend=backend)
    first, _ = vector.reset(seed=[7, 8, 9])
    if mode is AutoresetMode.NEXT_STEP:
        vector.step([ANSWER, "<think>hm</think>", "<think>hm</think>"])
    vector.send([ANSWER, "<think>hm</think>", "<think>hm</think>"])
    received, raised = [], []
    while vector.in_flight:
        try:
            received += [slot for slot, *_ in rows(vector.recv())]
        except OSError as error:
            raised.append(str(error))
    assert (sorted(received), raised) == ([0, 1, 2], ["the file is torn"])
    *_, infos = vector.step(["<think>hm</think>"] * 3)
    assert infos["outcome"].tolist() == [""] * 3
    again, _ = vector.reset(seed=[7, None, None], options={"reset_mask": np.array([True, False, False])})
    assert again[0] == first[0]
    vector.step(["<think>hm</think>"] * 3)


def test_what_is_closed_says_so(envs):
    vector = envs(2)
    vector.reset(seed=1)
    vector.send([HANG], [0])
    vector.close()
    vector.close()
    for use in (
        lambda: vector.reset(seed=1),
        lambda: vector.send([ANSWER], [1]),
        vector.recv,
        lambda: vector.step([ANSWER] * 2),
        lambda: vector.cancel([0]),
        lambda: vector.fork_env(1, [0]),
    ):
        with pytest.raises(ClosedEnvironmentError):
            use()


def test_an_episode_that_fails_at_its_reset_is_invalid_and_not_worth_zero(envs, monkeypatch):
    def fall_over(user, seen):
        raise ZeroDivisionError("no line")

    user = make("toy/Helpdesk-v0").setting.domain.user("user", None, 0)
    monkeypatch.setattr(type(user), "move", fall_over)
    vector = envs(1, "toy/Helpdesk-v0")
    _, infos = vector.reset(seed=1)
    assert infos["valid"].tolist() == [False]
    _, rewards, _, truncated, infos = vector.step(["hello"])
    assert np.isnan(rewards).tolist() == truncated.tolist() == [True]
    assert infos["final_info"]["outcome"].tolist() == ["env_error"]


def test_a_process_that_may_have_few_open_files_asks_for_what_its_sandboxes_take(envs):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        envs(1024, "toy/Ledger-v0")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
        envs(1024)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(2560, hard) if hard > 0 else 2560, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
