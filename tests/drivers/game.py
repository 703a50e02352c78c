"""Playing a vector environment in whatever way, and checking each episode against a single environment."""

import math
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from tests.contract.test_drivers import observation_of, take_apart
from tests.drivers.test_vector import rows
from tests.play import as_bytes, plain
from tests.processes import descendants
from tir_gym.core.interfaces import ForkError
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.vector import ToolVectorEnv

Script = Sequence[tuple[Mapping[int, str], tuple[int, int] | None]]
"""Rounds: what some slots say, and then which slot becomes a copy of which."""

KILLED = "the process was killed by SIGKILL"


@dataclass
class Played:
    """An episode: the `number`-th of a slot with this base seed."""

    seed: int
    number: int
    turns: list[Any]
    """What the reset returned, and then each step."""
    texts: list[str] = field(default_factory=list)
    over: bool = False

    def copy(self) -> "Played":
        return replace(self, turns=list(self.turns), texts=list(self.texts))


class Game:
    """Episodes in a vector environment, from a reset on."""

    def __init__(self, vector: ToolVectorEnv, seeds: Sequence[int]) -> None:
        self.vector, self.seeds, self.begun = vector, seeds, [0] * len(seeds)
        observations, infos = vector.reset(seed=list(seeds))
        self.now = [
            Played(seed, 0, [(observation_of(observations, i), take_apart(infos, i))]) for i, seed in enumerate(seeds)
        ]
        self.ended: list[Played] = []

    def send(self, said: Mapping[int, str]) -> None:
        """Have slots take a turn."""
        for slot, text in said.items():
            self.now[slot].texts.append(text)
        self.vector.send(list(said.values()), list(said))

    def receive(self, min_ready: int, timeout: float = math.inf) -> None:
        """Take in turns of slots."""
        self._take_in(self.vector.recv(min_ready, timeout))

    def step(self, texts: Sequence[str]) -> None:
        """Take a turn in every slot, in step."""
        for played, text in zip(self.now, texts, strict=True):
            played.texts.append(text)
        *results, infos = self.vector.step(texts)
        slots = {"env_id": np.arange(len(texts)), "_env_id": np.ones(len(texts), bool)}
        self._take_in((*results, infos | slots))

    def copy(self, source: int, target: int) -> None:
        """Make a slot a copy of another."""
        self.vector.fork_env(source, [target])
        if source != target:
            self.now[target] = self.now[source].copy()

    def _take_in(self, batch: Any) -> None:
        for slot, turn, news in rows(batch):
            played = self.now[slot]
            if played.over and self.vector.autoreset_mode is AutoresetMode.NEXT_STEP:
                played.texts.pop()
                assert turn[1:4] == (0.0, False, False)
                self._follow(slot, news)
                continue
            played.turns.append(turn)
            played.over = turn[2] or turn[3]
            if played.over and self.vector.autoreset_mode is AutoresetMode.SAME_STEP:
                self._follow(slot, news)

    def _follow(self, slot: int, news: Any) -> None:
        self.ended.append(self.now[slot])
        self.begun[slot] += 1
        self.now[slot] = Played(self.seeds[slot], self.begun[slot], [news])

    def check(self, single: ToolEnv) -> tuple[int, int]:
        """Compare every episode with what a single environment says.

        How many ended invalid, and how many were told that their interpreter was killed: these are as they should be
        up to there.
        """
        lost = told = 0
        for played in [*self.ended, *self.now]:
            first: Any = single.reset(seed=played.seed)
            if played.number:
                single._episodes = played.number  # without playing those before
                first = single.reset()
            expected = [first]
            ends = (i for i, turn in enumerate(played.turns) if KILLED in turn[0] or not turn[-1]["valid"])
            whole = next(ends, len(played.turns))
            expected += [single.step(text) for text in played.texts[: max(0, whole - 1)]]
            assert as_bytes(played.turns[:whole]) == as_bytes(expected[:whole])
            for observation, *_, info in played.turns[whole:]:
                assert (info["seed"], info["task"]) == (first[1]["seed"], plain(first[1]["task"]))
                if KILLED in observation:
                    told += 1
                    break
                assert info["outcome"] == "env_error"
            else:
                lost += whole < len(played.turns)
        single.close()
        return lost, told


def undisturbed() -> None:
    """Nothing happens."""


def play(
    game: Game, script: Script, rng: random.Random | None = None, disturb: Callable[[], None] = undisturbed
) -> Game:
    """Play a script; with `rng`, what is said in a round is sent and received in a random order.

    `disturb` is called again and again; then a copy may also fail.
    """
    refusals = [] if disturb is undisturbed else [ForkError]
    for said, copy in script:
        left = list(said)
        if rng:
            rng.shuffle(left)
        while left or game.vector.in_flight:
            if left and (not rng or not game.vector.in_flight or rng.random() < 0.6):
                size = rng.randint(1, len(left)) if rng else len(left)
                now, left = left[:size], left[size:]
                game.send({i: said[i] for i in now})
            elif rng:
                game.receive(rng.randint(1, 3), rng.choice([0.0, 0.004, math.inf]))
            else:
                game.receive(len(game.now))
            disturb()
        if copy:
            with suppress(*refusals):
                game.copy(*copy)
    return game


class Killer:
    """Kills something every now and then: a worker, or (three times of four) one of the processes below it."""

    def __init__(self, rng: random.Random, workers: Callable[[], Sequence[int]]) -> None:
        self.rng, self.workers, self.killed = rng, workers, 0

    def __call__(self) -> None:
        present = self.workers() if self.rng.random() < 0.12 else ()
        for worker in self.rng.sample(present, min(1, len(present))):
            victims = sorted(descendants(worker)) if self.killed % 4 else [worker]
            with suppress(IndexError, ProcessLookupError):  # there is none just now
                os.kill(self.rng.choice(victims), signal.SIGKILL)
                self.killed += 1


def chaos(vector: ToolVectorEnv, single: ToolEnv, texts: Sequence[str], killer: Killer, deaths: int) -> None:
    """Play while so many processes are killed: every episode is as it should be or invalid, and those are few."""
    rng = killer.rng
    slots = range(vector.num_envs)
    game = Game(vector, [rng.randrange(100) for _ in slots])
    while killer.killed < deaths:
        copy = (rng.choice(slots), rng.choice(slots)) if rng.random() < 0.3 else None
        play(game, [({i: rng.choice(texts) for i in slots}, copy)], rng, killer)
    lost, told = game.check(single)
    assert lost < (len(game.ended) + len(game.now)) / 2
    assert told <= deaths // 20, "only who is hit twice in one submission is told so"
