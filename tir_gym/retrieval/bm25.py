"""BM25 in process: the ranking of Lucene with Anserini's analyser, from memory-mapped arrays, in numpy alone.

Only the postings that can matter are read (MaxScore: Turtle and Flood, Query evaluation: strategies and optimizations,
1995, term at a time).
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval import analysis
from tir_gym.retrieval.corpus import PASSAGES, Arrays, Corpus, best, load
from tir_gym.retrieval.manifest import read_manifest
from tir_gym.retrieval.postings import NAMES, key_of, merge, segment

K1, B = 0.9, 0.4
"""Anserini's defaults."""

_SLACK = np.float32(5e-4)
"""More than rounding of scores and of sums can move a score."""


_LEAST = np.float32(1e-20)
"""Less than a posting adds to a score."""


@dataclass(frozen=True, slots=True)
class _List:
    """A query term's postings; `peak` is the most that it adds to a score."""

    peak: float
    key: int
    times: np.float32
    docs: NDArray[np.int32]
    impacts: NDArray[np.float32]

    @property
    def added(self) -> NDArray[np.float32]:
        return self.impacts if self.times == 1 else self.impacts * self.times


class Bm25(Retriever):
    """BM25 over one index: `Bm25.of` passages in memory, or `Bm25.open` a folder made by `build`.

    Pickled, one in memory takes its arrays along; one on disk is its path.
    """

    def __init__(self, source: Arrays | Path, content_hash: str) -> None:
        self._source = source
        self._content_hash = content_hash
        self._index: _Index | None = None
        self._local = threading.local()

    @classmethod
    def open(cls, path: Path | str) -> "Bm25":
        """The index in a folder; its files are mapped at the first search.

        Raises `FileNotFoundError` where there is none, `ValueError` where it was made by another version.
        """
        path = Path(path).absolute()
        manifest = read_manifest(path)
        if manifest["kind"] != "bm25" or manifest["analysis"] != analysis.NAME:
            raise ValueError(f"{path} was made with analysis {manifest.get('analysis')!r}; build it again")
        return cls(path, manifest["content_hash"])

    @classmethod
    def of(cls, passages: Iterable[Passage], k1: float = K1, b: float = B) -> "Bm25":
        """An index in memory. Raises `ValueError` where two passages have the same id."""
        arrays: Arrays = {}

        def new(name: str, length: int, kind: type[np.generic]) -> NDArray[Any]:
            arrays[name] = np.empty(length, kind)
            return arrays[name]

        merge([segment(list(passages))], k1, b, new)
        return cls(arrays, hash_of(Corpus(arrays).content_hash, k1, b))

    @property
    def content_hash(self) -> str:
        """Of analysis, parameters and passages."""
        return self._content_hash

    @property
    def corpus(self) -> Corpus:
        """The passages."""
        return self._opened().corpus

    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""
        return self.corpus.get(doc_id)

    def close(self) -> None:
        """Unmap the files; the next search maps them again."""
        self._index = None
        self._local = threading.local()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` passages that share a term with each query; scores are rounded to 4 places."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        index = self._opened()
        return [[index.corpus.hit(row, score) for row, score in self._best(index, query, k)] for query in queries]

    def _opened(self) -> "_Index":
        index = self._index
        if index is None:  # two threads may both do this; either's is good
            source = self._source
            arrays = load(source, (*PASSAGES, *NAMES)) if isinstance(source, Path) else source
            self._index = index = _Index(arrays)
        return index

    def _best(self, index: "_Index", query: str, k: int) -> list[tuple[int, float]]:
        """Rows and rounded scores, best first."""
        lists = index.lists(query)
        if not lists:
            return []
        scores = getattr(self._local, "scores", None)
        self._local.scores = None  # if this is interrupted, what it leaves behind is not used again
        if scores is None:
            scores = np.zeros(len(index.rank), np.float32)
        rows, found = _rank(lists, k, scores)
        self._local.scores = scores
        rounded = np.round(found.astype(np.float64), 4)
        return [(int(rows[i]), float(rounded[i])) for i in best(rounded, index.rank, rows, k)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Bm25, (self._source, self._content_hash)


class _Index:
    """The arrays, ready to be read."""

    def __init__(self, arrays: Arrays) -> None:
        self.corpus = Corpus(arrays)
        plain = {name: arrays[name].view(np.ndarray) for name in NAMES}  # a memmap is slow to slice
        self._keys, self._starts, self._peaks = plain["keys"], plain["starts"], plain["peaks"]
        self._docs, self._impacts, self.rank = plain["docs"], plain["impacts"], plain["rank"]

    def lists(self, query: str) -> list[_List]:
        """The postings of the query's terms, the most telling first."""
        found = []
        for term, times in Counter(analysis.terms(query)).items():
            key = key_of(term)
            place = int(np.searchsorted(self._keys, np.uint64(key)))
            if place < len(self._keys) and int(self._keys[place]) == key:
                span = slice(int(self._starts[place]), int(self._starts[place + 1]))
                peak = float(self._peaks[place]) * times
                found.append(_List(peak, key, np.float32(times), self._docs[span], self._impacts[span]))
        return sorted(found, key=lambda one: (-one.peak, one.key))


def hash_of(corpus_hash: str, k1: float, b: float) -> str:
    """Names an index: SHA-256 of the analysis, the parameters and the passages' own hash."""
    return hashlib.sha256(f"bm25\0{analysis.NAME}\0{k1!r}\0{b!r}\0{corpus_hash}".encode()).hexdigest()


def _rank(lists: list[_List], k: int, scores: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows and scores of all that may be among the `k` best; `scores` holds zeros, before and after.

    Every score is summed in the order of `lists`, so that it does not depend on what was left out.
    """
    left = np.append(np.cumsum([one.peak for one in lists][::-1])[::-1], 0.0).astype(np.float32)
    floor, seen, at = np.float32(0), [], 0  # the k-th best score is at least `floor`
    while at < len(lists) and left[at] >= floor - _SLACK:
        one = lists[at]
        scores[one.docs] += one.added
        seen.append(one.docs)
        at += 1
        if len(one.docs) >= k and left[at] < left[0] - left[at]:
            floor = max(floor, _kth(scores[one.docs], k))
    rows, found = _gather(seen, scores, max(floor - left[at] - _SLACK, _LEAST))
    if at < len(lists) and len(rows) > k:
        floor = max(floor, _kth(found, k))
        keep = np.flatnonzero(found >= floor - left[at] - _SLACK)
        keep = keep[np.argsort(rows[keep], kind="stable")]  # of a few ascending runs; looked up faster in order
        rows, found = rows[keep], found[keep]
    for place in range(at, len(lists)):
        one = lists[place]
        where = np.minimum(np.searchsorted(one.docs, rows), len(one.docs) - 1)
        hit = one.docs[where] == rows
        found[hit] += one.added[where[hit]]
        if len(rows) > k:
            floor = max(floor, _kth(found, k))
            keep = found >= floor - left[place + 1] - _SLACK
            rows, found = rows[keep], found[keep]
    return rows, found


def _gather(
    seen: list[NDArray[np.int32]], scores: NDArray[np.float32], least: np.float32
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Each row with a score of at least `least`, once; leaves zeros behind, by which a row is known to be taken."""
    rows, found = [], []
    for docs in seen:
        reached = scores[docs]
        keep = reached >= least
        rows.append(docs[keep])
        found.append(reached[keep])
        scores[docs] = 0
    return np.concatenate(rows), np.concatenate(found)


def _kth(scores: NDArray[np.float32], k: int) -> np.float32:
    """The k-th largest."""
    return np.float32(np.partition(scores, len(scores) - k)[len(scores) - k])
