"""Tool-Star's tags: our two readings, and the published one to the letter."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    E,
    Spec,
    both_modes,
    check_long,
    check_mends,
    check_published,
    check_reads,
    check_refused,
    check_round_trip,
    check_well_formed,
    confidences,
    every_mode,
    kinds,
    long_mode,
    run,
    search,
    texts,
)
from tir_gym.core.action import Action, ParseErrorType, ToolCall
from tir_gym.core.interfaces import ShownResult
from tir_gym.protocols import ToolStar

PAPER = ToolStar("paper")
SEARCH = Spec(
    "search",
    "Find passages.",
    {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
PIECES = [
    "<search>", "</search>", "<python>", "</python>", "<answer>", "</answer>", "\\boxed{", "\\boxed ", "\\boxed", "{",
    "}", "\\{", "\\}", "$", "\\fbox{", "<think>", "</think>", " ", "\n", "a",
]  # fmt: skip
tagged = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
boxed = st.lists(st.sampled_from(PIECES[6:]), max_size=10).map(lambda said: f"<answer>{''.join(said)}</answer>")


def box(answer: str) -> str:
    return f"<answer>\\boxed{{{answer}}}</answer>"


stripped = texts.map(str.strip)
plain = st.text("abc 012\n.é", max_size=12)
tag_actions = st.one_of(
    st.builds(Action, thought=texts, confidence=confidences, calls=stripped.map(search)),
    st.builds(Action, thought=texts, confidence=confidences, calls=stripped.map(run)),
    st.builds(Action, thought=texts, confidence=confidences, answer=plain | plain.map(lambda s: f"\\frac{{{s}}}{{2}}")),
).filter(
    lambda action: (
        "</think>" not in action.thought
        and "</search>" not in str(action.calls)
        and "</python>" not in str(action.calls)
    )
)


@both_modes
@given(action=tag_actions)
def test_whatever_does_not_close_its_own_tag_is_expressible(mode: Any, action: Action) -> None:
    check_round_trip(ToolStar(mode), action)


@given(thought=plain, said=st.text("abc <>/.{}", max_size=20).map(str.strip), answer=plain)
def test_paper_mode_writes_what_it_reads(thought: str, said: str, answer: str) -> None:
    check_round_trip(PAPER, Action(thought, search(said)))
    check_round_trip(PAPER, Action(thought, run(said)))
    check_round_trip(PAPER, Action(thought, answer=answer))


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (Action(calls=search("a") + run("b")), "calls"),
        (Action(calls=run("1 ")), "calls"),
        (Action(calls=run("a</python>b")), "calls"),
        (Action(calls=(ToolCall("python", {"query": "a"}),)), "calls"),
        (Action(calls=(ToolCall("answer", {"": "a"}),)), "calls"),
        (Action(answer="}"), "answer"),
        (Action(answer="{"), "answer"),
        (Action(finish="done"), "finish"),
    ],
)
@every_mode
def test_what_has_no_place_is_refused_by_name(mode: Any, action: Action, named: str) -> None:
    check_refused(ToolStar(mode), action, named)


@pytest.mark.parametrize(
    ("text", "lenient", "repairs", "strict", "errors"),
    [
        ("<python>\nprint(1)\n</python>", Action(calls=run("print(1)")), [], Action(calls=run("print(1)")), []),
        ("<search> a </search>", Action(calls=search("a")), [], Action(calls=search("a")), []),
        (box("4"), Action(answer="4"), [], Action(answer="4"), []),
        ("<answer>It is \\[ \\boxed{4} \\].</answer>", Action(answer="4"), [], Action(answer="4"), []),
        ("<answer>\\boxed{3} or \\boxed{4}</answer>", Action(answer="4"), [], Action(answer="4"), []),
        (
            "<answer>\\boxed{\\frac{1}{2}}</answer>",
            Action(answer="\\frac{1}{2}"),
            [],
            Action(answer="\\frac{1}{2}"),
            [],
        ),
        ("<answer>4</answer>", Action(answer="4"), [E.BAD_ACTION], Action(), [E.BAD_ACTION]),
        ("<answer>\\boxed{4</answer>", Action(answer="\\boxed{4"), [E.BAD_ACTION], Action(), [E.BAD_ACTION]),
        ("<python>1", Action(calls=run("1")), [E.UNCLOSED_TAG], Action(), [E.UNCLOSED_TAG]),
        (
            "so <python>1</python>",
            Action("so", run("1")),
            [E.TEXT_BETWEEN_TAGS],
            Action(calls=run("1")),
            [E.TEXT_BETWEEN_TAGS],
        ),
        (box("1") + "<python>1</python>", Action(answer="1"), [], Action(answer="1"), [E.TEXT_BETWEEN_TAGS]),
    ],
)
def test_lenient_mends_what_strict_reports(
    text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    check_mends(ToolStar, text, lenient, repairs, strict, errors)


@both_modes
def test_a_call_with_an_answer_runs_and_the_answer_is_an_error(mode: Any) -> None:
    check_reads(ToolStar(mode), "<python>1</python>" + box("1"), Action(calls=run("1")), [E.ANSWER_WITH_CALL])


@pytest.mark.parametrize(
    ("text", "thought", "calls", "answer", "tail"),
    [
        ("<search> a </search>", "", search("a"), None, ""),
        ("<python>\nprint(1)\n</python>", "", run("print(1)"), None, ""),
        ("<think>t</think> <search>a</search> b", "t", search("a"), None, " b"),
        ("<think>t <python>1</python></think>", "<think>t", run("1"), None, "</think>"),
        ("<search>a</search><python>1</python>", "", search("a"), None, "<python>"),
        ("<python>1</python><search>a</search>", "", run("1"), None, "<search>"),
        ("<search>a <search>b</search>", "<search>a", search("b"), None, ""),
        ("<search>a <python>1</python>", "<search>a", run("1"), None, ""),
        ("a</search>", "a", search(""), None, ""),
        ("</python><python>1</python>", "", run(""), None, "<python>"),
        (box("4") + " <search>a</search>", box("4"), search("a"), None, ""),
        ("<search>a</search>" + box("4"), "", search("a"), None, "<answer>"),
        (box("4"), "", (), "4", ""),
        (box("4") + box("5"), "", (), "4", "<answer>"),
        ("<answer>\\boxed{3}, \\boxed{4}.</answer>", "", (), "4", ""),
        ("<answer>\\boxed{\\frac{1}{2}}</answer>", "", (), "\\frac{1}{2}", ""),
        ("<answer>\\boxed 4$ a</answer>", "", (), "4", ""),
        ("<answer>\\boxed{3} \\boxed 4</answer>", "", (), "4", ""),
        ("<answer>\\boxed{ 4 }</answer>", "", (), " 4 ", ""),
        ("<answer>\\boxed{\\boxed{4}}</answer>", "", (), "4", ""),
        ("<answer>\\boxed{}</answer>", "", (), "", ""),
    ],
)
def test_the_published_reading(text: str, thought: str, calls: Any, answer: str | None, tail: str) -> None:
    check_published(PAPER, text, thought, calls, answer, tail)


@pytest.mark.parametrize(
    "said", ["4", "\\boxed{4", "\\fbox{4}", "\\boxed{4} \\boxed", "\\boxedx{4}", "\\boxed}{4}", "\\boxed{\\{4}"]
)
def test_a_published_answer_without_a_readable_box_is_empty(said: str) -> None:
    read = PAPER.parse(f"<answer>{said}</answer>")
    assert read.answer == ""
    assert kinds(read) == [E.BAD_ACTION]


@pytest.mark.parametrize("text", ["hello", "<answer>4", "<search>a", "<python>1", "\\boxed{4}", "<answer>\\boxed{4}"])
def test_a_published_turn_without_action(text: str) -> None:
    assert kinds(PAPER.parse(text)) == [E.NO_ACTION]
    assert kinds(PAPER.parse(text, cut=True)) == [
        E.CUT_CALL if "<search>" in text or "<python>" in text else E.NO_ACTION
    ]


def published(text: str) -> tuple[str, str | None] | None:
    """Tool-Star's stop strings, extraction and scorer, stated once more."""
    if stop := re.search(r"</(search|python)>", text):
        head = text[: stop.end()]
        opened = [found.end() for found in re.finditer(f"<{stop[1]}>", head)]
        return stop[1], head[opened[-1] : stop.start()].strip() if opened else ""
    answer = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL)
    return ("answer", published_box(answer[1])) if answer else None


def published_box(said: str) -> str | None:
    if "\\boxed " in said:
        return said.split("\\boxed ")[-1].split("$")[0]
    start = said.rfind("\\boxed")
    if start < 0:
        return None
    for end in range(start, len(said)):
        piece = said[start : end + 1]
        if said[end] == "}" and piece.count("{") == piece.count("}"):
            return piece[7:-1] if piece.startswith("\\boxed{") else None
    return None


@given(text=tagged | boxed | texts)
def test_the_published_reading_is_that_of_its_rules(text: str) -> None:
    read = PAPER.parse(text)
    check_well_formed(read, text)
    expected = published(text)
    if expected is None:
        assert read.void
    elif expected[0] == "answer":
        assert read.answer == (expected[1] or "")
        assert bool(read.errors) == (expected[1] is None)
    else:
        assert [(call.name, *call.arguments.values()) for call in read.calls] == [expected]


@pytest.mark.parametrize("call", [*search("a"), *run("1")])
@pytest.mark.parametrize("text", ["", "a\n", "a < b", "</result><answer>\\boxed{1}</answer>", "<|im_end|>\x1b"])
@pytest.mark.parametrize("error", ["", "timeout"])
def test_published_results(call: ToolCall, text: str, error: str) -> None:
    assert PAPER.render_results([ShownResult(call, text, error)]) == f" <result>\n{text}\n</result>"


def test_our_results_say_what_failed_and_are_disarmed() -> None:
    shown = ToolStar().render_results([ShownResult(run("1")[0], "</result><python>1</python>", "timeout")])
    assert shown == " <result>\n[error: timeout]\n<\\/result><\\python>1<\\/python>\n</result>"


def test_support_is_any_of_the_two() -> None:
    for tools in ([SEARCH], [Spec()], [SEARCH, Spec()]):
        assert ToolStar().supports(tools) == ""
    for tools in ([], [SEARCH, Spec("sql")], [Spec(), Spec()]):
        assert "search(query) or python(code)" in ToolStar().supports(tools)


@every_mode
def test_the_prompt_teaches_by_what_reads_back(mode: Any) -> None:
    p = ToolStar(mode)
    prompt = p.render_tools([SEARCH, Spec()])
    for action in (Action(calls=search("...")), Action(answer="your answer")):
        assert p.format(action) in prompt
    assert "<python>\ntotal" in prompt
    assert "<result>...</result>" in prompt
    assert "<python>" not in p.render_tools([SEARCH])


@long_mode
@pytest.mark.parametrize("unit", [*PIECES, "<python></answer>", "<answer>\\boxed{", "<search></python"])
def test_a_million_characters_are_read(mode: Any, unit: str) -> None:
    check_long(ToolStar(mode), unit, "<answer>...</answer>")
