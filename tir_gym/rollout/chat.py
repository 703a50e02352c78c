"""What a chat endpoint is sent and what it says, as data: no input or output happens here."""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tir_gym.core.action import Action, Completion, ParseErrorType
from tir_gym.core.domain import Setting
from tir_gym.core.messages import Message
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.intake import ActionInput
from tir_gym.protocols.json_args import encode

MAX_STOPS = 4
"""Stop strings that the chat API takes; the completion is cut at every one of them here."""


def chat_request(env: ToolEnv) -> dict[str, Any]:
    """Messages, stop strings and, for a native protocol, tools: what the actor to move is to be asked.

    In a native protocol the system message goes without the part that teaches calls, which `tools` say.
    """
    setting, messages = env.setting, env.messages
    request: dict[str, Any] = {"stop": list(env.stop_strings[:MAX_STOPS])} if env.stop_strings else {}
    taught = ""
    if setting.protocol.native:
        tools = env.episode.toolkits[env.episode.to_move].tools
        taught = setting.protocol.render_tools(tools, peer=_peer(setting))
        if tools:
            request["tools"] = env.tools
    return {"messages": [_message(message, taught) for message in messages], **request}


def _message(message: Message, taught: str) -> dict[str, Any]:
    """As the API takes it: text alone is a string, images are data URLs."""
    text = "".join(part["text"] for part in message["content"] if part["type"] == "text")
    images = [part["image"] for part in message["content"] if part["type"] == "image"]
    if taught and message["role"] == "system":
        text = text.replace(taught, "").strip()
    content: Any = text
    if images:
        shown = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
        content = [{"type": "text", "text": text}, *shown]
    elif not text and message.get("tool_calls"):
        content = None
    return {key: value for key, value in message.items() if key not in ("id", "source")} | {"content": content}


def data_url(pixels: np.ndarray[Any, Any]) -> str:
    """A picture of shape (height, width, 3), uint8, as a PNG in a data URL (PNG specification, third edition)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + width * 3), np.uint8)  # each row begins with its filter type, 0 for none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    chunks = [struct.pack("!I", len(d)) + kind + d + struct.pack("!I", zlib.crc32(kind + d)) for kind, d in parts]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


class Reply:
    """One streamed completion as it comes in: `add` each choice until `done`; then it is a `completion`."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stops: Sequence[str] = setting.protocol.stop_strings
        self._window = max(map(len, self._stops), default=1) - 1
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[dict[str, str]] = []
        self._places: dict[int, int] = {}
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._tail = ""
        self._stop = ""
        self._cut = False
        self.size = 0
        """Characters received: text, reasoning and calls."""
        self.finish_reason = ""

    @property
    def done(self) -> bool:
        """True where nothing more is wanted: a stop string was written, or more than an episode takes."""
        return self._cut or self.size > self._setting.max_chars

    def add(self, choice: Any) -> None:
        """Take in a choice of a chunk of the chat API's stream."""
        delta = choice.delta
        self._hear(delta.content or "")
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
        self._reasoning.append(reasoning)
        self.size += len(reasoning)
        for fragment in delta.tool_calls or ():
            self._call(fragment)
        self._ids += getattr(choice, "token_ids", None) or ()
        for token in getattr(choice.logprobs, "content", None) or ():
            self._logprobs.append(float(token.logprob))
            if token.token.startswith("token_id:"):
                self._ids.append(int(token.token.removeprefix("token_id:")))
        if choice.finish_reason and not self._cut:
            self.finish_reason = choice.finish_reason
            named = getattr(choice, "stop_reason", None) or getattr(choice, "matched_stop", None)
            self._stop = named if isinstance(named, str) else ""
        if self.size > self._setting.max_chars:
            self.finish_reason = "length"

    def _hear(self, piece: str) -> None:
        """Take in text up to the first stop string."""
        if self._cut or not piece:
            return
        self.size += len(piece)
        self._text.append(piece)
        recent = self._tail + piece
        found = min(((at, stop) for stop in self._stops if (at := recent.find(stop)) >= 0), default=None)
        self._tail = recent[-self._window :] if self._window else ""
        if found is not None:
            text = "".join(self._text)
            at = len(text) - len(recent) + found[0]
            self._text = [text[:at]]
            self._stop, self._cut, self.finish_reason = found[1], True, "stop"

    def _call(self, fragment: Any) -> None:
        """A piece of a tool call: fragments of one call share an index; one without index and with an id is new."""
        index = fragment.index
        if index is None:
            index = len(self._calls) - 1 if self._calls and not fragment.id else len(self._calls)
        if index not in self._places:
            self._places[index] = len(self._calls)
            self._calls.append({"id": "", "name": "", "arguments": ""})
        call = self._calls[self._places[index]]
        call["id"] = call["id"] or fragment.id or ""
        if fragment.function is not None:
            call["name"] = call["name"] or fragment.function.name or ""
            call["arguments"] += fragment.function.arguments or ""
            self.size += len(fragment.function.arguments or "")

    def completion(self) -> ActionInput:
        """The turn as `env.step` takes it.

        In a native protocol the text of the assistant message, else the text with its stop string where that means
        something. Reasoning that a server tells apart goes into the message, in other protocols only of a completion
        that was not cut for length. Log-probabilities are given where the server tells the token ids too.
        """
        text, reasoning = "".join(self._text), "".join(self._reasoning)
        if self._setting.protocol.native:
            return self._marked(encode(self._message(text, reasoning)))
        if reasoning and self.finish_reason != "length":
            return {"role": "assistant", "reasoning_content": reasoning, "content": self._with_stop(text)}
        return self._marked(self._with_stop(text))

    def _marked(self, text: str) -> Completion:
        ids = () if self._cut else self._ids
        logprobs = self._logprobs if len(self._logprobs) == len(ids) else ()
        return Completion(text, stop_reason=self.finish_reason, token_ids=ids, logprobs=logprobs)

    def _message(self, text: str, reasoning: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        if reasoning:
            message["reasoning_content"] = reasoning
        message["content"] = text or None
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": call["id"] or f"call_{i}",
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for i, call in enumerate(self._calls)
            ]
        return message

    def _with_stop(self, text: str) -> str:
        """The text with the stop string that ended it, if the protocol reads more out of it so.

        A server that strips it without saying which it was leaves that to be told from what is open in the text.
        """
        if self.finish_reason != "stop":
            return text
        bare = self._read(text)
        if self._stop:
            return text + self._stop if _meaning(self._read(text + self._stop)) != _meaning(bare) else text
        if _unclosed(bare):
            for stop in self._stops[:MAX_STOPS]:
                if not _unclosed(self._read(text + stop)):
                    return text + stop
        return text

    def _read(self, text: str) -> Action:
        return self._setting.protocol.parse(text, peer=_peer(self._setting))


def _peer(setting: Setting) -> bool:
    return len(setting.domain.actors) > 1


def _meaning(action: Action) -> tuple[Any, ...]:
    faults = ([error.type for error in action.errors], [repair.kind for repair in action.repairs])
    return action.calls, action.answer, action.message, action.finish, faults


def _unclosed(action: Action) -> bool:
    kinds = {error.type.value for error in action.errors} | {repair.kind for repair in action.repairs}
    return ParseErrorType.UNCLOSED_TAG.value in kinds
