"""What is particular to the tags."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from tests.protocols.samples import CALL, ONE, E, both_modes, check_round_trip, kinds, mended, xml_actions
from tir_gym.core.action import Action, ParseErrorType, ToolCall
from tir_gym.protocols import Xml


@both_modes
@given(action=xml_actions)
def test_xml_expresses_every_kind_of_action(mode: Any, action: Action) -> None:
    check_round_trip(Xml(mode), action)


@pytest.mark.parametrize(
    ("text", "lenient", "repairs", "strict", "errors"),
    [
        (
            "so <answer>1</answer>",
            Action("so", answer="1"),
            [E.TEXT_BETWEEN_TAGS],
            Action(answer="1"),
            [E.TEXT_BETWEEN_TAGS],
        ),
        ("<answer>1", Action(answer="1"), [E.UNCLOSED_TAG], Action(), [E.UNCLOSED_TAG]),
        (CALL[:-7], Action(calls=ONE), [E.UNCLOSED_TAG], Action(), [E.UNCLOSED_TAG]),
        (
            '<call name="f"><arg name="x">1</call>',
            Action(calls=(ToolCall("f", {"x": "1"}),)),
            [E.UNCLOSED_TAG],
            Action(),
            [E.UNCLOSED_TAG],
        ),
        (
            "<answer>1</answer><answer>2</answer>",
            Action(answer="1"),
            [E.DUPLICATE_ANSWER],
            Action(answer="1"),
            [E.DUPLICATE_ANSWER],
        ),
        (
            "<confidence>80%</confidence><answer>1</answer>",
            Action(answer="1", confidence=0.8),
            [E.BAD_CONFIDENCE],
            Action(answer="1"),
            [E.BAD_CONFIDENCE],
        ),
        ("<answer>1</answer> bye", Action(answer="1"), [], Action(answer="1"), [E.TEXT_BETWEEN_TAGS]),
    ],
)
def test_xml_lenient_mends_what_strict_reports(
    text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    read = Xml().parse(text)
    assert read == lenient
    assert mended(read) == repairs
    read = Xml("strict").parse(text)
    assert replace(read, errors=()) == strict
    assert kinds(read) == errors
    assert not read.repairs


@both_modes
@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("<think>hm", Action("hm"), [E.UNCLOSED_TAG, E.NO_ACTION]),
        ("<think>a <answer>1</answer></think>", Action("a <answer>1</answer>"), [E.NO_ACTION]),
        ('<call name="f"><arg name="x">1', Action(), [E.UNCLOSED_TAG]),
        ('<call name="f"><arg name="x" type="json">{</arg></call>', Action(), [E.BAD_JSON]),
        ('<call name="f"><arg name="x" type="json">NaN</arg></call>' + CALL, Action(calls=ONE), [E.BAD_JSON]),
        ('<call name="f"><call name="g"></call>', Action(), [E.NESTED_TAG]),
        ('<call name="f">{"x": 1}</call>', Action(), [E.BAD_ACTION]),
        ("<call name=f></call>" + CALL, Action(calls=ONE), [E.BAD_ACTION]),
        ('<call name="f"><arg name="x">1</arg><arg name="x">2</arg></call>', Action(), [E.BAD_ACTION]),
        ("<confidence>2</confidence><answer>1</answer>", Action(answer="1"), [E.BAD_CONFIDENCE]),
        ("<answer>1</answer>\n<confidence>sure</confidence>", Action(answer="1"), [E.BAD_CONFIDENCE]),
        ("<confidence>1", Action(), [E.UNCLOSED_TAG, E.NO_ACTION]),
        ("<answer>1</answer>\n<confidence>0.25</confidence>", Action(answer="1", confidence=0.25), []),
        (CALL + "\n\n" + CALL, Action(calls=ONE + ONE), []),
        ("<answer>\n 42\n</answer>", Action(answer=" 42"), []),
        ("<think>\nx\n</think>\n\n<finish>tired</finish>", Action("x", finish="tired"), []),
    ],
)
def test_xml_reads(mode: Any, text: str, expected: Action, errors: list[ParseErrorType]) -> None:
    read = Xml(mode).parse(text)
    assert replace(read, errors=()) == expected
    assert kinds(read) == errors


def test_xml_calls_after_other_text_are_tail() -> None:
    assert Xml().parse(f"{CALL}<result>1</result>{CALL}").calls == ONE
    assert kinds(Xml("strict").parse(f"{CALL} and {CALL}")) == [E.TEXT_BETWEEN_TAGS]
