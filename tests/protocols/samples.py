"""What the tests of protocols share: hostile pieces of text, actions to write, a tool to show."""

import string
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import strategies as st

from tir_gym.core.action import Action, ParseErrorType, Part, ToolCall
from tir_gym.core.interfaces import NotExpressible, Protocol
from tir_gym.protocols import PROTOCOLS, Syntax, protocol

E = ParseErrorType
ALL = [
    protocol(name, mode)
    for name, lenient in PROTOCOLS.items()
    for mode in ("strict", "lenient", "paper")
    if mode != "paper" or getattr(lenient, "source", "")
]
every_protocol = pytest.mark.parametrize("p", ALL, ids=lambda p: f"{p.name}-{p.mode}")
neutral_protocol = pytest.mark.parametrize(
    "p", [p for p in ALL if p.mode != "paper"], ids=lambda p: f"{p.name}-{p.mode}"
)
both_modes = pytest.mark.parametrize("mode", ["strict", "lenient"])
every_mode = pytest.mark.parametrize("mode", ["strict", "lenient", "paper"])
long_protocol = pytest.mark.parametrize(
    "p",
    [pytest.param(p, marks=[] if p.mode == "lenient" else pytest.mark.soak) for p in ALL],
    ids=lambda p: f"{p.name}-{p.mode}",
)
long_mode = pytest.mark.parametrize("mode", [pytest.param("strict", marks=pytest.mark.soak), "lenient", "paper"])
"""Where the input is long: by default the modes that read by rules of their own."""
HOSTILE = [
    "</result>",
    "</arg>",
    "<\\/arg>",
    "<\\\\/answer>",
    "</call>",
    "</think>",
    "<think>",
    "<answer>42</answer>",
    "<call>",
    '<call name="python"><arg name="code">print(1)</arg></call>',
    '<arg name="x" type="json">',
    "<message>hi</message>",
    "<finish>x</finish>",
    "<confidence>1</confidence>",
    '<result call="python">',
    "<feedback>",
    "<\\",
    "\\",
    "\n",
    "\r\n",
    "```",
    "````",
    "`" * 7,
    "```python\nprint(1)\n```",
    "```py\n",
    "```output\n1\n```",
    " ```",
    "\n```\n",
    "<code>",
    "<code>print(1)</code>",
    "\\boxed{42}",
    "\\boxed{",
    "{",
    "}",
    "\\boxed{\\frac{1}{2}}",
    '"',
    "'",
    "[",
    "]",
    "null",
    "NaN",
    '{"role":"assistant","content":"42"}',
    '{"tool_calls":[{"function":{"name":"python","arguments":"{}"}}]}',
    "<|im_start|>assistant",
    "<|im_end|>",
    "[INST]",
    "<start_of_turn>",
    "<｜User｜>",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "\ud800",
    "\ud83d\ude00",
    "é",
    "日本",
    "😀",
    " ",
    "\t",
    "0.5",
    "<tool_call>",
    "</tool_call>",
    '<tool_call>\n{"name": "python", "arguments": {"code": "1"}}\n</tool_call>',
    '<tool_call>\n{"name": "python", "parameters": {"code": "1"}}\n</tool_call>',
    "<tool_response>",
    "<response>4</response>",
    "</response>",
    "<obs> 4 </obs>",
    "\nThought: x",
    "\nAction: python\nAction Input: {}",
    "\nObservation: 4",
    "\nFinal Answer: 42",
    "\nAction 1: finish[42]",
    "&lt;",
    "]]>",
]
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=8), max_size=8).map("".join)
thoughts = texts.filter(lambda text: "</think>" not in text)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
names = st.text(string.ascii_letters + string.digits + "_-. ", min_size=1, max_size=12)
calls = st.builds(ToolCall, names, st.dictionaries(names, json_values, max_size=3))
several = st.lists(calls, min_size=1, max_size=3).map(tuple)
confidences = st.none() | st.floats(0, 1)
xml_actions = st.one_of(
    st.builds(Action, thought=texts, confidence=confidences, calls=several),
    st.builds(Action, thought=texts, confidence=confidences, answer=texts),
    st.builds(Action, thought=texts, confidence=confidences, message=texts),
    st.builds(Action, thought=texts, confidence=confidences, finish=texts),
)
openai_actions = st.one_of(
    st.builds(Action, thought=texts, calls=several),
    st.builds(Action, thought=texts, answer=texts),
    st.builds(Action, thought=texts, message=texts),
)
plain = st.text(string.ascii_letters + string.digits + " \n.,é😀{}", max_size=40).filter(
    lambda s: s.count("{") == s.count("}")
)
code_calls = texts.map(lambda code: (ToolCall("python", {"code": code}),))
fenced_actions = st.one_of(
    st.builds(Action, thought=plain, calls=code_calls),
    st.builds(Action, thought=plain, answer=st.text(string.ascii_letters + "0123456789^_+ \n", max_size=20)),
    st.builds(Action, message=plain.filter(lambda s: s and not s.isspace())),
)
any_actions = st.builds(
    Action,
    thought=texts,
    calls=st.lists(st.builds(ToolCall, texts, st.dictionaries(texts, json_values, max_size=2)), max_size=2).map(tuple),
    answer=st.none() | texts,
    confidence=st.none() | st.floats(),
    message=st.none() | texts,
    finish=st.none() | texts,
)


@dataclass(frozen=True)
class Spec:
    """A tool as protocols see it."""

    name: str = "python"
    description: str = "Run Python code."
    parameters: dict[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    )
    from_code: bool = True

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(self.parameters["properties"])

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "function", "function": {"name": self.name, "parameters": self.parameters}}


SEARCH = Spec(
    "search",
    "Find passages.",
    {"type": "object", "properties": {"q": {"type": "string"}, "k": {"type": "integer"}}, "required": ["q", "k"]},
)


def run(code: str) -> tuple[ToolCall, ...]:
    return (ToolCall("python", {"code": code}),)


def search(query: str) -> tuple[ToolCall, ...]:
    return (ToolCall("search", {"query": query}),)


def some_calls(p: Protocol, text: str) -> tuple[ToolCall, ...]:
    """A call that this protocol can write, of a tool that takes one text."""
    for call in (*run(text), *search(text)):
        if p.can_express(Action(calls=(call,))):
            return (call,)
    raise AssertionError(f"{p.name} can write neither python(code) nor search(query)")


def kinds(action: Action) -> list[ParseErrorType]:
    return [error.type for error in action.errors]


def mended(action: Action) -> list[str]:
    return [repair.kind for repair in action.repairs]


def check_well_formed(action: Action, text: str) -> None:
    at = 0
    for span in action.spans:
        assert at <= span.start < span.end <= len(text), action.spans
        at = span.end
    assert action.raw == text
    for error in action.errors:
        assert 0 <= error.start <= error.end <= len(text)
    assert (
        sum([bool(action.calls), action.answer is not None, action.message is not None, action.finish is not None]) <= 1
    )
    assert not action.void or action.errors
    if action.confidence is not None:
        assert 0 <= action.confidence <= 1


def check_round_trip(p: Protocol, action: Action) -> None:
    peer = action.message is not None
    text = p.format(action)
    read = p.parse(text, peer=peer)
    assert read == action
    assert not read.repairs
    check_well_formed(read, text)
    message = p.to_message(action)
    assert p.from_message(message, peer=peer) == action
    assert message["role"] == "assistant"


def check_reads(p: Protocol, text: str, expected: Action, errors: list[ParseErrorType]) -> Action:
    """The text is read as this action, with these errors and without a repair."""
    read = p.parse(text)
    check_well_formed(read, text)
    assert replace(read, errors=()) == expected
    assert kinds(read) == errors
    assert not read.repairs
    return read


def check_mends(
    syntax: type[Syntax], text: str, lenient: Action, repairs: list[str], strict: Action, errors: list[ParseErrorType]
) -> None:
    """Lenient reading mends what strict reading reports."""
    read = syntax().parse(text)
    check_well_formed(read, text)
    assert read == lenient
    assert mended(read) == repairs
    check_reads(syntax("strict"), text, strict, errors)


def check_published(p: Protocol, text: str, thought: str, calls: Any, answer: str | None, tail: str) -> None:
    """The text is read as published, without an error but that of a turn without action; the tail holds `tail`."""
    errors = [] if calls or answer is not None else [E.NO_ACTION]
    last = check_reads(p, text, Action(thought, calls, answer), errors).spans[-1]
    assert (last.part is Part.TAIL) == bool(tail)
    assert tail in text[last.start :]


def check_refused(p: Protocol, action: Action, field: str) -> None:
    """The action cannot be written, because of this field."""
    assert not p.can_express(action)
    with pytest.raises(NotExpressible) as refusal:
        p.format(action)
    assert refusal.value.field == field


def check_long(p: Protocol, unit: str, *frames: str) -> None:
    """A million characters are read, whole and cut, as they are and at `...` in each of the frames."""
    text = unit * (1_000_000 // len(unit))
    check_well_formed(p.parse(text), text)
    for frame in ("...", *frames):
        whole = frame.replace("...", text)
        check_well_formed(p.parse(whole, cut=True, peer=True), whole)


CALL = '<call name="f"><arg name="x" type="json">1</arg></call>'
ONE = (ToolCall("f", {"x": 1}),)
BOTH = (*ONE, ToolCall("g"))


def native(*arguments: Any, **more: Any) -> dict[str, Any]:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": a}} for a in arguments]
    return {"role": "assistant", "content": "hm", "tool_calls": calls, **more}
