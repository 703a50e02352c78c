"""Rewards that hold an episode against labels of its task: kinds of step, sub-goals, mended steps, leaderboards.

All are definitions by this project: of these systems only abstracts and notes were to be had, but for MLE-Dojo, whose
rank is that of its code. A channel is invalid where the task has no such label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.view import EpisodeView
from tir_gym.rewards.process import human_rank
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import as_call, duplicates, made_calls, worked


def smart_rates(calls: int, different: int, tool_steps: int, parametric_steps: int) -> tuple[float, float]:
    """SMART's rates of overuse and underuse, both in [0, 1].

    Calls beyond the steps that need a tool were made on steps that need none: overuse is their number for each of
    those, 1 at most (or any at all, where no step is parametric). Underuse is the share of tool steps without a call of
    their own; repetitions are no calls of their own. Definition by this project.
    """
    beyond = max(0, calls - min(different, tool_steps))
    overuse = min(1.0, beyond / max(parametric_steps, 1))
    underuse = max(0, tool_steps - different) / tool_steps if tool_steps else 0.0
    return overuse, underuse


@dataclass(frozen=True)
class SMART(RewardComponent):
    """-(overuse + underuse) of tools by `smart_rates`, in [-2, 0].

    `gold.data["steps"]` labels the steps of a good course, "tool" or "parametric". Source of the labels: SMART.
    """

    channels: ClassVar[tuple[str, ...]] = ("smart",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"smart": reward}."""
        steps = view.gold.data.get("steps")
        if not steps:
            return {"smart": INVALID}
        if unknown := set(steps) - {"tool", "parametric"}:
            raise ValueError(f"steps are 'tool' or 'parametric', not {sorted(unknown)}")
        tool_steps = sum(step == "tool" for step in steps)
        calls = len(view.tool_calls)
        return {"smart": -math.fsum(smart_rates(calls, calls - duplicates(view), tool_steps, len(steps) - tool_steps))}


@dataclass(frozen=True)
class ASTRA(RewardComponent):
    """F1 in [0, 1] of useful calls / calls and reached sub-goals / sub-goals: 2 s / (calls + sub-goals).

    `gold.data["sub_goals"]` are calls, {"name", "arguments"}: one is reached by a call that worked, has its name and
    its arguments (and maybe more), and reached no other.
    """

    channels: ClassVar[tuple[str, ...]] = ("astra",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"astra": f1}."""
        goals = view.gold.data.get("sub_goals")
        if not goals:
            return {"astra": INVALID}
        left = [as_call(goal) for goal in goals]
        useful = 0
        for call in worked(view):
            for goal in left:
                if call.tool == goal.name and goal.arguments.items() <= dict(call.arguments).items():
                    left.remove(goal)
                    useful += 1
                    break
        return {"astra": 2 * useful / (len(view.tool_calls) + len(goals))}


@dataclass(frozen=True)
class ToolComp(RewardComponent):
    """Share in [0, 1] of the labelled steps that were taken well: the call of a person's mend, and not the mended one.

    `gold.data["mended"]` is [{"good": call, "bad": call}]. Source of the labels: ToolComp, which scores judges with
    them (`rollout.metrics.pairwise_accuracy`, `rank_at_1`).
    """

    channels: ClassVar[tuple[str, ...]] = ("toolcomp",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"toolcomp": share}."""
        steps = view.gold.data.get("mended")
        if not steps:
            return {"toolcomp": INVALID}
        made = made_calls(view)
        well = sum(as_call(step["good"]) in made and as_call(step["bad"]) not in made for step in steps)
        return {"toolcomp": well / len(steps)}


@dataclass(frozen=True)
class HumanRank(RewardComponent):
    """MLE-Dojo: mean `human_rank` on the leaderboards of `gold.data["leaderboards"]`, lists of scores; in [0, 1].

    What is ranked is the verdict's evidence "metric", or the score where it names none; 0 without an answer. With
    `gold.data["lower_is_better"]` less is better. Source: MLE-Dojo, code (the mean of private and public board).
    """

    channels: ClassVar[tuple[str, ...]] = ("base",)

    def unearned(self) -> float:
        """Where little is better, or the boards are low, a score of 0 has a rank."""
        return 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": rank}."""
        boards: Sequence[Sequence[float]] = view.gold.data.get("leaderboards") or ()
        if not boards or not all(boards):
            return {"base": INVALID}
        if view.score is None or view.evidence.answer is None:
            return {"base": 0.0}
        metric = float(view.score.evidence.get("metric", view.correct))
        higher = not view.gold.data.get("lower_is_better", False)
        return {"base": math.fsum(human_rank(metric, list(board), higher) for board in boards) / len(boards)}
