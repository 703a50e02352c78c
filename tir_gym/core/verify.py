"""Judging an episode: what a verifier may look at, and what it says."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tir_gym.core.interfaces import World
from tir_gym.core.task import Gold, Task
from tir_gym.core.transcript import CallLog


@dataclass(frozen=True, slots=True)
class Answer:
    """The policy's final answer; `confidence` in [0, 1], nan where it stated none."""

    text: str
    origin: Literal["text", "call"] = "text"
    confidence: float = math.nan


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verifier may read: what the policy wrote, the call log with its facts, and the world.

    What tools, users or documents said is not here, so it cannot earn anything. `policy_text` is the text of each
    policy turn up to its first terminal action; `ended_by` says what ended the episode ("" while it runs).
    """

    task: Task
    answer: Answer | None
    calls: CallLog
    world: World | None
    policy_text: tuple[str, ...]
    ended_by: str


@dataclass(frozen=True, slots=True)
class Score:
    """A verdict in [0, 1], or `valid=False` where none could be reached, which is not 0."""

    value: float
    valid: bool = True
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.valid and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a score is a number from 0 to 1, not {self.value!r}; use valid=False if it is unknown")


class Verifier(ABC):
    """Judges an episode against gold; deterministic, bounded in time, and blind to everything but `Evidence`.

    One that keeps a helper process starts it no earlier than `acquire`, which a driver calls at its first reset, and
    ends it with the last `release`. All instances of a class in a process share it.
    """

    def acquire(self) -> None:  # noqa: B027
        """Take a lease of what judging needs."""

    def release(self) -> None:  # noqa: B027
        """Give a lease back."""

    @abstractmethod
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict. An exception makes the episode a `judge_error`."""
