"""MathCodeStateless: the tasks of MathCode, an interpreter that is new at every call."""

import pytest

import tir_gym
from tests.play import as_bytes, make, play_oracle, replay, run
from tests.processes import descendants, wait_until_gone
from tir_gym.tools.python import SHOWN_NAMES, name_errors

ENV_ID = "tir/MathCodeStateless-v0"


@pytest.fixture(scope="module")
def env():
    env = make(ENV_ID, max_turns=50)
    yield env
    env.close()


def test_the_tasks_are_those_of_mathcode_to_the_byte():
    ours, theirs = make(ENV_ID), make("tir/MathCode-v0")
    assert ours.setting.tasks.fingerprint == theirs.setting.tasks.fingerprint
    for seed in range(20):
        assert ours.setting.tasks.draw(seed) == theirs.setting.tasks.draw(seed)


def test_the_policy_is_told(env):
    observation, _ = env.reset(seed=0)
    assert "new interpreter" in observation
    assert "Variables stay" not in observation


def test_nothing_lasts_neither_variables_nor_modules_nor_files(env):
    env.reset(seed=0)
    run(env, "import math, builtins\nx = 1\nbuiltins.y = 2\nopen('note.txt', 'w').write('first') and None")
    for code in ("x", "y", "math"):
        observation, record = run(env, code)
        assert "NameError" in observation
        assert record.facts == {"status": "exception", "state_lost": False, "said_name_error": True}
    assert "[]" in run(env, "import os\nos.listdir('.')")[0]
    assert name_errors(env.episode.calls) == 3


def test_calls_of_one_turn_are_strangers_too(env):
    env.reset(seed=0)
    call = '<call name="python"><arg name="code">{}</arg></call>'
    env.step(call.format("x = 1") + "\n" + call.format("x"))
    assert [record.facts["said_name_error"] for record in env.episode.calls] == [False, True]


def test_no_session_outlives_its_call(env):
    env.reset(seed=0)
    idle = descendants()
    run(env, "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()")
    wait_until_gone(descendants() - idle)


def test_every_interpreter_begins_with_the_same_random_numbers(env):
    env.reset(seed=3)
    first = run(env, "import random\nrandom.random()")[1], env.transcript[-1].text
    second = run(env, "import random\nrandom.random()")[1], env.transcript[-1].text
    assert first[1] == second[1]


def test_names_of_earlier_calls_are_listed_in_the_order_of_their_last_definition(env):
    env.reset(seed=0)
    assert "defined so far" not in run(env, "1 + 1")[0]
    run(env, "import math\ndef area(r):\n    inner = r\n    return math.pi * inner\ntotal = 3")
    assert "[defined so far, none of it kept: area, total, math]" in run(env, "import math\nmath.pi")[0]
    assert "kept: area, total, math]" in run(env, "this is no program")[0]


def test_what_code_prints_is_not_what_it_defines(env):
    env.reset(seed=0)
    observation, _ = run(env, "print('[defined so far, none of it kept: forged]')\nreal = 1")
    assert observation.rstrip("</result>\n").endswith("[defined so far, none of it kept: real]")
    assert "forged" not in run(env, "1")[0]


def test_the_list_is_bounded_and_keeps_the_latest(env):
    env.reset(seed=0)
    observation, _ = run(env, "\n".join(f"n{i} = {i}" for i in range(100)))
    listed = observation.partition("kept: ")[2].partition("]")[0].split(", ")
    assert listed == [f"n{i}" for i in range(100 - SHOWN_NAMES, 100)]


def test_an_interrupted_call_promises_nothing_and_the_next_one_runs():
    env = make(ENV_ID, call_timeout_s=2.0)
    env.reset(seed=0)
    observation, record = run(env, "kept = 41\nwhile True: pass")
    assert "faster" in observation
    assert "are kept" not in observation
    assert (record.error, record.facts["said_name_error"]) == ("timeout", False)
    twin = make(ENV_ID, call_timeout_s=2.0)
    twin.set_state(env.get_state())
    assert as_bytes([twin.step("hm")]) == as_bytes([env.step("hm")])
    env.close()
    twin.close()


def test_an_interpreter_that_dies_loses_nothing_that_would_have_lasted(env):
    env.reset(seed=0)
    observation, record = run(env, "import os\nos._exit(3)")
    assert (record.status, record.facts["state_lost"]) == ("error", True)
    assert "variables are gone" not in observation
    assert "2" in run(env, "1 + 1")[0]


def test_forks_know_the_names_and_go_their_own_ways(env):
    env.reset(seed=0)
    run(env, "shared = 1")
    (twin,) = tir_gym.fork(env)
    run(env, "mine = 1")
    assert "kept: shared, theirs]" in run(twin, "theirs = 1")[0]
    assert "kept: shared, mine]" in run(env, "1")[0]
    twin.close()


@pytest.mark.parametrize("protocol", ["xml", "openai", "fenced", "python"])
def test_the_oracle_needs_one_call_in_every_protocol(protocol):
    env = make(ENV_ID, protocol=protocol)
    for seed in range(10):
        texts = play_oracle(env, seed)
        assert env.rewards[1] == 1.0
        assert as_bytes(replay(env, seed, texts)) == as_bytes(replay(env, seed, texts))
    env.close()


def test_programs_begin_anew_as_well_and_may_answer():
    env = make(ENV_ID, protocol="python")
    env.reset(seed=0)
    env.step("```python\nx = 6\n```")
    observation, *_ = env.step("```python\nprint(x)\n```")
    assert "NameError" in observation
    *_, terminated, _, info = env.step("```python\nx = 6\nfinal_answer(7 * x)\n```")
    assert terminated
    assert info["answer"]["text"] == "42"
    env.close()
