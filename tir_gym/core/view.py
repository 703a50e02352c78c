"""What rewards are computed from, live and from a file alike, and what a reward program is to a driver."""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

from tir_gym.core.action import Action
from tir_gym.core.outcome import Outcome
from tir_gym.core.task import Gold
from tir_gym.core.transcript import CallLog, Source
from tir_gym.core.verify import Evidence, Score


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the trainer is: training step `step` of `total` (0: it has not said)."""

    step: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if self.step < 0 or self.total < 0:
            raise ValueError(f"progress {self.step}/{self.total}: a step and a total are at least 0")

    @property
    def share(self) -> float:
        """The part of training that is over, in [0, 1]; 0.0 without a total."""
        return min(1.0, self.step / self.total) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class GroupView:
    """Statistics of the rollouts of a task, from a frozen snapshot; without one, `known` is False.

    Calls are calls of tools that are not for control, by policies. A rollout is correct with a score of 1.
    """

    snapshot: str = ""
    """Id of the snapshot."""
    rollouts: int = 0
    correct: int = 0
    with_calls: int = 0
    """Rollouts with at least one call."""
    least_calls: int = -1
    """Fewest calls of a correct rollout, -1 while there is none."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(least, greatest) of "correct" (0 or 1), "price", "seconds" (virtual) and, for each tool that a rollout called,
    "calls:NAME", over the rollouts."""
    root_prices: tuple[float, float] = (0.0, 0.0)
    """5th and 95th percentile of the square root of the price, over the rollouts of all tasks."""

    @property
    def known(self) -> bool:
        """Whether there are statistics."""
        return bool(self.snapshot)

    @property
    def call_rate(self) -> float:
        """Share of rollouts with at least one call; nan without a rollout."""
        return self.with_calls / self.rollouts if self.rollouts else math.nan


NO_GROUP = GroupView()
NO_PROGRESS = Progress()


@runtime_checkable
class Groups(Protocol):
    """Frozen statistics of many tasks."""

    def view(self, env_id: str, task_id: str) -> GroupView:
        """Those of one task; of a task without a rollout the view is known and empty."""


def require_groups(groups: Groups | None) -> None:
    """Raise `TypeError` for what has no statistics to view, such as a `GroupStore` that is not frozen."""
    if not isinstance(groups, Groups | None):
        raise TypeError(f"groups={groups!r} cannot be viewed; give a frozen store, GroupStore.freeze(), or None")


class ReadsToolText(Protocol):
    """Whoever asks for what tools said, and says so."""

    @property
    def reads_tool_text(self) -> bool:
        """Whether it reads it."""


@dataclass(frozen=True)
class EpisodeView:
    """All that a reward may read: equal for a live episode and for its record.

    `actions` are the policies' turns as they were parsed, in order; calls of turn t are those made by `actions[t-1]`.
    `policies` are the names of the actors that policies play. Gold is here, because rewards are no part of what a
    policy sees; what tools, users or documents said is not, but for `tool_text`.
    """

    evidence: Evidence
    score: Score | None
    outcome: Outcome
    actions: tuple[Action, ...]
    gold: Gold
    policies: tuple[str, ...]
    group: GroupView = NO_GROUP
    progress: Progress = NO_PROGRESS
    transcript: Sequence[Any] = field(default=(), repr=False, compare=False)
    """Entries, or their data; read it through `tool_text` only."""
    checklist: Sequence[Mapping[str, Any]] = ()
    """What the domain would have checked of every episode, as data of checklist items."""
    judgements: Mapping[str, bool] = field(default_factory=dict)
    """Verdicts of a judge on checklist items, which are there after the episode only."""

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return bool(self.outcome)

    @property
    def turns(self) -> int:
        """Turns of policies so far."""
        return len(self.actions)

    @property
    def format_errors(self) -> int:
        """Faults of form in all turns so far."""
        return sum(len(action.errors) for action in self.actions)

    @property
    def correct(self) -> float:
        """The verifier's score in [0, 1]; 0.0 until the end."""
        return 0.0 if self.score is None else self.score.value

    @property
    def solved(self) -> bool:
        """Whether the score is 1."""
        return self.correct >= 1.0

    @cached_property
    def calls(self) -> CallLog:
        """The call log but for what scripted actors called."""
        return tuple([call for call in self.evidence.calls if call.actor in self.policies])

    @cached_property
    def tool_calls(self) -> CallLog:
        """`calls` but for control: submitting an answer is no use of a tool."""
        return tuple([call for call in self.calls if call.kind != "control"])

    def tool_text(self, reader: ReadsToolText) -> dict[int, str]:
        """What tools said, by the call's index. Raises `PermissionError` unless the reader says that it reads it."""
        if not reader.reads_tool_text:
            raise PermissionError(f"{type(reader).__name__} reads tool text and does not say so (reads_tool_text=True)")
        return {entry.call: entry.text for entry in self.transcript if entry.source == Source.TOOL}

    def until(self, turn: int) -> "EpisodeView":
        """The episode as it was after `turn` turns (all of them: as it is). The world is not taken back."""
        if turn >= self.turns:
            return self
        own = self.evidence
        evidence = Evidence(own.task, None, _first(own.calls, turn), own.world, own.policy_text[:turn], "")
        return EpisodeView(
            evidence,
            None,
            Outcome.RUNNING,
            self.actions[:turn],
            self.gold,
            self.policies,
            self.group,
            self.progress,
            _first(self.transcript, turn),
            self.checklist,
        )


def _first(items: Any, turn: int) -> Any:
    """The items up to a turn, of those that come in the order of turns."""
    return items[: bisect_right(items, turn, key=_turn_of)]


_turn_of = attrgetter("turn")


@dataclass(frozen=True, slots=True)
class Earned:
    """What an episode earned so far: each channel, the combined value, and why channels failed to be computed."""

    channels: dict[str, float]
    total: float
    faults: dict[str, str] = field(default_factory=dict)
    """The error of each channel whose component raised; such a channel is nan. "total": of the combination."""


class Rewards(ABC):
    """A reward program: named channels and their combination, a pure function of the episode so far.

    A channel is nan where, and only where, it has no valid value; so is a combination that depends on it.
    """

    channels: tuple[str, ...]
    """Names of the channels, fixed for the program."""
    per_step: bool
    """False where every channel is 0.0 until the end, so that steps need not be evaluated."""

    @abstractmethod
    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """Each channel's value so far. Raises what a component raises."""

    @abstractmethod
    def total(self, channels: Mapping[str, float]) -> float:
        """The combined value; a step's reward is its increment."""

    @abstractmethod
    def earned(self, view: EpisodeView) -> Earned:
        """Both, for drivers: an exception of a component is our fault, so its channels are nan, and it is kept."""

    def check(self) -> None:  # noqa: B027
        """Raise `ValueError` for a program that lacks a part; drivers ask at every reset."""

    def data(self) -> dict[str, Any]:
        """The program as JSON data for a record; {} where it cannot be written down."""
        return {}
