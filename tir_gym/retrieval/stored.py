"""What indexes of libraries have in common: a folder with the passages beside them, opened at the first search."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval.corpus import PASSAGES, Corpus, best, load
from tir_gym.retrieval.manifest import making, read_manifest

Index = TypeVar("Index")
Rows = NDArray[np.int64]
Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Opened(Generic[Index]):
    """Passages, each row's place in the order of ids, and the library's index of the rows."""

    corpus: Corpus
    rank: NDArray[np.int32]
    index: Index

    def hits(self, rows: Rows, scores: Scores, k: int) -> list[Hit]:
        """The `k` best of these rows, equal scores in the order of ids."""
        return [self.corpus.hit(int(rows[i]), float(scores[i])) for i in best(scores, self.rank, rows, k)]


class Stored(Retriever, Generic[Index]):
    """An index in a folder. Its files are mapped at the first search of each object; pickled, it is its path.

    Raises `FileNotFoundError` or `ValueError` where the folder holds no index of this kind.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path).absolute()
        self.manifest = read_manifest(self._path)
        if self.manifest["kind"] != self.kind:
            raise ValueError(f"{path} holds an index of kind {self.manifest['kind']!r}, not {self.kind!r}")
        self._opened: Opened[Index] | None = None

    @abstractmethod
    def _load(self, folder: Path) -> Index:
        """Open what the library made of the rows."""

    @property
    def content_hash(self) -> str:
        """Of the passages and of how they are ranked."""
        found: str = self.manifest["content_hash"]
        return found

    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""
        return self._open().corpus.get(doc_id)

    def close(self) -> None:
        """Unmap the index; the next search maps it again."""
        self._opened = None

    def _open(self) -> Opened[Index]:
        opened = self._opened
        if opened is None:  # two threads may both do this; either's is good
            corpus = Corpus(load(self._path, PASSAGES))
            self._opened = opened = Opened(corpus, corpus.rank, self._load(self._path))
        return opened

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)


@contextmanager
def storing(path: Path, kind: str, corpus: Corpus, settings: Mapping[str, Any]) -> Iterator[Path | None]:
    """`manifest.making` of an index of these passages, which are saved in it. Raises `ValueError` if there are none."""
    if not len(corpus):
        raise ValueError(f"there is no passage to index in {path.name}")
    named = {**settings, "passages": len(corpus), "corpus_hash": corpus.content_hash}
    with making(path, kind, named) as work:
        if work is not None:
            for name, array in corpus.arrays.items():
                np.save(work / "index" / f"{name}.npy", array)
        yield work


def settled(propose: Callable[[int], tuple[Rows, Scores]], k: int, count: int, slack: float) -> tuple[Rows, Scores]:
    """Rows and scores that hold the `k` best of `count`, all that are equal to the last of them included.

    A library leaves open which of equal rows it proposes. So it is asked for more until the worst that it gave is
    worse than the k-th by more than `slack`.
    """
    asked = min(count, k + 16)
    while True:
        rows, scores = propose(asked)
        if asked >= count or len(rows) < asked or scores.min() < np.partition(scores, -k)[-k] - slack:
            return rows, scores
        asked = min(count, 4 * asked)
