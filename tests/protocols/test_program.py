"""`python`: the action is a program that calls the tools."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    HOSTILE,
    SEARCH,
    E,
    Spec,
    check_round_trip,
    code_calls,
    kinds,
    mended,
    plain,
    run,
    texts,
)
from tir_gym.core.action import Action, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible
from tir_gym.protocols import PROTOCOLS, Program

P = Program()


@given(
    action=st.one_of(
        st.builds(Action, thought=plain, calls=code_calls),
        st.builds(Action, thought=plain, answer=texts, confidence=st.none() | st.floats(0, 1)),
        st.builds(Action, message=plain.filter(lambda s: s and not s.isspace())),
    )
)
def test_programs_answers_and_messages_read_back(action):
    if P.can_express(action):
        check_round_trip(P, action)
    else:
        assert "final_answer(" in str(action.calls) or "`" in action.thought + str(action.message)


@pytest.mark.parametrize("text", [*HOSTILE, "", "a\n```\nb", '"', "\\", "x" * 1_000])
def test_any_text_can_be_answered(text):
    check_round_trip(P, Action("so", answer=text))


@pytest.mark.parametrize(
    ("program", "answer", "confidence"),
    [
        ('final_answer("12")', "12", None),
        ('  final_answer( "12" , confidence = 0.25 )\n', "12", 0.25),
        ('final_answer("a\\n\\"b\\"")', 'a\n"b"', None),
        ('final_answer("")', "", None),
    ],
)
def test_an_answer_of_literals_needs_no_interpreter(program, answer, confidence):
    action = P.parse(f"so\n```python\n{program}\n```")
    assert action == Action("so", answer=answer, confidence=confidence)
    assert [span.part for span in action.spans] == [Part.THOUGHT, Part.ANSWER]


@pytest.mark.parametrize(
    "program",
    [
        "final_answer(12)",
        "final_answer('12')",
        'final_answer("a" + "b")',
        'final_answer("\\x41")',
        'final_answer("a\\/b")',
        'final_answer("\\ud800")',
        'final_answer("12", confidence=7)',
        'final_answer("12", confidence=nan)',
        'final_answer("12", 0.5)',
        'final_answer("12"); print(1)',
        'x = final_answer("12")',
        'final_answer(f"12")',
        '# final_answer("12")',
    ],
)
def test_everything_else_is_run(program):
    action = P.parse(f"```python\n{program}\n```")
    assert action == Action(calls=run(program))


def test_the_first_program_counts_and_the_rest_is_tail():
    action = P.parse('a\n```python\n1\n```\nb \\boxed{7}\n```python\nfinal_answer("2")\n```')
    assert action == Action("a", calls=run("1"))
    assert [span.part for span in action.spans] == [Part.THOUGHT, Part.CALL, Part.TAIL]
    assert not action.errors


def test_a_box_means_nothing():
    assert kinds(P.parse("it is \\boxed{7}")) == [E.NO_ACTION]
    assert P.parse("it is \\boxed{7}", peer=True).message == "it is \\boxed{7}"


def test_a_cut_answer_is_no_answer():
    text = P.format(Action(answer="42"))
    assert kinds(P.parse(text[:-4], cut=True)) == [E.CUT_CALL]
    assert P.parse(text[:-4]).answer == "42"
    assert mended(P.parse(text[:-4])) == ["unclosed_tag"]
    assert Program("strict").parse(text[:-4]).void


def test_calls_of_other_tools_are_written_as_a_program():
    calls = (ToolCall("search", {"q": 'a"b\n\\', "k": 2}), ToolCall("list_all", {}))
    with pytest.raises(NotExpressible):
        P.format(Action(calls=calls))
    program = P.program(calls)
    check_round_trip(P, Action(calls=(program,)))
    made = []
    tools = {"search": lambda **given: made.append(given) or [1, {"é": None}], "list_all": lambda: "text"}
    printed = []
    exec(program.arguments["code"], {**tools, "print": printed.append})
    assert made == [calls[0].arguments]
    assert printed == [json.dumps([1, {"é": None}], ensure_ascii=False), "text"]


def test_it_fits_every_toolkit_whose_names_are_names_and_whose_tools_code_can_call():
    assert PROTOCOLS["python"] == P
    assert P.supports([SEARCH, Spec()]) == ""
    assert "'web search'" in P.supports([Spec(name="web search")])
    assert "'bash' needs the session" in P.supports([SEARCH, Spec("bash", from_code=False)])
    assert P.supports([Spec("python", from_code=False)]) == ""


def test_tools_are_taught_as_functions():
    taught = P.render_tools([SEARCH, Spec()])
    assert "search(q: str, k: int)\n  Find passages." in taught
    assert "Run Python code." in taught
    assert 'final_answer("your answer")' in taught
    assert "result = search(q='...', k=1)" in taught
