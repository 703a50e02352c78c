"""Rewards for stated confidence. Right means a score of 1.

Who states none, or none in [0, 1], is taken to have stated the worst: leaving it out never pays.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import RewardComponent
from tir_gym.rewards.reading import answer_of
from tir_gym.scoring import calibration
from tir_gym.scoring.text import normalize_qa


def stated(view: EpisodeView) -> float | None:
    """The confidence that came with the answer, in [0, 1]; None where there is none."""
    answer = view.evidence.answer
    return answer.confidence if answer is not None and 0.0 <= answer.confidence <= 1.0 else None


class _Calibration(RewardComponent):
    """A score of the stated confidence."""

    channels: ClassVar[tuple[str, ...]] = ("calibration",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calibration": score}."""
        confidence = stated(view)
        worst = 0.0 if view.solved else 1.0
        return {"calibration": self.score(view.solved, worst if confidence is None else confidence)}

    @abstractmethod
    def score(self, correct: bool, confidence: float) -> float:
        """The score of a confidence in [0, 1]."""


@dataclass(frozen=True)
class Brier(_Calibration):
    """-(c - y)^2, in [-1, 0], strictly proper. Added to the score it is RLCR's reward. Source: Brier (1950), RLCR."""

    def score(self, correct: bool, confidence: float) -> float:
        """The score."""
        return -((confidence - correct) ** 2)


@dataclass(frozen=True)
class Margin(_Calibration):
    """`scoring.calibration.margin`, in [-b, 1]: right answers stay above wrong ones. It has the answer in it.

    Definition by this project.
    """

    b: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.b <= 1:
            raise ValueError(f"b={self.b} must be above 0, to be proper, and at most 1, to keep right above wrong")

    def score(self, correct: bool, confidence: float) -> float:
        """The score."""
        return calibration.margin(correct, confidence, self.b)


@dataclass(frozen=True)
class LogScore(_Calibration):
    """`scoring.calibration.log_score`, in [log floor, log(1 - floor)], proper; strictly between floor and 1 - floor."""

    floor: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.floor < 0.5:
            raise ValueError(f"floor={self.floor} must be above 0 and below 0.5")

    def score(self, correct: bool, confidence: float) -> float:
        """The score."""
        return calibration.log_score(correct, confidence, self.floor)


@dataclass(frozen=True)
class Abstention(RewardComponent):
    """`scoring.calibration.abstention_utility`, in [-t/(1-t), 1]. It has the answer in it.

    No answer, or one of `words`, is abstaining.
    """

    channels: ClassVar[tuple[str, ...]] = ("calibration",)

    threshold: float = 0.5
    words: tuple[str, ...] = ("i don't know", "unknown", "none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold={self.threshold} must be at least 0 and below 1")

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calibration": utility}."""
        said = normalize_qa(answer_of(view))
        gave_up = not view.solved and said in {"", *map(normalize_qa, self.words)}
        return {"calibration": calibration.abstention_utility(not gave_up, view.solved, self.threshold)}
