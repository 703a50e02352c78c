"""JSON is read exactly as the standard has it, within bounds."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.samples import E, json_values, kinds, native, texts
from tir_gym.protocols import OpenAI, Xml
from tir_gym.protocols.json_args import MAX_DEPTH, BadJson, decode, decode_members, encode


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        '{"a":1,"a":2}',
        "[" * 10**6,
        '{"a":' * 10**5,
        "1" * 5000,
        '"\\ud800"',
        "'a'",
        "[1,]",
        '"\n"',
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "1 2",
        "01",
    ],
    ids=range(17),
)
def test_json_that_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        decode(text)
    call = Xml().parse(f'<call name="f"><arg name="x" type="json">{text}</arg></call>')
    assert kinds(call) == [E.BAD_JSON]
    assert kinds(OpenAI().from_message(native(f'{{"x":{text}}}'))) == [E.BAD_JSON]


def test_json_depth_does_not_depend_on_the_stack() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert encode(decode(deepest)) == deepest
    assert decode('"' + "[" * 100 + '"') == "[" * 100
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(BadJson):
            decode("[" * 10**6)
    finally:
        sys.setrecursionlimit(limit)


@given(st.dictionaries(texts, json_values, max_size=4))
def test_members_are_those_of_the_object(value: dict[str, Any]) -> None:
    for text in (encode(value), json.dumps(value, indent=1)):
        try:
            expected = decode(text)
        except BadJson:
            continue
        members = decode_members(text)
        assert {key: member.value for key, member in members.items()} == expected
        for key, member in members.items():
            assert decode("{" + text[member.start : member.end] + "}") == {key: member.value}


@given(texts)
def test_members_agree_with_decode_on_any_text(text: str) -> None:
    for whole in (text, "{" + text, '{"a":' + text, '{"a":1' + text, '{"a":1}' + text):
        try:
            expected = decode(whole)
        except BadJson:
            expected = None
        if isinstance(expected, dict):
            assert {key: member.value for key, member in decode_members(whole).items()} == expected
        else:
            with pytest.raises(BadJson):
                decode_members(whole)
