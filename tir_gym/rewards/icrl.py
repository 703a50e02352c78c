"""ICRL: in-context demonstrations that are withdrawn, and a reward of answer and form."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from tir_gym.core.action import ParseErrorType
from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import RewardComponent
from tir_gym.rewards.reading import Measure, answer_score, answers, thinks

PENALTIES = {
    "no_answer": 0.5,
    "no_thought": 0.2,
    "no_action": 0.15,
    "unclosed_tag": 0.1,
    "several_answers": 0.1,
    "loose_text": 0.2,
}
"""What each fault of form takes off. The six sizes are a note's; which fault has which size is this project's."""


def icrl_format(faults: Iterable[str]) -> float:
    """max(0, 1 - sum of the penalties of the faults), in [0, 1]."""
    return max(0.0, 1 - math.fsum(PENALTIES[fault] for fault in set(faults)))


@dataclass(frozen=True)
class ICRL(RewardComponent):
    """0.8 answer + 0.2 form by `icrl_format`, in [0, 1]; each fault counts once. It has the answer in it.

    Source: ICRL, by a note.
    """

    channels: ClassVar[tuple[str, ...]] = ("icrl",)

    measure: Measure = "exact_match"

    def unearned(self) -> float:
        """For form, or for what else can be had without the answer."""
        return 0.2

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"icrl": reward}."""
        return {"icrl": 0.8 * answer_score(view, self.measure) + 0.2 * icrl_format(_faults(view))}


def _faults(view: EpisodeView) -> list[str]:
    kinds = {error.type.value for action in view.actions for error in action.errors}
    kinds |= {repair.kind for action in view.actions for repair in action.repairs}
    found = {
        "no_answer": view.evidence.answer is None,
        "no_thought": not all(map(thinks, view.actions)),
        "no_action": any(action.void for action in view.actions),
        "unclosed_tag": ParseErrorType.UNCLOSED_TAG.value in kinds,
        "several_answers": answers(view) > 1,
        "loose_text": ParseErrorType.TEXT_BETWEEN_TAGS.value in kinds,
    }
    return [name for name, there in found.items() if there]
