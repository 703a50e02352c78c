"""Other measures of the answer than the verifier's, for the channel `base`; each in [0, 1] unless it says otherwise."""

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import Measure, answer_of, answer_score, golds
from tir_gym.scoring import text


class _AnswerComponent(RewardComponent):
    """A measure of the answer: 0.0 without one."""

    channels: ClassVar[tuple[str, ...]] = ("base",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": value}."""
        return {"base": 0.0 if view.evidence.answer is None else self.measure(answer_of(view), view)}

    @abstractmethod
    def measure(self, answer: str, view: EpisodeView) -> float:
        """How right an answer is."""


@dataclass(frozen=True)
class ExactMatch(_AnswerComponent):
    """EM of the normalised answer with any gold, {0, 1}. Source: Search-R1 and SQuAD's script."""

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.exact_match`."""
        return text.exact_match(answer, golds(view))


@dataclass(frozen=True)
class SubstringMatch(_AnswerComponent):
    """1 if a gold stands in the normalised answer, {0, 1}: naming every answer at once earns it. Source: Search-R1."""

    def unearned(self) -> float:
        """Naming everything earns it."""
        return 1.0

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.contains`."""
        return text.contains(answer, golds(view))


@dataclass(frozen=True)
class TokenF1(_AnswerComponent):
    """Token F1 with the best gold, [0, 1]. Source: SQuAD's and HotpotQA's scripts."""

    def unearned(self) -> float:
        """A wrong answer overlaps with gold; a cheat must not get far with that."""
        return 0.5

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.f1`."""
        return text.f1(answer, golds(view))


@dataclass(frozen=True)
class SetF1(_AnswerComponent):
    """F1 of token sets with the best gold, [0, 1]. Source: MatchTIR and FTRL, code."""

    def unearned(self) -> float:
        """A wrong answer overlaps with gold; a cheat must not get far with that."""
        return 0.5

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.f1_set`."""
        return max((text.f1_set(answer, gold) for gold in golds(view)), default=0.0)


@dataclass(frozen=True)
class LengthAwareBleu(_AnswerComponent):
    """BLEU of an order that fits short answers, with the best gold, [0, 1] (definition by this project)."""

    def unearned(self) -> float:
        """A wrong answer overlaps with gold; a cheat must not get far with that."""
        return 0.5

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.length_aware_bleu`."""
        return max((text.length_aware_bleu(answer, gold) for gold in golds(view)), default=0.0)


@dataclass(frozen=True)
class MathMatch(_AnswerComponent):
    """1 if the answer is mathematically equal to a gold, {0, 1}; invalid where our own fault leaves it undecided.

    By `scoring.math.compare`: nothing is evaluated in this process.
    """

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.math.compare` with each gold."""
        from tir_gym.scoring.math import Kind, compare

        verdicts = [compare(answer, gold) for gold in golds(view)]
        if any(verdict.kind is Kind.EQUAL for verdict in verdicts):
            return 1.0
        ours = any(verdict.kind is Kind.UNDECIDED and verdict.fault != "answer" for verdict in verdicts)
        return INVALID if ours else 0.0


@dataclass(frozen=True)
class WhiteBlackList(_AnswerComponent):
    """GTA: 1 if of every group of `gold.data["whitelist"]` an alias stands in the answer, and none of `"blacklist"`.

    {0, 1}; invalid where gold has no whitelist. Source: open-compass/GTA, code.
    """

    def unearned(self) -> float:
        """Naming everything that is not black-listed earns it."""
        return 1.0

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.white_black_list`."""
        data = view.gold.data
        if not data.get("whitelist"):
            return INVALID
        return text.white_black_list(answer, data["whitelist"], data.get("blacklist") or ())


@dataclass(frozen=True)
class GeoLevels(_AnswerComponent):
    """GeoVista: 1 for the city, .5 for the state, .25 for the country of `gold.data["geo"]` (weights: ours)."""

    def measure(self, answer: str, view: EpisodeView) -> float:
        """`scoring.text.geo_score`; invalid where gold has no place."""
        place = view.gold.data.get("geo")
        return INVALID if place is None else text.geo_score(answer, place)


@dataclass(frozen=True)
class BoxIoU(_AnswerComponent):
    """IoU of the answer, "[x1, y1, x2, y2]", with the best box of `gold.data["boxes"]`, [0, 1].

    With `least_area` a box whose area is under that share of gold's, or gold's of it, counts 0 (the guard of GUI-G1).
    """

    least_area: float = 0.0

    def measure(self, answer: str, view: EpisodeView) -> float:
        """The best IoU; 0 for what is no box, invalid where gold has none."""
        return _best(answer, view.gold.data.get("boxes"), 4, self._iou)

    def _iou(self, box: list[float], gold: list[float]) -> float:
        sizes = sorted((b[2] - b[0]) * (b[3] - b[1]) for b in (box, gold))
        guarded = sizes[1] <= 0 or sizes[0] / sizes[1] < self.least_area
        return 0.0 if guarded else text.box_iou(box, gold)


@dataclass(frozen=True)
class SpanIoU(_AnswerComponent):
    """Temporal IoU of the answer, "[start, end]" in seconds, with the best span of `gold.data["spans"]`, [0, 1]."""

    def measure(self, answer: str, view: EpisodeView) -> float:
        """The best IoU; 0 for what is no span, invalid where gold has none."""
        return _best(answer, view.gold.data.get("spans"), 2, text.span_iou)


def _best(answer: str, wanted: Any, length: int, iou: Callable[[Any, Any], float]) -> float:
    if not wanted:
        return INVALID
    try:
        said = json.loads(answer[:1000])
    except (ValueError, RecursionError):
        return 0.0
    numbers = isinstance(said, list) and len(said) == length and all(type(n) in (int, float) for n in said)
    if not numbers or any(abs(n) > 1e9 or n != n for n in said):
        return 0.0
    return max(iou(said, gold) for gold in wanted)


@dataclass(frozen=True)
class Signed(RewardComponent):
    """2 score - 1, [-1, 1]: ToRL and ReTool give +1 and -1.

    `boxed_wrong` stands in place of -1 for a wrong answer that was given (ToRL v2: -0.5). Source: verl-tool, code.
    """

    channels: ClassVar[tuple[str, ...]] = ("base",)

    boxed_wrong: float = -1.0
    measure: Measure = "score"

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": value}."""
        score = answer_score(view, self.measure)
        given = view.evidence.answer is not None
        return {"base": self.boxed_wrong if score == 0 and given else 2 * score - 1}


def retool(score: float, turns: int) -> float:
    """verl's recipe of ReTool, in [-1, 1]: +1, or for a wrong answer min(-0.6, score + 0.1 (turns - 2) / 2).

    More turns lessen the blame for a wrong answer, to -0.6 at most; the paper's text has plain +1 and -1 (`Signed`).
    """
    return score if score > 0 else min(-0.6, score + (turns - 2) / 2 * 0.1)


@dataclass(frozen=True)
class ReTool(RewardComponent):
    """`retool`, with messages for turns as verl counts them: two a tool turn and two for the rest. [-1, 1]."""

    channels: ClassVar[tuple[str, ...]] = ("base",)

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"base": value}."""
        tool_turns = len({call.turn for call in view.tool_calls})
        return {"base": retool(1.0 if view.solved else -1.0, 2 + 2 * tool_turns)}
