"""The paper mode of code fences: SimpleTIR to the letter."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    E,
    check_long,
    check_published,
    check_refused,
    check_round_trip,
    check_well_formed,
    kinds,
    run,
    texts,
)
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.interfaces import ShownResult
from tir_gym.protocols import Fenced

PAPER = Fenced("paper")
PIECES = ["```", "```python\n", "```py\n", "```\n", "\n```", "\n", "python", "print(1)", " ", "`", "```output\n", "a"]
fenced = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
CUT = "..._This content has been truncated to stay below 512 characters_..."
plain = st.text("abc 012.é", max_size=12)


codes = st.lists(st.sampled_from(["a", " = ", "\n", "`", "```", "'"]), max_size=8).map(lambda s: "".join(s).strip())


@given(thought=plain, code=codes.filter(lambda s: "\n```" not in s and not s.startswith("```")))
def test_paper_mode_writes_what_it_reads(thought: str, code: str) -> None:
    check_round_trip(PAPER, Action(thought, run(code)))
    check_round_trip(PAPER, Action(thought, answer=thought))


def test_what_has_no_place_is_refused() -> None:
    for action, named in (
        (Action(calls=run("a\n```\nb")), "calls"),
        (Action(thought="```\na\n```", answer="1"), "thought"),
        (Action(finish="done"), "finish"),
    ):
        check_refused(PAPER, action, named)


@pytest.mark.parametrize(
    ("text", "thought", "calls", "answer", "tail"),
    [
        ("```python\nprint(1)\n```", "", run("print(1)"), None, ""),
        ("```py\nprint(1)\n```", "", run("print(1)"), None, ""),
        ("```\nprint(1)\n```", "", run("print(1)"), None, ""),
        ("so\n```python\n\n  print(1) \n\n``` a", "so", run("print(1)"), None, " a"),
        ("so ```python\nprint(1)\n```", "so ", run("print(1)"), None, ""),
        ("````python\nprint(1)\n````", "`", run("print(1)"), None, "`"),
        ("```python\nprint(1)\n```python\nprint(2)\n```", "", run("print(1)"), None, "python"),
        ("```python\nprint('''\n``` \n''')\n```", "", run("print('''"), None, "''')"),
        ("```output\n1\n```\nso\n```", "```output\n1", run("so"), None, ""),
        ("```python\n\n```", "", run(""), None, ""),
        ("```python \nprint(1)\n```\n2\n```", "```python \nprint(1)", run("2"), None, ""),
        ("\\boxed{4}", "", (), "4", ""),
        ("so \\boxed{\\frac{1}{2}}.", "so ", (), "\\frac{1}{2}", "."),
        ("\\boxed{3} \\boxed{4}", "\\boxed{3} ", (), "4", ""),
        ("\\boxed{4} ```python\n1\n```", "", (), "4", "```python"),
        ("```python\n1\n``` \\boxed{4}", "", run("1"), None, "\\boxed{4}"),
        ("```python\nprint('\\boxed{4}')\n```", "", run("print('\\boxed{4}')"), None, ""),
        ("```python\n\\boxed{4}", "```python", (), "4", ""),
        ("<answer>4</answer> \\boxed{}", "<answer>4</answer> ", (), "", ""),
    ],
)
def test_the_published_reading(text: str, thought: str, calls: Any, answer: str | None, tail: str) -> None:
    check_published(PAPER, text, thought, calls, answer, tail)


@pytest.mark.parametrize(
    "text",
    ["hello", "```python\nprint(1)", "```python\n```", "```python\nprint(1)```", "```Python\n1\n", "```js\n1\n```"],
)
def test_a_published_void_turn(text: str) -> None:
    assert kinds(PAPER.parse(text)) == [E.NO_ACTION]
    assert PAPER.parse(text, peer=True).message == text


def test_an_unclosed_box_ends_the_episode_without_an_answer() -> None:
    for cut in (False, True):
        read = PAPER.parse("so \\boxed{4", cut=cut)
        assert read.answer == ""
        assert kinds(read) == [E.UNCLOSED_TAG]


@given(text=fenced | texts.filter(lambda s: "\\boxed{" not in s))
def test_the_published_code_is_that_of_its_pattern(text: str) -> None:
    read = PAPER.parse(text)
    check_well_formed(read, text)
    found = re.search(r"```(?:py|python)?\n(.*?)\n```", text, re.DOTALL)
    assert read.calls == (run(found[1].strip()) if found else ())
    assert read.void == (found is None)


@pytest.mark.parametrize(
    ("text", "error", "shown"),
    [
        ("", "", ""),
        ("3\n", "", "\nCode execution result: 3\n\n"),
        ("3", "", "\nCode execution result: 3\n"),
        ("a\nb", "", "\nCode execution result: a\nb\n"),
        ("Traceback\n  line 1\nNameError: x", "exception", "\nCode execution result: NameError: x\n"),
        ("\\boxed{4}", "", "\nCode execution result: \\boxed{4}\n"),
        ("x" * 512, "", f"\nCode execution result: {'x' * 512}\n"),
        (
            "a" * 300 + "b" * 300,
            "",
            f"\nCode execution result: {'a' * 256}\n{CUT}\n{'b' * 256}\n",
        ),
    ],
)
def test_published_results(text: str, error: str, shown: str) -> None:
    assert PAPER.render_results([ShownResult(ToolCall("python"), text, error)]) == shown


def test_feedback_is_a_new_line() -> None:
    assert PAPER.render_feedback("anything") == "\n"


@pytest.mark.parametrize("unit", [*PIECES, "```\n\n", "\\boxed{", "\n```py"])
def test_a_million_characters_are_read(unit: str) -> None:
    check_long(PAPER, unit)
