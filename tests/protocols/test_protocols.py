"""Every protocol, strict and lenient: what holds for all of them."""

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import (
    ONE,
    E,
    any_actions,
    check_refused,
    check_round_trip,
    check_well_formed,
    every_protocol,
    json_values,
    kinds,
    long_protocol,
    native,
    run,
    some_calls,
    texts,
)
from tir_gym.core.action import Action, Completion, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, Protocol
from tir_gym.protocols import PROTOCOLS, Fenced, Hermes, OpenAI, Xml, protocol


def test_look_up_by_name_instance_and_mode() -> None:
    assert protocol("xml") == Xml() == PROTOCOLS["xml"]
    assert protocol("xml", mode="strict") == Xml("strict") != Xml()
    assert protocol(Fenced("strict"), mode="lenient") == Fenced()
    assert protocol(OpenAI("strict")).mode == "strict"
    with pytest.raises(ValueError, match="xml, openai, fenced"):
        protocol("morse")
    with pytest.raises(ValueError, match="follows no paper"):
        protocol("xml", mode="paper")
    with pytest.raises(ValueError, match="lenient"):
        protocol("xml", mode="loose")


@every_protocol
def test_instances_are_values(p: Protocol) -> None:
    assert pickle.loads(pickle.dumps(p)) == p == copy.deepcopy(p)
    assert hash(p) == hash(copy.copy(p))


@every_protocol
@given(action=any_actions)
def test_what_can_be_expressed_reads_back_and_the_rest_names_a_field(p: Protocol, action: Action) -> None:
    if p.can_express(action):
        check_round_trip(p, action)
    else:
        with pytest.raises(NotExpressible) as refusal:
            p.format(action)
        fields = {"thought", "calls", "answer", "confidence", "message", "finish", "errors", "void"}
        assert refusal.value.field in fields
        assert repr(refusal.value.field) in str(refusal.value)


@every_protocol
@given(text=texts)
def test_a_reading_can_be_written_again(p: Protocol, text: str) -> None:
    action = p.parse(text)
    if p.can_express(action):
        assert p.parse(p.format(action), peer=action.message is not None) == action


@pytest.mark.parametrize(
    ("p", "action", "named"),
    [
        (Xml(), Action(), "void"),
        (Xml(), Action(answer="1", calls=run("1")), "answer"),
        (Xml(), Action(answer="1", message="2"), "message"),
        (Xml(), Action(answer="1", confidence=1.5), "confidence"),
        (Xml(), Action(answer="1", confidence=float("nan")), "confidence"),
        (Xml(), Action(calls=(ToolCall('a"b'),)), "calls"),
        (Xml(), Action(calls=(ToolCall("f", {"x": float("nan")}),)), "calls"),
        (Xml(), Action(calls=(ToolCall("f", {"x": (1, 2)}),)), "calls"),
        (Xml(), Action(calls=(ToolCall("f", {"x": {1: 2}}),)), "calls"),
        (Xml(), Action(calls=(ToolCall("f", {"x": b"bytes"}),)), "calls"),
        (Xml(), Action(calls=(ToolCall("f", {"x": 10**5000}),)), "calls"),
        (Xml(), Action(answer="1", errors=Xml().parse("").errors), "errors"),
        (OpenAI(), Action(answer="1", confidence=0.5), "confidence"),
        (OpenAI(), Action(finish="done"), "finish"),
        (OpenAI(), Action(calls=(ToolCall("f", {"x": float("inf")}),)), "calls"),
        (Fenced(), Action(answer="1", confidence=0.5), "confidence"),
        (Fenced(), Action(finish="done"), "finish"),
        (Fenced(), Action(calls=run("1") + run("2")), "calls"),
        (Fenced(), Action(calls=(ToolCall("search", {"q": "x"}),)), "calls"),
        (Fenced(), Action(calls=(ToolCall("python", {"code": 1}),)), "calls"),
        (Fenced(), Action(answer="}"), "answer"),
        (Fenced(), Action(thought="```python\n1\n```", answer="2"), "thought"),
        (Fenced(), Action(thought="hm", message="hello"), "thought"),
        (Fenced(), Action(message="it is \\boxed{1}"), "thought"),
    ],
)
def test_not_expressible_names_the_field(p: Protocol, action: Action, named: str) -> None:
    check_refused(p, action, named)


@every_protocol
@given(text=texts | st.text(st.characters(), max_size=60), cut=st.booleans(), peer=st.booleans())
def test_any_text_is_read_and_its_spans_are_well_formed(p: Protocol, text: str, cut: bool, peer: bool) -> None:
    check_well_formed(p.parse(text, cut=cut, peer=peer), text)


@every_protocol
@given(
    message=json_values
    | st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "reasoning_content", "x"]),
        json_values | st.sampled_from(["assistant", object(), b"", float("nan"), {1}]),
    )
)
def test_any_message_is_read(p: Protocol, message: Any) -> None:
    action = p.from_message(message)
    assert not action.void or action.errors


@long_protocol
@pytest.mark.parametrize(
    "unit",
    [
        "<call",
        '<call name="a">',
        "<call>",
        "<",
        "<\\",
        "\\",
        "<think>",
        "<think></think>",
        "</think>",
        "<answer>",
        "<confidence>",
        "<confidence>1</confidence>",
        '<call name="a"></call>',
        '<call name="a"><arg name="b">',
        '<arg name="b">',
        "<result ",
        "`",
        "```",
        "```\n",
        "```python\n",
        "``` x",
        "x```python ",
        "`` ",
        "<code>",
        "</code>",
        "\n",
        " ",
        " \n",
        "\\boxed{",
        "{",
        "}",
        "{}",
        "\\boxed{}",
        "[",
        "[]",
        '{"a":',
        '{"',
        '"',
        "\\u",
        '{"role":"assistant","tool_calls":[',
        "1",
        "a ",
        "\ud800",
    ],
)
def test_a_million_characters_are_read(p: Protocol, unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    check_well_formed(p.parse(text), text)
    short = text[:100_000]
    for whole in (
        f'<call name="f"><arg name="x" type="json">{short}</arg></call>',
        f"<think>{short}",
        f"```py\n{short}",
    ):
        check_well_formed(p.parse(whole, cut=True, peer=True), whole)
    p.render_feedback(short)


@every_protocol
def test_a_completion_is_read_as_its_text(p: Protocol) -> None:
    text = p.format(Action(thought="so", answer="4"))
    action = p.parse(Completion(text, stop_reason="stop"))
    assert action == Action(thought="so", answer="4")
    assert type(action.raw) is str


@every_protocol
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_turn_is_void(p: Protocol, text: str) -> None:
    if p == Hermes("paper"):
        assert p.parse(text) == Action(answer=text)
        return
    for peer in (False, True):
        action = p.parse(text, peer=peer)
        assert action.void
        assert kinds(action) == [E.NO_ACTION]
    assert kinds(p.from_message({"role": "assistant", "content": None})) == [E.NO_ACTION]


@every_protocol
def test_an_empty_answer_is_an_answer(p: Protocol) -> None:
    action = p.parse(p.format(Action(answer="")))
    assert action.answer == ""
    assert not action.errors


@every_protocol
@pytest.mark.parametrize("kept", range(1, 40))
def test_a_cut_call_never_runs(p: Protocol, kept: int) -> None:
    whole = p.format(Action(thought="t", calls=some_calls(p, "import os\nos.remove('a')")))
    cut = p.parse(whole[:-kept], cut=True)
    assert not cut.calls
    assert cut.answer is None
    if kept < 20:
        assert kinds(cut) == [E.CUT_CALL]


def test_a_cut_leaves_earlier_calls() -> None:
    text = Xml().format(Action(calls=run("1") + run("2")))
    action = Xml().parse(text.removesuffix("</call>"), cut=True)
    assert action.calls == run("1")
    assert kinds(action) == [E.CUT_CALL]
    message = OpenAI().to_message(Action(calls=run("1") + run("2")))
    message["tool_calls"][1]["function"]["arguments"] = '{"code": "imp'
    action = OpenAI().parse(json.dumps(message), cut=True)
    assert action.calls == run("1")
    assert kinds(action) == [E.CUT_CALL]


@pytest.mark.parametrize(
    ("text", "calls", "errors"),
    [
        ('<call name="python"><arg name="code">1</arg></call><answer>7</answer>', run("1"), [E.ANSWER_WITH_CALL]),
        ("```python\n1\n```\nso \\boxed{7}", run("1"), [E.ANSWER_WITH_CALL]),
        ('<answer>7</answer><call name="python"></call>', (), []),
        ("\\boxed{7}\n```python\n1\n```", (), []),
    ],
)
def test_the_first_action_ends_the_turn(text: str, calls: Any, errors: list[ParseErrorType]) -> None:
    p = Fenced() if "boxed" in text else Xml()
    action = p.parse(text)
    assert action.calls == calls
    assert action.answer == (None if calls else "7")
    assert kinds(action) == errors
    assert action.spans[-1].part is Part.TAIL


def test_plain_text_is_a_message_where_there_is_a_peer() -> None:
    read = Xml().parse("<think>t</think> hello", peer=True)
    assert read == Action("t", message="hello")
    assert [span.part for span in read.spans] == [Part.THOUGHT, Part.MESSAGE]
    assert Xml().parse("hello").void
    assert Xml("strict").parse("hello", peer=True).void
    for p in (Fenced(), Fenced("strict"), OpenAI()):
        assert p.parse("hello", peer=True).message == "hello"
    assert OpenAI().parse("hello").answer == "hello"


@every_protocol
def test_native_calls_are_read_by_every_protocol(p: Protocol) -> None:
    for arguments in ({"x": 1}, '{"x": 1}'):
        action = p.from_message(native(arguments, reasoning_content="r"))
        assert action.calls == ONE
        assert action.calls[0].id == "c"
        assert sorted(action.thought.split()) == ["hm", "r"]
        assert action.answer is None
    action = p.from_message(native("{", '{"x": 1}', "[1]", 5))
    assert action.calls == ONE
    assert kinds(action) == [E.BAD_JSON] * 3


@every_protocol
def test_content_may_be_parts_and_reasoning_is_thought(p: Protocol) -> None:
    content = p.to_message(Action(answer="4"))["content"]
    parts = [{"type": "text", "text": content[:3]}, {"type": "text", "text": content[3:]}, {"type": "image_url"}]
    action = p.from_message({"role": "assistant", "content": parts, "reasoning_content": "r", "tool_calls": []})
    assert action == Action("r", answer="4")


@every_protocol
@pytest.mark.parametrize(
    "message",
    [
        None,
        5,
        "text",
        [],
        {"role": "user", "content": "4"},
        {"role": "tool", "content": "\\boxed{4}"},
        {"role": "assistant", "content": 5},
        {"role": "assistant", "content": [5]},
        {"role": object()},
        {"role": "assistant", "content": "\\boxed{4}", "tool_calls": "x"},
        {"role": "assistant", "tool_calls": [5, {}, {"function": 3}]},
        {"role": "assistant", "tool_calls": [object()]},
        native(object()),
        native({"x": float("nan")}),
    ],
)
def test_garbage_messages_are_typed_errors(p: Protocol, message: Any) -> None:
    action = p.from_message(message)
    assert action.void
    assert set(kinds(action)) <= {E.BAD_ACTION, E.BAD_JSON}
    assert action.errors


@every_protocol
def test_engines_that_strip_stop_strings_lose_nothing_when_lenient(p: Protocol) -> None:
    lenient = protocol(p, mode="lenient")
    for stop in p.stop_strings:
        for action in (
            Action("t", answer="4"),
            Action("t", message="hi"),
            Action("t", finish="x"),
            Action("t", some_calls(p, "1")),
        ):
            if lenient.can_express(action):
                text = lenient.format(action).partition(stop)[0]
                assert lenient.parse(text, peer=action.message is not None) == action
