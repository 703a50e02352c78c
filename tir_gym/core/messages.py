"""The transcript as chat messages: the same text, for those who think in roles."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from tir_gym.core.episode import Episode
from tir_gym.core.interfaces import Protocol
from tir_gym.core.transcript import Content, Entry, Source, images_of

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
        if entry.source is Source.TOOL:
            results.append(entry)
            continue
        if results:
            messages += _results_messages(episode, results)
            results = []
        messages.append(_message(protocol, entry, actor))
    if results:
        messages += _results_messages(episode, results)
    return messages


def _message(protocol: Protocol, entry: Entry, actor: str) -> Message:
    if entry.actor == actor:
        return {"id": entry.id, "role": "assistant", "content": [{"type": "text", "text": entry.text}]}
    text = entry.told
    if entry.source is Source.ENV and entry.turn > 0:
        text = protocol.render_feedback(text)
        if protocol.native:
            text = json.loads(text)[0]["content"]
    role = "system" if entry.source is Source.SYSTEM else "user"
    return {"id": entry.id, "role": role, "content": [{"type": "text", "text": text}, *_images(entry.content)]}


def _results_messages(episode: Episode, entries: list[Entry]) -> list[Message]:
    """The results of a turn: one user message, or a tool message each, worded as the protocol words them."""
    protocol = episode.setting.protocol
    text = protocol.render_results([episode.shown(entry) for entry in entries])
    if not protocol.native:
        images = [image for entry in entries for image in _images(entry.content)]
        return [{"id": entries[0].id, "role": "user", "content": [{"type": "text", "text": text}, *images]}]
    return [
        {**message, "id": entry.id, "content": [{"type": "text", "text": message["content"]}, *_images(entry.content)]}
        for entry, message in zip(entries, json.loads(text), strict=True)
    ]


def _images(content: tuple[Content, ...]) -> list[dict[str, Any]]:
    """The image parts; pixels are copied, so that what a caller does to them stays with the caller."""
    return [{"type": "image", "id": image.id, "image": image.pixels.copy()} for image in images_of(content)]
