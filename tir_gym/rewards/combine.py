"""How channels become one number. All definitions by this project, unless a source is named."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Combine(ABC):
    """From channels, and the weight of each, to one number; a pure function, nan where what it needs is nan."""

    @abstractmethod
    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The combined value."""

    def names(self) -> tuple[str, ...]:
        """Channels that it names, which a program must have."""
        return ()


@dataclass(frozen=True)
class WeightedSum(Combine):
    """sum of weight * value over all channels; one of weight 0 is left out, valid or not."""

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The sum, rounded once: no order of the channels changes it."""
        return math.fsum(weights[name] * value for name, value in channels.items() if weights[name])


@dataclass(frozen=True)
class Product(Combine):
    """The product of the channels named, of all of them if none is. Weights play no part.

    It is at most 0 as soon as a factor is below 0: two faults do not make a reward.
    """

    of: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The factors."""
        return self.of

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The product, in the order of the names."""
        factors = [channels[name] for name in sorted(self.of or channels)]
        product = math.prod(factors)
        return -abs(product) if min(factors) < 0 else product


@dataclass(frozen=True)
class Gate(Combine):
    """`inner` where the channel `by` reaches `threshold`, else `otherwise`."""

    by: str = "base"
    threshold: float = 1.0
    otherwise: float = 0.0
    inner: Combine = WeightedSum()

    def names(self) -> tuple[str, ...]:
        """The gate, and what is behind it."""
        return (self.by, *self.inner.names())

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The combined value behind the gate."""
        if math.isnan(channels[self.by]):
            return math.nan
        return self.inner.total(channels, weights) if channels[self.by] >= self.threshold else self.otherwise


@dataclass(frozen=True)
class Clip(Combine):
    """`inner`, held within [low, high]."""

    low: float
    high: float
    inner: Combine = WeightedSum()

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low={self.low} must not be above high={self.high}")

    def names(self) -> tuple[str, ...]:
        """Those of the inner one."""
        return self.inner.names()

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The value at hand or the nearest bound."""
        value = self.inner.total(channels, weights)
        return value if math.isnan(value) else min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Lexicographic(Combine):
    """Channels in order of importance: no gain in a later one makes up for a loss of a level in an earlier one.

    Each channel's range [low, high] is cut into `levels` equal steps; the levels are the digits of a number, which is
    scaled to [0, 1]. Values beyond a range count as its ends. Weights play no part.
    """

    order: tuple[tuple[str, float, float], ...]
    """(name, low, high), the most important first."""
    levels: int = 100

    def __post_init__(self) -> None:
        if not self.order or self.levels < 1 or any(not low < high for _, low, high in self.order):
            raise ValueError("a lexicographic order needs channels with low < high, and at least one level")

    def names(self) -> tuple[str, ...]:
        """The ordered channels."""
        return tuple(name for name, _, _ in self.order)

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The number, in [0, 1]."""
        number = 0
        for name, low, high in self.order:
            value = channels[name]
            if math.isnan(value):
                return math.nan
            share = (min(max(value, low), high) - low) / (high - low)
            number = number * (self.levels + 1) + math.floor(share * self.levels + 1e-9)
        most: int = (self.levels + 1) ** len(self.order) - 1
        return number / most


@dataclass(frozen=True)
class Staged(Combine):
    """PRS, progressive reward shaping: a stage counts only as far as all stages before it are full.

    sum over k of share_k * v_1 * ... * v_k with v in [0, 1]: [0, sum of shares]. Two stages of share 0.1 (parse,
    format) and one of 0.8 (quality) give the form r = .1 parse + .1 parse fmt + .8 parse fmt quality.
    Source: the stages are PRS's, the formula is a definition by this project. Weights play no part.
    """

    stages: tuple[tuple[str, float], ...]
    """(channel, share), the first stage first."""

    def names(self) -> tuple[str, ...]:
        """The stages' channels."""
        return tuple(name for name, _ in self.stages)

    def total(self, channels: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """The sum; a value outside [0, 1] counts as the nearer end."""
        total, reached = 0.0, 1.0
        for name, share in self.stages:
            value = channels[name]
            reached *= value if math.isnan(value) else min(max(value, 0.0), 1.0)
            total += share * reached
        return total


COMBINES: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (WeightedSum, Product, Gate, Clip, Lexicographic, Staged)
}
"""All of this module, by name."""
