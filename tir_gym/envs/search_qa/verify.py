"""The verdict: is the answer gold's, and does it rest on passages that were really seen?"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from tir_gym.core.task import Gold
from tir_gym.core.transcript import CallLog
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.scoring import qa
from tir_gym.scoring.text import normalize_qa

Measure = Literal["em", "f1", "sub_em"]

_CITATION = re.compile(r"\[([\w.:#-]{1,80})\]")
_CLOSED = frozenset(("yes", "no"))
MAX_CITED = 24
"""An answer that cites more passages than this, or more than three for each that is needed and two, cites none."""


class SearchVerifier(Verifier):
    """How right the answer is, in [0, 1]; no answer is 0.

    What the answer cites, ids in square brackets, is read and taken out of it; what is left is measured:

    - `em`: 1.0 if it is one of the golds (`scoring.qa.same`: names as SQuAD normalises them, numbers, dates), else 0.0;
    - `f1`: token F1 with the best gold;
    - `sub_em`: 1.0 if a gold stands in it and it is not much longer than that, else 0.0.

    A gold of several parts (`; ` between them) wants all of them, in order, each exactly; a gold list
    (`gold.data["list"]`, alternatives of each item) is measured by set F1; gold nuggets (`gold.data["nuggets"]`) by
    the share named in at most `gold.data["longest"]` characters; one counts only if the passage that states it
    (`gold.data["stated_in"]`, one id for each) was shown, so that lists of years earn nothing.
    Where gold is that there is no answer (`gold.data["abstain"]`) the answer must say that and nothing else.

    Where gold could be guessed (yes, no, or that there is no answer), an answer scores only if the policy was shown all
    passages that settle it (`gold.data["sources"]`), or any passage where it is not known which these are. With
    `citations` every answer scores only if it cites them all, and cites nothing that the policy was not shown.
    Passages put before the question as noise (`gold.data["distractors"]`) count as shown, and are no sources.
    """

    def __init__(self, measure: Measure = "em", citations: bool = False) -> None:
        self._measure = measure
        self._citations = citations

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer, with what was found and cited as evidence."""
        sources = [str(one) for one in gold.data.get("sources", ())]
        text, cited = ("", []) if evidence.answer is None else without_citations(evidence.answer.text)
        noise = [str(one) for one in gold.data.get("distractors", ())]
        facts = found(evidence.calls, sources) | _cited(cited, evidence.calls, sources, noise)
        if evidence.answer is None:
            return Score(0.0, reason="no answer", evidence=facts)
        value, reason = self._judged(text, gold, evidence.calls)
        facts["em"] = float(_exactly(text, gold))
        if value and (told := self._unsupported(gold, cited, facts, sources)):
            return Score(0.0, reason=f"{reason}, but {told}", evidence=facts)
        return Score(value, reason=reason, evidence=facts)

    def _judged(self, text: str, gold: Gold, calls: CallLog) -> tuple[float, str]:
        if gold.data.get("abstain"):
            right = qa.abstains(text)
            return float(right), "rightly says that there is no answer" if right else "there is no answer"
        if nuggets := gold.data.get("nuggets"):
            if stated := gold.data.get("stated_in"):
                seen = shown(calls)
                nuggets = [wanted if page in seen else () for wanted, page in zip(nuggets, stated, strict=True)]
            value = qa.nugget_recall(text, nuggets, gold.data.get("longest", qa.MAX_CHARS))
            return value, f"names {value:.0%} of what belongs to it"
        if wanted := gold.data.get("list"):
            value = qa.set_f1(qa.items_of(text), wanted)
            return value, f"set F1 {value:.2f}"
        golds = _golds(gold)
        if _exactly(text, gold):
            return 1.0, "the answer"
        if self._measure == "em" or any(";" in one for one in golds):
            return 0.0, "another answer"
        value = (qa.guarded_f1 if self._measure == "f1" else qa.sub_em)(text, golds)
        return value, f"{self._measure} {value:.2f}"

    def _unsupported(self, gold: Gold, cited: Sequence[str], facts: dict[str, Any], sources: Sequence[str]) -> str:
        """Why the answer rests on nothing; "" where it does."""
        guessable = gold.data.get("abstain") or any(normalize_qa(one) in _CLOSED for one in _golds(gold))
        if guessable and (facts["sources_found"] < 1.0 or not facts["passages_seen"]):
            return "the passages that settle it were never shown"
        if not self._citations:
            return ""
        if not cited:
            return "no passage is cited"
        if len(cited) > min(MAX_CITED, 3 * len(sources) + 2):
            return f"{len(cited)} passages are cited, too many to say anything"
        if facts["cited_seen"] < 1.0:
            return "a passage is cited that was never shown"
        return "the passages cited do not settle it" if sources and facts["citation_recall"] < 1.0 else ""


def without_citations(answer: str) -> tuple[str, list[str]]:
    """The answer without the ids in square brackets, and these, each once."""
    cited = list(dict.fromkeys(_CITATION.findall(answer)))
    return _CITATION.sub("", answer).strip().rstrip(",;").strip() if cited else answer.strip(), cited


def _golds(gold: Gold) -> list[str]:
    if gold.answer is None:
        return []
    return [str(one) for one in gold.answer] if isinstance(gold.answer, list | tuple) else [str(gold.answer)]


def _exactly(text: str, gold: Gold) -> bool:
    """Whether it is one of the golds, part by part where a gold has several."""
    if len(text) > qa.MAX_CHARS:
        return False
    for one in _golds(gold):
        wanted = one.split("; ")
        given = [text] if len(wanted) == 1 else [part.strip() for part in text.split(";" if ";" in text else ",")]
        if len(given) == len(wanted) and all(_part(part, want) for part, want in zip(given, wanted, strict=True)):
            return True
    return False


def _part(given: str, wanted: str) -> bool:
    return qa.same(given, [wanted]) or (wanted == "unknown" and qa.abstains(given))


def shown(calls: CallLog) -> dict[str, int]:
    """The ids of all passages that tools showed, each with the turn in which it first was."""
    seen: dict[str, int] = {}
    for call in calls:
        for passage in call.facts.get("hits", ()):
            seen.setdefault(str(passage), call.turn)
    return seen


def found(calls: CallLog, sources: Sequence[str]) -> dict[str, Any]:
    """How much of the sources was shown (a share; 1 where there are none), and at which turn the first and the last.

    A turn is 0 where that never happened.
    """
    seen = shown(calls)
    turns = [seen[one] for one in sources if one in seen]
    return {
        "sources_found": len(turns) / len(sources) if sources else 1.0,
        "first_source_turn": min(turns, default=0),
        "all_sources_turn": max(turns, default=0) if len(turns) == len(sources) else 0,
        "passages_seen": len(seen),
    }


def _cited(cited: Sequence[str], calls: CallLog, sources: Sequence[str], noise: Sequence[str]) -> dict[str, Any]:
    """Shares in [0, 1]: of what is cited, what was shown and what is a source; of the sources, what is cited.

    `injected` are the ids of the noise that stood before the question, `injected_cited` how many of them are cited.
    """
    seen = {*shown(calls), *noise}
    needed = sum(one in cited and one in seen for one in sources)
    return {
        "cited": len(cited),
        "cited_seen": sum(one in seen for one in cited) / len(cited) if cited else 0.0,
        "citation_precision": needed / len(cited) if cited else 0.0,
        "citation_recall": needed / len(sources) if sources else 0.0,
        "injected": list(noise),
        "injected_cited": sum(one in noise for one in cited),
        "em": 0.0,
    }
