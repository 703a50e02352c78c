"""Rewards for what calls cost: money, virtual time, length."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tir_gym.core.view import EpisodeView
from tir_gym.rewards import format as form
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import Measure, answer_score, price, seconds

WINDOW = 1000
"""Costs that Router-R1's window holds."""


def cost_norm(root: float, low: float, high: float) -> float:
    """1 - (root - low) / (high - low), held within [0, 1]; 0.5 for a flat window. `root` is the root of a cost."""
    return 1 - min(max((root - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def percentiles(roots: Sequence[float]) -> tuple[float, float]:
    """5th and 95th percentile, linear between ranks; (0, 0) for nothing."""
    if not roots:
        return 0.0, 0.0
    low, high = np.percentile(np.asarray(roots, np.float64), (5, 95))
    return float(low), float(high)


def cost_norms(costs: Sequence[float], window: int = WINDOW) -> list[float]:
    """Router-R1's normalised cost of each of a stream, with its sliding window of costs so far. Source: code.

    There the window is global to a process, so that a reward depends on the worker: rewards here take it from a
    frozen snapshot (`RouterR1`).
    """
    roots: deque[float] = deque(maxlen=window)
    found = []
    for cost in costs:
        roots.append(math.sqrt(cost))
        found.append(cost_norm(roots[-1], *percentiles(roots)))
    return found


@dataclass(frozen=True)
class RouterR1(RewardComponent):
    """Router-R1: -1 for a bad format, 0 for a wrong answer, else (1 - a) score + a * normalised cost; in [-1, 1].

    The cost is the price of the calls (models are tools), normalised by percentiles over rollouts: with a > 0 a right
    answer is invalid without a snapshot of them. It has the answer in it. Source: ulab-uiuc/Router-R1, code; a =
    cost_coe, 0 in its training script.
    """

    channels: ClassVar[tuple[str, ...]] = ("router_r1",)

    cost_weight: float = 0.0
    models: tuple[str, ...] = ()
    route: str = "search"
    measure: Measure = "exact_match"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.cost_weight <= 1:
            raise ValueError(f"cost_weight={self.cost_weight} must be from 0 to 1")

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"router_r1": reward}."""
        if not form.RouterR1Format(self.models, self.route).passes(view):
            return {"router_r1": -1.0}
        score = answer_score(view, self.measure)
        if not score:
            return {"router_r1": 0.0}
        if not self.cost_weight:
            return {"router_r1": score}
        if not view.group.known:
            return {"router_r1": INVALID}
        thrift = cost_norm(math.sqrt(price(view)), *view.group.root_prices)
        return {"router_r1": score * (1 - self.cost_weight) + self.cost_weight * thrift}


def in_range(value: float, bounds: tuple[float, float]) -> float:
    """(value - low) / (high - low); 0 where the range is a point."""
    low, high = bounds
    return (value - low) / (high - low) if high > low else 0.0


def toolorchestra(rows: Sequence[Sequence[float]], preference: Sequence[float], ok: Sequence[bool]) -> list[float]:
    """ToolOrchestra's rewards of a batch: columns min-max normalised, times the preference vector; 0 where not ok.

    A row is [calls of each tool, outcome, -dollars, -seconds], preferences are in [0, 1]. Source: its text.
    """
    matrix = np.asarray(rows, np.float64)
    bounds = list(zip(matrix.min(0), matrix.max(0), strict=True))
    return [
        math.fsum(w * in_range(v, b) for w, v, b in zip(preference, row, bounds, strict=True)) if good else 0.0
        for row, good in zip(matrix, ok, strict=True)
    ]


@dataclass(frozen=True)
class ToolOrchestra(RewardComponent):
    """`toolorchestra` with the group as the batch; in [0, sum of preferences]. It has the answer in it.

    `tools` maps tools to their preference as pairs (name, weight).
    """

    channels: ClassVar[tuple[str, ...]] = ("toolorchestra",)
    needs_group: ClassVar[bool] = True

    tools: tuple[tuple[str, float], ...] = ()
    outcome: float = 1.0
    money: float = 0.5
    time: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (*(weight for _, weight in self.tools), self.outcome, self.money, self.time)
        if not all(0 <= weight <= 1 for weight in weights):
            raise ValueError(f"preferences {weights} must be in [0, 1]")

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"toolorchestra": reward}."""
        if not view.solved:
            return {"toolorchestra": 0.0}
        ranges = view.group.ranges
        flat = (0.0, 0.0)
        parts = [self.outcome * in_range(1.0, ranges.get("correct", flat))]
        for name, value, weight in (("price", price(view), self.money), ("seconds", seconds(view), self.time)):
            low, high = ranges.get(name, flat)
            parts.append(weight * in_range(-value, (-high, -low)))
        for tool, weight in self.tools:
            calls = sum(call.tool == tool for call in view.tool_calls)
            parts.append(weight * in_range(calls, ranges.get(f"calls:{tool}", flat)))
        return {"toolorchestra": math.fsum(parts)}


@dataclass(frozen=True)
class CallCost(RewardComponent):
    """-(money * price + time * virtual seconds) of the calls, at most 0: BATS's tool cost (weights by this project).

    BATS adds the cost of tokens, which the engine knows: `unified_cost`.
    """

    channels: ClassVar[tuple[str, ...]] = ("cost",)

    money: float = 1.0
    time: float = 0.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"cost": -cost}."""
        return {"cost": -(self.money * price(view) + self.time * seconds(view))}


def unified_cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float, tools: float) -> float:
    """BATS's unified cost: tokens at their prices for one, and the price of all tool calls. Source: its text."""
    return tokens_in * price_in + tokens_out * price_out + tools


def dapo_overlong(length: int, most: int = 20480, buffer: int = 4096, factor: float = 1.0) -> float:
    """min(0, -(L - (most - buffer)) / buffer * factor): 0 until the buffer begins, -factor at its end, and on.

    Source: verl, dapo.py; lengths are in tokens, the defaults are DAPO's.
    """
    return min(-(length - (most - buffer)) / buffer * factor, 0.0)


@dataclass(frozen=True)
class Overlong(RewardComponent):
    """`dapo_overlong` of all that the policy wrote, in the units of `count` (a tokenizer's), at most 0.

    `count` must be picklable and pure: text -> number of tokens. A program with it cannot be written into a record.
    """

    channels: ClassVar[tuple[str, ...]] = ("overlong",)

    count: Callable[[str], int]
    most: int = 20480
    buffer: int = 4096
    factor: float = 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"overlong": penalty}."""
        length = sum(self.count(action.raw) for action in view.actions)
        return {"overlong": dapo_overlong(length, self.most, self.buffer, self.factor)}
