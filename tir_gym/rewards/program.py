"""Reward components, and the program that evaluates and combines them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args, get_origin

from tir_gym.core.view import NO_PROGRESS, Earned, EpisodeView, Progress, Rewards
from tir_gym.rewards.combine import Combine, WeightedSum
from tir_gym.rewards.schedules import Schedule

INVALID = math.nan
"""The value of a channel that has no valid one."""


def check_options(component: "RewardComponent") -> None:
    """Hold a component's options against the types of its fields: numbers, text, functions and `Literal` choices.

    Raises `ValueError` for a choice that there is not, `TypeError` for another type; both name the option.
    """
    name = type(component).__name__
    if not is_dataclass(component):
        return
    for option in fields(component):
        kind: Any = option.type
        value = getattr(component, option.name)
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise ValueError(
                    f"{name}: {option.name}={value!r} must be one of {', '.join(map(repr, get_args(kind)))}"
                )
        elif kind is float or kind is int:
            if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
                raise TypeError(f"{name}: {option.name}={value!r} must be {'a whole' if kind is int else 'a'} number")
        elif get_origin(kind) is Callable and not callable(value):
            raise TypeError(f"{name}: {option.name}={value!r} must be callable")
        elif (kind is str or kind is bool or kind is tuple) and not isinstance(value, kind):
            raise TypeError(f"{name}: {option.name}={value!r} must be of type {kind.__name__}")


class RewardComponent(ABC):
    """A pure, picklable function of an episode that gives named channels; subclass it as a frozen dataclass.

    Its docstring states formula, range and source. It reads what the policy did from `view.actions` and `view.calls`,
    never text that a tool, a user or a document brought (`reads_tool_text` for the few published ones that do).
    A channel without a valid value is `INVALID`, which is not 0. Options are checked when it is made (`check_options`);
    what it raises in `evaluate` makes its channels `INVALID`, with the error kept, and ends no episode.
    """

    channels: ClassVar[tuple[str, ...]]
    per_step: ClassVar[bool] = False
    """True where channels have news before the end: `evaluate` is then called after every turn, else at the end."""
    needs_group: ClassVar[bool] = False
    """True where it reads `view.group`: live it is invalid without a frozen snapshot."""
    reads_tool_text: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @abstractmethod
    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """Each channel's value for the episode so far (not the turn's share of it)."""

    def unearned(self) -> float:
        """The most that an episode with a score of 0 can earn in a channel; the audit holds every cheat against it.

        inf for a reward that does not ask how right the answer is.
        """
        return 0.0


@dataclass(frozen=True)
class Base(RewardComponent):
    """The verifier's score in [0, 1]: 0.0 until the end (definition by this project)."""

    channels: ClassVar[tuple[str, ...]] = ("base",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": score}."""
        return {"base": view.correct}


@dataclass(frozen=True)
class Term:
    """A component's place in a program: its weight in the sum, its bounds, and when it counts.

    `only_if_correct` makes its channels 0 unless the verifier's score is 1; `low` and `high` bound each channel, and
    `schedule` multiplies it by a factor that follows training.
    """

    component: RewardComponent
    weight: float = 1.0
    only_if_correct: bool = False
    low: float = -math.inf
    high: float = math.inf
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.component, RewardComponent):
            raise TypeError(f"{self.component!r} is no RewardComponent")
        if not getattr(self.component, "channels", ()):
            raise TypeError(f"{type(self.component).__name__} names no channels")
        if not math.isfinite(self.weight):
            raise ValueError(f"weight={self.weight} of {type(self.component).__name__} must be finite")
        if not self.low <= self.high:
            raise ValueError(f"low={self.low} must not be above high={self.high}")

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """The component's channels within bounds."""
        component = self.component
        gated = self.only_if_correct and not view.solved
        if gated or not (view.ended or component.per_step) or (component.needs_group and not view.group.known):
            missing = component.needs_group and not view.group.known and view.ended and not gated
            return dict.fromkeys(component.channels, INVALID if missing else 0.0)
        values = component.evaluate(view)
        if values.keys() != set(component.channels):
            raise ValueError(f"{type(component).__name__} gave {list(values)}, its channels are {component.channels}")
        if any(math.isinf(value) for value in values.values()):
            raise ValueError(f"{type(component).__name__} gave {values}: a value is finite, or nan where it is invalid")
        if self.schedule is not None:
            factor = self.schedule.factor(view.progress)
            values = {name: factor * value for name, value in values.items()}
        if self.low == -math.inf and self.high == math.inf:
            return values
        return {name: v if math.isnan(v) else min(max(v, self.low), self.high) for name, v in values.items()}

    def unearned(self, progress: Progress = NO_PROGRESS) -> float:
        """The most that an episode with a score of 0 can earn in a channel, at a point of training."""
        factor = 1.0 if self.schedule is None else self.schedule.factor(progress)
        if self.only_if_correct or not factor:
            return 0.0
        return min(max(factor * self.component.unearned(), self.low), self.high)


@dataclass(frozen=True, init=False)
class RewardProgram(Rewards):
    """Terms and how their channels are combined. The order in which terms are given has no effect.

    A component alone is a term of weight 1. Raises `ValueError` if two components name the same channel, or if the
    combination names a channel that no component gives (without `complete`, at `reset`: more terms may come).
    """

    terms: tuple[Term, ...]
    combine: Combine

    def __init__(
        self,
        terms: "tuple[Term | RewardComponent, ...]" = (Base(),),
        combine: Combine | None = None,
        *,
        complete: bool = True,
    ) -> None:
        given = [term if isinstance(term, Term) else Term(term) for term in terms]
        ordered = sorted(given, key=lambda term: (term.component.channels != ("base",), term.component.channels))
        object.__setattr__(self, "terms", tuple(ordered))
        object.__setattr__(self, "combine", combine or WeightedSum())
        names = self.channels
        if len(set(names)) != len(names) or "total" in names:
            raise ValueError(f"channel names must differ, and none may be 'total': {list(names)}")
        if not isinstance(self.combine, Combine):
            raise TypeError(f"{self.combine!r} is no Combine")
        if complete:
            self.check()

    def check(self) -> None:
        """Raise `ValueError` if the combination names a channel that no component gives."""
        if missing := set(self.combine.names()) - set(self.channels):
            raise ValueError(
                f"{self.combine} names {sorted(missing)}; the program's channels are {list(self.channels)}"
            )

    @cached_property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of all channels: `base` first, the others by name."""
        return tuple(name for term in self.terms for name in term.component.channels)

    @cached_property
    def per_step(self) -> bool:  # type: ignore[override]
        """Whether any component has news before the end."""
        return any(term.component.per_step for term in self.terms)

    @cached_property
    def weights(self) -> dict[str, float]:
        """Each channel's weight."""
        return {name: term.weight for term in self.terms for name in term.component.channels}

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """Each channel's value for the episode so far; nan where it is invalid. Raises what a component raises."""
        values: dict[str, float] = {}
        for term in self.terms:
            values |= term.evaluate(view)
        return values

    def earned(self, view: EpisodeView) -> Earned:
        """All channels and the combined value; nan for a channel whose component raised, and for what depends on it."""
        values: dict[str, float] = {}
        faults: dict[str, str] = {}
        for term in self.terms:
            try:
                values |= term.evaluate(view)
            except Exception as error:
                values |= dict.fromkeys(term.component.channels, INVALID)
                faults |= dict.fromkeys(term.component.channels, f"{type(error).__name__}: {error}")
        try:
            total = self.total(values)
        except Exception as error:
            total = INVALID
            faults["total"] = f"{type(error).__name__}: {error}"
        return Earned(values, total, faults)

    def total(self, channels: Mapping[str, float]) -> float:
        """The combined value; nan where it needs a channel that is invalid."""
        return self.combine.total(channels, self.weights)

    def with_term(self, term: Term) -> "RewardProgram":
        """The program with one more term; one that gives `base` takes the place of the verifier's score."""
        replaced = "base" in term.component.channels
        kept = [old for old in self.terms if not (replaced and old == Term(Base()))]
        return RewardProgram((*kept, term), self.combine, complete=False)

    def with_combine(self, combine: Combine) -> "RewardProgram":
        """The program combined in another way. Raises `ValueError` if it is combined in a way of its own already."""
        if self.combine != WeightedSum():
            raise ValueError(f"the rewards are combined by {self.combine} already; nest one in the other")
        return RewardProgram(self.terms, combine, complete=False)

    def by_turn(self, view: EpisodeView) -> list[dict[str, float]]:
        """Each channel's value after each turn, as a live episode has them."""
        return [self.earned(view.until(turn)).channels for turn in range(1, view.turns + 1)]

    def data(self) -> dict[str, Any]:
        """The program as JSON data, read by `catalogue.program_of`; {} with a component that is none of ours."""
        from tir_gym.rewards.catalogue import Unwritable, write

        try:
            return {"terms": [write(term) for term in self.terms], "combine": write(self.combine)}
        except Unwritable:
            return {}
