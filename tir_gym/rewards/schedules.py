"""Values that change with training: pure functions of its step, and curricula of published systems."""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tir_gym.core.view import Progress


class Schedule(ABC):
    """A factor that follows the trainer (`set_progress`); subclass it as a frozen dataclass."""

    @abstractmethod
    def factor(self, progress: Progress) -> float:
        """The factor at a point of training; finite."""


@dataclass(frozen=True)
class Piecewise(Schedule):
    """`piecewise` by training step."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        piecewise(0, self.points)

    def factor(self, progress: Progress) -> float:
        """The value between the points at the training step."""
        return piecewise(progress.step, self.points)


@dataclass(frozen=True)
class Cosine(Schedule):
    """`cosine` by training step: from 1 to 0 at `total`, or at the trainer's own total if it is 0."""

    total: int = 0

    def factor(self, progress: Progress) -> float:
        """The fading factor; 1.0 where there is no total."""
        total = self.total or progress.total
        return cosine(progress.step, total) if total else 1.0


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """`sigmoid` by the share of training that is over."""

    steepness: float = 125.0
    middle: float = 0.2

    def factor(self, progress: Progress) -> float:
        """The fading factor."""
        return sigmoid(progress.share, self.steepness, self.middle)


@dataclass(frozen=True)
class Stages(Schedule):
    """`stages` by training step."""

    values: tuple[float, ...]
    every: int

    def __post_init__(self) -> None:
        if not self.values or self.every < 1:
            raise ValueError("stages need at least one value, and at least one step each")

    def factor(self, progress: Progress) -> float:
        """The value of the stage."""
        return stages(progress.step, self.values, self.every)


def piecewise(step: float, points: Sequence[tuple[float, float]]) -> float:
    """Linear between (step, value) points, flat before the first and after the last. Raises `ValueError` for none."""
    if not points or any(a[0] >= b[0] for a, b in pairwise(points)):
        raise ValueError("a piecewise schedule needs points with rising steps")
    at = bisect_right([x for x, _ in points], step)
    if at in (0, len(points)):
        return points[0][1] if at == 0 else points[-1][1]
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return y0 + (y1 - y0) * (step - x0) / (x1 - x0)


def cosine(step: float, total: float) -> float:
    """(cos(pi step / total) + 1) / 2, from 1 to 0 at `total` and 0 after it."""
    return (math.cos(math.pi * step / total) + 1) / 2 if 0 <= step <= total else 0.0


def sigmoid(share: float, steepness: float = 125.0, middle: float = 0.2) -> float:
    """1 / (1 + exp(steepness (share - middle))), from 1 down to 0."""
    return 1 / (1 + math.exp(min(steepness * (share - middle), 700.0)))


def stages(step: int, values: Sequence[float], every: int) -> float:
    """The value of the stage that a step is in; stages last `every` steps, the last one for ever."""
    return values[min(step // every, len(values) - 1)]


def scaling_inter(step: int, rounds: Sequence[int] = (10, 20, 30), every: int = 100) -> int:
    """ScalingInter-RL's most rounds of interaction at a training step. Source: AgentGym-RL, README."""
    return int(stages(step, rounds, every))


def skill0_max_set(step: int, sizes: Sequence[int] = (6, 3, 0), total: int = 150) -> int:
    """SKILL0's most skills in the prompt at a training step from 1 on: equal parts of `total`. Source: SkillZero."""
    return int(stages(max(step - 1, 0), sizes, math.ceil(total / len(sizes))))


def icrl_demonstrations(step: int, every: int, counts: Sequence[int] = (3, 2, 0)) -> int:
    """ICRL's demonstrations in the prompt at a training step: stages of `every` steps. Source: by a note."""
    return int(stages(step, counts, every))


def ruscarl_reveal(index: int, group: int, share: float) -> float:
    """RuscaRL's share of the rubric shown to rollout `index` of a group at a share of training, in [0, 1].

    (1 - i / (G - 1)) / (1 + exp(125 (t - 0.2))); a group of one is shown what the first is. Source: its README.
    """
    return (1 - index / (group - 1) if group > 1 else 1.0) * sigmoid(share)


SCHEDULES: Mapping[str, type[Schedule]] = {kind.__name__: kind for kind in (Piecewise, Cosine, Sigmoid, Stages)}
"""All schedules, by name."""
