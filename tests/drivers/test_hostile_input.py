"""Input that once hung, crashed or blew up a driver."""

import math
import multiprocessing

import numpy as np
import pytest

import tir_gym
from tests.play import make, play_oracle
from tir_gym import Action, ToolCall
from tir_gym.executors import ForkServer
from tir_gym.rollout import record_of

LIVE = "import signal\nguest = signal.getsignal(signal.SIGINT).__self__\n"


@pytest.fixture
def env():
    env = make("tir/MathCode-v0", call_timeout_s=60.0, max_turns=100)
    env.reset(seed=0)
    yield env
    env.close()


def python(code):
    return [ToolCall("python", {"code": code})]


@pytest.mark.parametrize("text", ["😀" * 20_000, "é" * 95_000])
def test_code_larger_than_a_socket_holds_is_run(env, text):
    """The host once waited for an answer while the question was still in its own buffer."""
    observation, *_ = env.step(python(f"x = '{text}'\nlen(x)"))
    assert str(len(text)) in observation
    vector = tir_gym.make_vec("tir/MathCode-v0", 2)
    vector.reset(seed=0)
    observations, *_ = vector.step([python(f"len('{text}')"), python("1 + 1")])
    assert str(len(text)) in observations[0]
    assert "2" in observations[1]
    vector.close()


def test_a_forged_second_end_of_a_submission_hangs_nobody(env):
    forged = (
        "guest.channel.send({'t': 'done', 'token': guest.token, 'status': 'ok', 'value': '', 'error': '', "
        "'traceback': '', 'stdout': '', 'stderr': '', 'cpu': 0.0, 'memory': 1})"
    )
    env.step(python(LIVE + forged))
    *_, info = env.step(python("1"))
    assert info["valid"]
    assert "2" in env.step(python("1 + 1"))[0]


def test_what_a_policy_does_after_a_checkpoint_does_not_reach_it(env):
    env.step(python("open('best.txt', 'w').write('none') and None"))
    with env.checkpoint() as checkpoint:
        env.step(
            python(
                "import os\nfor p in {*range(1, 200)} - {os.getpid()}:\n"
                "    try: os.kill(p, 9)\n    except OSError: pass\n"
                "for top, _, names in os.walk('/'):\n    for n in names:\n        if n == 'best.txt':\n"
                "            try: open(top + '/' + n, 'w').write('learned')\n            except OSError: pass"
            )
        )
        env.restore(checkpoint)
        observation, *_ = env.step(python("print(open('best.txt').read())"))
        assert "none" in observation
        assert "learned" not in observation


@pytest.mark.parametrize(
    "action",
    [
        {"role": "assistant", 5: "x", (1,): "y"},
        {"role": "assistant", "content": 10**5000},
        {"role": "assistant", "content": float("nan")},
        {"role": "assistant", "content": b"bytes"},
        {"role": "assistant", "content": "<answer>\ud800</answer>"},
        [ToolCall(5, {})],
        [ToolCall("python", None)],
        [ToolCall("python", ["x"])],
        [ToolCall("python", {1: "x", "code": "1"})],
        [ToolCall("python", {"code": "'\ud800'"})],
        [ToolCall("python", {"code": 10**5000})],
        [ToolCall("python", {"code": {1, 2}})],
        Action(calls=(ToolCall("python", {"code": math.inf}),)),
        Action(answer="x", raw="\ud800"),
    ],
    ids=range(14),
)
def test_native_input_that_is_no_json_is_a_typed_error_and_can_be_recorded(env, action):
    *_, info = env.step(action)
    assert info["valid"]
    record_of(env).model_dump_json().encode()


def test_input_that_contains_itself_or_is_nested_for_ever_is_a_typed_error(env):
    circle = {"role": "assistant"}
    circle["content"] = circle
    deep = {"code": "1"}
    for _ in range(600):
        deep = {"code": deep}
    for action in (circle, [ToolCall("python", deep)]):
        *_, info = env.step(action)
        assert info["format"]["error"] == "bad_json"
    record_of(env).model_dump_json()


@pytest.mark.parametrize("action", [b"", b"text", None, 5, [5], {5}])
def test_what_is_no_action_at_all_is_the_callers_mistake_and_changes_nothing(env, action):
    before = env.get_state()
    with pytest.raises(TypeError, match="an action is"):
        env.step(action)
    assert env.get_state() == before


def test_one_bad_action_does_not_block_a_batch():
    vector = tir_gym.make_vec("tir/MathCode-v0", 3)
    vector.reset(seed=0)
    with pytest.raises(TypeError):
        vector.step([python("1"), python("1"), None])
    observations, *_ = vector.step([python("1 + 1")] * 3)
    assert all("2" in observation for observation in observations)
    vector.close()


def test_thousands_of_calls_in_one_turn_are_bounded(env):
    text = '<call name="a"></call>' * 9_000
    observation, *_ = env.step(text)
    assert len(env.episode.calls) <= 64 + 100
    assert len(observation) < 50_000


def test_oversize_arguments_are_not_kept(env):
    env.step([ToolCall("python", {"code": "x" * 150_000})])
    (record,) = env.episode.calls
    assert record.error == "oversize"
    assert len(record.key) + len(str(record.arguments)) < 200


def test_a_memory_error_that_the_interpreter_survives_is_replayed(env):
    env.step(python("x = 5\nraise MemoryError"))
    observation, *_ = env.step(python("print(x)"))
    assert "5" in observation
    twin = make("tir/MathCode-v0", call_timeout_s=60.0, max_turns=100)
    twin.set_state(env.get_state())
    assert twin.episode.digest == env.episode.digest
    twin.close()


def test_a_closed_environment_says_so_and_can_be_reset(env):
    env.step(python("1"))
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step("hm")
    env.reset(seed=0)
    assert "2" in env.step(python("1 + 1"))[0]


def in_child(env, pipe):
    env.reset(seed=3)
    observation, *_, info = env.step(python("1 + 1"))
    pipe.send((observation, info["valid"]))
    env.close()


def test_a_forked_process_has_an_executor_of_its_own(env):
    env.step(python("1"))
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(env, there))
    child.start()
    observation, valid = here.recv()
    child.join()
    assert valid
    assert "2" in observation
    assert "2" in env.step(python("1 + 1"))[0]
    here.close()
    there.close()


def test_an_environment_that_is_dropped_gives_its_lease_back():
    executor = ForkServer(preload=())
    env = make("tir/MathCode-v0", executor=executor)
    play_oracle(env, 0)
    del env
    with pytest.raises(RuntimeError, match="lease"):
        executor.open(make("tir/MathCode-v0").setting.domain.limits(), 0)


def test_control_characters_do_not_reach_the_terminal():
    env = make("tir/MathCode-v0", render_mode="ansi")
    env.reset(seed=0)
    env.step("\x1b[2J\x1b]0;title\x07 hello \x9b")
    shown = env.render()
    assert "hello" in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    env.close()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("call_timeout_s", math.nan),
        ("call_timeout_s", math.inf),
        ("call_timeout_s", 0),
        ("memory_mb", -5),
        ("memory_mb", 1.5),
        ("max_virtual_s", math.nan),
        ("max_turns", 1.5),
        ("max_turns", True),
        ("max_calls", "8"),
        ("max_chars", 0),
        ("difficulty", True),
        ("void_ends", "yes"),
        ("tasks", 5),
        ("rewards", 5),
        ("executor", 5),
    ],
)
def test_an_option_out_of_range_is_named(option, value):
    with pytest.raises((ValueError, TypeError), match=option.removeprefix("max_").removesuffix("_timeout_s")[:6]):
        make("tir/MathCode-v0", **{option: value})


@pytest.mark.parametrize("seed", [["a", "b"], [-1, 2]])
def test_a_seed_that_is_none_is_named(seed):
    vector = tir_gym.make_vec("tir/MathCode-v0", 2)
    with pytest.raises(ValueError, match="whole number"):
        vector.reset(seed=seed)
    vector.close()


def test_numpy_seeds_are_seeds():
    vector = tir_gym.make_vec("tir/MathCode-v0", 2)
    _, infos = vector.reset(seed=np.int64(3))
    _, again = vector.reset(seed=3)
    assert infos["state_digest"].tolist() == again["state_digest"].tolist()
    _, infos = vector.reset(seed=[np.int64(3), None])
    vector.close()
