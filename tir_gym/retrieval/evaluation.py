"""How well a retriever finds what judgements call relevant, as `trec_eval` measures it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tir_gym.core.interfaces import Retriever
from tir_gym.retrieval.formats import Qrels

DEPTH = 100
"""Hits asked for a query."""

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the queries that have something relevant; all in [0, 1]."""

    queries: int
    ndcg_10: float
    recall_10: float
    recall_100: float
    map_100: float
    mrr_10: float


def evaluate(retriever: Retriever, queries: Mapping[str, str], qrels: Qrels) -> Evaluation:
    """Search every judged query and measure. Raises `ValueError` where none has a relevant passage."""
    judged = [name for name in queries if any(gain > 0 for gain in qrels.get(name, {}).values())]
    if not judged:
        raise ValueError("no query has a relevant passage: do the ids of queries and judgements agree?")
    rows = []
    for start in range(0, len(judged), _BATCH):
        names = judged[start : start + _BATCH]
        for name, hits in zip(names, retriever.search([queries[name] for name in names], DEPTH), strict=True):
            gains = {doc: gain for doc, gain in qrels[name].items() if gain > 0}
            rows.append(_measures([gains.get(hit.id, 0.0) for hit in hits], list(gains.values())))
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return Evaluation(len(rows), *means)


def _measures(found: Sequence[float], wanted: Sequence[float]) -> tuple[float, ...]:
    """The measures of one query from the gains of its hits, in order, and of all that is relevant to it."""
    relevant = [gain > 0 for gain in found]
    at = [place for place, hit in enumerate(relevant, 1) if hit]
    precision = math.fsum(rank / place for rank, place in enumerate(at, 1))
    return (
        _gained(found[:10]) / _gained(sorted(wanted, reverse=True)[:10]),
        sum(relevant[:10]) / len(wanted),
        sum(relevant[:100]) / len(wanted),
        precision / len(wanted),
        1 / at[0] if at and at[0] <= 10 else 0.0,
    )


def _gained(gains: Sequence[float]) -> float:
    """Discounted cumulative gain, linear gains and log2 discounts (Jarvelin and Kekalainen, 2002)."""
    return math.fsum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
