"""Code in the session calls tools as functions: checked on the host, counted in the call log."""

from dataclasses import dataclass

import pytest

import tir_gym
from tests.play import as_bytes
from tir_gym.core.domain import Budget, Setting
from tir_gym.core.tool import ToolError, tool
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.vector import ToolVectorEnv
from tir_gym.envs.math_code.env import MathCode
from tir_gym.envs.registration import default_executor, make_setting
from tir_gym.tools.python import PythonToolkit, name_errors


class Calling(PythonToolkit):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    @tool(kind="evidence", latency_s=0.25)
    def triangle(self, n: int, offset: int = 0) -> dict[str, int]:
        """The n-th triangular number."""
        if n < 0:
            raise ToolError("n must not be negative")
        self.asked.append(n)
        return {"value": n * (n + 1) // 2 + offset}


@dataclass(frozen=True)
class Numbers(MathCode):
    toolkits = {"agent": Calling}

    def toolkit(self, actor, task, world):
        return Calling()


def setting(**budget) -> Setting:
    base = make_setting("tir/MathCode-v0")
    return Setting(base.env_id, Numbers(), base.tasks, base.protocol, base.rewards, Budget(**budget))


@pytest.fixture
def env():
    env = ToolEnv(setting(), default_executor())
    env.reset(seed=0)
    yield env
    env.close()


def run(env, code):
    observation, *_ = env.call("python", {"code": code})
    return observation


def test_a_tool_is_a_function_in_the_session(env):
    assert "\n10\n" in run(env, "sum(triangle(i)['value'] for i in range(4))")
    assert "103" in run(env, "triangle(2, offset=100)['value']")
    assert "triangular" in run(env, "print(triangle.__doc__)")
    calls = env.episode.calls
    assert [(call.tool, call.parent) for call in calls[:5]] == [("python", -1), *[("triangle", 0)] * 4]
    assert [dict(call.arguments) for call in calls[1:5]] == [{"n": n} for n in range(4)]
    assert env.episode.tally.calls == len(calls) == 8
    assert calls[-1].kind == "verification"


def test_virtual_time_passes_for_calls_from_code_too(env):
    run(env, "triangle(1); triangle(2)")
    python, first, second = env.episode.calls
    assert (first.issued_at, second.issued_at) == (python.issued_at, python.issued_at + 0.25)
    assert env.episode.clock == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("triangle('3')", "type_mismatch", "integer"),
        ("triangle()", "missing_required", "'n'"),
        ("triangle(1, depth=2)", "unexpected_arg", "depth"),
        ("triangle(-1)", "refused", "negative"),
    ],
)
def test_a_wrong_call_raises_in_the_code_and_is_logged(env, code, error, words):
    assert words in run(env, f"try:\n    {code}\nexcept ToolError as caught:\n    print('caught', caught)")
    assert env.episode.calls[1].error == error
    assert env.episode.calls[0].status == "ok"
    assert "ToolError" in run(env, code)


def test_the_python_tool_cannot_call_itself(env):
    assert "NameError" in run(env, "python('1')")


def test_the_budget_holds_for_calls_from_code(env):
    tight = ToolEnv(setting(calls=5), default_executor())
    tight.reset(seed=0)
    observation, *_ = tight.call("python", {"code": "[triangle(i)['value'] for i in range(100)]"})
    assert "budget of 5 calls" in observation
    assert [call.error for call in tight.episode.calls] == ["exception", *[""] * 4, "budget"]
    tight.close()


def test_code_that_calls_for_ever_is_bounded_and_the_log_too(env):
    quick = ToolEnv(setting(calls=3), default_executor())
    quick.reset(seed=0)
    loop = "for i in range(5000):\n    try: triangle(i)\n    except ToolError: pass\n'survived'"
    observation, *_ = quick.call("python", {"code": loop})
    assert "survived" in observation
    assert len(quick.episode.calls) <= 3 + 100 + 1
    quick.close()


def test_drivers_forks_and_replays_agree_on_calls_from_code(env):
    texts = [
        '<call name="python"><arg name="code">x = triangle(4)["value"]</arg></call>',
        '<call name="python"><arg name="code">x + triangle(1)["value"]</arg></call>',
    ]
    env.reset(seed=1)
    alone = [env.step(text)[:1] for text in texts]
    vector = ToolVectorEnv(setting(), default_executor(), 2)
    vector.reset(seed=[1, 1])
    for number, text in enumerate(texts):
        observations, *_ = vector.step([text, text])
        assert observations == (alone[number][0],) * 2
    vector.close()
    (twin,) = tir_gym.fork(env)
    assert as_bytes([twin.step(texts[1])]) == as_bytes([env.step(texts[1])])
    digest = twin.episode.digest
    twin.set_state(twin.get_state())
    assert twin.episode.digest == digest
    assert twin.episode.toolkits["agent"].asked == [4, 1, 1]
    twin.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("undefined", True),
        ("def f():\n    return undefined\nf()", True),
        ("1 / 0", False),
        ("print('NameError: no')", False),
        ("raise ValueError('NameError')", False),
        ("try:\n    undefined\nexcept NameError:\n    pass", False),
        ("1 +", False),
    ],
)
def test_a_call_keeps_in_one_bit_whether_it_said_that_a_name_was_missing(env, code, said):
    run(env, code)
    assert env.episode.calls[-1].facts["said_name_error"] is said
    assert name_errors(env.episode.calls) == said


def test_name_errors_are_counted_over_the_episode_and_calls_of_other_tools_are_none(env):
    for code in ("missing", "triangle(3)", "missing", "1"):
        run(env, code)
    assert name_errors(env.episode.calls) == 2
