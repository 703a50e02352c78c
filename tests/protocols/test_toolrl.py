"""What is particular to ToolRL's tags."""

import ast
import json
import re
from pathlib import Path
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
    check_well_formed,
    confidences,
    every_mode,
    kinds,
    long_mode,
    several,
    texts,
    thoughts,
)
from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import ShownResult
from tir_gym.protocols import ToolRL

F = '{"name": "f", "parameters": {"x": 1}}'
G = '{"name": "g", "parameters": {}}'
T = "<think>t</think>\n"
free = texts.filter(lambda text: not re.search(r"</(think|response)>", text))
actions = st.one_of(
    st.builds(Action, thought=thoughts, calls=several),
    st.builds(Action, thought=thoughts, answer=free, confidence=confidences),
    st.builds(Action, thought=thoughts, message=free),
)


def block(*lines: str) -> str:
    return "\n".join(["<tool_call>", *lines, "</tool_call>"])


@both_modes
@given(action=actions)
def test_every_kind_of_action_is_expressible(mode: Any, action: Action) -> None:
    check_round_trip(ToolRL(mode), action)


@given(action=st.builds(Action, calls=several))
def test_every_call_is_expressible_as_published(action: Action) -> None:
    check_round_trip(ToolRL("paper"), action)


@every_mode
def test_what_is_written_earns_the_published_format_reward(mode: Any) -> None:
    calling = ToolRL(mode).format(Action("a\nb", BOTH))
    assert calling == "<think>\na\nb\n</think>\n" + block(F, G)
    assert re.search(r"^<think>.*?</think>\n<tool_call>\n.*?\n</tool_call>$", calling, re.DOTALL)
    answering = ToolRL(mode).format(Action(answer="4"))
    assert answering == "<think></think>\n<response>4</response>"
    assert re.search(r"^<think>.*?</think>\n<response>.*?</response>$", answering, re.DOTALL)


@both_modes
@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        (T + block(F), Action("t", ONE), []),
        (T + block(F, G), Action("t", BOTH), []),
        (T + "<response>4</response>", Action("t", answer="4"), []),
        (T + block(F) + "\n<response>Wait, please.</response>", Action("t", ONE), []),
        (T + "<response>\n 4\n</response>\n<confidence>1</confidence>", Action("t", answer=" 4", confidence=1.0), []),
        ("t</think>\n" + block(F), Action("t", ONE), []),
        (f"<think>{block(F)}</think>\n<response>4</response>", Action(block(F), answer="4"), []),
        (T, Action("t"), [E.NO_ACTION]),
        ("<think>t", Action("t"), [E.UNCLOSED_TAG, E.NO_ACTION]),
        (T + "<obs> 4 </obs>\n" + block(F), Action("t"), [E.NO_ACTION]),
        (T + "<user>4</user>", Action("t"), [E.NO_ACTION]),
        (T + block("x", F), Action("t", ONE), [E.BAD_JSON]),
        (T + block("[]"), Action("t"), [E.BAD_ACTION]),
        (T + block('{"parameters": {}}'), Action("t"), [E.BAD_ACTION]),
        (T + block('{"name": "f", "parameters": 1}'), Action("t"), [E.BAD_JSON]),
        (T + block("<tool_call>", F), Action("t", ONE), [E.NESTED_TAG]),
    ],
)
def test_toolrl_reads(mode: Any, text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(ToolRL(mode), text, expected, errors)


@pytest.mark.parametrize(
    ("text", "lenient", "repairs", "strict", "errors"),
    [
        ("so\n" + block(F), Action("so", ONE), [E.TEXT_BETWEEN_TAGS], Action(calls=ONE), [E.TEXT_BETWEEN_TAGS]),
        (T + block(F)[:-12], Action("t", ONE), [E.UNCLOSED_TAG], Action("t"), [E.UNCLOSED_TAG]),
        (T + "<response>4", Action("t", answer="4"), [E.UNCLOSED_TAG], Action("t"), [E.UNCLOSED_TAG]),
        (
            T + block(F) + "\n<response>Wait",
            Action("t", ONE),
            [E.UNCLOSED_TAG],
            Action("t", ONE),
            [E.UNCLOSED_TAG],
        ),
        (T + block(F) + block(G), Action("t", BOTH), [E.TEXT_BETWEEN_TAGS], Action("t", ONE), [E.TEXT_BETWEEN_TAGS]),
        (T + block(F, "", G), Action("t", BOTH), [], Action("t"), [E.BAD_ACTION]),
        (T + f"<tool_call>{F}</tool_call>", Action("t", ONE), [], Action("t"), [E.BAD_ACTION]),
        (
            T + block(json.dumps(json.loads(F), indent=1)),
            Action("t", ONE),
            [E.BAD_JSON],
            Action("t"),
            [E.BAD_JSON] * 6,
        ),
        (T + block(f"[{F}, {G}]"), Action("t", BOTH), [E.BAD_JSON], Action("t"), [E.BAD_ACTION]),
        (
            T + block(F.replace("parameters", "arguments")),
            Action("t", ONE),
            [E.BAD_ACTION],
            Action("t"),
            [E.BAD_ACTION],
        ),
        (T + block('{"name": "g"}'), Action("t", BOTH[1:]), [E.BAD_JSON], Action("t"), [E.BAD_JSON]),
        (
            T + "<response>4</response><response>5</response>",
            Action("t", answer="4"),
            [E.DUPLICATE_ANSWER],
            Action("t", answer="4"),
            [E.DUPLICATE_ANSWER],
        ),
        (
            T + "<response>4</response>\n" + block(F),
            Action("t", answer="4"),
            [],
            Action("t", answer="4"),
            [E.TEXT_BETWEEN_TAGS],
        ),
        (
            T + block(F) + "\n<obs> 4 </obs>\n<response>4</response>",
            Action("t", ONE),
            [],
            Action("t", ONE),
            [E.TEXT_BETWEEN_TAGS],
        ),
    ],
)
def test_toolrl_lenient_mends_what_strict_reports(
    text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    check_mends(ToolRL, text, lenient, repairs, strict, errors)


def test_a_response_is_a_message_where_there_is_a_peer() -> None:
    for mode in ("strict", "lenient", "paper"):
        read = ToolRL(mode).parse(T + "<response>hello</response>", peer=True)
        assert read == Action("t", message="hello")
        assert read.spans[-1].part is Part.MESSAGE
    assert ToolRL().parse("hello", peer=True).void


def test_words_that_go_with_calls_are_neither_answer_nor_tail() -> None:
    text = T + block(F) + "\n<response>Wait, please.</response> bye"
    read = ToolRL().parse(text)
    assert [(part, text[start:end]) for part, start, end in read.spans] == [
        (Part.THOUGHT, "<think>t</think>"),
        (Part.CALL, block(F)),
        (Part.TEXT, "<response>Wait, please.</response>"),
        (Part.TAIL, " bye"),
    ]


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        (T + block(F), Action("t", ONE), []),
        (T + block(F, G), Action("t", BOTH), []),
        (block(F), Action(calls=ONE), []),
        (f"<tool_call>{F}</tool_call>", Action(calls=ONE), []),
        ("so " + block(F) + " bye", Action(calls=ONE), []),
        (f"<think>{block(F)}</think>", Action(block(F), ONE), []),
        (block(F) + "\n" + block(G), Action(calls=ONE), []),
        (block(F, "", G), Action(), [E.BAD_JSON]),
        (block(F, "x"), Action(), [E.BAD_JSON]),
        ("<tool_call>\n\n" + F + "\n\n</tool_call>", Action(calls=ONE), []),
        ("<tool_call>\n" + F, Action(), [E.UNCLOSED_TAG]),
        ("</tool_call><tool_call>\n" + F, Action(calls=ONE), []),
        ("<tool_call>" + block(F), Action(), [E.BAD_JSON]),
        (f"<tool_call>{F}<tool_call>x</tool_call>", Action(calls=ONE), []),
        (block('{"name": "g", "parameters": {}, "id": 7, "name": "f"}'), Action(calls=(ToolCall("f"),)), []),
        (block('{"name": "g", "arguments": {}}'), Action(), [E.BAD_ACTION]),
        (block(F, "[]"), Action(), [E.BAD_ACTION]),
        (T + "<response> 4\n</response>", Action("t", answer="4"), []),
        ("<response>4", Action(answer="4"), []),
        ("<response>4</response><response>5</response>", Action(answer="4"), []),
        (block("x") + "<response>4</response>", Action(), [E.BAD_JSON]),
        (T + block(F) + "\n<response>Wait</response>", Action("t", ONE), []),
        ("<think>a</think><think> b </think><response>4</response>", Action("b", answer="4"), []),
        (T, Action("t"), [E.NO_ACTION]),
        (block(F) + "<|im_start|>assistant\n" + block(G), Action(calls=BOTH[1:]), []),
        ("<response>4</response><|im_end|>" + block(F), Action(answer="4"), []),
        ("<think>a</think><|im_end|><response>4</response>", Action("a"), [E.NO_ACTION]),
    ],
)
def test_paper_reads_as_the_reward_function_does(text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(ToolRL("paper"), text, expected, errors)


def rlla(text: str) -> list[dict[str, Any]] | None:
    """The published rules, restated: the calls, or None where there are none."""
    text = text.split("<|im_start|>assistant")[-1].split("<|im_end|>")[0].strip()
    if "<tool_call>" not in text or "</tool_call>" not in text:
        return None
    found = []
    for line in text.split("<tool_call>")[1].split("</tool_call>")[0].strip().split("\n"):
        try:
            call = json.loads(line)
        except ValueError:
            return None
        if not isinstance(call, dict) or not {"name", "parameters"} <= call.keys():
            return None
        found.append(call)
    return found


PIECES = [
    block(F),
    F,
    G,
    "\n",
    " ",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "<response>",
    "<|im_end|>",
    "<|im_start|>assistant",
]


@given(text=st.lists(st.sampled_from(PIECES) | st.sampled_from(HOSTILE), max_size=12).map("".join))
def test_paper_agrees_with_the_reward_function_on_any_text(text: str) -> None:
    found = rlla(text)
    read = ToolRL("paper").parse(text)
    assert read.calls == tuple(ToolCall(call["name"], call["parameters"]) for call in found or [])
    check_well_formed(read, text)


@every_mode
def test_real_gold_calls_and_histories_are_read(mode: Any, shared_data: Path) -> None:
    rows = json.loads((shared_data / "toolrl" / "api_bank_level1_first100.json").read_text())
    assert len(rows) == 100
    turns = 0
    for row in rows:
        gold = tuple(ToolCall(call["name"], call["parameters"]) for call in row["answer"])
        lines = [json.dumps(call) for call in row["answer"]]
        text = "<think> The user asks for it. </think>\n" + block(*lines)
        read = ToolRL(mode).parse(text)
        assert read.calls == gold
        assert not read.errors
        assert not read.repairs
        check_round_trip(ToolRL(mode), Action(calls=gold))
        for turn in re.findall(r"<tool_call>.*?</tool_call>|<response>.*?</response>", row["user"], re.DOTALL):
            turns += 1
            read = ToolRL(mode).parse(T + turn)
            assert not read.errors
            assert bool(read.calls) == turn.startswith("<tool_call>")
            assert (read.answer is not None) == turn.startswith("<response>")
    assert turns > 300


@every_mode
def test_the_list_of_tools_is_the_published_one(mode: Any, shared_data: Path) -> None:
    rows = json.loads((shared_data / "toolrl" / "api_bank_level1_first100.json").read_text())
    for row in rows:
        published = row["system"].partition("following tools:\n")[2].partition("\n\n")[0]
        tools = [
            Spec(name, description, {"type": "object", "properties": ast.literal_eval(parameters)})
            for name, description, parameters in re.findall(
                r"\d+\. Name: (.*)\nDescription: (.*)\nParameters: (.*)", published
            )
        ]
        assert tools
        assert published in ToolRL(mode).render_tools(tools)


RESULTS = [ShownResult(ToolCall("f"), "success"), ShownResult(ToolCall("g"), "no </obs>", "timeout")]


def test_results_are_observations() -> None:
    assert ToolRL("paper").render_results(RESULTS) == "<obs> success </obs>\n<obs> no </obs> </obs>"
    assert ToolRL().render_results(RESULTS) == "<obs> success </obs>\n<obs> [error: timeout] no <\\/obs> </obs>"


@every_mode
def test_the_prompt_teaches_by_turns_that_read_back(mode: Any) -> None:
    p = ToolRL(mode)
    prompt = p.render_tools([SEARCH, Spec()])
    assert p.format(Action("your reasoning", (ToolCall("search", {"q": "...", "k": 1}),))) in prompt
    assert p.format(Action("your reasoning", answer="your words")) in prompt
    assert p.render_tools([SEARCH], peer=True) != p.render_tools([SEARCH])
    assert "<tool_call>" not in p.render_tools([])
    assert p.supports([SEARCH, Spec()]) == ""


def test_what_is_not_expressible() -> None:
    for p, action, field in [
        (ToolRL(), Action(finish="x"), "finish"),
        (ToolRL(), Action(calls=ONE, confidence=0.5), "confidence"),
        (ToolRL(), Action(message="hi", confidence=0.5), "confidence"),
        (ToolRL("paper"), Action(answer="4", confidence=0.5), "confidence"),
        (ToolRL(), Action(answer="</response>"), "answer"),
        (ToolRL(), Action("a</think>b", answer="4"), "thought"),
        (ToolRL("paper"), Action(answer=" 4"), "answer"),
        (ToolRL("paper"), Action("<tool_call>", answer="4"), "answer"),
    ]:
        check_refused(p, action, field)


def test_a_cut_response_is_no_answer() -> None:
    for mode in ("strict", "lenient", "paper"):
        read = ToolRL(mode).parse(T + "<response>4", cut=True)
        assert read.answer is None
        assert kinds(read) == [E.UNCLOSED_TAG]


@long_mode
@pytest.mark.parametrize(
    "unit", ["<tool_call>", "</tool_call>", "<tool_call></tool_call>", "<response>", "<obs>", "<tool_call>[", F, "{}\n"]
)
def test_a_million_characters_are_read(mode: Any, unit: str) -> None:
    check_long(ToolRL(mode), unit, "<tool_call>\n...\n</tool_call>")
