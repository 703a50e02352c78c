"""The verdict: are these the tools, and did the searches find them?"""

from collections.abc import Sequence
from typing import Any, Literal

from tir_gym.core.task import Gold
from tir_gym.core.transcript import CallLog
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.scoring.qa import MAX_CHARS, set_f1
from tir_gym.scoring.retrieval import complete_at, ndcg_at, recall_at

Measure = Literal["complete", "f1"]


class ToolsVerifier(Verifier):
    """`complete`: 1.0 where the answer names the tool for every need, in order (or in any, `gold.data["any_order"]`),
    and "none" where there is none, else 0.0. `f1`: the F1 of the sets of names given and wanted, in [0, 1], if one of
    them is a tool: that there is none for a need is known of many requests without a search.

    The evidence measures the searches, all at most `k` deep: `recall` and `complete` (COMP@k, Sufficiency@k) of all
    that they found together, and `ndcg` of the best one; `named_unseen` counts tools that no search showed.
    """

    def __init__(self, measure: Measure, k: int) -> None:
        self._measure, self._k = measure, k

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer alone."""
        named = [] if evidence.answer is None else names_in(evidence.answer.text)
        facts = searched(evidence.calls, gold.data["tools"], named, self._k)
        if evidence.answer is None:
            return Score(0.0, reason="no answer", evidence=facts)
        wanted = str(gold.answer).split("; ")
        right = sorted(named) == sorted(wanted) if gold.data.get("any_order") else named == wanted
        if right or self._measure == "complete":
            return Score(float(right), reason="the tools" if right else "not the tools", evidence=facts)
        found = not set(named).isdisjoint(gold.data["tools"])
        value = set_f1(named, [[one] for one in dict.fromkeys(wanted)]) if found else 0.0
        return Score(value, reason=f"F1 {value:.2f}", evidence=facts)


def names_in(answer: str) -> list[str]:
    """The names in an answer, between semicolons, commas or new lines; none of an answer over the limit."""
    if len(answer) > MAX_CHARS:
        return []
    parts = answer.replace(",", ";").replace("\n", ";").split(";")
    return [part.strip().strip("`'\"") for part in parts if part.strip()]


def searched(calls: CallLog, wanted: Sequence[str], named: Sequence[str], k: int) -> dict[str, Any]:
    """How well the searches did."""
    rankings = [[str(one) for one in call.facts["hits"]] for call in calls if "hits" in call.facts]
    together = list(dict.fromkeys(one for ranking in rankings for one in ranking))
    return {
        "recall": recall_at(wanted, together, len(together)),
        "complete": complete_at(wanted, together, len(together)),
        "ndcg": max((ndcg_at(wanted, ranking, k) for ranking in rankings), default=0.0),
        "named_unseen": sum(one not in together and one != "none" for one in named),
    }
