"""The verdict of MathCode on an answer, gold in hand."""

import pytest

from tir_gym.core.task import Gold, Task
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.math_code.verify import MathVerifier


def judge(answer, gold, **data):
    task = Task(id="t", prompt="p", gold=Gold())
    given = None if answer is None else Answer(answer)
    evidence = Evidence(task=task, answer=given, calls=(), world=None, policy_text=(), ended_by="answer")
    return MathVerifier().score(evidence, Gold(answer=gold, data=data))


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("12", "12", 1.0),
        (r"\boxed{12}", "12", 1.0),
        ("13", "12", 0.0),
        (None, "12", 0.0),
        ("1/2", ["0.4", "0.5"], 1.0),
        ("3*4", "12", 0.0),
        (r"2\sqrt{3}", r"\sqrt{12}", 1.0),
        ("9" * 5_000, "12", 0.0),
        ("9^{9^{9^9}}", "12", 0.0),
    ],
)
def test_the_score(answer, gold, value):
    score = judge(answer, gold)
    assert score.valid
    assert score.value == value
    assert score.reason


def test_a_tolerance_of_gold_is_honoured():
    assert judge("1.59", "1.6").value == 0.0
    assert judge("1.59", "1.6", tolerance=0.01).value == 1.0
    assert judge("1.58", "1.6", tolerance=0.01).value == 0.0


def test_a_gold_over_the_limits_is_our_fault():
    score = judge("5", "9^{9^9}")
    assert not score.valid
    assert "gold" in score.reason
