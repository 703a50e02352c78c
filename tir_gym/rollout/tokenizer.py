"""A tokenizer and its chat template, as `ChatCodec` wants them."""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

from tir_gym.core.messages import Message


class MessagesRefused(ValueError):  # noqa: N818
    """The chat template does not take such a conversation: it has no system role, say, or wants roles to alternate."""


class ChatTokenizer(Protocol):
    """A tokenizer and its chat template; `HuggingFaceTokenizer` is one, and any object with these can be."""

    end: int
    """The token that ends a turn of the assistant."""
    special: Sequence[str]
    """Text of all tokens that mean something to the template; where somebody says them, they are encoded as text."""

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, generation: bool) -> str:
        """The conversation as text; with `generation` it ends where the assistant is to go on.

        Raises `MessagesRefused` where the template does.
        """

    def encode(self, text: str, *, plain: bool = False) -> tuple[Sequence[int], Sequence[int]]:
        """Token ids of text, and where in it each begins: special tokens in it as such or, if `plain`, as text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens included."""


class HuggingFaceTokenizer:
    """A fast tokenizer of the library `transformers` with its chat template.

    `end` is the token that ends an assistant's turn (the tokenizer's eos token if none is given); `options` go to
    `apply_chat_template` (such as `enable_thinking=False`).
    Raises `ValueError` without a chat template, for a slow tokenizer, or for an `end` that is not one token.
    """

    def __init__(self, tokenizer: Any, *, end: str = "", **options: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"{type(tokenizer).__name__} does not tell where tokens begin: load a fast tokenizer")
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(f"{type(tokenizer).__name__} has no chat template: set tokenizer.chat_template")
        self._tokenizer = tokenizer
        self._plain = copy.deepcopy(tokenizer)
        """For text without special tokens: the library sets a tokenizer to it, and other threads would feel that."""
        self._options = options
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.special = tuple(sorted({*tokenizer.all_special_tokens, *added}))
        text = end or tokenizer.eos_token or ""
        ids, _ = self.encode(text)
        if len(ids) != 1:
            raise ValueError(f"end={text!r} is {len(ids)} tokens; name the one token that ends an assistant's turn")
        self.end = int(ids[0])

    def render(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, generation: bool) -> str:
        """The conversation as the chat template writes it."""
        from jinja2.exceptions import TemplateError

        given: dict[str, Any] = {"tools": list(tools) or None, "add_generation_prompt": generation, **self._options}
        try:
            text: str = self._tokenizer.apply_chat_template(list(messages), tokenize=False, **given)
        except (TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise MessagesRefused(f"the chat template refuses a conversation of {roles}: {error}") from error
        return text

    def encode(self, text: str, *, plain: bool = False) -> tuple[Sequence[int], Sequence[int]]:
        """Token ids and the character at which each begins."""
        encode = self._plain if plain else self._tokenizer
        encoded = encode(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=plain)
        return encoded["input_ids"], [start for start, _ in encoded["offset_mapping"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text, special tokens included, spaces as they are."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
