"""MathCode: a real interpreter, real problems."""

import dataclasses
from collections import Counter

import pytest

import tir_gym
from tests.play import make, play_oracle, replay, run
from tir_gym import Completion
from tir_gym.core.task import Filtered, Gold, JsonlTasks
from tir_gym.drivers.slot import ReplayMismatch
from tir_gym.envs.math_code.env import MathCode
from tir_gym.envs.math_code.tasks import BENCHMARKS, make_tasks
from tir_gym.rollout.collect import collect, play
from tir_gym.rollout.policies import POLICIES, GoldPolicy, oracle


@pytest.fixture(scope="module")
def env():
    env = make("tir/MathCode-v0", max_turns=50)
    yield env
    env.close()


def test_variables_last_and_the_last_expression_is_echoed_once(env):
    env.reset(seed=0)
    run(env, "x = [1]")
    assert "[1, 2]" in run(env, "x.append(2)\nx")[0]
    assert "[1, 2]\n" in run(env, "print(x)")[0]
    observation, record = run(env, "calls = []\ncalls.append(1)\ncalls")
    assert observation.count("[1]") == 1
    assert record.status == "ok"


def test_stdout_stderr_and_warnings_all_come_back_and_a_warning_is_no_failure(env):
    env.reset(seed=0)
    code = "import sys, warnings\nprint('out')\nprint('err', file=sys.stderr)\nwarnings.warn('careful')\n'value'"
    observation, record = run(env, code)
    for word in ("out", "err", "careful", "'value'"):
        assert word in observation
    assert record.status == "ok"


def test_a_traceback_shows_the_policys_own_frames_only(env):
    env.reset(seed=0)
    observation, record = run(env, "def divide(a):\n    return 1 / a\ndivide(0)")
    assert "ZeroDivisionError" in observation
    assert "return 1 / a" in observation
    assert "guest" not in observation
    assert "/site-packages/" not in observation
    assert (record.status, record.error) == ("error", "exception")
    assert "SyntaxError" in run(env, "1 +")[0]


def test_a_loop_is_interrupted_and_its_variables_stay(monkeypatch):
    limits = MathCode.limits
    monkeypatch.setattr(MathCode, "limits", lambda domain: dataclasses.replace(limits(domain), grace_s=60.0))
    env = make("tir/MathCode-v0", call_timeout_s=2.0)
    env.reset(seed=0)
    observation, record = run(env, "kept = 41\nwhile True: pass")
    assert "faster" in observation
    assert record.error == "timeout"
    assert "42" in run(env, "kept + 1")[0]
    env.close()


def test_code_that_cannot_be_interrupted_costs_the_interpreter_and_says_so():
    env = make("tir/MathCode-v0", call_timeout_s=2.0)
    env.reset(seed=0)
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ngone = 1\nwhile True: pass"
    observation, record = run(env, stubborn)
    assert record.facts["state_lost"]
    assert "variables are gone" in observation
    assert "NameError" in run(env, "gone")[0]
    twin = make("tir/MathCode-v0", call_timeout_s=2.0)
    twin.set_state(env.get_state())
    assert twin.episode.digest == env.episode.digest
    env.close()
    twin.close()


def test_a_recorded_time_out_is_replayed_as_recorded_and_not_run_again():
    env = make("tir/MathCode-v0", call_timeout_s=2.0)
    env.reset(seed=0)
    run(env, "print('before')\nwhile True: pass")
    run(env, "1 + 1")
    state = env.get_state()
    twin = make("tir/MathCode-v0", call_timeout_s=2.0)
    twin.set_state(state)
    assert twin.get_state() == state
    (recorded,) = state.recorded
    edited = state.model_copy(update={"recorded": (recorded.model_copy(update={"stdout": "another past"}),)})
    with pytest.raises(ReplayMismatch, match="timed out"):
        twin.set_state(edited)
    env.close()
    twin.close()


def test_the_same_seed_gives_the_same_random_numbers_in_the_interpreter(env):
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('word'))"
    seen = set()
    for _ in range(2):
        env.reset(seed=3)
        seen.add(run(env, code)[0])
    assert len(seen) == 1
    env.reset(seed=4)
    assert run(env, code)[0] not in seen


def test_a_fork_has_the_interpreters_variables_and_goes_its_own_way(env):
    env.reset(seed=0)
    run(env, "x = 1\nimport random\nopen('note.txt', 'w').write('first') and None")
    (twin,) = tir_gym.fork(env)
    drawn = run(env, "random.random()")[0]
    assert run(twin, "random.random()")[0] == drawn
    run(env, "x = 2\nopen('note.txt', 'w').write('second') and None")
    assert "1 first" in run(twin, "print(x, open('note.txt').read())")[0]
    assert "2 second" in run(env, "print(x, open('note.txt').read())")[0]
    (grandchild,) = tir_gym.fork(twin)
    twin.close()
    assert "1 first" in run(grandchild, "print(x, open('note.txt').read())")[0]
    grandchild.close()


def test_interpreters_of_a_batch_are_strangers():
    vector = tir_gym.make_vec("tir/MathCode-v0", 4)
    vector.reset(seed=0)
    calls = [f'<call name="python"><arg name="code">x = {i}\nopen("f","w").write("{i}")</arg></call>' for i in range(4)]
    vector.step(calls)
    look = '<call name="python"><arg name="code">import os\nprint(x, open("f").read(), os.listdir("."))</arg></call>'
    observations, *_ = vector.step([look] * 4)
    for i, observation in enumerate(observations):
        assert f"{i} {i} ['f']" in observation
    vector.close()


def test_the_session_sees_neither_this_package_nor_the_task(env):
    env.reset(seed=0)
    observation, _ = run(env, "import tir_gym")
    assert "ModuleNotFoundError" in observation
    hunt = f"""
import os, gc, sys
found = []
for root in ("/", os.getcwd(), *sys.path):
    for folder, _, names in os.walk(root):
        found += [n for n in names if "tir_gym" in folder or n in ("words.json", "families")]
needle = {env.episode.task.prompt[:40]!r}
held = [o for o in gc.get_objects() if isinstance(o, str) and needle in o and "held" not in o and "hunt" not in o]
print(found, dict(os.environ).keys() & {{"PATH_TO_GOLD", "HOME_OF_TRAINER", "VIRTUAL_ENV"}}, len(held))
"""
    observation, _ = run(env, hunt)
    assert "[] set() 0" in observation


def test_what_the_code_prints_is_never_the_answer(env):
    env.reset(seed=0)
    gold = env.episode.task.gold.answer
    run(env, f"print('<answer>{gold}</answer> \\\\boxed{{{gold}}}')")
    _, reward, *_ = env.finish("done")
    assert reward == 0.0


@pytest.mark.parametrize("protocol", ["xml", "openai", "fenced"])
def test_the_oracle_speaks_every_protocol(protocol):
    env = make("tir/MathCode-v0", protocol=protocol)
    for seed in range(10):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
    env.close()


def test_a_code_block_cut_by_length_is_not_run():
    env = make("tir/MathCode-v0", protocol="fenced")
    env.reset(seed=0)
    *_, info = env.step(Completion("```python\nprint(1)", stop_reason="length"))
    assert info["calls"]["count"] == 0
    *_, info = env.step(Completion("```python\nprint(1)\n```", stop_reason="stop"))
    assert info["calls"]["ok"] == 1
    env.close()


def test_difficulty_and_split_choose_the_tasks():
    prompts = {}
    for split in ("train", "validation", "test"):
        env = make("tir/MathCode-v0", split=split, difficulty=3)
        infos = [env.reset(seed=seed)[1]["task"] for seed in range(20)]
        assert {(info["split"], info["difficulty"]) for info in infos} == {(split, 3)}
        prompts[split] = {env.setting.tasks.draw(seed).content_hash for seed in range(200)}
        env.close()
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["validation"] & prompts["test"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"tasks": "gsm9k:x"}, "gsm8k"),
        ({"tasks": "gsm8k"}, "NAME:PATH"),
        ({"difficulty": 11}, "1 to 10"),
        ({"split": "dev"}, "validation"),
        ({"protocol": "yaml"}, "xml"),
        ({"max_turns": 0}, "turns"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(options, word):
    with pytest.raises(ValueError, match=word):
        make("tir/MathCode-v0", **options)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match=r"no option .colour.; there are call_timeout_s, .*protocol, .*executor"):
        make("tir/MathCode-v0", colour="red")


def test_200_real_problems_with_gold_score_one_and_with_shuffled_golds_zero(shared_data):
    path = shared_data / "gsm8k" / "test.jsonl"
    env = make("tir/MathCode-v0", tasks=f"gsm8k:{path}", split="test")
    tasks = env.setting.tasks
    assert tasks.size == 200

    class Shuffled:
        """The next problem's gold, or the one after where they are equal."""

        def find(self, task_id):
            task = tasks.find(task_id)
            others = (tasks.task(0, (task.index + step) % 200).gold.answer for step in range(1, 200))
            return dataclasses.replace(task, gold=Gold(next(o for o in others if o != task.gold.answer)))

    def score(policy):
        total = 0.0
        for index in range(200):
            observation, info = env.reset(seed=index, options={"task_id": tasks.task(0, index).id})
            total += env.step(policy.act(observation, info))[1]
        return total / 200

    assert score(GoldPolicy(tasks)) == 1.0
    assert score(GoldPolicy(Shuffled())) == 0.0
    env.close()


def test_worked_solutions_of_real_problems_run_in_the_interpreter(shared_data):
    """GSM8K's own steps as programs: real calls on real problems, and the answer comes out of the sandbox."""
    source = JsonlTasks("gsm8k", shared_data / "gsm8k" / "test.jsonl", BENCHMARKS["gsm8k"])
    tasks = Filtered(source, lambda task: task.gold.plan is not None)
    assert tasks.size > 150
    env = make("tir/MathCode-v0", tasks=tasks)
    solved = 0
    for index in range(tasks.size):
        task = tasks.task(0, index)
        observation, info = env.reset(seed=index, options={"task_id": task.id})
        player = oracle("tir/MathCode-v0", task, env.setting)
        for _ in range(2):
            observation, reward, *_, info = env.step(player.act(observation, info))
        solved += reward
        assert info["calls"]["ok"] == 1
    assert solved == tasks.size
    env.close()


@pytest.mark.parametrize(
    ("name", "file"),
    [("gsm8k", "gsm8k/train.jsonl"), ("math500", "math/math500_first100.jsonl"), ("aime", "math/aime24.jsonl")],
)
def test_real_benchmark_files_load_and_verify_against_themselves(shared_data, name, file):
    env = make("tir/MathCode-v0", tasks=f"{name}:{shared_data / file}", split="test")
    tasks = env.setting.tasks
    for record in collect(env, "gold", range(40)):
        assert record.outcome == "solved", (record.state.task.id, record.answer)
    assert len({task.id for task in tasks}) == tasks.size
    env.close()


def test_a_missing_column_names_file_and_row(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"question": "q", "answer": "#### 1"}\n{"question": "q2", "answer": "none"}\n')
    with pytest.raises(ValueError, match=r"broken\.jsonl, row 1.*####"):
        make_tasks(f"gsm8k:{path}", "test", None).task(0, 0)
    assert set(BENCHMARKS) >= {"gsm8k", "math500", "aime"}


def test_a_session_killed_from_outside_is_the_next_episodes_no_concern(env):
    play(env, POLICIES["oracle"], 1)
    env.reset(seed=2)
    observation, record = run(env, "import os\nos._exit(3)")
    assert record.status == "error"
    assert "interpreter" in observation
    assert "2" in run(env, "1 + 1")[0]
    assert replay(env, 5, ["<answer>0</answer>"])[-1][4]["valid"]


def test_a_policy_cannot_make_its_episode_invalid_by_ending_the_interpreter_later(env):
    for delay in (0.0, 0.01):
        env.reset(seed=2)
        observation, record = run(env, f"import threading, os\nthreading.Timer({delay}, os._exit, (1,)).start()")
        while not record.facts["state_lost"]:
            observation, record = run(env, "sum(range(10**6))")
        assert "variables are gone" in observation
        assert "2" in run(env, "1 + 1")[0]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("difficulty", [None, 1, 5, 10])
@pytest.mark.parametrize("draws", [400, pytest.param(2_000, marks=pytest.mark.soak)])
def test_no_answer_given_blindly_scores_more_than_the_floor(split, difficulty, draws):
    """The best policy that sees nothing answers the same each time; its score is the share of that answer."""
    tasks = make_tasks(None, split, difficulty)
    answers = Counter(tasks.draw(seed).gold.answer for seed in range(draws))
    assert answers.most_common(1)[0][1] / draws <= MathCode.floor
