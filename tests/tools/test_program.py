"""The tools of an actor whose action is a program, in real episodes."""

import math

import pytest

from tests.play import make
from tir_gym.core.transcript import CallErrorType


def block(code):
    return f"```python\n{code}\n```"


@pytest.fixture
def ledger():
    env = make("toy/Ledger-v0", protocol="python")
    env.reset(seed=0)
    yield env
    env.close()


def test_a_program_calls_the_domains_tools_and_each_call_is_logged(ledger):
    observation, *_ = ledger.step(block("names = list_accounts()\nprint(len(names), balance(names[0]))"))
    assert "holds" in observation
    assert [(call.tool, call.parent) for call in ledger.episode.calls] == [
        ("python", -1),
        ("list_accounts", 0),
        ("balance", 0),
    ]


def test_a_tools_error_is_an_exception_in_the_program(ledger):
    observation, *_ = ledger.step(
        block("try:\n    balance('nobody')\nexcept Exception as error:\n    print('caught', error)")
    )
    assert "caught" in observation
    assert "list_accounts" in observation
    assert ledger.episode.calls[1].error is CallErrorType.REFUSED


def test_a_control_tool_of_the_domain_ends_the_episode_from_code(ledger):
    *_, terminated, _, info = ledger.step(block("close_books(balance=5)\nprint('after')"))
    assert terminated
    assert (info["answer"]["text"], info["answer"]["origin"]) == ("5", "call")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("'a b'", "a b"),
        ("6 * 7", "42"),
        ("[1, 2]", "[1, 2]"),
        ("0.5", "0.5"),
        ("{'a': None}", '{"a": null}'),
        ("None", "null"),
    ],
)
def test_a_program_answers_with_what_it_computed(value, text):
    env = make("tir/MathCode-v0", protocol="python")
    env.reset(seed=0)
    *_, terminated, _, info = env.step(block(f"final_answer({value}, confidence=0.5)"))
    assert terminated
    assert (info["answer"]["text"], info["answer"]["confidence"]) == (text, 0.5)
    env.close()


def test_an_answer_that_is_not_data_is_an_error_the_policy_reads():
    env = make("tir/MathCode-v0", protocol="python")
    env.reset(seed=0)
    observation, _, terminated, *_ = env.step(block("final_answer(object())"))
    assert not terminated
    assert "Error" in observation
    observation, _, terminated, *_ = env.step(block("final_answer('1', confidence=2.0)"))
    assert not terminated
    assert "from 0 to 1" in observation
    env.close()


def test_the_first_of_two_answers_counts_and_confidence_may_be_left_out():
    env = make("tir/MathCode-v0", protocol="python")
    env.reset(seed=0)
    *_, info = env.step(block("final_answer(1)\nfinal_answer(2)"))
    assert info["answer"]["text"] == "1"
    assert info["answer"]["confidence"] == -1.0
    assert math.isfinite(info["rewards"]["total"])
    env.close()


def test_state_lasts_and_forks_with_the_program(ledger):
    ledger.step(block("names = list_accounts()"))
    with ledger.checkpoint() as point:
        first, *_ = ledger.step(block("names.append('x')\nprint(names)"))
        ledger.restore(point)
        again, *_ = ledger.step(block("names.append('x')\nprint(names)"))
    assert first == again


def test_tools_of_one_actor_are_no_functions_of_another():
    env = make("toy/Handover-v0", protocol="python")
    env.reset(seed=0)
    observation, *_ = env.step(block("print(read())"))
    assert "NameError" not in observation
    env.close()


@pytest.mark.parametrize("ending", ["import os; os._exit(0)", "while True: pass"])
def test_calls_of_a_program_that_did_not_end_well_are_replayed(ending):
    env = make("tir/OpaqueKnapsack-v0", protocol="python", call_timeout_s=2.0)
    env.reset(seed=3)
    label = next(iter(env.episode.task.data["items"]))
    env.step(block(f"seen = inspect([{label!r}])\n{ending}"))
    env.step(block(f"final_answer({label!r})"))
    assert [call.tool for call in env.episode.calls][:2] == ["python", "inspect"]
    state, score = env.get_state(), env.rewards[1]
    assert score > 0
    env.set_state(state)
    assert env.get_state() == state
    assert env.rewards[1] == score
    env.close()
