"""The verdict of MathCode on an answer, gold in hand."""

import pytest

from tir_gym.core.task import Gold, Task
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.math_code.verify import MathVerifier


def judge(answer, gold, prompt="p", **data):
    task = Task(id="t", prompt=prompt, gold=Gold())
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


@pytest.mark.parametrize(
    ("answer", "gold", "prompt", "value"),
    [
        ("(1+3p)(1-3p)", "1-9p^2", "Expand $(1 + 3 p)(1 - 3p)$.", 0.0),
        ("1-9p^2", "1-9p^2", "Expand $(1 + 3 p)(1 - 3p)$.", 1.0),
        (r"\boxed{\frac{3}{\sqrt{27}}}", r"\frac{\sqrt3}{3}", r"Simplify $\dfrac{3}{\sqrt{27}}$.", 0.0),
        ("x^2+1", "x^2+1", "Which is larger for all x, $x^2+1$ or $x^2$?", 1.0),
        ("12", "12", "Is 12 or 13 even?", 1.0),
        ("0.5", r"\frac12", "Write 0.5 as a fraction.", 1.0),
    ],
)
def test_a_formula_of_the_question_is_no_answer_unless_gold_stands_there_too(answer, gold, prompt, value):
    assert judge(answer, gold, prompt).value == value
