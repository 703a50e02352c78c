"""The tokens of an episode, kept while it is played in any environment."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.action import Completion
from tir_gym.core.messages import Message
from tir_gym.core.outcome import Outcome
from tir_gym.rollout.codec import ChatCodec
from tir_gym.rollout.tokens import TokenRollout


class TokenRecorder:
    """Keeps a policy's tokens: `prompt` is what its engine is to go on from, `rollout` what there is to train on.

    Make one from the `info` of a reset, sample from `prompt`, step the environment with a `Completion` that has the
    engine's `token_ids` (and `logprobs`, `policy_version`), and give both to `step`. In a vector environment make one
    a slot and episode. Of two policy actors each has a recorder of its own, which is given what concerns it.

    `tools` are OpenAI schemas for the chat template (`env.unwrapped.tools`), where the protocol is native.

    Example:
        >>> recorder = TokenRecorder(codec, info)  # doctest: +SKIP
        >>> completion = engine(recorder.prompt)  # doctest: +SKIP
        >>> observation, reward, terminated, truncated, info = env.step(completion)  # doctest: +SKIP
        >>> recorder.step(completion, reward, info)  # doctest: +SKIP
        >>> rows = recorder.rollout.rows()  # doctest: +SKIP
    """

    def __init__(
        self,
        codec: ChatCodec,
        info: Mapping[str, Any],
        tools: Sequence[dict[str, Any]] = (),
        *,
        episode: str = "",
        group: str = "",
    ) -> None:
        self.rollout = TokenRollout(episode=episode, group=group)
        self._codec = codec
        self._tools = tools
        self._context = int(info["context_version"])
        self.rewrite(info["messages"], self._context)

    @classmethod
    def of(
        cls, codec: ChatCodec, rollout: TokenRollout, context_version: int, tools: Sequence[dict[str, Any]] = ()
    ) -> "TokenRecorder":
        """A recorder that goes on with a rollout which another one began, or with a fork of it."""
        recorder = cls.__new__(cls)
        recorder.rollout = rollout
        recorder._codec, recorder._tools, recorder._context = codec, tools, context_version
        return recorder

    @property
    def context_version(self) -> int:
        """The version of the history that `prompt` is of, as `info["context_version"]` counts."""
        return self._context

    @property
    def prompt(self) -> list[int]:
        """All token ids up to where the policy is to go on."""
        return self.rollout.ids

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """The images that `prompt` shows, in their order: uint8, (height, width, 3)."""
        return [self.rollout.pixels[image.id] for image in self.rollout.images]

    def step(self, completion: Completion, reward: float, info: Mapping[str, Any]) -> None:
        """A turn: what was sampled, what it earned, and what is to be read next.

        After an invalid end the rollout is invalid. Raises `ValueError` for a completion without token ids, and where
        the history was rewritten meanwhile, which is for `rewrite` to take in.
        """
        if not completion.token_ids:
            raise ValueError("the completion has no token_ids: give Completion(text, token_ids=..., logprobs=...)")
        self.rollout.append_sampled(completion.token_ids, completion.logprobs, completion.policy_version)
        self.rollout.add_reward(reward)
        if info["outcome"]:
            self._end(info)
            return
        if info["context_version"] != self._context:
            raise ValueError("the history was rewritten: give the messages as they are now to `rewrite`")
        suffix = self._codec.suffix(info["messages"], completion.token_ids[-1])
        self.rollout.append_context(suffix.ids, suffix.roles, suffix.images)
        self.rollout.pixels |= pixels_of(info["messages"])

    def cut(self, reward: float, info: Mapping[str, Any]) -> None:
        """The episode was ended between two turns (`env.finish`): the last turn earns that, and it is truncated."""
        if self.rollout.turns:
            self.rollout.add_reward(reward)
        self._end(info)
        self.rollout.truncated = True

    def _end(self, info: Mapping[str, Any]) -> None:
        outcome = Outcome(info["outcome"])
        self.rollout.valid = outcome.valid
        self.rollout.truncated = outcome in (Outcome.TRUNCATED, Outcome.TIMEOUT)

    def rewrite(self, messages: Sequence[Message], context_version: int) -> None:
        """Begin anew from these messages, which are all that the policy reads from now on."""
        prompt = self._codec.prompt(messages, self._tools)
        self.rollout.append_prompt(prompt.ids, prompt.images)
        self.rollout.pixels |= pixels_of(messages)
        self._context = context_version


def pixels_of(messages: Sequence[Message]) -> dict[str, NDArray[np.uint8]]:
    """The images that messages show, by id."""
    parts = (part for message in messages if isinstance(message["content"], list) for part in message["content"])
    return {part["id"]: part["image"] for part in parts if part["type"] == "image"}
