"""Rewards for using tools sparingly, or at all; every count comes from the call log.

Calls are those of tools that are not for control. Where calls cost, all count; where using a tool is paid for, those
that did their work. Where a reward holds the answer too, its docstring says so: give `base` the weight 0 then (recipes
do).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from tir_gym.core.transcript import CallErrorType, CallRecord
from tir_gym.core.view import EpisodeView
from tir_gym.rewards import format as form
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import Measure, all_well_formed, answer_score, duplicates, used, worked
from tir_gym.rewards.schedules import cosine


# --- OTC-PO -----------------------------------------------------------------------------------------------------------
def otc_ppo(calls: int, c: float = 1.0) -> float:
    """cos(m pi / (2m + c)), from 1 without a call down towards 0. Source: OTC-PO, by those who cite it."""
    return math.cos(calls * math.pi / (2 * calls + c))


def otc_grpo(calls: int, least: int, c: float = 1.0) -> float:
    """1 for m = n = 0; cos(m pi / (2m + c)) for n = 0 < m; else sin(f pi / 2n) with f = 2nm / (m + n). In [0, 1].

    m is the number of calls, n the fewest of a correct rollout. Source: as `otc_ppo`; c there is not known, 1 is that
    of an independent implementation.
    """
    if least == 0:
        return otc_ppo(calls, c) if calls else 1.0
    return math.sin(calls * math.pi / (calls + least))


@dataclass(frozen=True)
class OTC(RewardComponent):
    """OTC-PO for GRPO: alpha * y * `otc_grpo`, in [0, alpha]; 0 unless the score is 1. It has the answer in it.

    n is the group's, this rollout's included, so that m < n cannot be.
    """

    channels: ClassVar[tuple[str, ...]] = ("otc",)
    needs_group: ClassVar[bool] = True

    alpha: float = 1.0
    c: float = 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"otc": reward}."""
        if not view.solved:
            return {"otc": 0.0}
        calls = len(view.tool_calls)
        least = calls if view.group.least_calls < 0 else min(calls, view.group.least_calls)
        return {"otc": self.alpha * otc_grpo(calls, least, self.c)}


@dataclass(frozen=True)
class OTCPPO(RewardComponent):
    """OTC-PO for PPO: alpha * y * `otc_ppo`, in [0, alpha]; 0 unless the score is 1. It has the answer in it."""

    channels: ClassVar[tuple[str, ...]] = ("otc",)

    alpha: float = 1.0
    c: float = 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"otc": reward}."""
        return {"otc": self.alpha * otc_ppo(len(view.tool_calls), self.c) if view.solved else 0.0}


# --- LightSearcher, IKEA ---------------------------------------------------------------------------------------------
def lightsearcher(f1: float, calls: int, least: int, format_fault: bool) -> float:
    """-1 for a bad format, else 0.5 F1 + 0.5 exp(-0.75 max(0, m - n)) with the second part only for F1 >= 0.8."""
    if format_fault:
        return -1.0
    return 0.5 * f1 + 0.5 * (math.exp(-0.75 * max(0, calls - least)) if f1 >= 0.8 else 0.0)


@dataclass(frozen=True)
class LightSearcher(RewardComponent):
    """`lightsearcher`, in [-1, 1]; n is the fewest calls of a correct rollout of the group. It has the answer in it."""

    channels: ClassVar[tuple[str, ...]] = ("lightsearcher",)
    needs_group: ClassVar[bool] = True

    measure: Measure = "f1"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.25

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"lightsearcher": reward}."""
        calls = len(view.tool_calls)
        least = calls if view.group.least_calls < 0 else view.group.least_calls
        fault = not all_well_formed(view)
        return {"lightsearcher": lightsearcher(answer_score(view, self.measure), calls, least, fault)}


def ikea(right: bool, searches: int, format_ok: bool, found: bool | None = None) -> float:
    """IKEA's training reward, in [-1, 1.6]: -1 for a bad format; right: 1 + .6, .4, .2, 0 for 0, 1, 2, more searches.

    Wrong: 0.05 after a search (one that worked, if `found` says), else 0. Source: knowledge-r1, code.
    """
    if not format_ok:
        return -1.0
    if right:
        return 1.0 + (0.6, 0.4, 0.2, 0.0)[min(searches, 3)]
    return 0.05 if (searches if found is None else found) else 0.0


@dataclass(frozen=True)
class IKEA(RewardComponent):
    """`ikea` by calls of `tool` (any, if empty) and `IKEAFormat`. It has the answer in it."""

    channels: ClassVar[tuple[str, ...]] = ("ikea",)

    tool: str = ""
    measure: Measure = "exact_match"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.05

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"ikea": reward}."""
        searches = sum(not self.tool or call.tool == self.tool for call in view.tool_calls)
        found = any(not self.tool or call.tool == self.tool for call in worked(view))
        right = answer_score(view, self.measure) >= 1.0
        return {"ikea": ikea(right, searches, form.IKEAFormat.passes(view), found)}


# --- HDPO ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class HDPOAccuracy(RewardComponent):
    """HDPO's first channel, 0.9 answer + 0.1 format, in [0, 1]. Source: Act Wisely (Metis), by a note."""

    channels: ClassVar[tuple[str, ...]] = ("hdpo.accuracy",)

    measure: Measure = "score"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.1

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"hdpo.accuracy": value}."""
        return {"hdpo.accuracy": 0.9 * answer_score(view, self.measure) + 0.1 * all_well_formed(view)}


@dataclass(frozen=True)
class HDPOTools(RewardComponent):
    """HDPO's second channel, 1 / (calls + 1), in (0, 1]: valid for correct rollouts only.

    It is never summed with the first: its advantage is relative to the correct rollouts (`rollout.advantages`).
    """

    channels: ClassVar[tuple[str, ...]] = ("hdpo.tools",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"hdpo.tools": value}, invalid for a wrong rollout."""
        return {"hdpo.tools": 1 / (len(view.tool_calls) + 1) if view.solved else INVALID}


# --- DeepEyes, PixelReasoner, SPEAR, Tool-Star -----------------------------------------------------------------------
def deepeyes(acc: float, format_error: bool, used_tool: bool) -> float:
    """0.8 acc - 0.2 [format error] + 1.2 [a tool was used and acc > 0.5], in [-0.2, 2]. Source: DeepEyes, code."""
    return 0.8 * acc - 0.2 * format_error + 1.2 * (used_tool and acc > 0.5)


@dataclass(frozen=True)
class DeepEyes(RewardComponent):
    """`deepeyes`; an answer of 1000 characters or more is a format error and wrong. It has the answer in it.

    `math`: 1.2 acc + 0.4 [format right], its branch without tools.
    """

    channels: ClassVar[tuple[str, ...]] = ("deepeyes",)

    math: bool = False
    measure: Measure = "score"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.4 if self.math else 0.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"deepeyes": reward}."""
        fault = form.deepeyes_fault(view)
        acc = 0.0 if form.too_long(view) else answer_score(view, self.measure)
        if self.math:
            return {"deepeyes": 1.2 * acc + 0.4 * (not fault)}
        return {"deepeyes": deepeyes(acc, fault, bool(worked(view)))}


def pixelreasoner(calls: int, group_rate: float, found: bool | None = None) -> float:
    """0.5 max(0, 0.3 - share of the group's rollouts with calls) if there was a call, + 0.05 min(1 - calls, 0).

    The first part is for a call that worked, if `found` says whether there was one.
    Source: PixelReasoner's curiosity bonus, verl-tool, code.
    """
    curious = calls > 0 if found is None else found
    return 0.5 * max(0.0, 0.3 - group_rate) * curious + 0.05 * min(1 - calls, 0)


@dataclass(frozen=True)
class PixelReasoner(RewardComponent):
    """`pixelreasoner`, at most 0.15 and without a lower bound."""

    channels: ClassVar[tuple[str, ...]] = ("pixelreasoner",)
    needs_group: ClassVar[bool] = True

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.15

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"pixelreasoner": bonus}; invalid for a group without a rollout."""
        return {"pixelreasoner": pixelreasoner(len(view.tool_calls), view.group.call_rate, bool(worked(view)))}


def spear(tool_turns: int, step: int, total: int = 100, mode: str = "cosine") -> float:
    """min(1, 0.1 turns with calls), faded by a cosine to 0 at training step `total`; in [0, 1].

    `mode`: "cosine", "constant" or "none". Source: SPEAR, code (its README has T = 100, the function's default is 200).
    """
    fade = {"cosine": cosine(step, total), "constant": 1.0, "none": 0.0}[mode]
    return min(1.0, 0.1 * tool_turns) * fade


@dataclass(frozen=True)
class SPEAR(RewardComponent):
    """`spear` by turns with at least one call that worked; set the training step with `set_progress`."""

    channels: ClassVar[tuple[str, ...]] = ("spear",)

    total: int = 100
    mode: Literal["cosine", "constant", "none"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total < 1:
            raise ValueError(f"total={self.total} must be at least 1")

    def unearned(self) -> float:
        """Calling tools is what it pays for."""
        return 0.0 if self.mode == "none" else 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"spear": bonus}."""
        turns = len({call.turn for call in worked(view)})
        return {"spear": spear(turns, view.progress.step, self.total, self.mode)}


@dataclass(frozen=True)
class ToolStar(RewardComponent):
    """Tool-Star and ARPO: -1 for a bad format, else F1, and 0.1 more if it is above 0 and all of `tools` were called.

    In [-1, 1.1]. It has the answer in it. Source: code; there the tools count as used if their closing tags stand
    anywhere in the text, here if they are in the call log.
    """

    channels: ClassVar[tuple[str, ...]] = ("tool_star",)

    tools: tuple[str, ...] = ("search", "python")
    boxed: bool = True
    measure: Measure = "f1"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.6

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"tool_star": reward}."""
        if not form.ToolStarFormat(self.boxed).passes(view):
            return {"tool_star": -1.0}
        score = answer_score(view, self.measure)
        bonus = 0.1 if score > 0 and all(used(view, tool) for tool in self.tools) else 0.0
        return {"tool_star": score + bonus}


@dataclass(frozen=True)
class ToolStarByText(RewardComponent):
    """`ToolStar` as the published code counts: the bonus for `</search>` and `</python>` anywhere in the text.

    It reads what tools printed and what the policy thought, so printing the tags earns the bonus: for comparison only.
    """

    channels: ClassVar[tuple[str, ...]] = ("tool_star",)
    reads_tool_text: ClassVar[bool] = True

    tags: tuple[str, ...] = ("</search>", "</python>")
    boxed: bool = True
    measure: Measure = "f1"

    def unearned(self) -> float:
        """A wrong answer overlaps with gold, and the bonus is for the asking."""
        return 0.6

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"tool_star": reward}."""
        if not form.ToolStarFormat(self.boxed).passes(view):
            return {"tool_star": -1.0}
        score = answer_score(view, self.measure)
        whole = "\n".join([*(action.raw for action in view.actions), *view.tool_text(self).values()])
        bonus = 0.1 if score > 0 and all(tag in whole for tag in self.tags) else 0.0
        return {"tool_star": score + bonus}


def agent0_curriculum(consistency: float, cluster_share: float, calls: int, valid: bool) -> float:
    """Agent0's reward of a proposed question: min(s, 1 - s), or -1 if invalid, - cluster share + 0.05 min(calls, 4).

    s is the majority's share of the executors' answers, `cluster_share` that of the batch in the same BLEU cluster.
    """
    worth = min(consistency, 1 - consistency) if valid else -1.0
    return worth - cluster_share + 0.05 * min(calls, 4)


# --- AdaReasoner -----------------------------------------------------------------------------------------------------
def adareasoner(form_ok: float, tool: float, acc: float, lt: float = 2.0, la: float = 1.0) -> float:
    """format * (lt * mean call score + la * acc), in [0, lt + la]. Source: AdaReasoner, by a note."""
    return form_ok * (lt * tool + la * acc)


_REACHED = {
    CallErrorType.UNKNOWN_TOOL: 0.25,
    CallErrorType.OVERSIZE: 0.25,
    CallErrorType.MISSING_REQUIRED: 0.5,
    CallErrorType.UNEXPECTED_ARG: 0.5,
    CallErrorType.TYPE_MISMATCH: 0.75,
}


def call_score(call: CallRecord) -> float:
    """How far a call got, in {1/4, 1/2, 3/4, 1}: read, tool known, argument names right, values accepted.

    The hierarchy is AdaReasoner's, reading it off the call's error type is this project's.
    """
    return _REACHED.get(call.error, 1.0)


@dataclass(frozen=True)
class AdaReasoner(RewardComponent):
    """`adareasoner`: all turns well formed, mean `call_score` (0 without a call), the answer. It has the answer in it.

    With `full_if_correct` a correct answer earns lt + la whatever the tools did: the asymmetry that the note describes.
    """

    channels: ClassVar[tuple[str, ...]] = ("adareasoner",)

    lt: float = 2.0
    la: float = 1.0
    full_if_correct: bool = False
    measure: Measure = "score"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return self.lt

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"adareasoner": reward}."""
        calls, acc = view.tool_calls, answer_score(view, self.measure)
        tool = math.fsum(map(call_score, calls)) / len(calls) if calls else 0.0
        if self.full_if_correct and acc >= 1.0:
            tool = 1.0
        return {"adareasoner": adareasoner(float(all_well_formed(view)), tool, acc, self.lt, self.la)}


# --- definitions by this project -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class TAPO(RewardComponent):
    """-0.1 for each repetition of a call beyond `cap` of the same one, at most 0 (TAPO's penalty; by this project)."""

    channels: ClassVar[tuple[str, ...]] = ("tapo",)

    cap: int = 1
    penalty: float = 0.1

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"tapo": penalty}."""
        if self.cap == 1:
            return {"tapo": -self.penalty * duplicates(view)}
        keys = [call.key for call in view.tool_calls]
        return {"tapo": -self.penalty * sum(max(0, keys.count(key) - self.cap) for key in set(keys))}


@dataclass(frozen=True)
class TGRL(RewardComponent):
    """TGRL's efficiency, [correct] (1 - calls / most), in [0, 1] (formula by this project)."""

    channels: ClassVar[tuple[str, ...]] = ("tgrl",)

    most: int = 8

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"tgrl": value}."""
        return {"tgrl": max(0.0, 1 - len(view.tool_calls) / self.most) if view.solved else 0.0}


# --- Fathom ----------------------------------------------------------------------------------------------------------
def fathom(
    *, format_ok: bool, correct: bool, unique: int, repeated: int, explored: int, verified: int, requeried: int
) -> float:
    """Fathom's reward by step classes: searches unique or repeated; page queries exploring, verifying or redundant.

    rho = redundant steps / steps. Correct: 0.1 format + max(1 - rho, 0.5). Wrong: 0.1 format + 0.2 min(1, dS / 8) +
    0.2 min(1, dQ / 16) with dS = unique - repeated and dQ = explored + verified - requeried, which can be below 0.
    Source: Fathom, by a detailed note.
    """
    steps = unique + repeated + explored + verified + requeried
    if correct:
        rho = (repeated + requeried) / steps if steps else 0.0
        return 0.1 * format_ok + max(1 - rho, 0.5)
    searches, queries = unique - repeated, explored + verified - requeried
    return 0.1 * format_ok + 0.2 * min(1.0, searches / 8) + 0.2 * min(1.0, queries / 16)


@dataclass(frozen=True)
class Fathom(RewardComponent):
    """`fathom` with classes from the call log, where the paper asks a model. It has the answer in it.

    A search repeats an earlier one if its words are the same in at least 80 % (Jaccard). A page query explores a new
    page, verifies if its goal was put to another page before (once a goal), else is redundant, as any call that failed.
    """

    channels: ClassVar[tuple[str, ...]] = ("fathom",)

    search: str = "search_urls"
    query_argument: str = "query"
    page: str = "query_url"
    goal_argument: str = "goal"
    url_argument: str = "url"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.5

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"fathom": reward}."""
        counts = {"unique": 0, "repeated": 0, "explored": 0, "verified": 0, "requeried": 0}
        searched: list[frozenset[str]] = []
        seen: set[str] = set()
        goals: dict[str, int] = {}
        for call in view.tool_calls:
            if call.tool == self.search:
                words = frozenset(str(call.arguments.get(self.query_argument, "")).lower().split())
                known = any(len(words & old) >= 0.8 * len(words | old) for old in searched)
                counts["repeated" if known or call.error else "unique"] += 1
                searched.append(words)
            elif call.tool == self.page:
                url = str(call.arguments.get(self.url_argument, ""))
                goal = " ".join(str(call.arguments.get(self.goal_argument, "")).lower().split())
                asked = goals.get(goal, 0)
                kind = "requeried" if url in seen or asked > 1 else "verified" if asked else "explored"
                counts["requeried" if call.error else kind] += 1
                seen.add(url)
                goals[goal] = asked + 1
        return {"fathom": fathom(format_ok=all_well_formed(view), correct=view.solved, **counts)}
