"""Answers as text: exact match, overlap, containment, and the graded matches of published benchmarks.

Each function takes what the policy answered and gold; `golds` are alternatives, of which the best counts.
"""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACED = str.maketrans(string.punctuation, " " * len(string.punctuation))
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_YES_NO = frozenset(("yes", "no", "noanswer"))


def normalize_qa(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: SQuAD's normalisation, as Search-R1 has it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1.0 if the normalised answer equals a normalised gold, else 0.0."""
    said = normalize_qa(answer)
    return float(any(said == normalize_qa(gold) for gold in golds))


def contains(answer: str, golds: Sequence[str]) -> float:
    """Substring EM: 1.0 if a normalised gold (not an empty one) stands in the normalised answer, else 0.0."""
    said = normalize_qa(answer)
    return float(any(wanted in said for gold in golds if (wanted := normalize_qa(gold))))


def f1(answer: str, golds: Sequence[str]) -> float:
    """Token-multiset F1 in [0, 1] with the best gold, after `normalize_qa`.

    A gold or an answer that is yes, no or noanswer matches nothing but itself (the rule of HotpotQA's script).
    """
    return max((_f1(normalize_qa(answer), normalize_qa(gold)) for gold in golds), default=0.0)


def _f1(said: str, wanted: str) -> float:
    if said != wanted and (said in _YES_NO or wanted in _YES_NO):
        return 0.0
    mine, theirs = said.split(), wanted.split()
    common = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * common / (len(mine) + len(theirs)) if common else 0.0


def f1_set(answer: str, gold: str) -> float:
    """F1 in [0, 1] of the sets of tokens, lower case, punctuation read as spaces. Source: MatchTIR and FTRL, code."""
    mine, theirs = (set(text.lower().translate(_SPACED).split()) for text in (answer, gold))
    common = len(mine & theirs)
    return 2 * common / (len(mine) + len(theirs)) if common else 0.0


def length_aware_bleu(answer: str, gold: str) -> float:
    """BLEU-n in [0, 1] with n = min(4, both lengths), uniform weights and the usual brevity penalty.

    Tokens are lower-case words between spaces; without any on one side it is 0. Plain BLEU-4 is 0 below four tokens,
    even for equal answers. Definition by this project (PRS's abstract names it).
    """
    mine, theirs = answer.lower().split(), gold.lower().split()
    if not mine or not theirs:
        return 0.0
    order = min(4, len(mine), len(theirs))
    logs = 0.0
    for n in range(1, order + 1):
        said, wanted = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (mine, theirs))
        matched = sum((said & wanted).values())
        if not matched:
            return 0.0
        logs += math.log(matched / sum(said.values()))
    return min(1.0, math.exp(1 - len(theirs) / len(mine))) * math.exp(logs / order)


def white_black_list(answer: str, whitelist: Sequence[Sequence[str]], blacklist: Sequence[Sequence[str]] = ()) -> float:
    """1.0 if of every group of aliases in `whitelist` one stands in the answer as whole words, and none of `blacklist`.

    Letter case plays no part. Source: GTA, code.
    """

    def holds(alias: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(alias)}(?!\w)", answer, re.IGNORECASE) is not None

    wanted = all(any(map(holds, group)) for group in whitelist)
    return float(wanted and not any(holds(alias) for group in blacklist for alias in group))


GEO_WEIGHTS: Mapping[str, float] = {"city": 1.0, "state": 0.5, "country": 0.25}


def geo_levels(answer: str, gold: Mapping[str, Sequence[str]]) -> dict[str, bool]:
    """Which of city, state and country the answer names; one that is named makes those above it true.

    Names are folded to ASCII, lower case, and matched as whole terms. Source: the evaluation of GeoVista, code.
    """
    said = f" {_folded(answer)} "
    named = {level: any(f" {_folded(name)} " in said for name in gold.get(level, ())) for level in GEO_WEIGHTS}
    state = named["city"] or named["state"]
    return {"city": named["city"], "state": state, "country": state or named["country"]}


def geo_score(answer: str, gold: Mapping[str, Sequence[str]]) -> float:
    """The weight of the finest level reached: city 1, state 1/2, country 1/4, else 0 (weights by this project)."""
    levels = geo_levels(answer, gold)
    return max((weight for level, weight in GEO_WEIGHTS.items() if levels[level]), default=0.0)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"\w+", plain.lower()))


def box_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union in [0, 1] of two boxes [x1, y1, x2, y2]; an empty or turned box gives 0."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [
        (box[2] - box[0]) * (box[3] - box[1]) if box[2] > box[0] and box[3] > box[1] else 0.0 for box in (one, other)
    ]
    if width <= 0 or height <= 0 or not all(areas):
        return 0.0
    return width * height / (sum(areas) - width * height)


def span_iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Temporal intersection over union in [0, 1] of two spans [start, end]."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    union = max(one[1], other[1]) - min(one[0], other[0])
    return common / union if common > 0 and one[1] > one[0] and other[1] > other[0] else 0.0
