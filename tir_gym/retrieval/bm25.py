"""BM25 in process: the ranking of Lucene with Anserini's analyser, from memory-mapped arrays, in numpy alone.

The longest lists are not read where they cannot matter (MaxScore: Turtle and Flood, Query evaluation: strategies and
optimizations, 1995, term at a time), but looked up for the passages that may be among the best.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval import analysis
from tir_gym.retrieval.corpus import PASSAGES, Arrays, Corpus, load
from tir_gym.retrieval.manifest import read_manifest
from tir_gym.retrieval.postings import NAMES, key_of, merge, segment

K1, B = 0.9, 0.4
"""Anserini's defaults."""

_SLACK = 5e-4
"""More than rounding of scores and of sums can move a score."""

_LEAST = 1e-20
"""Less than a posting adds to a score."""

_SHARE = 0.4
"""Postings are read to the end of the list while they can still add so much of the k-th best score.

With 1 (MaxScore as published) fewer are read, but more passages are looked up, some thirty times as slow each.
"""

_DENSE = 16
"""Reading so many scores in a row takes as long as looking one up."""

_TERMS = 1 << 15
"""Terms whose postings are kept at hand."""

Rows = NDArray[np.int32]
Scores = NDArray[np.float32]
_NO_ROWS = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class _List:
    """A query term's postings; `peak` is the most that it adds to a score."""

    peak: float
    key: int
    docs: Rows
    impacts: Scores

    def times(self, count: int) -> "_List":
        """Those of a term that the query has more than once."""
        return _List(self.peak * count, self.key, self.docs, self.impacts * np.float32(count))


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
        scores = getattr(self._local, "scores", None)
        self._local.scores = None  # if this is interrupted, what it leaves behind is not used again
        if scores is None:
            scores = np.zeros(len(index.rank), np.float32)
        found = [_rank(index.lists(query), k, scores) for query in queries]
        self._local.scores = scores
        return index.hits(found, k)

    def _opened(self) -> "_Index":
        index = self._index
        if index is None:  # two threads may both do this; either's is good
            source = self._source
            arrays = load(source, (*PASSAGES, *NAMES)) if isinstance(source, Path) else source
            self._index = index = _Index(arrays)
        return index

    def __reduce__(self) -> tuple[Any, ...]:
        return Bm25, (self._source, self._content_hash)


class _Index:
    """The arrays, ready to be read."""

    def __init__(self, arrays: Arrays) -> None:
        self.corpus = Corpus(arrays)
        plain = {name: arrays[name].view(np.ndarray) for name in NAMES}  # a memmap is slow to slice
        self._keys, self._starts, self._peaks = plain["keys"], plain["starts"], plain["peaks"]
        self._docs, self._impacts, self.rank = plain["docs"], plain["impacts"], plain["rank"]
        self._terms: dict[str, _List | None] = {}

    def lists(self, query: str) -> list[_List]:
        """The postings of the query's terms, the most telling first."""
        found, known = [], self._terms  # which another thread may put a new one in the place of
        for term, times in Counter(analysis.terms(query)).items():
            one = known[term] if term in known else self._remembered(term)
            if one is not None:
                found.append(one if times == 1 else one.times(times))
        return sorted(found, key=lambda one: (-one.peak, one.key))

    def _remembered(self, term: str) -> _List | None:
        """A term's postings, None where no passage has it; kept for the next query."""
        key = key_of(term)
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        found = None
        if place < len(self._keys) and int(self._keys[place]) == key:
            span = slice(int(self._starts[place]), int(self._starts[place + 1]))
            found = _List(float(self._peaks[place]), key, self._docs[span], self._impacts[span])
        if len(self._terms) >= _TERMS:
            self._terms = {}
        self._terms[term] = found
        return found

    def hits(self, found: Sequence[tuple[Rows, Scores]], k: int) -> list[list[Hit]]:
        """The `k` best of each query's rows, by rounded score and then by id."""
        counts = [len(rows) for rows, _ in found]
        if not any(counts):
            return [[] for _ in found]
        rows = np.concatenate([rows for rows, _ in found])
        scores = np.round(np.concatenate([scores for _, scores in found]).astype(np.float64), 4)
        order = np.lexsort((self.rank[rows], -scores, np.repeat(np.arange(len(found)), counts)))
        starts = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
        chosen = np.concatenate([order[start : start + min(k, n)] for start, n in zip(starts, counts, strict=True)])
        hits = iter(self.corpus.hits(rows[chosen], scores[chosen]))
        return [list(islice(hits, min(k, n))) for n in counts]


def hash_of(corpus_hash: str, k1: float, b: float) -> str:
    """Names an index: SHA-256 of the analysis, the parameters and the passages' own hash."""
    return hashlib.sha256(f"bm25\0{analysis.NAME}\0{k1!r}\0{b!r}\0{corpus_hash}".encode()).hexdigest()


def _rank(lists: Sequence[_List], k: int, scores: Scores) -> tuple[Rows, Scores]:
    """Rows in ascending order, and scores, of all that may be among the `k` best.

    `scores` holds zeros, before and after. Every score is summed in the order of `lists`, so that it does not depend
    on what was left out.
    """
    left = [*accumulate((one.peak for one in reversed(lists)), initial=0.0)][::-1]
    telling = next((one.docs for one in lists if len(one.docs) >= k), _NO_ROWS)
    floor, at = 0.0, 0  # the k-th best score is at least `floor`
    while at < len(lists) and left[at] >= _SHARE * floor:
        np.add.at(scores, lists[at].docs, lists[at].impacts)
        at += 1
        if len(telling) and left[at] < left[0] / 2:
            floor = _kth(scores[telling], k)
    rows, found = _taken(lists[:at], scores, max(floor - left[at] - _SLACK, _LEAST))
    for one in lists[at:]:
        where = one.docs.searchsorted(rows)
        found += one.impacts.take(where, mode="clip") * (one.docs.take(where, mode="clip") == rows)
    return rows, found


def _taken(lists: Sequence[_List], scores: Scores, least: float) -> tuple[Rows, Scores]:
    """Rows of these lists with at least such a score, in order, and their scores; leaves zeros behind."""
    if len(scores) < _DENSE * sum(len(one.docs) for one in lists):
        rows = np.flatnonzero(scores >= np.float32(least)).astype(np.int32)
        found = scores[rows]
        scores.fill(0)
        return rows, found
    docs = np.concatenate([_NO_ROWS, *(one.docs for one in lists)])
    rows = np.unique(docs[scores[docs] >= np.float32(least)])
    found = scores[rows]
    scores[docs] = 0
    return rows, found


def _kth(scores: Scores, k: int) -> float:
    """The k-th largest."""
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
