"""Play the episodes of a vector environment for a trainer, and hand each over as soon as it ends."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gymnasium.vector import AutoresetMode

from tir_gym.core.action import Action, Completion
from tir_gym.core.seeding import episode_seed
from tir_gym.drivers.shared import receive
from tir_gym.drivers.vector import Batch, ToolVectorEnv
from tir_gym.rollout.codec import ChatCodec
from tir_gym.rollout.recorder import TokenRecorder
from tir_gym.rollout.stream import TokenStream

Generate = Callable[..., Awaitable[Completion]]
"""An engine: goes on from a context of token ids. The completion has its `token_ids`, `logprobs`, `policy_version`.

Where the environment shows images, it is called with these too, `TokenRecorder.images`.
"""


async def feed(
    stream: TokenStream,
    envs: ToolVectorEnv,
    codec: ChatCodec,
    generate: Generate,
    *,
    seed: int,
    max_tokens: int = 0,
    name: str = "",
) -> None:
    """Play episodes with an engine and put them into a stream, until it is closed.

    Every slot goes at its own pace: it asks the engine as soon as its turn is over, and the engine is asked for as many
    completions at once as there are slots that wait for one. A slot whose next episode may not begin yet rests. Where
    the stream has groups of n, n slots in a row play the same episodes; a group's name is its task and seed. An episode
    is called `name`, its slot and its number, such as "a3.0". One that has `max_tokens` (0: any number) in its context
    when its next turn is due is finished there, and truncated.

    What `generate` raises, or anything else that goes wrong, closes the stream with that error and is raised. Raises
    `ValueError` where the slots cannot be shared out among groups, and for an environment that does not reset in the
    same step or in which several policies play.
    """
    playing = _Feed(stream, envs, codec, generate, max_tokens, name)
    try:
        playing.check()
        playing.begin(seed)
        await playing.go_on()
    except BaseException as error:
        stream.close(error)
        raise
    finally:
        await playing.stop()


class _Feed:
    def __init__(
        self,
        stream: TokenStream,
        envs: ToolVectorEnv,
        codec: ChatCodec,
        generate: Generate,
        max_tokens: int,
        name: str,
    ) -> None:
        self._stream, self._envs, self._codec, self._generate = stream, envs, codec, generate
        self._max_tokens, self._name = max_tokens or math.inf, name
        self._news = asyncio.Event()
        """There is a completion to send, or episodes may have become able to begin."""
        self._recorders: dict[int, TokenRecorder] = {}
        self._episodes = [0] * envs.num_envs
        self._held: dict[str, list[int]] = {}
        """Slots whose episode has not begun, by its group."""
        self._sampling: dict[int, asyncio.Future[Completion]] = {}
        self._sampled: list[int] = []
        self._full: list[int] = []
        """Slots whose context is full."""
        self._at_a_turn: dict[int, Completion | None] = {}
        """What each was sent; None where its context is full."""

    def check(self) -> None:
        if self._envs.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"the environment resets in mode {self._envs.autoreset_mode}, not in the same step")
        if sum(not actor.scripted for actor in self._envs.setting.domain.actors) > 1:
            raise ValueError(f"several policies play in {self._envs.setting.env_id}; each needs an engine of its own")
        if self._envs.num_envs % self._stream.group_size:
            raise ValueError(f"{self._envs.num_envs} slots cannot play groups of {self._stream.group_size}")

    def begin(self, seed: int) -> None:
        count, size = self._envs.num_envs, self._stream.group_size
        _, infos = self._envs.reset(seed=[episode_seed(seed, i // size, 0) for i in range(count)])
        for i in range(count):
            self._open(i, _glance(infos, i))
        if lonely := [group for group, slots in self._held.items() if len(slots) % size]:
            raise ValueError(f"not all slots of a group play the same task, such as {lonely[0]!r}: give them one id")

    async def go_on(self) -> None:
        here = asyncio.get_running_loop()
        with self._stream.listening(lambda: here.call_soon_threadsafe(self._news.set)):
            while not self._stream.closed:
                self._news.clear()
                while self._held and (group := self._stream.begin_any(self._held)) is not None:
                    self._sample(self._held[group].pop(0))
                    if not self._held[group]:
                        del self._held[group]
                self._send()
                batch = await receive(self._envs, self._news)
                if batch is not None:
                    self._take_in(batch)

    async def stop(self) -> None:
        for sampling in self._sampling.values():
            sampling.cancel()
        await asyncio.gather(*self._sampling.values(), return_exceptions=True)

    def _open(self, i: int, info: Mapping[str, Any]) -> None:
        """A slot has a new episode."""
        group = f"{info['task']['id']}@{info['seed']}"
        called = f"{self._name}{i}.{self._episodes[i]}"
        self._episodes[i] += 1
        self._recorders[i] = TokenRecorder(self._codec, info, self._tools(i), episode=called, group=group)
        self._held.setdefault(group, []).append(i)

    def _tools(self, i: int) -> list[dict[str, Any]]:
        """Schemas for the chat template, where the protocol has native calls."""
        if not self._envs.settings[i].protocol.native:
            return []
        return self._envs.tools(i)

    def _sample(self, i: int) -> None:
        if len(self._recorders[i].rollout) >= self._max_tokens:
            self._full.append(i)
            self._news.set()
            return
        recorder = self._recorders[i]
        shown = [] if self._envs.settings[i].domain.image_shape is None else [recorder.images]
        sampling = asyncio.ensure_future(self._generate(recorder.prompt, *shown))
        sampling.add_done_callback(lambda _: self._heard(i))
        self._sampling[i] = sampling

    def _heard(self, i: int) -> None:
        self._sampled.append(i)
        self._news.set()

    def _send(self) -> None:
        """Give the completions that are there to their slots."""
        slots, self._sampled = self._sampled, []
        if slots:
            completions = [self._sampling.pop(i).result() for i in slots]
            self._envs.send(completions, slots)
            self._at_a_turn |= zip(slots, completions, strict=True)
        full, self._full = self._full, []
        if full:
            self._envs.send([Action(finish="the context is full")] * len(full), full)
            self._at_a_turn |= dict.fromkeys(full)

    def _take_in(self, batch: Batch) -> None:
        """Turns that are over: their slots go on, or hand over what they played."""
        _, rewards, terminations, truncations, infos = batch
        for row, i in enumerate(infos["env_id"].tolist()):
            over = terminations[row] or truncations[row]
            recorder = self._recorders[i]
            info = _glance(infos["final_info"] if over else infos, row)
            completion = self._at_a_turn.pop(i)
            if completion is None:
                recorder.cut(float(rewards[row]), info)
            else:
                recorder.step(completion, float(rewards[row]), info)
            if over:
                self._stream.put(recorder.rollout)
                self._open(i, _glance(infos, row))
            else:
                self._sample(i)


def _glance(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """What is needed of a row's info."""
    glance = {key: infos[key][row] for key in ("messages", "context_version", "outcome", "seed")}
    return glance | {"task": {"id": infos["task"]["id"][row]}}
