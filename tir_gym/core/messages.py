"""The transcript as chat messages: the same text, for those who think in roles."""

from collections.abc import Callable, Iterable
from typing import Any

from tir_gym.core.episode import Episode
from tir_gym.core.interfaces import Protocol
from tir_gym.core.transcript import Content, Entry, Source, TextPart

Message = dict[str, Any]
"""{"id", "role", "content": [{"type": "text", "text"} | {"type": "image", "id", "image"}], and for a native tool
message "tool_call_id" and "name"}. Ids are stable within the episode."""

ContextView = Callable[[Episode, str], list[Message]]
"""A pure function of an episode and an actor: what that actor is shown of the past."""


def whole_history(episode: Episode, actor: str) -> list[Message]:
    """Everything the actor wrote or may see, in order."""
    entries = (e for e in episode.transcript if actor in e.visible_to or e.actor == actor)
    return as_messages(episode, entries, actor)


def as_messages(episode: Episode, entries: Iterable[Entry], actor: str) -> list[Message]:
    """Entries as messages to `actor`: its own as assistant, tools natively where the protocol does, all else as user.

    Where the protocol has no tool messages, a turn's results are one user message of the text that `step` returned.
    """
    protocol = episode.setting.protocol
    messages: list[Message] = []
    results: list[Entry] = []
    for entry in entries:
        if entry.source is Source.TOOL and not protocol.native:
            results.append(entry)
            continue
        if results:
            messages.append(_results_message(episode, results))
            results = []
        messages.append(_message(episode, protocol, entry, actor))
    if results:
        messages.append(_results_message(episode, results))
    return messages


def _message(episode: Episode, protocol: Protocol, entry: Entry, actor: str) -> Message:
    if entry.source is Source.TOOL:
        record = episode.calls[entry.call]
        label = record.label or f"call_{entry.call}"
        return {
            "id": entry.id,
            "role": "tool",
            "tool_call_id": label,
            "name": record.tool,
            "content": _parts(entry.content),
        }
    if entry.actor == actor:
        return {"id": entry.id, "role": "assistant", "content": [{"type": "text", "text": entry.text}]}
    text = entry.told
    if entry.source is Source.ENV and entry.turn > 0:
        text = protocol.render_feedback(text)
    images = [part for part in _parts(entry.content) if part["type"] == "image"]
    role = "system" if entry.source is Source.SYSTEM else "user"
    return {"id": entry.id, "role": role, "content": [{"type": "text", "text": text}, *images]}


def _results_message(episode: Episode, entries: list[Entry]) -> Message:
    text = episode.setting.protocol.render_results([episode.shown(entry) for entry in entries])
    images = [part for entry in entries for part in _parts(entry.content) if part["type"] == "image"]
    return {"id": entries[0].id, "role": "user", "content": [{"type": "text", "text": text}, *images]}


def _parts(content: tuple[Content, ...]) -> list[dict[str, Any]]:
    """The content as JSON-like parts; pixels are copied, so that what a caller does to them stays with the caller."""
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image", "id": part.id, "image": part.pixels.copy()}
        for part in content
    ]
