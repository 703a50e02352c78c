"""Everything a caller may hand to `step`, as one `Action`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tir_gym.core.action import Action, Completion, ParseError, ParseErrorType, Repair, ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import NotExpressible

ActionInput = str | Completion | Mapping[str, Any] | Sequence[ToolCall] | Action
"""A raw completion, a chat assistant message, tool calls, or an action already parsed."""


def to_action(setting: Setting, given: ActionInput) -> Action:
    """Parse what was given; nothing that a policy can write raises. `TypeError` for what is no action at all."""
    protocol = setting.protocol
    peer = len(setting.domain.actors) > 1
    if isinstance(given, str):
        if len(given) > setting.max_chars:
            return _overlong(given, setting.max_chars)
        text, repairs = _scrub(given)
        cut = isinstance(given, Completion) and given.stop_reason == "length"
        return _repaired(protocol.parse(text, cut=cut, peer=peer), repairs)
    if isinstance(given, Mapping):
        raw = json.dumps(given, ensure_ascii=True, default=str, sort_keys=True)
        if len(raw) > setting.max_chars:
            return _overlong(raw, setting.max_chars)
        return protocol.from_message(dict(given), peer=peer)
    if isinstance(given, Action):
        return given if given.raw else _written(setting, given)
    calls = tuple(item for item in given if isinstance(item, ToolCall)) if isinstance(given, Sequence) else ()
    if isinstance(given, Sequence) and len(calls) == len(given):
        return _written(setting, Action(calls=calls))
    raise TypeError(
        f"an action is a completion (str), a chat message (dict), a list of ToolCall or an Action, "
        f"not {type(given).__name__}"
    )


def _written(setting: Setting, action: Action) -> Action:
    """An action that came without text, with the text and spans it would have had."""
    protocol = setting.protocol
    try:
        parsed = protocol.parse(protocol.format(action), peer=len(setting.domain.actors) > 1)
    except NotExpressible:
        parsed = Action()
    if parsed != action:
        raw = json.dumps([[call.name, call.arguments] for call in action.calls], default=str)
        parsed = Action(raw=f"{raw} {action.finish or action.answer or action.message or ''}".strip())
    return replace(action, answer_origin="call", raw=parsed.raw, spans=parsed.spans)


def _scrub(text: str) -> tuple[str, tuple[Repair, ...]]:
    """Text without lone surrogates, which no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        scrubbed = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
        return scrubbed, (Repair("surrogate", "lone surrogates became U+FFFD"),)
    return str(text), ()


def _repaired(action: Action, repairs: tuple[Repair, ...]) -> Action:
    if not repairs:
        return action
    return replace(action, repairs=action.repairs + repairs)


def _overlong(text: str, limit: int) -> Action:
    kept, _ = _scrub(text[:limit])
    error = ParseError(
        ParseErrorType.OVERLONG, f"the turn has {len(text)} characters, the limit is {limit}: nothing was run", 0, limit
    )
    return Action(raw=kept, errors=(error,))
