"""Several retrievers as one, and a second look at what was found."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval.layers import Around


class Hybrid(Retriever):
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): a hit's score is the sum of 1 / (c + rank).

    Each part is asked for `depth` hits. Passages are the same where their ids are. Scores are rounded to 6 places.
    """

    def __init__(self, parts: Sequence[Retriever], c: int = 60, depth: int = 100) -> None:
        if len(parts) < 2:
            raise ValueError("a hybrid needs two retrievers or more")
        self._parts, self._c, self._depth = tuple(parts), c, depth

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` best of all parts together."""
        asked = [part.search(queries, max(k, self._depth)) for part in self._parts]
        return [self._fused(rankings)[:k] for rankings in zip(*asked, strict=True)]

    def _fused(self, rankings: tuple[list[Hit], ...]) -> list[Hit]:
        scores: dict[str, float] = {}
        hits: dict[str, Hit] = {}
        for ranking in rankings:
            for rank, hit in enumerate(ranking, 1):
                scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (self._c + rank)
                hits.setdefault(hit.id, hit)
        fused = [Hit(name, round(score, 6), hits[name].title, hits[name].text) for name, score in scores.items()]
        return sorted(fused, key=lambda hit: (-hit.score, hit.id))

    def get(self, doc_id: str) -> Passage:
        """The passage with this id, of the first part that has it. Raises `KeyError`."""
        for part in self._parts[:-1]:
            try:
                return part.get(doc_id)
            except KeyError:
                continue
        return self._parts[-1].get(doc_id)

    @property
    def knows_all(self) -> bool:
        """Whether all parts do."""
        return all(part.knows_all for part in self._parts)

    @property
    def content_hash(self) -> str:
        """Of the parts and how they are fused."""
        parts = "\0".join(part.content_hash for part in self._parts)
        return hashlib.sha256(f"rrf\0{self._c}\0{self._depth}\0{parts}".encode()).hexdigest()

    def close(self) -> None:
        """Close the parts."""
        for part in self._parts:
            part.close()


class Reranked(Around):
    """Looks at `depth` hits of another retriever again: `score(query, hits)` gives each its new score.

    `name` says what `score` is; it enters the hash. `score` must depend on its arguments alone.
    """

    def __init__(
        self, inner: Retriever, score: Callable[[str, Sequence[Hit]], Sequence[float]], name: str, depth: int = 50
    ) -> None:
        super().__init__(inner)
        self._score, self._name, self._depth = score, name, depth

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` best by the new scores, rounded to 5 places."""
        found = self.inner.search(queries, max(k, self._depth))
        return [self._ranked(query, hits)[:k] for query, hits in zip(queries, found, strict=True)]

    def _ranked(self, query: str, hits: list[Hit]) -> list[Hit]:
        scores = self._score(query, hits) if hits else ()
        again = [
            Hit(hit.id, round(float(score), 5), hit.title, hit.text) for hit, score in zip(hits, scores, strict=True)
        ]
        return sorted(again, key=lambda hit: (-hit.score, hit.id))

    @property
    def content_hash(self) -> str:
        """Of the other one and what ranks again."""
        return hashlib.sha256(f"rerank\0{self._name}\0{self._depth}\0{self.inner.content_hash}".encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Reranked, (self.inner, self._score, self._name, self._depth)
