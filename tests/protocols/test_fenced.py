"""What is particular to code fences and boxes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from tests.protocols.samples import E, both_modes, check_round_trip, fenced_actions, kinds, mended, run
from tir_gym.core.action import Action, ParseErrorType
from tir_gym.protocols import Fenced


@both_modes
@given(action=fenced_actions)
def test_fenced_expresses_any_code_and_simple_answers(mode: Any, action: Action) -> None:
    check_round_trip(Fenced(mode), action)


CODE_FAULTS = [
    ("```\n1\n```", "1", E.BAD_ACTION),
    ("run ```python\n1\n```", "1", E.BAD_ACTION),
    ("<code>\n1\n</code>", "1", E.BAD_ACTION),
    ("```python\n1", "1", E.UNCLOSED_TAG),
]


@pytest.mark.parametrize(("text", "code", "repair"), CODE_FAULTS)
def test_fenced_lenient_runs_what_strict_does_not(text: str, code: str, repair: str) -> None:
    read = Fenced().parse(text)
    assert read.calls == run(code)
    assert mended(read) == [repair]
    read = Fenced("strict").parse(text)
    assert read.void
    assert kinds(read) in ([E.NO_ACTION], [E.UNCLOSED_TAG])


def test_fenced_unwraps_a_fence_inside_code_tags() -> None:
    assert Fenced().parse("<code>\n```python\n1\n```\n</code>").calls == run("1")


@both_modes
@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("Add.\n```python\n1\n2\n```", Action("Add.", run("1\n2")), []),
        ("```py\n```", Action(calls=run("")), []),
        ("````python\n```\n````", Action(calls=run("```")), []),
        ("It is $\\boxed{\\frac{1}{2}}$.", Action("It is $", answer="\\frac{1}{2}"), []),
        ("A set \\boxed{\\{1\\}}", Action("A set ", answer="\\{1\\}"), []),
        ("use \\boxed{ as: \\boxed{4}", Action("use \\boxed{ as: ", answer="4"), []),
        ("```json\n\\boxed{1}\n```", Action("```json\n\\boxed{1}\n```"), [E.NO_ACTION]),
        ("I fill \\boxed{}.\n```py\n1\n```", Action("I fill \\boxed{}.", run("1")), []),
        ("\\boxed{4} is in \\boxed{}", Action(answer="4"), []),
        ("\\boxed{4", Action("\\boxed{4"), [E.UNCLOSED_TAG]),
        ("nothing", Action("nothing"), [E.NO_ACTION]),
        ("```output\n```python\n1\n```", Action("```output\n```python\n1\n```"), [E.NO_ACTION]),
    ],
)
def test_fenced_reads(mode: Any, text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    read = Fenced(mode).parse(text)
    assert replace(read, errors=()) == expected
    assert kinds(read) == errors


def test_fenced_last_box_counts() -> None:
    text = "\\boxed{1} no, \\boxed{2}"
    assert Fenced().parse(text).answer == "2"
    assert mended(Fenced().parse(text)) == [E.DUPLICATE_ANSWER]
    assert kinds(Fenced("strict").parse(text)) == [E.DUPLICATE_ANSWER]
    assert not Fenced("strict").parse("\\boxed{2}, so \\boxed{2}").errors
