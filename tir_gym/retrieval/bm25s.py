"""BM25 by the library bm25s: exact lengths instead of Lucene's coarse ones, every posting read, from mapped arrays."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tir_gym.core.interfaces import Hit, Passage
from tir_gym.retrieval import analysis
from tir_gym.retrieval.bm25 import K1, B
from tir_gym.retrieval.corpus import Corpus
from tir_gym.retrieval.stored import Stored, storing


class Bm25s(Stored[Any]):
    """An index made by `build_bm25s`, searched in numpy: its compiled search is neither thread- nor fork-safe."""

    kind = "bm25s"

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` passages that share a term with each query; scores are rounded to 4 places."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        opened = self._open()
        found = []
        for query in queries:
            known = [term for term in analysis.terms(query) if term in opened.index.vocab_dict]
            scores = opened.index.get_scores(known) if known else np.zeros(0)
            rows = np.flatnonzero(scores > 0)
            found.append(opened.hits(rows, np.round(scores[rows].astype(np.float64), 4), k))
        return found

    def _load(self, folder: Path) -> Any:
        return _bm25s().BM25.load(folder / "bm25s", mmap=True)


def build_bm25s(passages: Iterable[Passage], path: Path | str, *, k1: float = K1, b: float = B) -> Bm25s:
    """An index of these passages in the folder `path`, or the one that is there, if it is the same.

    Raises `FileExistsError` where the folder holds something else, `ValueError` for no passages or an id twice.
    """
    library, path, corpus = _bm25s(), Path(path).absolute(), Corpus.of(passages)
    settings = {"analysis": analysis.NAME, "k1": k1, "b": b}
    with storing(path, Bm25s.kind, corpus, settings) as work:
        if work is not None:
            numbers: dict[str, int] = {}
            rows = [
                [numbers.setdefault(term, len(numbers)) for term in analysis.terms(f"{passage.title}\n{passage.text}")]
                for passage in corpus
            ]
            index = library.BM25(k1=k1, b=b, method="lucene", backend="numpy")
            index.index((rows, numbers), show_progress=False)
            index.save(work / "index" / "bm25s")
    return Bm25s(path)


def _bm25s() -> Any:
    try:
        import bm25s
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this index needs bm25s: pip install 'tir-gym[bm25s]'") from None
    return bm25s
