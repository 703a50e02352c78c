"""Rewards for the form of the policy's turns, read from parsed actions: printing a tag earns nothing.

The published ones judge text against one syntax; here each is judged by the parts that the episode's own protocol read
(thought, call, answer), so it holds in every syntax. A part that was mended (lenient reading) is not well formed.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from tir_gym.core.action import Action, ParseErrorType, Part
from tir_gym.core.transcript import CallRecord
from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import RewardComponent
from tir_gym.rewards.reading import (
    Measure,
    all_well_formed,
    answer_of,
    answer_score,
    answered,
    answers,
    gold_calls,
    golds,
    thinks,
    well_formed,
)
from tir_gym.scoring.text import normalize_qa


@dataclass(frozen=True)
class TurnFormat(RewardComponent):
    """Share of well-formed turns, in [0, 1] (definition by this project)."""

    channels: ClassVar[tuple[str, ...]] = ("format",)

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 1.0

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format": share}; 0.0 without a turn."""
        return {"format": sum(map(well_formed, view.actions)) / max(view.turns, 1)}


@dataclass(frozen=True)
class ToolRLFormat(RewardComponent):
    """ToolRL: `high` if each turn has a thought and exactly the parts that gold wants, else `low`.

    Gold with calls (`gold.data["calls"]`) wants a turn with calls, gold with an answer wants one with an answer;
    several turns are an extension by this project. {0, 1} by default.
    `schedule="max1_step30_max3"`: both halved from training step 30 on; "linear": high goes from 2 to `high` and low
    from -2 to -1 over 150 steps. Source: qiancheng0/ToolRL, rlla.py.
    """

    channels: ClassVar[tuple[str, ...]] = ("format.toolrl",)

    high: float = 1.0
    low: float = 0.0
    schedule: Literal["", "max1_step30_max3", "linear"] = ""

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 2.0 if self.schedule == "linear" else self.high

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.toolrl": high or low}."""
        high, low = self.bounds(view.progress.step)
        return {"format.toolrl": high if self._fits(view) else low}

    def bounds(self, step: int) -> tuple[float, float]:
        """(high, low) at a training step."""
        if self.schedule == "max1_step30_max3" and step >= 30:
            return self.high / 2, self.low / 2
        if self.schedule == "linear":
            share = step / 150
            return max(2 - (2 - self.high) * share, 1.0), min(-2 + (2 + self.low) * share, -1.0)
        return self.high, self.low

    def _fits(self, view: EpisodeView) -> bool:
        if not (all_well_formed(view) and all(map(thinks, view.actions))):
            return False
        wants_calls, wants_answer = bool(gold_calls(view)), view.gold.answer is not None
        has_calls = any(action.calls for action in view.actions)
        has_answer = any(action.answer is not None or action.message is not None for action in view.actions)
        return (wants_calls, wants_answer) == (has_calls, has_answer)


@dataclass(frozen=True)
class ToolStarFormat(RewardComponent):
    """Tool-Star and ARPO: -1 unless every turn is well formed and there is exactly one answer; {-1, 0}.

    With `boxed` the answer is written in a box. Source: RUC-NLPIR/Tool-Star, ARPO, code (the gate; there the score of a
    good format is that of the answer).
    """

    channels: ClassVar[tuple[str, ...]] = ("format.tool_star",)

    boxed: bool = True

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.tool_star": -1.0 or 0.0}."""
        return {"format.tool_star": 0.0 if self.passes(view) else -1.0}

    def passes(self, view: EpisodeView) -> bool:
        """Whether the gate is open."""
        good = all_well_formed(view) and answered(view) and answers(view) == 1
        return good and (not self.boxed or _boxed(view))


def _boxed(view: EpisodeView) -> bool:
    """Whether the answer part of the last turn holds a box."""
    last = view.actions[-1]
    return any(span.part is Part.ANSWER and "\\boxed{" in last.raw[span.start : span.end] for span in last.spans)


@dataclass(frozen=True)
class RouterR1Format(RewardComponent):
    """Router-R1: -1 unless every turn is well formed and thinks, and the episode ends with one answer; {-1, 0}.

    With `models`, every call of `route` names one of them: its only argument is "Name:question" with one colon.
    Source: ulab-uiuc/Router-R1, code.
    """

    channels: ClassVar[tuple[str, ...]] = ("format.router_r1",)

    models: tuple[str, ...] = ()
    route: str = "search"

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.router_r1": -1.0 or 0.0}."""
        return {"format.router_r1": 0.0 if self.passes(view) else -1.0}

    def passes(self, view: EpisodeView) -> bool:
        """Whether the form is right."""
        good = all_well_formed(view) and all(map(thinks, view.actions)) and answered(view) and answers(view) == 1
        return good and (not self.models or all(map(self._routes, view.tool_calls)))

    def _routes(self, call: CallRecord) -> bool:
        arguments = list(call.arguments.values())
        if call.tool != self.route or len(arguments) != 1 or not isinstance(arguments[0], str):
            return False
        name, colon, question = arguments[0].partition(":")
        return bool(colon and question.strip()) and ":" not in question and name.strip() in self.models


@dataclass(frozen=True)
class IKEAFormat(RewardComponent):
    """IKEA: -1 if a turn has no thought or was no valid action, else 0. Source: knowledge-r1, code."""

    channels: ClassVar[tuple[str, ...]] = ("format.ikea",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.ikea": -1.0 or 0.0}."""
        return {"format.ikea": 0.0 if self.passes(view) else -1.0}

    @staticmethod
    def passes(view: EpisodeView) -> bool:
        """Whether the form is right."""
        return all_well_formed(view) and all(map(thinks, view.actions))


@dataclass(frozen=True)
class SkyRLSQLFormat(RewardComponent):
    """SkyRL-SQL: -1 if there is no solution or a turn does not begin with a closed thought, else 0.

    Source: NovaSky-AI/SkyRL, code.
    """

    channels: ClassVar[tuple[str, ...]] = ("format.skyrl_sql",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.skyrl_sql": -1.0 or 0.0}."""
        unclosed = ParseErrorType.UNCLOSED_TAG
        closed = all(
            thinks(action)
            and action.spans[:1]
            and action.spans[0].part is Part.THOUGHT
            and not any(e.type is unclosed for e in action.errors)
            and not any(r.kind == unclosed for r in action.repairs)
            for action in view.actions
        )
        return {"format.skyrl_sql": 0.0 if answered(view) and closed else -1.0}


@dataclass(frozen=True)
class DeepEyesFormat(RewardComponent):
    """DeepEyes: -0.2 if a turn is not well formed or the answer has 1000 characters or more, else 0.

    Source: Visual-Agent/DeepEyes, code.
    """

    channels: ClassVar[tuple[str, ...]] = ("format.deepeyes",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.deepeyes": -0.2 or 0.0}."""
        return {"format.deepeyes": -0.2 if deepeyes_fault(view) else 0.0}


def deepeyes_fault(view: EpisodeView) -> bool:
    """Whether DeepEyes would call the episode's form wrong."""
    return not all_well_formed(view) or too_long(view)


def too_long(view: EpisodeView) -> bool:
    """Whether DeepEyes would not read the answer: 1000 characters or more."""
    return len(answer_of(view)) >= 1000


def search_r1_v03(
    *,
    em: bool,
    valid_sequence: bool,
    gold_in_information: bool,
    answered: bool,
    sf: float = 0.2,
    rs: float = 0.1,
    ff: float = 0.1,
) -> float:
    """Search-R1's reward v0.3, in [0, 1] for weights in [0, 1].

    Right: 1 in valid form, 1 - sf else. Wrong: sf in valid form, and rs more if a gold occurs in what was retrieved; ff
    in invalid form, 0 without an answer. Source: the file that MiliLab/REX-RAG keeps of PeterGriffinJin/Search-R1.
    """
    if em:
        return 1.0 if valid_sequence else 1.0 - sf
    if valid_sequence:
        return sf + rs * gold_in_information
    return ff if answered else 0.0


@dataclass(frozen=True)
class SearchR1(RewardComponent):
    """`search_r1_v03`: EM and form in one, in [0, 1]. It has the answer's place in it: give `base` the weight 0.

    Valid form: every turn is well formed, thinks, and then makes one call or answers; the last one answers.
    It reads retrieved text for `rs`, by definition: results of calls for evidence, not what code of the policy printed,
    which could be every answer at once. A tool that repeats its query still earns it. `rs=0` reads nothing.
    """

    channels: ClassVar[tuple[str, ...]] = ("search_r1",)
    reads_tool_text: ClassVar[bool] = True

    sf: float = 0.2
    rs: float = 0.1
    ff: float = 0.1
    measure: Measure = "exact_match"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return max(self.sf + self.rs, self.ff)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"search_r1": reward}."""
        value = search_r1_v03(
            em=answer_score(view, self.measure) >= 1.0,
            valid_sequence=search_sequence(view),
            gold_in_information=self.rs != 0 and self._found(view),
            answered=view.evidence.answer is not None,
            sf=self.sf,
            rs=self.rs,
            ff=self.ff,
        )
        return {"search_r1": value}

    def _found(self, view: EpisodeView) -> bool:
        wanted = [text for gold in golds(view) if (text := normalize_qa(gold))]
        results = view.tool_text(self)
        retrieved = [results.get(call.index, "") for call in view.calls if call.kind == "evidence"]
        return any(text in normalize_qa(said) for said in retrieved for text in wanted)


def search_sequence(view: EpisodeView) -> bool:
    """Whether every turn thinks and makes one call, until the last one, which thinks and answers."""
    if not (all_well_formed(view) and all(map(thinks, view.actions)) and answered(view)):
        return False
    *searches, last = view.actions
    return last.answer is not None and not last.calls and all(len(action.calls) == 1 for action in searches)


def rex_rag(levels: tuple[float, float, float, float]) -> float:
    """REX-RAG's graded format: F0 = l0, Fk = (0.01 + F(k-1)^5) lk, score .05 F0 + .15 F1 + .25 F2 + .55 F3.

    Levels in [0, 1]: distinct tags of six, closed tags, text inside tags, tags in order. Range [0, 1.22].
    """
    reached = levels[0]
    score = 0.05 * reached
    for level, weight in zip(levels[1:], (0.15, 0.25, 0.55), strict=True):
        reached = (0.01 + reached**5) * level
        score += weight * reached
    return score


@dataclass(frozen=True)
class RexRag(RewardComponent):
    """REX-RAG's graded format (`rex_rag`), on the parts of turns: a part stands for its opening and closing tag.

    l0: tags of thought, call and answer that occur, of six; l1: 1 - unclosed / tags; l2: share of turns without text
    outside their parts; l3: parts in order (a thought before the turn's action, nothing after an answer) / parts.
    Range [0, 1.22]. Source of the formula: MiliLab/REX-RAG, code; reading parts instead of text is this project's, and
    so is l2 (there: the share of characters, which a longer thought would raise).
    """

    channels: ClassVar[tuple[str, ...]] = ("format.rex_rag",)

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return rex_rag((1.0, 1.0, 1.0, 1.0))

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.rex_rag": score}."""
        return {"format.rex_rag": rex_rag(self._levels(view))}

    @staticmethod
    def _levels(view: EpisodeView) -> tuple[float, float, float, float]:
        parts = [[s for s in a.spans if s.part in (Part.THOUGHT, Part.CALL, Part.ANSWER)] for a in view.actions]
        count = sum(map(len, parts))
        unclosed = sum(_unclosed(action) for action in view.actions)
        if not count:
            return 0.0, 0.0, 0.0, 0.0
        kinds = {span.part for turn in parts for span in turn}
        enclosed = sum(not _loose(action) for action in view.actions)
        ordered = 0
        over = False
        for turn in parts:
            acted = False
            for span in turn:
                ordered += not over and not (acted and span.part is Part.THOUGHT)
                acted |= span.part is not Part.THOUGHT
                over |= span.part is Part.ANSWER
        tags = 2 * count
        return len(kinds) * 2 / 6, 1 - min(unclosed, tags) / tags, enclosed / view.turns, ordered / count


def _loose(action: Action) -> bool:
    """Whether text stands outside the turn's parts."""
    kind = ParseErrorType.TEXT_BETWEEN_TAGS
    outside = any(s.part in (Part.TEXT, Part.TAIL) and action.raw[s.start : s.end].strip() for s in action.spans)
    return outside or any(e.type is kind for e in action.errors) or any(r.kind == kind for r in action.repairs)


def _unclosed(action: Action) -> int:
    kind = ParseErrorType.UNCLOSED_TAG
    return sum(e.type is kind for e in action.errors) + sum(r.kind == kind for r in action.repairs)


@dataclass(frozen=True)
class VerlToolPenalties(RewardComponent):
    """verl-tool's optional penalties, each off unless chosen; at most 0.

    -0.5 for a turn without a thought, -0.5 for no answer, -0.25 each for a turn that is not well formed, for an episode
    that a limit ended, for none that called a tool, and for a call that failed. Source: verl-tool, code.
    """

    channels: ClassVar[tuple[str, ...]] = ("format.verl_tool",)

    think: bool = False
    answer: bool = False
    action: bool = False
    finish: bool = False
    tool: bool = False
    execution: bool = False

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"format.verl_tool": sum of penalties}."""
        faults = (
            (self.think and not all(map(thinks, view.actions)), 0.5),
            (self.answer and view.evidence.answer is None, 0.5),
            (self.action and not all_well_formed(view), 0.25),
            (self.finish and view.evidence.ended_by.startswith("max_"), 0.25),
            (self.tool and not view.tool_calls, 0.25),
            (self.execution and any(call.error for call in view.tool_calls), 0.25),
        )
        return {"format.verl_tool": 0.0 - math.fsum(penalty for there, penalty in faults if there)}


@dataclass(frozen=True)
class ProgressiveFormat(RewardComponent):
    """PRS: .1 parse + .1 parse * form + .8 parse * form * quality, in [0, 1] (formula by this project, stages PRS's).

    parse: share of turns that ask for something in JSON that can be read; form: share of well-formed turns; quality:
    how right the answer is. It has the answer's place in it: give `base` the weight 0.
    """

    channels: ClassVar[tuple[str, ...]] = ("prs",)

    measure: Measure = "score"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.2

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"prs": reward}."""
        bad = (ParseErrorType.BAD_JSON, ParseErrorType.BAD_ACTION, ParseErrorType.NO_ACTION)
        turns = max(view.turns, 1)
        unread = sum(action.void or any(e.type in bad for e in action.errors) for action in view.actions)
        parse = (view.turns - unread) / turns
        form = parse * sum(map(well_formed, view.actions)) / turns
        return {"prs": 0.1 * parse + 0.1 * form + 0.8 * form * answer_score(view, self.measure)}
