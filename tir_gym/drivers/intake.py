"""Everything a caller may hand to `step`, as one `Action`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tir_gym.core.action import Action, Completion, ParseError, ParseErrorType, Repair, ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import NotExpressible

ActionInput = str | Completion | Mapping[str, Any] | Sequence[ToolCall] | Action
"""A raw completion, a chat assistant message, tool calls, or an action already parsed."""

MAX_DEPTH = 64
"""Messages and arguments nested deeper are refused, as the protocols refuse them in text."""

MAX_INTEGER = 10**4300
"""The largest integer that Python reads and writes in its default configuration."""

SURROGATE = Repair("surrogate", "lone surrogates became U+FFFD")


def to_action(setting: Setting, given: ActionInput) -> Action:
    """Parse what was given; nothing that a policy can write raises. `TypeError` for what is no action at all."""
    peer = len(setting.domain.actors) > 1
    if isinstance(given, str):
        if len(given) > setting.max_chars:
            return _overlong(given, setting.max_chars)
        text = scrub(given)
        cut = isinstance(given, Completion) and given.stop_reason == "length"
        action = setting.protocol.parse(text, cut=cut, peer=peer)
        return action if text == given else replace(action, repairs=(*action.repairs, SURROGATE))
    if isinstance(given, Mapping):
        try:
            message = clean(given)
        except ValueError as error:
            return Action(errors=(ParseError(ParseErrorType.BAD_JSON, f"the message is not JSON data: {error}"),))
        raw = json.dumps(message, ensure_ascii=False)
        if len(raw) > setting.max_chars:
            return _overlong(raw, setting.max_chars)
        action = setting.protocol.from_message(message, peer=peer)
        return replace(action, repairs=(*action.repairs, SURROGATE)) if "\ufffd" in raw else action
    if isinstance(given, Action):
        return _written(setting, given)
    if isinstance(given, Sequence) and not isinstance(given, bytes | bytearray | memoryview):
        calls = tuple(item for item in given if isinstance(item, ToolCall))
        if len(calls) == len(given):
            return _written(setting, Action(calls=calls))
    raise TypeError(
        f"an action is a completion (str), a chat message (dict), a list of ToolCall or an Action, "
        f"not {type(given).__name__}"
    )


def _written(setting: Setting, action: Action) -> Action:
    """An action that came without text, with the text and spans it would have had, and JSON arguments."""
    try:
        calls = tuple(ToolCall(_name(call), clean(call.arguments), scrub(str(call.id))) for call in action.calls)
    except ValueError as error:
        return Action(errors=(ParseError(ParseErrorType.BAD_JSON, f"a tool call is not JSON data: {error}"),))
    action = replace(action, calls=calls, raw=scrub(action.raw))
    if action.raw:
        return action
    protocol = setting.protocol
    try:
        parsed = protocol.parse(protocol.format(action), peer=len(setting.domain.actors) > 1)
    except NotExpressible:
        parsed = Action()
    if parsed != action:
        said = json.dumps([[call.name, call.arguments] for call in action.calls])
        parsed = Action(raw=scrub(f"{said} {action.finish or action.answer or action.message or ''}".strip()))
    return replace(action, answer_origin="call", raw=parsed.raw, spans=parsed.spans)


def _name(call: ToolCall) -> str:
    if not isinstance(call.name, str) or not isinstance(call.arguments, Mapping):
        raise ValueError("a call has a name (str) and arguments (dict)")
    return scrub(call.name)


def clean(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A copy as plain JSON data without lone surrogates. Raises `ValueError` for anything that JSON cannot hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, int) and -MAX_INTEGER < value < MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth == 0:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {scrub(key): clean(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item, depth - 1) for item in value]
    raise ValueError(f"{type(value).__name__} is out of place in it")


def scrub(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return str(text)


def _overlong(text: str, limit: int) -> Action:
    error = ParseError(
        ParseErrorType.OVERLONG, f"the turn has {len(text)} characters, the limit is {limit}: nothing was run", 0, limit
    )
    return Action(raw=scrub(text[:limit]), errors=(error,))
