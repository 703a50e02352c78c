"""Rewards for making the calls that gold wants; invalid where gold names none (`gold.data["calls"]`)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tir_gym.core.action import Action, ParseErrorType
from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import answer_of, gold_calls, gold_turns, golds, made_calls
from tir_gym.scoring import tool_calls
from tir_gym.scoring.text import f1_set


@dataclass(frozen=True)
class ToolRLCorrectness(RewardComponent):
    """`scoring.tool_calls.toolrl_correctness` of all calls of the episode, in [low, high]; without gold calls 0.

    A turn whose form could not be read gives `low`, as a parse failure there. `schedule`: "max1" (bounds -1 and 1),
    "max1_step30_max3" (a third before training step 30), "linear" (from -2 and 2 to the bounds over 150 steps).
    Source: qiancheng0/ToolRL, rlla.py.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.toolrl",)

    high: float = 3.0
    low: float = -3.0
    grain: tool_calls.Grain = "fine"
    schedule: Literal["", "max1", "max1_step30_max3", "linear"] = ""
    no_call_expected: bool = False

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.toolrl": reward}."""
        wanted = gold_calls(view)
        if wanted is None:
            return {"calls.toolrl": INVALID}
        high, low = self.bounds(view.progress.step)
        if wanted and any(action.errors for action in view.actions):
            return {"calls.toolrl": low}
        value = tool_calls.toolrl_correctness(
            wanted, made_calls(view), high, low, grain=self.grain, no_call_expected=self.no_call_expected
        )
        return {"calls.toolrl": value}

    def bounds(self, step: int) -> tuple[float, float]:
        """(high, low) at a training step."""
        if self.schedule == "max1":
            return 1.0, -1.0
        if self.schedule == "max1_step30_max3" and step < 30:
            return self.high / 3, self.low / 3
        if self.schedule == "linear":
            share = step / 150
            return min((self.high - 2) * share + 2, 3.0), max((self.low + 2) * share - 2, -3.0)
        return self.high, self.low


def toolrl_length(words: int, step: int = 0, *, scheduled: bool = False) -> float:
    """ToolRL's length reward, min(1, words of thought / 512) rounded to two digits, in [0, 1].

    `scheduled`: the target rises from 384 to 640 words over 105 training steps, and on.
    """
    target = 384 + (640 - 384) * step / 105 if scheduled else 512
    return min(1.0, round(words / target, 2))


@dataclass(frozen=True)
class ToolRLLength(RewardComponent):
    """`toolrl_length` of the last turn's thought, in [0, 1]."""

    channels: ClassVar[tuple[str, ...]] = ("length.toolrl",)

    scheduled: bool = False

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"length.toolrl": reward}."""
        words = len(view.actions[-1].thought.split()) if view.actions else 0
        return {"length.toolrl": toolrl_length(words, view.progress.step, scheduled=self.scheduled)}


@dataclass(frozen=True)
class MatchTIR(RewardComponent):
    """MatchTIR's turn rewards, summed: mean over the turn's calls of the matched similarity, f1_set at the answer.

    `matching`: "assignment" (the true one), "greedy" (what the published code does), "transport" (optimal transport,
    regularisation 0.1, a factor 1/P in each reward). Calls left over earn `penalty`. Calls of the whole episode are
    matched with gold's; with `gold.data["call_turns"]`, each turn's with the gold turn of the same number.
    Range [turns * min(penalty, 0), turns]. Source: quchangle1/MatchTIR, reward_score/tool.py (assignment: the paper's
    text; the function of that name in the code is greedy; it is called with penalty 0).
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.matchtir",)
    per_step: ClassVar[bool] = True

    matching: Literal["assignment", "greedy", "transport"] = "assignment"
    penalty: float = 0.0

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.matchtir": sum of turn rewards so far}."""
        turns = self.turn_rewards(view)
        return {"calls.matchtir": INVALID if turns is None else math.fsum(turns)}

    def turn_rewards(self, view: EpisodeView) -> list[float] | None:
        """The reward of each turn so far; None where gold names no calls.

        Within one matching, a call's reward can change with later calls: it is what it is at the time of the view.
        """
        wanted, by_turn = gold_calls(view), gold_turns(view)
        if wanted is None and by_turn is None:
            return None
        made = made_calls(view)
        turn_of = [call.turn for call in view.tool_calls]
        earned: dict[int, list[float]] = {}
        if by_turn is None:
            assert wanted is not None
            for turn, value in zip(turn_of, self._match(made, wanted), strict=True):
                earned.setdefault(turn, []).append(value)
        else:
            for turn in sorted(set(turn_of)):
                in_turn = [call for call, its in zip(made, turn_of, strict=True) if its == turn]
                earned[turn] = self._match(in_turn, by_turn[turn - 1] if turn <= len(by_turn) else ())
        rewards = [math.fsum(own) / len(own) if (own := earned.get(t)) else 0.0 for t in range(1, view.turns + 1)]
        if rewards and view.evidence.answer is not None:
            rewards[-1] += max((f1_set(answer_of(view), gold) for gold in golds(view)), default=0.0)
        return rewards

    def _match(self, made: tool_calls.Calls, wanted: tool_calls.Calls) -> list[float]:
        similarity = tool_calls.similarities(made, wanted)
        if self.matching == "transport":
            return tool_calls.transported_rewards(similarity)
        return tool_calls.matched_rewards(similarity, self.penalty, greedy=self.matching == "greedy")


@dataclass(frozen=True)
class TLTraining(RewardComponent):
    """`scoring.tool_calls.tl_training`, mean over the calls, each against the gold call of its place; in [-2, 1].

    Arguments that are not in gold are hallucinated if the tool refused the call for such a one, else redundant. A turn
    that cannot be read counts -2; calls beyond gold's are of a wrong tool. Without a call where one is wanted, -2.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.tl_training",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.tl_training": mean}."""
        wanted = gold_calls(view)
        if wanted is None:
            return {"calls.tl_training": INVALID}
        rewards = [-2.0 for action in view.actions if action.errors and not action.calls]
        for place, call in enumerate(view.tool_calls):
            gold = wanted[place] if place < len(wanted) else None
            extra = set(call.arguments) - set(gold.arguments if gold else ())
            unknown = call.error.value == "unexpected_arg"
            rewards.append(
                tool_calls.tl_training(
                    parsed=True,
                    tool_known=call.error.value != "unknown_tool",
                    tool_right=gold is not None and gold.name == call.tool,
                    hallucinated_arg=bool(extra) and unknown,
                    redundant_arg=bool(extra) and not unknown,
                    missing_arg=gold is not None and not set(gold.arguments) <= set(call.arguments),
                    values_equal=gold is not None and gold.arguments == dict(call.arguments),
                )
            )
        if not rewards:
            return {"calls.tl_training": -2.0 if wanted else 1.0}
        return {"calls.tl_training": math.fsum(rewards) / len(rewards)}


@dataclass(frozen=True)
class FTRL(RewardComponent):
    """FTRL's solve-F1, 2s / (calls + golds), in [0, 1]; `gold.data["sub_answers"]` maps tools to hidden sub-answers.

    A call solves one if its result holds it (`ftrl_verified`): it reads tool text, by definition, so whoever makes the
    tool print an answer it knows is credited. Each sub-answer is solved once. Source: the Feedback-driven RL file in
    MatchTIR's repository, evaluation mode.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.ftrl",)
    reads_tool_text: ClassVar[bool] = True

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.ftrl": f1}."""
        hidden = view.gold.data.get("sub_answers")
        if hidden is None:
            return {"calls.ftrl": INVALID}
        solved = len(_solving(view, hidden, view.tool_text(self)))
        wanted = sum(map(len, hidden.values()))
        return {"calls.ftrl": tool_calls.ftrl_solve(len(view.tool_calls), solved, wanted)["f1"]}


@dataclass(frozen=True)
class FTRLTurns(RewardComponent):
    """FTRL's reward in training, summed over turns; `gold.data["sub_answers"]` as in `FTRL`. It reads tool text.

    A turn with calls earns `ftrl_turn`, one without `ftrl_silent_turn`: is the final answer in it, and what was left to
    solve then? Range [-0.5 turns, turns] for `shape` "f1" and "share". Source: as `FTRL`, training mode.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.ftrl_turns",)
    per_step: ClassVar[bool] = True
    reads_tool_text: ClassVar[bool] = True

    shape: Literal["f1", "count", "share", "square"] = "f1"

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.ftrl_turns": sum of turn rewards so far}."""
        turns = self.turn_rewards(view)
        return {"calls.ftrl_turns": INVALID if turns is None else math.fsum(turns)}

    def turn_rewards(self, view: EpisodeView) -> list[float] | None:
        """The reward of each turn so far; None where gold has no sub-answers."""
        hidden = view.gold.data.get("sub_answers")
        if hidden is None:
            return None
        solving = _solving(view, hidden, view.tool_text(self))
        golds_left = sum(map(len, hidden.values()))
        rewards = []
        for turn, (action, text) in enumerate(zip(view.actions, view.evidence.policy_text, strict=True), 1):
            in_turn = [call.index in solving for call in view.tool_calls if call.turn == turn]
            golds_left -= sum(in_turn)
            if in_turn:
                rewards.append(tool_calls.ftrl_turn(len(in_turn), sum(in_turn), self.shape))
                continue
            said = any(tool_calls.ftrl_verified(text, gold) for gold in golds(view))
            rewards.append(
                tool_calls.ftrl_silent_turn(
                    empty=not text.strip(), stray_tags=_stray(action), answered=said, unsolved=golds_left
                )
            )
        return rewards


_BROKEN = frozenset(
    {
        *(ParseErrorType.UNCLOSED_TAG, ParseErrorType.NESTED_TAG, ParseErrorType.BAD_JSON),
        *(ParseErrorType.BAD_ACTION, ParseErrorType.CUT_CALL),
    }
)


def _stray(action: Action) -> bool:
    """Whether a call was begun and could not be read."""
    return any(error.type in _BROKEN for error in action.errors)


def _solving(view: EpisodeView, hidden: Mapping[str, Sequence[str]], results: Mapping[int, str]) -> set[int]:
    """Indices of the calls whose result holds a sub-answer of their tool that no earlier call solved."""
    left = {tool: list(answers) for tool, answers in hidden.items()}
    solving = set()
    for call in view.tool_calls:
        unsolved = left.get(call.tool, [])
        hit = next((a for a in unsolved if tool_calls.ftrl_verified(results.get(call.index, ""), a)), None)
        if hit is not None:
            unsolved.remove(hit)
            solving.add(call.index)
    return solving


@dataclass(frozen=True)
class BFCL(RewardComponent):
    """1 if the calls pass BFCL's AST checks, {0, 1}.

    `gold.data["bfcl"]` is [{"name", "allowed": {parameter: [values]}}], `gold.data["functions"]` maps names to schemas.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.bfcl",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.bfcl": 1.0 or 0.0}."""
        data = view.gold.data
        if "bfcl" not in data:
            return {"calls.bfcl": INVALID}
        wanted = [(call["name"], call["allowed"]) for call in data["bfcl"]]
        fault = tool_calls.bfcl_check(made_calls(view), wanted, data.get("functions", {}))
        return {"calls.bfcl": float(not fault)}


@dataclass(frozen=True)
class Tau2Actions(RewardComponent):
    """1 if every gold call is met by some call, {0, 1}. Source: tau2-bench, code.

    A gold call's "compare" in `gold.data["compare"]` (a list beside "calls") names the arguments that count; None: all
    that the made call has.
    """

    channels: ClassVar[tuple[str, ...]] = ("calls.tau2",)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"calls.tau2": 1.0 or 0.0}."""
        wanted = gold_calls(view)
        if wanted is None:
            return {"calls.tau2": INVALID}
        compare = view.gold.data.get("compare") or [None] * len(wanted)
        actions = [
            tool_calls.WantedAction(call, None if names is None else tuple(names))
            for call, names in zip(wanted, compare, strict=True)
        ]
        return {"calls.tau2": tool_calls.tau2_actions(actions, made_calls(view))}


@dataclass(frozen=True)
class PlanF1(RewardComponent):
    """m&m's plan measures (`scoring.tool_calls.plan_metrics`), one channel each, in [0, 1]."""

    channels: ClassVar[tuple[str, ...]] = tuple(
        f"plan.{name}"
        for name in ("accuracy", "argument_name_f1", "argument_value_f1", "edge_f1", "similarity", "tool_f1")
    )

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"plan.tool_f1": ..., ...}."""
        wanted = gold_calls(view)
        if wanted is None:
            return dict.fromkeys(self.channels, INVALID)
        found = tool_calls.plan_metrics(made_calls(view), [wanted])
        return {f"plan.{name}": value for name, value in found.items()}
