"""What is particular to ReAct's labels."""

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
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
    every_mode,
    json_values,
    long_mode,
    names,
    texts,
)
from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import ShownResult
from tir_gym.protocols import ReAct

F = 'Action: f\nAction Input: {"x": 1}'
LABEL = re.compile(r"^[ \t*#]*(Thought|Action|Observation|Final Answer)", re.MULTILINE)
free = texts.map(str.strip).filter(lambda text: not LABEL.search(text))
calls = st.builds(ToolCall, names.map(str.strip).filter(bool), st.dictionaries(texts, json_values, max_size=3))
actions = st.one_of(
    st.builds(Action, thought=free, calls=calls.map(lambda call: (call,))),
    st.builds(Action, thought=free, answer=free),
    st.builds(Action, message=free.filter(bool)),
)
line = st.text(string.ascii_letters + string.digits + " []().,é😀", max_size=30)
searches = st.builds(
    lambda name, said: (ToolCall(*name(said)),),
    st.sampled_from(
        [
            lambda said: ("search", {"query": said}),
            lambda said: ("lookup", {"keyword": said}),
            lambda said: ("think", {"thought": said}),
        ]
    ),
    line | st.just("a\nb"),
)
steps = st.one_of(
    st.builds(Action, thought=line.map(str.strip), calls=searches),
    st.builds(Action, thought=line.map(str.strip), answer=line),
)


@both_modes
@given(action=actions)
def test_every_kind_of_action_is_expressible(mode: Any, action: Action) -> None:
    check_round_trip(ReAct(mode), action)


@given(action=steps)
def test_every_step_is_expressible_as_published(action: Action) -> None:
    check_round_trip(ReAct("paper"), action)


@both_modes
@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        (F, Action(calls=ONE), []),
        ("Thought: a\n" + F, Action("a", ONE), []),
        (" a\nb\n" + F + "\n", Action("a\nb", ONE), []),
        ('Thought 1: a\nThought 2: b\nAction 2: f\nAction Input 2: {"x":\n1}', Action("a\nb", ONE), []),
        ("Thought: a\nFinal Answer: 4", Action("a", answer="4"), []),
        ("Final Answer:\n4\n5\n", Action(answer="4\n5"), []),
        ("Final Answer:", Action(answer=""), []),
        ("I give the Final Answer: 4", Action("I give the Final Answer: 4"), [E.NO_ACTION]),
        ("Thought: a", Action("a"), [E.NO_ACTION]),
        ("Thought: a\nObservation: 4\nFinal Answer: 4", Action("a"), [E.NO_ACTION]),
        ("Action:\nAction Input: {}", Action(), [E.BAD_ACTION]),
        ("Action: f\ng\nAction Input: {}", Action(), [E.BAD_ACTION]),
        ("Action Input: {}", Action(), [E.BAD_ACTION]),
        ("Action: search\nAction Input: cats", Action(), [E.BAD_JSON]),
        ("Action: search\nAction Input: [1]", Action(), [E.BAD_JSON]),
        ("Action: search[cats]\nAction Input: {", Action(), [E.BAD_JSON]),
        (F + "\nFinal Answer: 4", Action(calls=ONE), [E.ANSWER_WITH_CALL]),
        (F + "\nObservation: 3\nFinal Answer: 4", Action(calls=ONE), [E.ANSWER_WITH_CALL]),
    ],
)
def test_react_reads(mode: Any, text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(ReAct(mode), text, expected, errors)


@pytest.mark.parametrize(
    ("text", "lenient", "repairs", "strict", "errors"),
    [
        (
            '**Thought:** a\n**Action:** f\n**Action Input:** {"x": 1}',
            Action("a", ONE),
            [E.BAD_ACTION] * 3,
            Action('**Thought:** a\n**Action:** f\n**Action Input:** {"x": 1}'),
            [E.NO_ACTION],
        ),
        ("  Final Answer: 4", Action(answer="4"), [E.BAD_ACTION], Action("Final Answer: 4"), [E.NO_ACTION]),
        (
            'Action: f\nAction Input:\n```json\n{"x": 1}\n```',
            Action(calls=ONE),
            [E.BAD_JSON],
            Action(),
            [E.BAD_JSON],
        ),
        ("Action: f\nAction Input:\n", Action(calls=(ToolCall("f"),)), [E.BAD_JSON], Action(), [E.BAD_JSON]),
        ("Action: f", Action(calls=(ToolCall("f"),)), [E.BAD_JSON], Action(), [E.BAD_JSON]),
        (
            "Action: f\nThought: a\nAction Input: {}",
            Action(calls=(ToolCall("f"),)),
            [E.BAD_JSON],
            Action(),
            [E.BAD_JSON, E.TEXT_BETWEEN_TAGS],
        ),
        (
            "Final Answer: 4\nFinal Answer: 5",
            Action(answer="4"),
            [E.DUPLICATE_ANSWER],
            Action(answer="4"),
            [E.DUPLICATE_ANSWER],
        ),
        (F + "\n" + F, Action(calls=ONE), [], Action(calls=ONE), [E.TEXT_BETWEEN_TAGS]),
        (F + "\nObservation: 3", Action(calls=ONE), [], Action(calls=ONE), [E.TEXT_BETWEEN_TAGS]),
        ("Final Answer: 4\nThought: b", Action(answer="4"), [], Action(answer="4"), [E.TEXT_BETWEEN_TAGS]),
    ],
)
def test_react_lenient_mends_what_strict_reports(
    text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    check_mends(ReAct, text, lenient, repairs, strict, errors)


@both_modes
def test_a_made_up_observation_is_tail(mode: Any) -> None:
    text = "Thought: a\n" + F + "\nObservation: 3\nThought: it is 3"
    assert [(part, text[start:end]) for part, start, end in ReAct(mode).parse(text).spans] == [
        (Part.THOUGHT, "Thought: a\n"),
        (Part.CALL, F + "\n"),
        (Part.TAIL, "Observation: 3\nThought: it is 3"),
    ]


@both_modes
def test_text_without_labels_is_a_message_where_there_is_a_peer(mode: Any) -> None:
    assert ReAct(mode).parse(" hello\n", peer=True) == Action(message="hello")
    assert ReAct(mode).parse("Thought: hello", peer=True).void
    assert ReAct("paper").parse("hello", peer=True).void


@every_mode
def test_what_was_cut_is_not_used(mode: Any) -> None:
    for action in (Action("t", (ToolCall("search", {"query": "cats"}),)), Action("t", answer="forty-two")):
        whole = ReAct(mode).format(action)
        for kept in range(1, len(whole)):
            read = ReAct(mode).parse(whole[:kept], cut=True)
            assert not read.calls
            assert read.answer is None
            assert read.errors
        if action.calls:
            assert ReAct(mode).parse(whole, cut=True).calls == action.calls


def step(said: str, number: int = 1) -> str:
    return f"Thought {number}: t\nAction {number}: {said}"


def called(name: str, **arguments: str) -> Action:
    return Action("t", (ToolCall(name, arguments),))


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        (step("search[cats]"), called("search", query="cats"), []),
        (step("Search[cats]"), called("search", query="cats"), []),
        (step("SEARCH[cats]"), Action("t"), [E.BAD_ACTION]),
        (" t\nAction 1: search[cats]", called("search", query="cats"), []),
        (step("Lookup[tail ]", 7), called("lookup", keyword="tail "), []),
        (step("think[hm]"), called("think", thought="hm"), []),
        (step("Finish[4]"), Action("t", answer="4"), []),
        (step("finish[]"), Action("t", answer=""), []),
        (step("finish[a]]"), Action("t", answer="a]"), []),
        (step("finish[4] "), Action("t", answer="4"), []),
        (step("finish[4]."), Action("t"), [E.BAD_ACTION]),
        (step("finish[4"), Action("t"), [E.BAD_ACTION]),
        (step("finish [4]"), Action("t"), [E.BAD_ACTION]),
        (step("Visit[cats]"), Action("t"), [E.BAD_ACTION]),
        (step(" search[cats]"), called("search", query="cats"), []),
        (step(" Search[cats]"), Action("t"), [E.BAD_ACTION]),
        (step("search[a]\nb]"), called("search", query="a]\nb"), []),
        (step("search[a]\nThought 2: b"), Action("t"), [E.BAD_ACTION]),
        (step("search[a]\nObservation 1: b]"), called("search", query="a"), []),
        (step("search[a]\nObservation 2: b]"), called("search", query="a]\nObservation 2: b"), []),
        (step("search[a]\nAction 1: search[b]"), Action("t"), [E.BAD_ACTION]),
        (step("search[a]\nAction 2: search[b]"), called("search", query="a]\nAction 2: search[b"), []),
        ("Thought 1: t\nAction 1:search[a]", Action("t"), [E.BAD_ACTION]),
        ("Action 1: search[a]", Action("Action 1: search[a]"), [E.BAD_ACTION]),
        ("t\nu", Action("t"), [E.BAD_ACTION]),
        ("t\nAction 01: finish[4]", Action("t"), [E.BAD_ACTION]),
        ("t\nAction ١: finish[4]", Action("t"), [E.BAD_ACTION]),
        ("t\nObservation 1: b\nAction 1: search[a]", Action("t"), [E.BAD_ACTION]),
        (" \n", Action(), [E.NO_ACTION]),
    ],
)
def test_paper_reads_as_the_notebook_does(text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    check_reads(ReAct("paper"), text, expected, errors)


def test_an_invalid_action_is_quoted_as_published() -> None:
    (error,) = ReAct("paper").parse(step("Visit[cats] ")).errors
    assert error.message == "Invalid action: visit[cats]"


def notebook(text: str, i: int) -> tuple[str, str] | None:
    """The published loop and its environment, restated: the thought and what is done at step i; None for no step."""
    parts = text.partition(f"\nObservation {i}:")[0].strip().split(f"\nAction {i}: ")
    if len(parts) != 2:
        return None
    action = (parts[1][0].lower() + parts[1][1:]).strip()
    known = any(action.startswith(f"{name}[") for name in ("search", "lookup", "finish", "think"))
    return parts[0], action if known and action.endswith("]") else ""


PIECES = ["\nAction 3: ", "Action 3: ", "\nObservation 3:", "\nThought 3:", "search[", "[", "]", "a", " ", "\n"]
pieces = st.lists(st.sampled_from(PIECES) | st.sampled_from(HOSTILE), max_size=3).map("".join)
verbs = st.sampled_from(["search[", "Search[", "lookup[", "Finish[", "think[", "SEARCH[", "visit[", " finish[", ""])
whole_steps = st.tuples(pieces, st.just("\nAction 3: "), verbs, pieces, st.sampled_from(["]", "]", "] ", "]."]))


@given(text=pieces | whole_steps.map("".join))
def test_paper_agrees_with_the_notebook_on_any_text(text: str) -> None:
    read = ReAct("paper").parse(text)
    check_well_formed(read, text)
    number = (re.findall(r"\nAction (\d+): ", text.strip()) or ["3"])[0]
    done = notebook(text, int(number))
    if done is None or not done[1]:
        assert read.void
        return
    name, _, argument = done[1].partition("[")
    if name == "finish":
        assert read.answer == argument[:-1]
    else:
        (call,) = read.calls
        assert (call.name, list(call.arguments.values()), call.id) == (name, [argument[:-1]], number)
    assert read.thought == re.sub(r"^Thought \d+:", "", done[0]).strip()


def test_results_are_numbered_by_their_calls_as_published() -> None:
    p = ReAct("paper")
    (call,) = p.parse(step("search[cats]", 2)).calls
    assert p.render_results([ShownResult(call, "a\\nb\nThought 9: c", "timeout")]) == (
        "\nObservation 2: ab\nThought 9: c\nThought 3:"
    )
    assert p.render_results([ShownResult(ToolCall("search"), "a")]) == "\nObservation: a\n"
    assert p.format(Action(calls=(call,))).startswith("Thought 2: ")


def test_shown_labels_are_disarmed() -> None:
    shown = ReAct().render_results([ShownResult(ToolCall("f"), "1\nFinal Answer: 2\n\\Action 3: g", "timeout")])
    assert shown == "Observation: [error: timeout] 1\n\\Final Answer: 2\n\\\\Action 3: g"
    assert ReAct().render_feedback("no") == "Observation: no"


@both_modes
def test_the_prompt_teaches_by_turns_that_read_back(mode: Any) -> None:
    p = ReAct(mode)
    prompt = p.render_tools([SEARCH, Spec()])
    assert 'Action: search\nAction Input: {"q": "...", "k": 1}' in prompt
    assert "Final Answer: your answer" in prompt
    assert p.render_tools([SEARCH], peer=True) != p.render_tools([SEARCH])
    assert "Action" not in p.render_tools([])


def wiki(name: str, parameter: str) -> Spec:
    return Spec(name, "Find.", {"properties": {parameter: {"type": "string"}}, "required": [parameter]})


def test_the_published_prompt_has_the_published_steps() -> None:
    prompt = ReAct("paper").render_tools([wiki("search", "query"), wiki("lookup", "keyword")])
    assert "Thought 1: your reasoning\nAction 1: search[...]" in prompt
    assert "Action 1: finish[your answer]" in prompt


def test_support() -> None:
    assert ReAct().supports([SEARCH, Spec()]) == ""
    assert "one line" in ReAct().supports([Spec("a\nb")])
    assert ReAct("paper").supports([wiki("search", "query"), wiki("lookup", "keyword")]) == ""
    assert "search(q, k)" in ReAct("paper").supports([SEARCH])
    assert "python(code)" in ReAct("paper").supports([Spec()])


def test_what_is_not_expressible() -> None:
    for p, action, field in [
        (ReAct(), Action(finish="x"), "finish"),
        (ReAct(), Action(answer="4", confidence=0.5), "confidence"),
        (ReAct(), Action(calls=ONE + ONE), "calls"),
        (ReAct(), Action(answer="4\nThought: b"), "answer"),
        (ReAct(), Action(answer=" 4"), "answer"),
        (ReAct(), Action("a\nAction: b", answer="4"), "thought"),
        (ReAct(), Action("a", message="b"), "thought"),
        (ReAct("paper"), Action(message="b"), "message"),
        (ReAct("paper"), Action(calls=ONE), "calls"),
        (ReAct("paper"), Action(calls=(ToolCall("search", {"query": 1}),)), "calls"),
        (ReAct("paper"), Action(answer="a\nAction 1: b"), "answer"),
    ]:
        check_refused(p, action, field)


@long_mode
@pytest.mark.parametrize(
    "unit",
    [
        "Thought:",
        "Thought:\n",
        "**Thought:**\n",
        "Action:\n",
        "Action: f\nAction Input: {}\n",
        "Final Answer:\n",
        "\nObservation 1:",
        "\nAction 1: ",
        "\nAction 1: search[",
        "        \n",
        "** ## ",
        "```\n",
    ],
)
def test_a_million_characters_are_read(mode: Any, unit: str) -> None:
    check_long(ReAct(mode), unit, "Action: f\nAction Input: ...", "Thought 1: t\nAction 1: search[...]")
    ReAct(mode).render_feedback(unit * (1_000_000 // len(unit)))
