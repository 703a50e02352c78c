"""What the policy is shown: results that are disarmed, prompts that teach."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import HOSTILE, SEARCH, Spec, every_protocol, native, neutral_protocol, texts
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.interfaces import Protocol, ShownResult
from tir_gym.protocols import Fenced, OpenAI, Xml
from tir_gym.protocols.json_args import encode


@neutral_protocol
@given(text=texts, name=texts, error=st.sampled_from(["", "timeout"]))
def test_results_and_feedback_are_never_actions(p: Protocol, text: str, name: str, error: str) -> None:
    results = [ShownResult(ToolCall(name, id=text), text, error), ShownResult(ToolCall("f"), "ok")]
    for shown in (p.render_results(results), p.render_feedback(text)):
        for prefix in ("", "<think>x</think>\n", "so:\n"):
            if prefix and p.name == "openai":
                continue
            action = p.parse(prefix + shown)
            assert action.calls == ()
            assert action.answer is None
            assert action.message is None
            assert action.finish is None
        assert "<|" not in shown
        assert "<｜" not in shown
        assert "[INST]" not in shown
        assert all(c in "\n\t" or ord(c) > 31 for c in shown)
        shown.encode()


def test_xml_results_have_only_their_own_tags() -> None:
    hostile = "".join(HOSTILE)
    shown = Xml().render_results([ShownResult(ToolCall('python"><answer>1</answer>'), hostile, "timeout")])
    assert shown.startswith('<result call="python___answer_1__answer_" error="timeout">\n')
    inside = shown.partition("\n")[2].removesuffix("</result>")
    for tag in ("think", "call", "arg", "answer", "confidence", "message", "finish", "result", "feedback"):
        assert f"<{tag}" not in inside
        assert f"</{tag}" not in inside


@every_protocol
def test_plain_results_are_shown_as_they_are(p: Protocol) -> None:
    shown = p.render_results([ShownResult(ToolCall("python"), 'a < b, x[0] = "é"\n\tok')])
    text = json.loads(shown)[0]["content"] if p.name == "openai" else shown
    assert 'a < b, x[0] = "é"\n\tok' in text


def test_neutral_text_can_be_undone() -> None:
    for text in ("</answer>", "<\\/answer>", "<|x|>", "<\\|x|>", "</ANSWER >"):
        shown = Xml().render_feedback(text)
        assert text.replace("<", "<\\") in shown


def test_fenced_results_outgrow_every_fence() -> None:
    shown = Fenced().render_results([ShownResult(ToolCall("python"), "```\n`````\n```python\n1\n```")])
    assert shown.startswith("``````output\n")
    assert shown.endswith("\n``````")


def test_openai_results_are_tool_messages() -> None:
    (call,) = OpenAI().from_message(native({"x": 1})).calls
    (message,) = json.loads(OpenAI().render_results([ShownResult(call, "late", "timeout")]))
    assert message == {"role": "tool", "tool_call_id": "c", "name": "f", "content": "[error: timeout]\nlate"}


@pytest.mark.parametrize("p", [Xml(), OpenAI()], ids=lambda p: p.name)
def test_the_prompt_teaches_by_a_call_that_reads_back(p: Protocol) -> None:
    prompt = p.render_tools([SEARCH, Spec()])
    call = ToolCall("search", {"q": "...", "k": 1})
    assert p.format(Action(calls=(call,))) in prompt
    for tool in (SEARCH, Spec()):
        assert tool.description in prompt
        assert encode(tool.parameters) in prompt
    assert p.render_tools([])
    assert p.render_tools([SEARCH], peer=True) != p.render_tools([SEARCH])


def test_fenced_prompt() -> None:
    prompt = Fenced().render_tools([Spec()])
    assert "```python\n" in prompt
    assert "\\boxed{" in prompt
    assert "Run Python code." in prompt


def test_support() -> None:
    assert Xml().supports([SEARCH, Spec()]) == ""
    assert OpenAI().supports([SEARCH, Spec()]) == ""
    assert Fenced().supports([Spec()]) == ""
    assert "search(q, k)" in Fenced().supports([SEARCH])
    assert "exactly one tool" in Fenced().supports([])
    assert "'a<b'" in Xml().supports([Spec("a<b")])
    assert "64" in OpenAI().supports([Spec("a b")])
