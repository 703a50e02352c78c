"""A syntax whose actions are written in the content of a chat message."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tir_gym.core.action import Action
from tir_gym.protocols.openai import OpenAI, reasoning_of, text_of_content
from tir_gym.protocols.reading import Syntax


@dataclass(frozen=True)
class TextSyntax(Syntax):
    """A syntax in which the text of a completion and the content of a chat message are the same."""

    def to_message(self, action: Action) -> dict[str, Any]:
        """A chat message whose content is the action in this syntax. Raises `NotExpressible`."""
        return {"role": "assistant", "content": self.format(action)}

    def from_message(self, message: dict[str, Any], *, peer: bool = False) -> Action:
        """Content in this syntax, or native tool calls, whose content is thought; never raises.

        `reasoning_content` goes before the thought; `raw` and `spans` are those of the content alone.
        """
        native = OpenAI("strict" if self.mode == "strict" else "lenient")
        if not isinstance(message, Mapping) or _is_native(message):
            return native.from_message(message, peer=peer)
        text = text_of_content(message.get("content"))
        if text is None:
            return native.from_message(message, peer=peer)
        action = self.parse(text, peer=peer)
        reasoning = reasoning_of(message)
        return replace(action, thought="\n".join(filter(None, (reasoning, action.thought)))) if reasoning else action


def _is_native(message: Mapping[str, Any]) -> bool:
    role, calls = message.get("role", "assistant"), message.get("tool_calls")
    empty = calls is None or (isinstance(calls, list | tuple) and not calls)
    return not empty or not isinstance(role, str) or role != "assistant"
