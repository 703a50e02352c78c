"""Many episodes at a time are the same episodes; scripts are played as written."""

import json
import threading

import gymnasium as gym
import pytest

from tests.play import make
from tests.processes import check_nothing_left, footprint
from tir_gym.rollout import (
    POLICIES,
    EpisodesLeftOut,
    Policy,
    PolicyUnavailable,
    ScriptedPolicy,
    TrajectoryFile,
    collect,
    read_records,
    scripted,
)

MATH, DESK = "tir/MathCode-v0", "toy/Helpdesk-v0"


@pytest.fixture(params=[MATH, DESK])
def env(request):
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture
def desk():
    made = make(DESK)
    yield made
    made.close()


def text_of(record):
    """The line of a record without what was measured."""
    calls = [call.model_copy(update={"measured": None}) for call in record.calls]
    return record.model_copy(update={"calls": calls}).model_dump_json(warnings=False)


def test_an_environment_in_wrappers_is_refused_with_the_mend():
    env = gym.make(MATH)
    with pytest.raises(TypeError, match=r"give env\.unwrapped"):
        list(collect(env, "null", range(1)))
    env.close()


# --- many at a time ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", ["oracle", "random"])
def test_episodes_played_together_are_those_played_alone(tmp_path, env, policy):
    alone = {record.key: text_of(record) for record in collect(env, policy, range(24))}
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        together = {record.key: text_of(record) for record in collect(env, policy, range(24), file, concurrency=6)}
    assert together == alone
    assert {record.key: text_of(record) for record in read_records(tmp_path / "a.jsonl")} == alone


def test_as_many_play_at_a_time_as_were_asked_for(desk):
    meet = threading.Barrier(4, timeout=30.0)

    class Meeting(ScriptedPolicy):
        def act(self, observation, info):
            meet.wait()
            return super().act(observation, info)

    turns = ["<message>Goodbye!</message>"]
    assert len(list(collect(desk, lambda setting, task: Meeting(turns), range(8), concurrency=4))) == 8


def test_a_rollout_together_goes_on_where_it_stopped_and_leaves_nothing(tmp_path, env):
    list(collect(env, "oracle", [0]))
    before = footprint()
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        rollout = collect(env, "oracle", range(9), file, concurrency=3)
        first = {next(rollout).key for _ in range(4)}
        rollout.close()
        assert file.keys == first
        rest = {record.key for record in collect(env, "oracle", range(9), file, concurrency=3)}
    assert len(rest) == 5
    assert not rest & first
    check_nothing_left(before)


def test_the_environment_given_is_not_touched_by_others_playing(desk):
    observation, _ = desk.reset(seed=5)
    list(collect(desk, "oracle", range(4), concurrency=2))
    assert desk.messages[-1]["content"][0]["text"] in observation


class Breaking(Policy):
    """Raises in its first turn once every other episode has begun to wait; those end when they are closed."""

    def __init__(self, error, waiting):
        self.error, self.waiting, self.closed, self.asked = error, waiting, threading.Event(), 0

    def act(self, observation, info):
        if self.error is not None:
            for _ in range(2):
                assert self.waiting.acquire(timeout=30.0)
            raise self.error
        self.waiting.release()
        self.asked += 1
        assert self.closed.wait(30.0), "nobody closed the policy"
        return ""

    def close(self):
        self.closed.set()


def test_an_error_in_one_episode_ends_the_others_and_keeps_what_was_played(tmp_path, desk):
    threads = threading.active_count()
    waiting = threading.Semaphore(0)
    number = iter(range(100))
    lock = threading.Lock()
    policies = []

    def maker(setting, task):
        with lock:
            n = next(number)
        if n < 3:
            return POLICIES["oracle"](setting, task)
        policies.append(Breaking(ZeroDivisionError("mine") if n == 5 else None, waiting))
        return policies[-1]

    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        played = []
        with pytest.raises(ZeroDivisionError, match="mine"):
            played.extend(record.key for record in collect(desk, maker, range(50), file, concurrency=3))
        assert len(file.keys) == 3
    assert threading.active_count() == threads
    assert sorted(policy.asked for policy in policies) == [0, 1, 1]
    assert {record.verdict.value for record in read_records(tmp_path / "a.jsonl")} == {1.0}


class Absent(Policy):
    def __init__(self, lasting=False):
        self.lasting = lasting

    def act(self, observation, info):
        raise PolicyUnavailable("out to lunch", lasting=self.lasting)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_unavailable_policy_leaves_episodes_out_and_the_others_are_played(tmp_path, desk, concurrency):
    fails = {desk.setting.tasks.find(record.state.task.id).id for record in collect(desk, "oracle", [1, 4])}

    def maker(setting, task):
        return Absent() if task.id in fails else POLICIES["oracle"](setting, task)

    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        played = []
        with pytest.raises(EpisodesLeftOut, match=r"2 episodes .*: out to lunch") as left_out:
            played.extend(collect(desk, maker, range(6), file, name="mine", concurrency=concurrency))
        assert left_out.value.failures.keys() == {1, 4}
        assert len(file.keys) == 4
        fails.clear()
        resumed = [record.key for record in collect(desk, maker, range(6), file, name="mine", concurrency=concurrency)]
    assert {key.rpartition("/")[2] for key in resumed} == {"1", "4"}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_policy_that_stays_unavailable_ends_the_rollout(desk, concurrency):
    asked = []

    def maker(setting, task):
        asked.append(task.id)
        return Absent(lasting=True)

    with pytest.raises(PolicyUnavailable, match="lunch"):
        list(collect(desk, maker, range(50), concurrency=concurrency))
    assert len(asked) <= concurrency


def test_at_least_one_must_play(desk):
    with pytest.raises(ValueError, match="concurrency=0"):
        next(collect(desk, "oracle", range(3), concurrency=0))


# --- scripts ----------------------------------------------------------------------------------------------------------
def test_a_script_is_played_turn_by_turn_and_then_there_is_silence(desk):
    (record,) = collect(desk, lambda setting, task: ScriptedPolicy(["a", {"role": "assistant", "content": "b"}]), [0])
    own = [entry.text for entry in record.transcript if entry.source == "policy"]
    assert own[:3] == ["a", "b", ""]
    assert set(own[2:]) == {""}


def test_scripts_of_a_file_are_for_their_tasks_and_one_for_all_others(tmp_path, desk):
    first, second = (record.state.task.id for record in collect(desk, "oracle", [0, 1]))
    path = tmp_path / "scripts.jsonl"
    path.write_text(json.dumps({"task_id": first, "turns": ["one"]}) + "\n\n" + json.dumps({"turns": ["any"]}) + "\n")
    said = {}
    for record in collect(desk, scripted(path), [0, 1]):
        said[record.state.task.id] = next(entry.text for entry in record.transcript if entry.source == "policy")
    assert said == {first: "one", second: "any"}
    path.write_text(json.dumps({"task_id": first, "turns": ["one"]}))
    with pytest.raises(LookupError, match=f"no script for task '{second}'"):
        list(collect(desk, scripted(path), [1]))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting"),
        ("[]", "a script is an object"),
        ('{"turns": [1]}', "texts and chat messages"),
        ('{"turns": "x"}', "texts and chat messages"),
        ('{"task_id": 7, "turns": []}', "task_id is a text"),
        ('{"turns": [], "seed": 1}', "a script is an object"),
        ('{"turns": ["again"]}', "a second script for all tasks"),
    ],
)
def test_a_line_that_is_no_script_is_named(tmp_path, line, why):
    path = tmp_path / "scripts.jsonl"
    path.write_text('{"turns": []}\n' + line + "\n")
    with pytest.raises(ValueError, match=f"line 2: .*{why}"):
        scripted(path)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_seed_that_comes_again_is_played_once(concurrency):
    env = make("tir/MathCode-v0")
    records = list(collect(env, "null", [0, 0, 1], concurrency=concurrency))
    assert sorted(record.key.rpartition("/")[2] for record in records) == ["0", "1"]
    env.close()
