"""Reward components and the program that combines them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.verify import EpisodeView, Rewards


class RewardComponent(ABC):
    """A pure, picklable function of an episode that gives named channels."""

    channels: ClassVar[tuple[str, ...]]
    per_step: ClassVar[bool] = False
    """False where every channel is 0.0 until the end."""

    @abstractmethod
    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """Each channel's value for the episode so far."""


@dataclass(frozen=True)
class Base(RewardComponent):
    """The verifier's score in [0, 1]: 0.0 until the end (definition by this project)."""

    channels: ClassVar[tuple[str, ...]] = ("base",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": score}."""
        return {"base": 0.0 if view.score is None else view.score.value}


@dataclass(frozen=True)
class RewardProgram(Rewards):
    """The sum of its components' channels. Raises `ValueError` if two components name the same channel."""

    components: tuple[RewardComponent, ...] = (Base(),)

    def __post_init__(self) -> None:
        names = [name for component in self.components for name in component.channels]
        if len(set(names)) != len(names) or "total" in names:
            raise ValueError(f"channel names must differ, and none may be 'total': {names}")

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of all channels, in the order of the components."""
        return tuple(name for component in self.components for name in component.channels)

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        """Whether any component has news before the end."""
        return any(component.per_step for component in self.components)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """Each channel's value for the episode so far."""
        values: dict[str, float] = {}
        for component in self.components:
            values |= component.evaluate(view)
        return values

    def total(self, channels: Mapping[str, float]) -> float:
        """The sum of all channels."""
        return sum(channels.values())
