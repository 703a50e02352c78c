"""How well a ranking finds what is wanted, and how well calls are timed. Gains are binary; all in [0, 1]."""

import math
from collections.abc import Hashable, Sequence


def recall_at(wanted: Sequence[Hashable], ranked: Sequence[Hashable], k: int) -> float:
    """Share of the wanted that is among the first k; 1 where nothing is wanted."""
    gold = set(wanted)
    return len(gold & set(ranked[:k])) / len(gold) if gold else 1.0


def complete_at(wanted: Sequence[Hashable], ranked: Sequence[Hashable], k: int) -> float:
    """COMP@k, also Sufficiency@k: 1 if all that is wanted is among the first k. Source: COLT, MTRB."""
    return float(set(wanted) <= set(ranked[:k]))


def ndcg_at(wanted: Sequence[Hashable], ranked: Sequence[Hashable], k: int) -> float:
    """Normalised discounted cumulative gain with log2 discounts (Jarvelin and Kekalainen, 2002)."""
    gold = set(wanted)
    if not gold:
        return 1.0
    seen: set[Hashable] = set()
    gained = 0.0
    for place, item in enumerate(ranked[:k]):
        if item in gold and item not in seen:
            seen.add(item)
            gained += 1 / math.log2(place + 2)
    return gained / math.fsum(1 / math.log2(place + 2) for place in range(min(k, len(gold))))


def call_alignment(tp: int, fn: int, tn: int, fp: int) -> float:
    """TicToc's normalised alignment rate, (TPR + TNR) / 2; positive: people prefer a fresh call. nan without both."""
    if not (tp + fn and tn + fp):
        return math.nan
    return (tp / (tp + fn) + tn / (tn + fp)) / 2
