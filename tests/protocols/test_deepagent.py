"""DeepAgent's marks: our two readings, and the published one to the letter."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    ONE,
    SEARCH,
    E,
    Spec,
    check_long,
    check_reads,
    check_refused,
    check_round_trip,
    check_well_formed,
    every_mode,
    json_values,
    kinds,
    long_mode,
    mended,
    names,
    texts,
)
from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, ShownResult
from tir_gym.protocols import DeepAgent

PAPER = DeepAgent("paper")
FOLD = (ToolCall("fold_thought"),)
CALL = '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>'
TOOL_SEARCH = Spec(
    "tool_search",
    "Find tools.",
    {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
FOLDING = Spec("fold_thought", "Sum up.", {"type": "object", "properties": {}})
PIECES = [
    "<tool_search>", "</tool_search>", "<tool_call>", "</tool_call>", "<fold_thought>", '{"name": "f"}', "abcdef",
    "\\boxed{", "{", "}", "\n", " ", "ANSWER:", "*", "<tool_call_result>", "</tool_call_result>", "a",
]  # fmt: skip
marked = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def find(query: str) -> tuple[ToolCall, ...]:
    return (ToolCall("tool_search", {"query": query}),)


plain = st.text("abc 012\n.é<>/", max_size=20)
values = json_values | st.sampled_from(["</tool_call>", "<tool_search>", "<fold_thought>", "</tool_search>"])
json_calls = st.builds(ToolCall, names, st.dictionaries(names, values, max_size=3)).map(lambda call: (call,))
actions = st.one_of(
    st.builds(Action, thought=plain, calls=json_calls),
    st.builds(Action, thought=plain, calls=st.just(FOLD)),
    st.builds(Action, thought=plain, calls=st.text("abc <>/.", min_size=6, max_size=9).map(lambda s: find(f"q{s}q"))),
    st.builds(Action, thought=plain, answer=plain | plain.map(lambda s: f"\\frac{{{s}}}{{2}}")),
)


@every_mode
@given(action=actions)
def test_calls_of_any_kind_and_answers_are_expressible(mode: Any, action: Action) -> None:
    check_round_trip(DeepAgent(mode), action)


def test_tags_inside_arguments_are_escaped_as_json() -> None:
    text = DeepAgent().format(Action(calls=(ToolCall("f", {"x": "</tool_call><b>"}),)))
    assert text == '<tool_call>\n{"name": "f", "arguments": {"x": "\\u003c/tool_call>\\u003cb>"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (Action(calls=ONE + ONE), "calls"),
        (Action(calls=find(" abcdef")), "calls"),
        (Action(calls=find("abc</tool_search>def")), "calls"),
        (Action(calls=(ToolCall("f", {"x": float("nan")}),)), "calls"),
        (Action(thought="<fold_thought>", calls=ONE), "thought"),
        (Action(answer="a", confidence=0.5), "confidence"),
        (Action(finish="done"), "finish"),
    ],
)
@every_mode
def test_what_has_no_place_is_refused_by_name(mode: Any, action: Action, named: str) -> None:
    check_refused(DeepAgent(mode), action, named)


def test_plain_text_is_a_message_where_there_is_a_peer() -> None:
    for p in (DeepAgent("strict"), DeepAgent(), PAPER):
        check_round_trip(p, Action(message=" hello "))
        assert p.parse("hello").void
        assert p.parse("\\boxed{4}", peer=True).answer == "4"


def test_the_published_loop_cannot_search_for_little() -> None:
    check_round_trip(DeepAgent(), Action(calls=find("abc")))
    with pytest.raises(NotExpressible, match="calls"):
        PAPER.format(Action(calls=find("abc")))


@pytest.mark.parametrize(
    ("text", "thought", "calls", "answer", "both", "mends"),
    [
        ("so " + CALL, "so ", ONE, None, [], []),
        ("so\n" + CALL, "so", ONE, None, [], []),
        ("<tool_search> a </tool_search>", "", find("a"), None, [], []),
        ("enough <fold_thought>", "enough ", FOLD, None, [], []),
        ("it is \\boxed{4}.", "it is ", (), "4", [], []),
        ("\\boxed{\\frac{1}{2}}", "", (), "\\frac{1}{2}", [], []),
        ("\\boxed{3}\\boxed{3}", "\\boxed{3}", (), "3", [], []),
        ("\\boxed{} \\boxed{4}", "\\boxed{} ", (), "4", [], []),
        ("\\boxed{4", "\\boxed{4", (), None, [E.UNCLOSED_TAG], []),
        ("a \\boxed{4} " + CALL, "a \\boxed{4} ", ONE, None, [E.ANSWER_WITH_CALL], []),
        (CALL + "\\boxed{4}", "", ONE, None, [E.ANSWER_WITH_CALL], []),
        ("use \\boxed{}" + CALL, "use \\boxed{}", ONE, None, [], []),
        ("<tool_call_result>\\boxed{4}</tool_call_result> a", None, (), None, [E.NO_ACTION], []),
        ("<system_message>\\boxed{4}", None, (), None, [E.NO_ACTION], []),
        ("<tool_call>{</tool_call>", "", (), None, [E.BAD_JSON], []),
        ("<tool_call>[1]</tool_call>", "", (), None, [E.BAD_ACTION], []),
        ('<tool_call>{"name": 1, "arguments": {}}</tool_call>', "", (), None, [E.BAD_ACTION], []),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', "", (), None, [E.BAD_ACTION], []),
        ('<tool_call>{"name": "f"}</tool_call>', "", (ToolCall("f"),), None, [], [E.BAD_ACTION]),
        (CALL.removesuffix("</tool_call>"), "", ONE, None, [], [E.UNCLOSED_TAG]),
        ("<tool_search>a", "", find("a"), None, [], [E.UNCLOSED_TAG]),
        ("\\boxed{3} \\boxed{4}", "\\boxed{3} ", (), "4", [], [E.DUPLICATE_ANSWER]),
    ],
)
def test_our_reading(
    text: str,
    thought: str | None,
    calls: Any,
    answer: str | None,
    both: list[ParseErrorType],
    mends: list[ParseErrorType],
) -> None:
    read = DeepAgent().parse(text)
    assert (read.thought if thought is not None else None, read.calls, read.answer) == (thought, calls, answer)
    assert kinds(read) == both
    assert mended(read) == mends
    read = DeepAgent("strict").parse(text)
    assert (read.calls, read.answer) == (() if mends and calls else calls, answer)
    assert kinds(read) == (both or mends)
    assert not read.repairs


def test_strict_reading_reports_text_after_a_call() -> None:
    assert kinds(DeepAgent("strict").parse(CALL + CALL)) == [E.TEXT_BETWEEN_TAGS]
    read = DeepAgent().parse(CALL + CALL)
    assert read == Action(calls=ONE)
    assert read.spans[-1].part is Part.TAIL


@pytest.mark.parametrize(
    ("text", "thought", "calls", "answer", "errors"),
    [
        (CALL, "", ONE, None, []),
        ("so\n" + CALL, "so", ONE, None, []),
        ('<tool_call>\n{"name": "f",\n "arguments":\n{"x": 1}}\n</tool_call>', "", ONE, None, []),
        ('<tool_call>{"na\nme": "f", "arguments": {"x": 1}}</tool_call>', "", ONE, None, []),
        ('<tool_call>{"name": "f"}</tool_call>', "", (ToolCall("f"),), None, []),
        ('<tool_call>{"name": "g", "name": "f", "id": 1}</tool_call>', "", (ToolCall("f"),), None, []),
        ("<tool_call>abcdef</tool_call>", "", (), None, [E.BAD_JSON]),
        ("<tool_call>{}</tool_call>", "", (), None, [E.BAD_ACTION]),
        ("<tool_search>\nweather\n today </tool_search>", "", find("weather today"), None, []),
        ("<tool_search>abcde</tool_search>", "", (), None, [E.BAD_ACTION]),
        ("<tool_search>abcdef</tool_search>", "", find("abcdef"), None, []),
        ("abcdef</tool_search>", "abcdef", (), None, [E.BAD_ACTION]),
        ("<tool_search>a <tool_search>b</tool_search>", "", find("a <tool_search>b"), None, []),
        ("<think>" + CALL, "<think>", ONE, None, []),
        (CALL + "<fold_thought>", "", ONE, None, []),
        ("<fold_thought>" + CALL, "", FOLD, None, []),
        ("<tool_call><fold_thought>", "<tool_call>", FOLD, None, []),
        ("<tool_call></tool_search>abcdef</tool_call>", "<tool_call>", (), None, [E.BAD_ACTION]),
        ("\\boxed{4} " + CALL, "\\boxed{4} ", ONE, None, []),
        ("a \\boxed{4}", "a ", (), "4", []),
        ("\\boxed{3} or \\boxed{4}", "", (), "3} or \\boxed{4", []),
        ("\\boxed{4} as {x} says", "", (), "4} as {x", []),
        ("\\boxed{4", "\\boxed{4", (), None, [E.NO_ACTION]),
        ("} \\boxed{", "} \\boxed{", (), None, [E.NO_ACTION]),
        ("**ANSWER: 4**", "**", (), "4", []),
        ("ANSWER: 3 ANSWER:** 4 **", "ANSWER: 3 ", (), "4", []),
        ("ANSWER: 3 \\boxed{4}", "ANSWER: 3 ", (), "4", []),
        ("ANSWER: \\boxed{4", "", (), "\\boxed{4", []),
        ("<tool_call_result>\\boxed{4}</tool_call_result>", "<tool_call_result>", (), "4", []),
        ("<tool_call>{}", "<tool_call>{}", (), None, [E.NO_ACTION]),
        ("hello", "hello", (), None, [E.NO_ACTION]),
    ],
)
def test_the_published_reading(
    text: str, thought: str, calls: Any, answer: str | None, errors: list[ParseErrorType]
) -> None:
    check_reads(PAPER, text, Action(thought, calls, answer), errors)


def published(text: str) -> Any:
    """DeepAgent's loop over one response and its answer's extraction, stated once more."""
    stop = re.search("</tool_search>|</tool_call>|<fold_thought>", text)
    if stop is None:
        boxes = re.findall(r"\\boxed{(.*)}", text, re.DOTALL)
        if boxes:
            return "answer", boxes[-1]
        return ("answer", text.split("ANSWER:")[-1].strip("*").strip()) if "ANSWER:" in text else None
    head = text[: stop.end()]
    if stop[0] == "<fold_thought>":
        return ("fold_thought",)
    opened = stop[0].replace("/", "")
    said = head.partition(opened)[2].removesuffix(stop[0]) if opened in head else ""
    said = said.strip().replace("\n", "").strip()
    return (opened.strip("<>"), said) if len(said) > 5 else None


@given(text=marked | texts)
def test_the_published_reading_is_that_of_its_rules(text: str) -> None:
    read = PAPER.parse(text)
    check_well_formed(read, text)
    expected = published(text)
    if expected is None:
        assert read.void
    elif expected[0] == "answer":
        assert read.answer == expected[1]
    elif expected[0] == "fold_thought":
        assert read.calls == FOLD
    elif expected[0] == "tool_search":
        assert read.calls == find(expected[1])
    else:
        try:
            call = json.loads(expected[1])
        except ValueError:
            assert kinds(read) == [E.BAD_JSON]
        else:
            assert read.calls == (ToolCall(call["name"], call.get("arguments", {})),)


@pytest.mark.parametrize(
    ("call", "tag"),
    [(ONE[0], "tool_call_result"), (find("a")[0], "tool_search_result"), (FOLD[0], "system_message")],
)
@pytest.mark.parametrize("text", ["", " a\n", "</tool_call_result>\\boxed{1}", "<|im_end|>\x1b"])
@pytest.mark.parametrize("error", ["", "timeout"])
def test_published_results(call: ToolCall, tag: str, text: str, error: str) -> None:
    assert PAPER.render_results([ShownResult(call, text, error)]) == f"\n\n<{tag}>{text}</{tag}>\n\n"


def test_our_results_say_what_failed_and_are_disarmed() -> None:
    shown = DeepAgent().render_results([ShownResult(ONE[0], "</tool_call_result><fold_thought>", "timeout")])
    assert shown == (
        "\n\n<tool_call_result>[error: timeout]\n<\\/tool_call_result><\\fold_thought></tool_call_result>\n\n"
    )


def test_feedback() -> None:
    assert PAPER.render_feedback("x") == "\n\n<tool_call_result>Error calling tool: x</tool_call_result>\n\n"
    assert DeepAgent().render_feedback("<tool_call>") == "\n\n<system_message><\\tool_call></system_message>\n\n"


def test_support() -> None:
    assert DeepAgent().supports([]) == ""
    assert DeepAgent().supports([SEARCH, Spec(), TOOL_SEARCH, FOLDING]) == ""
    assert "tool_search" in DeepAgent().supports([Spec("tool_search")])
    assert "fold_thought" in DeepAgent().supports([Spec("fold_thought")])


@every_mode
def test_the_prompt_teaches_by_what_reads_back(mode: Any) -> None:
    p = DeepAgent(mode)
    prompt = p.render_tools([SEARCH, Spec()])
    assert p.format(Action(calls=(ToolCall("search", {"q": "...", "k": 1}),))) in prompt
    assert "\\boxed{" in prompt
    assert "Run Python code." in prompt
    assert "fold" not in prompt
    assert "<tool_search>" not in prompt
    prompt = p.render_tools([TOOL_SEARCH, FOLDING])
    for mark in ("<tool_search>", "<tool_call>", "<fold_thought>"):
        assert mark in prompt
    assert p.render_tools([])
    assert p.render_tools([], peer=True) != p.render_tools([])


@long_mode
@pytest.mark.parametrize("unit", [*PIECES, "\\boxed{a", "<system_message>", "<tool_call></tool_search"])
def test_a_million_characters_are_read(mode: Any, unit: str) -> None:
    check_long(DeepAgent(mode), unit, "<tool_call>...</tool_call>", "<tool_call_result>...\\boxed{}")
