"""Trajectory files hold each episode once and whole, whatever happens to those who write them."""

import json
import random
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.workshop import SECRET, make_setting
from tests.play import make
from tests.processes import descendants, wait_until_gone
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.task import Fields, JsonlTasks
from tir_gym.drivers.env import ToolEnv
from tir_gym.rollout import GoldPolicy, TrajectoryFile, collect, read_records, record_of

TOY = "toy/Helpdesk-v0"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def env():
    made = make(TOY)
    yield made
    made.close()


@pytest.fixture
def records(env):
    return list(collect(env, "oracle", range(4)))


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


# --- the file ---------------------------------------------------------------------------------------------------------
def test_what_is_appended_is_read_back(tmp_path, records):
    path = tmp_path / "deep" / "runs" / "a.jsonl"
    with TrajectoryFile(path) as file:
        for record in records:
            file.append(record)
        assert file.keys == {record.key for record in records}
    assert [again.model_dump_json() for again in read_records(path)] == [record.model_dump_json() for record in records]
    with TrajectoryFile(path) as file:
        assert file.keys == {record.key for record in records}
    assert len(lines(path)) == 4


def test_a_key_is_written_once(tmp_path, records):
    path = tmp_path / "a.jsonl"
    with TrajectoryFile(path) as file:
        file.append(records[0])
        with pytest.raises(ValueError, match=f"the key '{records[0].key}' already"):
            file.append(records[0])
    with TrajectoryFile(path) as file, pytest.raises(ValueError, match="already"):
        file.append(records[0])
    assert len(lines(path)) == 1


def test_one_writer_at_a_time(tmp_path, records):
    path = tmp_path / "a.jsonl"
    with TrajectoryFile(path) as file:
        with pytest.raises(BlockingIOError, match=r"a.jsonl is being written"):
            TrajectoryFile(path)
        program = f"from tir_gym.rollout import TrajectoryFile; TrajectoryFile({str(path)!r})"
        other = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert "BlockingIOError" in other.stderr
        file.append(records[0])
    file.close()
    with TrajectoryFile(path) as file:
        file.append(records[1])
    assert len(lines(path)) == 2


@given(data=st.data())
def test_a_line_cut_anywhere_is_written_anew(tmp_path, records, data):
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    with TrajectoryFile(path) as file:
        for record in records[:3]:
            file.append(record)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[:cut].count(b"\n")
    assert len(list(read_records(path))) == kept
    with TrajectoryFile(path) as file:
        assert len(file.keys) == kept
        for record in records[kept:3]:
            file.append(record)
    assert path.read_bytes() == whole


def test_a_long_line_cut_off_is_found_too(tmp_path, records):
    path = tmp_path / "a.jsonl"
    whole = records[0].model_dump_json() + "\n"
    path.write_text(whole + '{"schema_id": "' + "x" * 200_000)
    with TrajectoryFile(path) as file:
        assert file.keys == {records[0].key}
    assert path.read_text() == whole


def test_a_record_that_does_not_fit_is_named_and_the_file_is_left_alone(tmp_path, records):
    path = tmp_path / "a.jsonl"
    text = records[0].model_dump_json() + "\n" + '{"key": "x"}\n'
    path.write_text(text)
    for _ in range(2):  # the failure releases the lock
        with pytest.raises(ValueError, match=r"a.jsonl, line 2: "):
            TrajectoryFile(path)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["notes without a new line", '{"schema_ix": 1', '{"a": 1}'])
def test_a_last_line_that_no_episode_begins_with_is_not_cut_off(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"notes.txt ends in a line that is no episode"):
        TrajectoryFile(path)
    assert path.read_text() == text


def test_an_append_that_fails_half_way_leaves_no_half_line(tmp_path, records):
    path = tmp_path / "a.jsonl"
    with TrajectoryFile(path) as file:
        file.append(records[0])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        try:
            with pytest.raises(OSError, match="large"):
                file.append(records[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(lines(path)) == 1
        file.append(records[1])
    assert [record.key for record in read_records(path)] == [record.key for record in records[:2]]


# --- collecting -------------------------------------------------------------------------------------------------------
def test_collecting_goes_on_where_it_stopped(tmp_path, env, records):
    path = tmp_path / "a.jsonl"
    with TrajectoryFile(path) as file:
        first = collect(env, "oracle", range(4), file)
        assert [next(first).key, next(first).key] == [record.key for record in records[:2]]
    with TrajectoryFile(path) as file:
        rest = [record.key for record in collect(env, "oracle", range(4), file)]
        assert rest == [record.key for record in records[2:]]
        assert list(collect(env, "oracle", range(4), file)) == []
    assert [again.state for again in read_records(path)] == [record.state for record in records]


def test_an_episode_is_in_the_file_before_it_is_handed_out(tmp_path, env):
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        for number, record in enumerate(collect(env, "oracle", range(3), file), 1):
            assert [kept.key for kept in read_records(file.path)][number - 1 :] == [record.key]


def test_other_policies_have_other_keys(tmp_path, env):
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        keys = [record.key for name in ("oracle", "null") for record in collect(env, name, [1], file)]
        gold = lambda setting, task: GoldPolicy(setting.tasks, setting.protocol)  # noqa: E731
        named = next(collect(env, gold, [1], file, name="mine"))
    assert len({*keys, named.key}) == 3
    assert named.policy == "mine"
    with pytest.raises(KeyError, match="genius"):
        next(collect(env, "genius", [1]))


def test_the_same_seed_under_other_options_is_another_episode(tmp_path, env):
    harder = make(TOY, difficulty=9)
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        list(collect(env, "oracle", [1], file))
        assert len(list(collect(harder, "oracle", [1], file))) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
written = st.one_of(
    st.text(st.characters(), max_size=30),
    json_values.map(lambda value: f'<call name="put"><arg name="value" type="json">{json.dumps(value)}</arg></call>'),
    st.sampled_from(
        [
            '<call name="look"><arg name="what" type="json">"\\ud800"</arg></call>',
            '<call name="put"><arg name="value" type="json">1e999</arg></call>',
            '<call name="put"><arg name="value" type="json">NaN</arg></call>',
            f'<call name="put"><arg name="value" type="json">{"9" * 4000}</arg></call>',
            f'<call name="put"><arg name="value" type="json">{"[" * 60}{"]" * 60}</arg></call>',
        ]
    ),
)


@given(texts=st.lists(written, min_size=1, max_size=3))
def test_whatever_a_policy_writes_can_be_kept_read_and_replayed(tmp_path, texts):
    env = ToolEnv(make_setting(), None)
    env.reset(seed=0)
    for text in texts:
        env.step(text)
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    record = record_of(env, key="k")
    with TrajectoryFile(path) as file:
        file.append(record)
    (again,) = read_records(path)
    assert again.model_dump_json() == record.model_dump_json()
    twin = ToolEnv(make_setting(), None)
    twin.set_state(again.state)
    assert twin.episode.digest == env.episode.digest


def test_tool_calls_given_as_objects_are_kept_and_replayed_too():
    env = ToolEnv(make_setting(), None)
    env.reset(seed=0)
    env.step([ToolCall("put", {"name": "nail", "value": 3}, "id-1"), ToolCall("look", {"what": "</arg>"})])
    env.step(Action(answer=SECRET))
    twin = ToolEnv(make_setting(), None)
    twin.set_state(type(env.get_state()).model_validate_json(env.get_state().model_dump_json()))
    assert list(twin.transcript) == list(env.transcript)
    assert twin.episode.calls == env.episode.calls
    assert twin.episode.world.things == env.episode.world.things


# --- gold -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("syntax", ["xml", "openai"])
def test_the_gold_policy_solves_the_tasks_of_a_file_and_shuffled_gold_none(tmp_path, syntax):
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps({"q": f"Number {n}?", "a": [str(n), "x"]}) + "\n" for n in range(30)))
    tasks = JsonlTasks("numbers", path, Fields("q", "a", read_answer=lambda both: both[0]))
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("".join(json.dumps({"q": f"Number {n}?", "a": str(n + 1)}) + "\n" for n in range(30)))
    wrong = JsonlTasks("numbers", shuffled, Fields("q", "a"))
    env = ToolEnv(replace(make_setting(syntax=syntax), tasks=tasks), None)
    played = list(collect(env, "gold", range(40)))
    assert {record.verdict.value for record in played} == {1.0}
    assert len({record.state.task.id for record in played}) > 15
    played = list(collect(env, lambda setting, task: GoldPolicy(wrong, setting.protocol), range(40)))
    assert {record.verdict.value for record in played} == {0.0}


# --- kills ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("env_id", "chance"), [(TOY, 1), ("tir/MathCode-v0", 2)])
def test_a_rollout_killed_at_random_moments_loses_and_doubles_nothing(tmp_path, env_id, chance):
    check_kills(tmp_path, env_id, chance)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("env_id", "chance"), [(TOY, 2), *(("tir/MathCode-v0", chance) for chance in (1, *range(3, 28)))]
)
def test_27_more_killed_rollouts_lose_and_double_nothing(tmp_path, env_id, chance):
    check_kills(tmp_path, env_id, chance)


def check_kills(tmp_path, env_id, chance):
    episodes = 40
    path = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "tests.rollout.play_toy", env_id, str(path), str(episodes)]
    rng = random.Random(chance)
    seen = 0
    for _ in range(3):
        allowed = rng.randrange(2, 9)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
            process.stdin.write("go\n" * (seen + allowed))
            process.stdin.flush()
            assert process.stdout.readline() == f"open {seen}\n"
            told = [process.stdout.readline() for _ in range(rng.randrange(1, allowed))]
            below = descendants(process.pid)
            process.send_signal(signal.SIGKILL)  # while it plays, writes, or waits for leave to go on
            told += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        wait_until_gone(below)
        kept = [record.key for record in read_records(path)]
        assert kept[seen:][: len(told)] == [line.strip() for line in told]
        assert len(kept) - seen - len(told) in (0, 1)
        seen = len(kept)
    last = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, input="go\n" * episodes)
    assert last.stdout.endswith("done\n")
    env = make(env_id)
    undisturbed = list(collect(env, "oracle", range(episodes)))
    env.close()
    assert [record.key for record in read_records(path)] == [record.key for record in undisturbed]
    assert [record.state for record in read_records(path)] == [record.state for record in undisturbed]
