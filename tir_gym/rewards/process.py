"""Rewards for how an episode went, step by step."""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.scoring.tool_calls import set_f1


@dataclass(frozen=True)
class THOR(RewardComponent):
    """THOR's episode reward, {0, 1}: 1 for a correct episode; one with a failed call is not valid as a positive.

    Source: THOR, by a note (trajectories with failed executions are filtered from the positive set).
    """

    channels: ClassVar[tuple[str, ...]] = ("thor",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"thor": 1.0, 0.0 or invalid}."""
        if not view.solved:
            return {"thor": 0.0}
        return {"thor": INVALID if any(call.error for call in view.tool_calls) else 1.0}


@dataclass(frozen=True)
class Grounded(RewardComponent):
    """SPA-RL's grounding, b * share of the turns with calls in which every call succeeded; in [0, b].

    The share instead of the sum, which more calls would raise, is this project's. The rest of SPA's reward is an
    estimator's share of the terminal one (`rollout.advantages.spread`).
    """

    channels: ClassVar[tuple[str, ...]] = ("grounded",)

    b: float = 0.1

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return self.b

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"grounded": value}; 0.0 without a call."""
        turns = {call.turn for call in view.tool_calls}
        failed = {call.turn for call in view.tool_calls if call.error}
        return {"grounded": self.b * (1 - len(failed) / len(turns)) if turns else 0.0}


@dataclass(frozen=True)
class RARE(RewardComponent):
    """RARE: F1 in [0, 1] of the source ids that the policy's thoughts name with those that help.

    `gold.data["sources"]` are the helpful ids, `gold.data["distractors"]` the others that were shown; an id counts as
    named where it stands as a whole word. Invalid where gold has no sources. Definition by this project.
    """

    channels: ClassVar[tuple[str, ...]] = ("rare",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"rare": f1}."""
        helpful = view.gold.data.get("sources")
        if not helpful:
            return {"rare": INVALID}
        known = {*map(str, helpful), *map(str, view.gold.data.get("distractors", ()))}
        thoughts = "\n".join(action.thought for action in view.actions)
        named = {name for name in known if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", thoughts)}
        return {"rare": set_f1(named, map(str, helpful))}


def worth(best: float, mean: float, std: float) -> float:
    """VSPO's value of a task, (Rmax - mean) * std over its group of rollouts. Source: by a note."""
    return (best - mean) * std


def tau2_product(terminated_normally: bool, parts: "list[float] | tuple[float, ...]") -> float:
    """tau2-bench's reward: the product of its parts, 0 for a premature end, 1 without criteria. Source: code."""
    product = float(terminated_normally)
    for part in parts:
        product *= part
    return product


def human_rank(score: float, board: "list[float]", higher: bool = True) -> float:
    """MLE-Dojo's position on a leaderboard of N scores, (N - p + 1) / N with p the first entry that is no better.

    In [0, 1]; 0 below all. Source: MLE-Dojo, code (the mean of the private and the public board is its reward).
    """
    order = sorted(board, reverse=higher)
    place = next((i for i, other in enumerate(order) if (score >= other if higher else score <= other)), len(order))
    return (len(order) - place) / len(order)


def weighted_outcome(last: float, shortest: float) -> float:
    """Collaboration Gap: 1 - distance left / distance at first, which is below 0 for those who went astray."""
    return 1 - last / shortest
