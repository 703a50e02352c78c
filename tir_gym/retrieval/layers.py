"""Retrievers around a retriever: a cache, noise; and how long a search would take."""

import hashlib
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import NormalDist

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval.corpus import Corpus


class Around(Retriever):
    """What another retriever finds; base of those that change it."""

    def __init__(self, inner: Retriever) -> None:
        self.inner = inner

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What the other one finds."""
        return self.inner.search(queries, k)

    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""
        return self.inner.get(doc_id)

    @property
    def knows_all(self) -> bool:
        """Whether the other one does."""
        return self.inner.knows_all

    @property
    def content_hash(self) -> str:
        """Of the other one."""
        return self.inner.content_hash

    def close(self) -> None:
        """Close the other one."""
        self.inner.close()


class Cached(Around):
    """Remembers the hits of the last `size` different queries; one serves all episodes of a run.

    `asked` and `found` count queries and those that were remembered. Copies and pickles start empty. Threads need no
    lock: each step is one of the dictionary's own, and a process that is forked meanwhile inherits none.
    """

    def __init__(self, inner: Retriever, size: int = 1 << 16) -> None:
        super().__init__(inner)
        if size < 1:
            raise ValueError(f"size={size} must be at least 1")
        self._size = size
        self._hits: OrderedDict[tuple[str, int], list[Hit]] = OrderedDict()
        self.asked = self.found = 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What the other one finds, which is asked only for what is not remembered."""
        known = {query: hits for query in queries if (hits := self._hits.get((query, k))) is not None}
        new = [query for query in dict.fromkeys(queries) if query not in known]
        self.asked += len(queries)
        self.found += len(queries) - len(new)
        if new:
            known |= zip(new, self.inner.search(new, k), strict=True)
        for query in dict.fromkeys(queries):
            self._hits.pop((query, k), None)
            self._hits[query, k] = known[query]
        while len(self._hits) > self._size:
            with suppress(KeyError):  # another thread was here, too
                self._hits.popitem(last=False)
        return [list(known[query]) for query in queries]

    def close(self) -> None:
        """Forget everything and close the other one."""
        self._hits.clear()
        super().close()

    def __reduce__(self) -> tuple[object, ...]:
        return Cached, (self.inner, self._size)


class Noisy(Around):
    """Puts a random passage of `pool` in the place of each hit with probability `rate` (NoisyBench's random documents).

    What is put where depends on seed and query alone. A passage of the pool that was found anyway is not put in again;
    one that is put in has the score of the hit that it replaces.
    """

    def __init__(self, inner: Retriever, pool: Corpus, rate: float, seed: int) -> None:
        super().__init__(inner)
        if not 0 <= rate <= 1 or not len(pool):
            raise ValueError(f"rate={rate} must be between 0 and 1, and the pool must hold a passage")
        self._pool, self._rate, self._seed = pool, rate, seed
        noise = f"noisy\0{rate!r}\0{seed}\0{pool.content_hash}\0{inner.content_hash}"
        self._content_hash = hashlib.sha256(noise.encode()).hexdigest()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """What the other one finds, with some of it replaced."""
        found = self.inner.search(queries, k)
        return [self._disturbed(query, hits) for query, hits in zip(queries, found, strict=True)]

    def get(self, doc_id: str) -> Passage:
        """The passage with this id, of the index or of the pool. Raises `KeyError`."""
        try:
            return self.inner.get(doc_id)
        except KeyError:
            return self._pool.get(doc_id)

    @property
    def content_hash(self) -> str:
        """Of the other one, the pool and how it is mixed in."""
        return self._content_hash

    def _disturbed(self, query: str, hits: list[Hit]) -> list[Hit]:
        rng = _rng("noise", self._seed, query)
        taken = {hit.id for hit in hits}
        mixed = []
        for hit in hits:
            replace, row = rng.random() < self._rate, rng.randrange(len(self._pool))
            other = self._pool.hit(row, hit.score)
            if replace and other.id not in taken:
                taken.add(other.id)
                hit = other
            mixed.append(hit)
        return sorted(mixed, key=lambda hit: (-hit.score, hit.id))


def seeded_latency(median_s: float, spread: float, seed: int) -> Callable[[str], float]:
    """How long a search for a query takes on the virtual clock: log-normal, with half of them below `median_s`.

    `spread` is the standard deviation of the logarithm. A tool passes the number on as `Output.latency_s`.
    """
    if median_s < 0 or spread < 0:
        raise ValueError(f"median_s={median_s} and spread={spread} must be at least 0")

    def latency(query: str) -> float:
        drawn = NormalDist().inv_cdf(_rng("latency", seed, query).uniform(1e-9, 1 - 1e-9))
        return round(median_s * math.exp(spread * drawn), 6)

    return latency


def _rng(purpose: str, seed: int, query: str) -> random.Random:
    digest = hashlib.blake2b(f"{purpose}\0{seed}\0{query}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "little"))
