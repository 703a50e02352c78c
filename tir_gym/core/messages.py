"""The transcript as chat messages: the same text, for those who think in roles."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from tir_gym.core.episode import Episode, Piece
from tir_gym.core.transcript import Content, Entry, Source, images_of

Message = dict[str, Any]
"""{"id", "role", "source", "content": [{"type": "text", "text"} | {"type": "image", "id", "image"}], and for a native
tool message "tool_call_id" and "name"}. Ids are stable within the episode. `source` is the `Source` that wrote it; the
role does not tell, for a text protocol shows a tool's results as the words of a user."""

ContextView = Callable[[Episode, str], list[Message]]
"""A pure function of an episode and an actor: what that actor is shown of the past."""


def whole_history(episode: Episode, actor: str) -> list[Message]:
    """Everything the actor wrote or may see, in order."""
    entries = (e for e in episode.transcript if actor in e.visible_to or e.actor == actor)
    return as_messages(episode, episode.pieces(entries), actor)


def as_messages(episode: Episode, pieces: Iterable[Piece], actor: str) -> list[Message]:
    """Messages to `actor`: its own as assistant, tools natively where the protocol does, all else as user.

    Where the protocol has no tool messages, a turn's results are one user message of the text that `step` returned.
    """
    native = episode.setting.protocol.native
    messages: list[Message] = []
    for piece in pieces:
        first = piece.entries[0]
        if first.actor == actor:
            messages.append(_own(first, native))
        elif native and (first.source is Source.TOOL or (first.source is Source.ENV and first.turn > 0)):
            messages += _native(piece)
        else:
            role = "system" if first.source is Source.SYSTEM else "user"
            images = [image for entry in piece.entries for image in _images(entry.content)]
            content = [_text(piece.text), *images]
            messages.append({"id": first.id, "role": role, "source": first.source.value, "content": content})
    return messages


def _own(entry: Entry, native: bool) -> Message:
    """A completion as the assistant message it is, with native calls where it has them."""
    source = entry.source.value
    message: Message = {"id": entry.id, "role": "assistant", "source": source, "content": [_text(entry.text)]}
    if native:
        try:
            said = json.loads(entry.text)
        except (ValueError, RecursionError):
            return message
        if isinstance(said, dict) and said.get("role") == "assistant":
            message |= {**said, "content": [_text(str(said.get("content") or ""))]}
    return message


def _native(piece: Piece) -> list[Message]:
    """Tool results and feedback, whose text is messages already, with ids and images."""
    told: list[Message] = json.loads(piece.text)
    return [
        {
            **message,
            "id": entry.id,
            "source": entry.source.value,
            "content": [_text(message["content"]), *_images(entry.content)],
        }
        for entry, message in zip(piece.entries, told, strict=True)
    ]


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _images(content: tuple[Content, ...]) -> list[dict[str, Any]]:
    """The image parts; pixels are copied, so that what a caller does to them stays with the caller."""
    return [{"type": "image", "id": image.id, "image": image.pixels.copy()} for image in images_of(content)]
