"""From chat messages to tokens, so that what a policy sampled is never encoded again."""

import contextlib
import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tir_gym.core.messages import Message
from tir_gym.core.transcript import Source
from tir_gym.rollout.tokenizer import ChatTokenizer, MessagesRefused
from tir_gym.rollout.tokens import ImageRef, Role

Kind = Literal["tool", "user"]
KINDS: tuple[Kind, ...] = ("tool", "user")
"""What may be said to a policy after its turn: a tool's result, or words of a user."""

_BY_SOURCE: Mapping[str, Role] = {source.value: Role.USER if source is Source.USER else Role.TOOL for source in Source}
_BY_ROLE: Mapping[str, Role] = {"user": Role.USER}


class UnstableTemplate(ValueError):  # noqa: N818
    """The chat template writes the past anew when something is said, so that tokens cannot be appended."""


@dataclass(frozen=True)
class Suffix:
    """Tokens to append: ids, a role for each, and the images among them."""

    ids: tuple[int, ...]
    roles: tuple[Role, ...]
    images: tuple[ImageRef, ...] = ()


class ChatCodec:
    """Prompts and suffixes of a chat template: what comes before the policy's first turn, and between its turns.

    At construction it is proved that the template is *prefix-stable* for `kinds`: that what it wrote before stays as
    it is when a tool's result or a user's words follow, whatever came before, reasoning included. Where it is not,
    `UnstableTemplate` says what changed; with `on_unstable="append"` the tokens of a turn are then left as they were
    sampled and suffixes appended to them, so that a policy reads its own past unabridged (the template itself would
    have dropped, say, earlier reasoning).
    Where the template refuses a system's words, they come first in those of the user. With `image_token`, each image
    must be one such token of the template, and is referred to at its position.
    Raises `ValueError` for a template that does not end an assistant's turn with the tokenizer's `end`, or takes no
    messages of a kind, and for an `image_token` that is not one token.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        *,
        kinds: Sequence[Kind] = KINDS,
        on_unstable: Literal["error", "append"] = "error",
        image_token: str = "",
    ) -> None:
        if on_unstable not in ("error", "append"):
            raise ValueError(f"on_unstable={on_unstable!r} is not 'error' or 'append'")
        self.tokenizer = tokenizer
        self._end_text = tokenizer.decode([tokenizer.end])
        self._image = self._one_token(image_token) if image_token else -1
        self._wants_parts = _SAID not in tokenizer.render(_dummy("user")[:1], (), generation=False)
        """Whether the template shows what is said only where content is a list of parts."""
        self._takes_system = self._takes(_dummy("user", system=True))
        faults = {kind: self._fault(kind, tools=_TOOLS if "tool" in kinds else ()) for kind in kinds}
        self.unstable: tuple[Kind, ...] = tuple(kind for kind in kinds if faults[kind])
        """Kinds of messages before which the template writes the past anew."""
        if self.unstable and on_unstable == "error":
            raise UnstableTemplate(
                f"{faults[self.unstable[0]]}; use a template that keeps what it wrote, or on_unstable='append' to "
                "append to what was sampled"
            )

    def prompt(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> Suffix:
        """All tokens up to where the policy is to begin; `tools` are OpenAI schemas, where the template shows them."""
        if not self._takes_system:
            messages = _folded(messages)
        chat = [_chat(message) for message in messages]
        marked, said = _mark(chat)
        text, frame = (self._render(version, tools, generation=True) for version in (chat, marked))
        ids, _ = self._encode(text, _places(text, frame, said), messages)
        return Suffix(ids, (Role.PROMPT,) * len(ids), self._images(ids, messages))

    def suffix(self, messages: Sequence[Message], last: int) -> Suffix:
        """What is to be appended after a turn whose last sampled token is `last`, so that the policy can go on.

        What a message says has the role of who says it, all else is scaffold; the role covers all of it where the
        template changes what is said (as JSON, say). Where the engine stopped without the token that ends a turn (for
        length, or at a stop string), it is put in with the role `BOUNDARY`. Ids of calls that the template refuses are
        replaced, for a policy may write any.
        """
        try:
            text, said, places = self._told(messages)
        except MessagesRefused:
            text, said, places = self._told(_renumbered(messages))
        ids, starts = self._encode(text, places, messages, after=self._end_text)
        roles = [_role(messages[0]) if places is None else Role.SCAFFOLD] * len(ids)
        for number, start, end in places or ():
            first, after = bisect_left(starts, start), bisect_left(starts, end)
            roles[first:after] = [_role(messages[said[number].message])] * (after - first)
        if last != self.tokenizer.end:
            ids, roles = (self.tokenizer.end, *ids), [Role.BOUNDARY, *roles]
        return Suffix(ids, tuple(roles), self._images(ids, messages))

    def _told(self, messages: Sequence[Message]) -> tuple[str, list["_Said"], list[tuple[int, int, int]] | None]:
        """What the template writes of messages after a turn, what they say, and where that is."""
        past = _dummy("tool", result=messages[0]) if messages[0]["role"] == "tool" else _dummy("user")
        chat = [_chat(message) for message in messages]
        marked, said = _mark(chat)
        (text, _), (frame, _) = self._between(past, chat), self._between(past, marked)
        return text, said, _places(text, frame, said)

    def _one_token(self, text: str) -> int:
        ids, _ = self.tokenizer.encode(text)
        if len(ids) != 1:
            raise ValueError(f"image_token={text!r} is {len(ids)} tokens; name the one that stands for an image")
        return ids[0]

    def _render(self, chat: Sequence[Message], tools: Sequence[dict[str, Any]], *, generation: bool) -> str:
        if self._wants_parts:
            chat = [{**message, "content": _as_parts(message)} for message in chat]
        return self.tokenizer.render(chat, tools, generation=generation)

    def _takes(self, chat: Sequence[Message]) -> bool:
        try:
            self._render(chat, (), generation=False)
        except MessagesRefused:
            return False
        return True

    def _between(
        self, past: Sequence[Message], messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()
    ) -> tuple[str, bool]:
        """Text from the end of the last turn of `past` to where the next begins, and whether the past stays.

        Where it does not, the last turn is found again by its words. Raises `UnstableTemplate` where they are gone.
        """
        before = self._render(past, tools, generation=False)
        after = self._render([*past, *messages], tools, generation=True)
        end = before.rfind(self._end_text) + len(self._end_text)
        if not before[:end].endswith(self._end_text):
            raise ValueError(
                f"the chat template does not end a turn with {self._end_text!r}, the tokenizer's `end`; it ends "
                f"{before[-40:]!r}"
            )
        if after.startswith(before[:end]):
            return after[end:], True
        turns = before.count(_TURN)
        pieces = after.split(_TURN, turns)
        _, found, told = pieces[turns].partition(self._end_text) if len(pieces) > turns > 0 else ("", "", "")
        if not found:
            raise UnstableTemplate(f"the chat template drops what was said before a {messages[0]['role']} message")
        return told, False

    def _fault(self, kind: Kind, tools: Sequence[dict[str, Any]]) -> str:
        """How the template is unstable before messages of a kind, "" if it is stable.

        Pasts that the template refuses do not come. Raises `ValueError` where it takes no messages of the kind at all.
        """
        message: Message = _RESULT if kind == "tool" else {"role": kind, "content": _SAID}
        try:
            expected, _ = self._between(_dummy(kind), [message])
        except MessagesRefused as error:
            raise ValueError(f"{error}; leave {kind!r} out of `kinds` if there are no {kind} messages") from error
        if _TURN in expected:
            raise ValueError(f"the chat template does not end a turn with {self._end_text!r} before a {kind} message")
        if _SAID not in expected:
            raise ValueError(f"the chat template does not show {kind} messages; leave {kind!r} out of `kinds`")
        pasts = (
            _dummy(kind),
            _dummy(kind, reasoning=True),
            _dummy(kind, system=True),
            [*_dummy("user"), *_dummy(kind)],
            [*_dummy("tool"), _RESULT, *_dummy(kind)[1:]],
        )
        for past, shown in ((past, shown) for past in pasts for shown in ((), tools)):
            try:
                opening, turn = (self._render(p, shown, generation=False) for p in (past[:-1], past))
                found, stays = self._between(past, [message], shown)
            except MessagesRefused:
                continue
            if not stays:
                return f"the chat template changes earlier turns when a {kind} message follows"
            if not turn.startswith(opening[: opening.rfind(_SAID)]):
                return "the chat template changes what was said to the policy once it has spoken"
            if found != expected:
                return f"what the chat template writes between a turn and a {kind} message depends on earlier turns"
        return ""

    def _encode(
        self,
        text: str,
        places: Sequence[tuple[int, int, int]] | None,
        messages: Sequence[Message],
        *,
        after: str = "",
    ) -> tuple[tuple[int, ...], Sequence[int]]:
        """Token ids of text, as they are where it comes `after` a special token, and where each begins.

        Special tokens that somebody says are encoded as plain text, or a tool's result could end its own turn.
        """
        loaded = [s for s in self.tokenizer.special if any(s in _text(message) for message in messages)]
        if loaded and places is None:
            raise ValueError(f"a message says {loaded[0]!r}, and the chat template changes what messages say")
        shift, text = len(after), after + text
        said = [(shift + start, shift + end) for _, start, end in places or ()] if loaded else []
        ids: list[int] = []
        starts: list[int] = []
        at = 0
        for start, end in (*said, (len(text), len(text))):
            for begin, stop, plain in ((at, start, False), (start, end, True)):
                found, offsets = self.tokenizer.encode(text[begin:stop], plain=plain)
                ids += found
                starts += [begin + offset - shift for offset in offsets]
            at = end
        first = 1 if after else 0
        return tuple(ids[first:]), starts[first:]

    def _images(self, ids: Sequence[int], messages: Sequence[Message]) -> tuple[ImageRef, ...]:
        names = [part["id"] for message in messages for part in _parts(message) if part["type"] == "image"]
        places = [i for i, token in enumerate(ids) if token == self._image] if self._image >= 0 else [0] * len(names)
        if len(places) != len(names):
            raise ValueError(f"{len(names)} images, but {len(places)} image tokens in what the chat template wrote")
        return tuple(ImageRef(name, place) for name, place in zip(names, places, strict=True))


_SAID, _TURN = "~?~", "~!~"
"""What is said in stock conversations, and what the policy says."""
_RESULT: Message = {"role": "tool", "tool_call_id": "call00000", "name": "look", "content": _SAID}
_TOOLS = (
    {
        "type": "function",
        "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
    },
)


def _dummy(kind: Kind, *, reasoning: bool = False, system: bool = False, result: Message = _RESULT) -> list[Message]:
    """A stock conversation whose last turn may be followed by a message of a kind, such as `result` of its call."""
    said: Message = {"role": "assistant", "content": f"<think>\nhm\n</think>\n\n{_TURN}" if reasoning else _TURN}
    if kind == "tool":
        function = {"name": result.get("name", "look"), "arguments": {"at": _TURN}}
        said["tool_calls"] = [{"id": result["tool_call_id"], "type": "function", "function": function}]
    opening: list[Message] = [{"role": "system", "content": _SAID}] if system else []
    return [*opening, {"role": "user", "content": _SAID}, said]


def _renumbered(messages: Sequence[Message]) -> list[Message]:
    """Messages with ids of calls that any template takes: nine letters and digits."""
    return [m | {"tool_call_id": f"call{i:05}"} if "tool_call_id" in m else m for i, m in enumerate(messages)]


def _folded(messages: Sequence[Message]) -> Sequence[Message]:
    """Messages with the words of a leading system message in those of the user after it."""
    if [message["role"] for message in messages[:2]] != ["system", "user"]:
        return messages
    system, user, *rest = messages
    between = {"type": "text", "text": "\n\n"}
    return [{**user, "content": [*_as_parts(system), between, *_as_parts(user)]}, *rest]


class _Said(NamedTuple):
    """A text in one of the messages."""

    message: int
    text: str


def _mark(messages: Sequence[Message]) -> tuple[list[Message], list[_Said]]:
    """Messages with a mark in place of each text, and the texts."""
    marked: list[Message] = []
    said: list[_Said] = []

    def mark(number: int, text: str) -> str:
        if not text.strip():
            return text
        said.append(_Said(number, text))
        return f"\ue000{len(said) - 1}\ue001"

    for number, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, str):
            content = mark(number, content)
        else:
            content = [p | {"text": mark(number, p["text"])} if p["type"] == "text" else p for p in content]
        marked.append({**message, "content": content})
    return marked, said


def _places(text: str, frame: str, said: Sequence[_Said]) -> list[tuple[int, int, int]] | None:
    """(number, start, end) of each text, as the frame with its marks tells; None where the template changed one."""
    found: list[tuple[int, int, int]] = []
    at = 0
    scaffold, *rest = re.split("\ue000(\\d+)\ue001", frame)
    for number, after in zip(map(int, rest[::2]), rest[1::2], strict=True):
        start = at + len(scaffold)
        whole = said[number].text
        forms = (whole, whole.strip(), json.dumps(whole, ensure_ascii=False)[1:-1])
        spoken = next((s for s in forms if text.startswith(f"{scaffold}{s}{after}", at)), None)
        if spoken is None:
            return None
        at, scaffold = start + len(spoken), after
        found.append((number, start, at))
    return found if text[at:] == scaffold and len(found) == len(said) else None


def _role(message: Message) -> Role:
    return _BY_SOURCE.get(message.get("source", ""), _BY_ROLE.get(message["role"], Role.TOOL))


def _as_parts(message: Message) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "".join(p["text"] for p in _parts(message) if p["type"] == "text")


def _chat(message: Message) -> Message:
    """A message as templates take it: text alone is a string, arguments of calls are objects."""
    plain: Message = {key: value for key, value in message.items() if key not in ("id", "source")}
    if all(part["type"] == "text" for part in _parts(message)):
        plain["content"] = _text(message)
    else:
        plain["content"] = [
            part if part["type"] == "text" else {"type": "image"} for part in _parts(message) if part.get("text", "?")
        ]
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [{**call, "function": _function(call["function"])} for call in calls]
    return plain


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):
            arguments = json.loads(arguments or "{}")
    return {**function, "arguments": arguments}
