"""What is particular to chat messages."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from tests.protocols.samples import ONE, E, both_modes, check_round_trip, kinds, native, openai_actions
from tir_gym.core.action import Action, Part, ToolCall
from tir_gym.protocols import OpenAI


@both_modes
@given(action=openai_actions)
def test_openai_expresses_calls_answers_and_messages(mode: Any, action: Action) -> None:
    check_round_trip(OpenAI(mode), action)


@pytest.mark.parametrize(
    ("text", "lenient", "errors", "strict_errors"),
    [
        ("42", Action(answer="42"), [], [E.BAD_JSON]),
        ('{"a": 1}', Action(answer='{"a": 1}'), [], [E.BAD_ACTION]),
        ('{"content": "42"}', Action(answer="42"), [], [E.BAD_ACTION]),
        ('{"role":"assistant","content":"42"', Action(), [E.BAD_JSON], [E.BAD_JSON]),
        ('{"role":"assistant","content":"1","content":"2"}', Action(), [E.BAD_JSON], [E.BAD_JSON]),
        ('Here it is: {"role":"assistant","tool_calls":[]}', Action(), [E.BAD_JSON], [E.BAD_JSON]),
        ('{"role":"user","content":"42"}', Action(), [E.BAD_ACTION], [E.BAD_ACTION]),
        (json.dumps(native("")), Action("hm", (ToolCall("f"),)), [], [E.BAD_JSON]),
    ],
)
def test_openai_reads(text: str, lenient: Action, errors: Any, strict_errors: Any) -> None:
    read = OpenAI().parse(text)
    assert replace(read, errors=()) == lenient
    assert kinds(read) == errors
    assert bool(read.repairs) == (not errors)
    assert kinds(OpenAI("strict").parse(text)) == strict_errors


def test_openai_cut_plain_text_is_no_answer() -> None:
    read = OpenAI().parse("The answer is prob", cut=True)
    assert read.void
    assert kinds(read) == [E.UNCLOSED_TAG]


def test_openai_spans_point_at_members() -> None:
    text = OpenAI().format(Action("t", ONE))
    read = OpenAI().parse(text)
    assert [(s.part, text[s.start : s.end].partition(":")[0]) for s in read.spans] == [
        (Part.THOUGHT, '"reasoning_content"'),
        (Part.CALL, '"tool_calls"'),
    ]
