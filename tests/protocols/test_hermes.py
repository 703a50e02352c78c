"""What is particular to Hermes function calls."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    BOTH,
    HOSTILE,
    ONE,
    SEARCH,
    E,
    Spec,
    both_modes,
    check_long,
    check_mends,
    check_reads,
    check_refused,
    check_round_trip,
    confidences,
    every_mode,
    kinds,
    long_mode,
    run,
    several,
    texts,
    thoughts,
)
from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import ShownResult
from tir_gym.protocols import Hermes

F = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
G = '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'

free = texts.filter(lambda text: not re.search(r"</(think|answer)>", text))
actions = st.one_of(
    st.builds(Action, thought=thoughts, calls=several),
    st.builds(Action, thought=thoughts, answer=free, confidence=confidences),
)


@both_modes
@given(action=actions)
def test_every_call_and_every_answer_is_expressible(mode: Any, action: Action) -> None:
    check_round_trip(Hermes(mode), action)


@given(action=st.builds(Action, calls=several))
def test_every_call_is_expressible_as_published(action: Action) -> None:
    check_round_trip(Hermes("paper"), action)


def test_a_call_looks_as_chat_templates_write_it() -> None:
    action = Action("hm", (ToolCall("f", {"x": 1, "y": "é"}), ToolCall("g")))
    for mode in ("strict", "lenient", "paper"):
        assert Hermes(mode).format(action) == (
            '<think>\nhm\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {"x": 1, "y": "é"}}\n</tool_call>\n' + G
        )
    assert Hermes().format(Action(answer="4", confidence=0.5)) == "<answer>4</answer>\n<confidence>0.5</confidence>"
    assert Hermes("paper").format(Action("hm", answer="4")) == "<think>\nhm\n</think>\n\n4"


def test_arguments_hold_tags_in_json_s_own_escape() -> None:
    text = Hermes().format(Action(calls=run("'</tool_call>' < x")))
    assert text.count("</tool_call>") == 1
    assert "\\u003c/tool_call>" in text
    assert " < x" in text


@both_modes
@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        (F, Action(calls=ONE), []),
        (F + "\n" + G, Action(calls=BOTH), []),
        (F + G, Action(calls=BOTH), []),
        ("I look it up.\n" + F, Action("I look it up.", ONE), []),
        ("<think>\na\n</think>\n\n" + F, Action("a", ONE), []),
        ("<think>a</think>b<think>c</think>" + F, Action("a\nb\nc", ONE), []),
        (f"<think>{F}</think>4", Action(F, answer="4"), []),
        ("a\n</think>\n\n" + F, Action("a", ONE), []),
        (f"{F}</think>\n4", Action(F, answer="4"), []),
        ("It is 4.\n", Action(answer="It is 4."), []),
        ("<think>a</think>\n\n 4 ", Action("a", answer="4"), []),
        ("so <answer>4</answer>", Action("so", answer="4"), []),
        ("<answer>\n 4\n</answer>\n<confidence>0.25</confidence>", Action(answer=" 4", confidence=0.25), []),
        ("<answer>4</answer><confidence>2</confidence>", Action(answer="4"), [E.BAD_CONFIDENCE]),
        ("<think>a", Action("a"), [E.UNCLOSED_TAG, E.NO_ACTION]),
        ("<think>a</think>", Action("a"), [E.NO_ACTION]),
        ("a <tool_response>\n4\n</tool_response>\n" + F, Action("a"), [E.NO_ACTION]),
        ("<feedback>4</feedback>", Action(), [E.NO_ACTION]),
        (F + "\n<answer>4</answer>", Action(calls=ONE), [E.ANSWER_WITH_CALL]),
        ("<tool_call>{</tool_call>" + F, Action(calls=ONE), [E.BAD_JSON]),
        ("<tool_call>" + F, Action(), [E.NESTED_TAG]),
        ("<tool_call>[]</tool_call>", Action(), [E.BAD_ACTION]),
        ('<tool_call>{"name": "", "arguments": {}}</tool_call>', Action(), [E.BAD_ACTION]),
        ('<tool_call>{"name": 1, "arguments": {}}</tool_call>', Action(), [E.BAD_ACTION]),
        ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', Action(), [E.BAD_JSON]),
        ('<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>', Action(), [E.BAD_JSON]),
        ('<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>', Action(), [E.BAD_JSON]),
    ],
)
def test_hermes_reads(mode: Any, text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(Hermes(mode), text, expected, errors)


@pytest.mark.parametrize(
    ("text", "lenient", "repairs", "strict", "errors"),
    [
        (F[:-13], Action(calls=ONE), [E.UNCLOSED_TAG], Action(), [E.UNCLOSED_TAG]),
        ("<answer>4", Action(answer="4"), [E.UNCLOSED_TAG], Action(), [E.UNCLOSED_TAG]),
        (
            "<answer>4</answer><answer>5</answer>",
            Action(answer="4"),
            [E.DUPLICATE_ANSWER],
            Action(answer="4"),
            [E.DUPLICATE_ANSWER],
        ),
        ("<answer>4</answer> bye", Action(answer="4"), [], Action(answer="4"), [E.TEXT_BETWEEN_TAGS]),
        (f"{F} and {G}", Action(calls=ONE), [], Action(calls=ONE), [E.TEXT_BETWEEN_TAGS]),
        (
            F + "\n<tool_response>\n4\n</tool_response>\n" + G,
            Action(calls=ONE),
            [],
            Action(calls=ONE),
            [E.TEXT_BETWEEN_TAGS],
        ),
        (F.replace("arguments", "parameters"), Action(calls=ONE), [E.BAD_ACTION], Action(), [E.BAD_ACTION]),
        (F.replace("{", '{"id": 7, ', 1), Action(calls=ONE), [E.BAD_ACTION], Action(), [E.BAD_ACTION]),
        ('<tool_call>{"name": "g"}</tool_call>', Action(calls=BOTH[1:]), [E.BAD_JSON], Action(), [E.BAD_JSON]),
        (
            '<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}</tool_call>',
            Action(calls=ONE),
            [E.BAD_JSON],
            Action(),
            [E.BAD_JSON],
        ),
    ],
)
def test_hermes_lenient_mends_what_strict_reports(
    text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    check_mends(Hermes, text, lenient, repairs, strict, errors)


def test_text_without_a_call_is_a_message_where_there_is_a_peer() -> None:
    for mode in ("strict", "lenient"):
        assert Hermes(mode).parse("<think>t</think>\n\nhello", peer=True) == Action("t", message="hello")
        assert Hermes(mode).parse("<answer>4</answer>", peer=True) == Action(answer="4")
    assert Hermes("paper").parse("hello\n", peer=True) == Action(message="hello\n")


def test_cut_text_is_no_answer() -> None:
    for mode in ("strict", "lenient", "paper"):
        read = Hermes(mode).parse("It is 4", cut=True)
        assert replace(read, errors=()) == Action("It is 4")
        assert kinds(read) == [E.UNCLOSED_TAG]
        read = Hermes(mode).parse(F + "\n" + G[:-3], cut=True)
        assert read.calls == ONE
        assert kinds(read) == [E.CUT_CALL]


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("", Action(answer=""), []),
        ("4", Action(answer="4"), []),
        (" 4\n", Action(answer=" 4\n"), []),
        ("<answer>4</answer>", Action(answer="<answer>4</answer>"), []),
        ("<think>\na\n</think>\n\n4", Action("a", answer="4"), []),
        ("a\n</think>\n\n4\n", Action("a", answer="4\n"), []),
        ("x<think>a</think>b</think>\nc", Action("a", answer="c"), []),
        ("<think>a", Action(answer="<think>a"), []),
        (F, Action(calls=ONE), []),
        (f"{F} and {G}", Action("and", BOTH), []),
        (f"<think>{F}</think>4", Action("4", ONE), []),
        (f"<think>a{F}</think>4", Action("a\n4", ONE), []),
        (F + "<tool_response>\n4\n</tool_response>" + G, Action("<tool_response>\n4\n</tool_response>", BOTH), []),
        (F + "<answer>4</answer>", Action("<answer>4</answer>", ONE), []),
        ("<tool_call>" + F, Action(answer=""), [E.BAD_JSON]),
        (F[:-12], Action(answer=F[:-12]), []),
        ("a<tool_call>{}</tool_call>b", Action(answer="ab"), [E.BAD_ACTION]),
        ("<tool_call>x</tool_call>" + F, Action(calls=ONE), [E.BAD_JSON]),
        ("<tool_call>'f'</tool_call>4", Action(answer="4"), [E.BAD_JSON]),
        ('<tool_call>{"name": "f", "arguments": {"x": 0, "x": 1}, "id": 7}</tool_call>', Action(calls=ONE), []),
        ('<tool_call>{"name": "g", "arguments": "{}"}</tool_call>', Action(answer=""), [E.BAD_ACTION]),
        ('<tool_call>{"name": null, "arguments": {}}</tool_call>', Action(answer=""), [E.BAD_ACTION]),
        ('<tool_call>{"name": "g", "parameters": {}}</tool_call>', Action(answer=""), [E.BAD_ACTION]),
    ],
)
def test_paper_reads_as_verl_does(text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(Hermes("paper"), text, expected, errors)


def verl(text: str) -> tuple[str, list[tuple[str, Any]]]:
    """The published rules, restated: content and calls."""
    found = []
    for body in re.findall("<tool_call>(.*?)</tool_call>", text, re.DOTALL):
        try:
            call = json.loads(body)
            name, arguments = call["name"], call["arguments"]
        except Exception:
            continue
        if isinstance(name, str) and isinstance(arguments, dict):
            found.append((name, arguments))
    return re.sub("<tool_call>.*?</tool_call>", "", text, flags=re.DOTALL), found


PIECES = [
    F,
    G,
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "\n",
    "a",
    ' {"name": "f", "arguments": {}} ',
    "[]",
]


@given(text=st.lists(st.sampled_from(PIECES) | st.sampled_from(HOSTILE), max_size=10).map("".join))
def test_paper_agrees_with_verl_on_any_text(text: str) -> None:
    content, found = verl(text)
    read = Hermes("paper").parse(text)
    assert read.calls == tuple(ToolCall(name, arguments) for name, arguments in found)
    if not found:
        said = content.split("</think>")[-1].lstrip("\n") if "</think>" in content else content
        assert read.answer == said
        reasoning = content.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
        assert read.thought == (reasoning if "</think>" in content else "")
    answer = "".join(text[start:end] for part, start, end in read.spans if part is Part.ANSWER)
    assert answer.split() == (read.answer or "").split()


RESULTS = [ShownResult(ToolCall("f"), "4"), ShownResult(ToolCall("g"), "no </tool_response>\\n", "timeout")]


def test_results_share_a_message() -> None:
    assert Hermes("paper").render_results(RESULTS) == (
        "<tool_response>\n4\n</tool_response>\n<tool_response>\nno </tool_response>\\n\n</tool_response>"
    )
    assert Hermes().render_results(RESULTS) == (
        "<tool_response>\n4\n</tool_response>\n"
        "<tool_response>\n[error: timeout]\nno <\\/tool_response>\\n\n</tool_response>"
    )


@every_mode
def test_the_prompt_lists_tools_as_json_lines_and_shows_a_call(mode: Any) -> None:
    p = Hermes(mode)
    prompt = p.render_tools([SEARCH, Spec()])
    lines = prompt.partition("<tools>\n")[2].partition("\n</tools>")[0].split("\n")
    assert lines == [json.dumps(SEARCH.schema), json.dumps(Spec().schema)]
    assert p.format(Action(calls=(ToolCall("search", {"q": "...", "k": 1}),))) in prompt
    assert ("<answer>" in prompt) == (mode != "paper")
    assert p.render_tools([SEARCH], peer=True) != p.render_tools([SEARCH])
    assert "<tools>" not in p.render_tools([])


def test_what_is_not_expressible() -> None:
    for p, action, field in [
        (Hermes(), Action(finish="x"), "finish"),
        (Hermes(), Action(calls=ONE, confidence=0.5), "confidence"),
        (Hermes("paper"), Action(answer="4", confidence=0.5), "confidence"),
        (Hermes(), Action(answer="</answer>"), "answer"),
        (Hermes(), Action("a</think>b", answer="4"), "thought"),
        (Hermes(), Action(message=" hi"), "message"),
        (Hermes("paper"), Action(answer=F), "calls"),
        (Hermes(), Action(calls=(ToolCall("f", {"x": {1}}),)), "calls"),
    ]:
        check_refused(p, action, field)


def test_support() -> None:
    assert Hermes().supports([SEARCH, Spec()]) == ""


@long_mode
@pytest.mark.parametrize(
    "unit",
    [
        "<tool_call>",
        "</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>{}</tool_call>",
        "<tool_call>\n",
        "<tool_response>",
        "<answer></answer>",
        "<think>a</think>b",
        "</think>",
        G,
    ],
)
def test_a_million_characters_are_read(mode: Any, unit: str) -> None:
    check_long(Hermes(mode), unit)
