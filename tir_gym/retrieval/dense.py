"""Retrieval by vectors, with faiss: exact, inverted lists, or a graph."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tir_gym.core.interfaces import Hit, Passage
from tir_gym.retrieval.corpus import Corpus
from tir_gym.retrieval.encoders import Encoder, Vectors, unit
from tir_gym.retrieval.stored import Rows, Scores, Stored, settled, storing

Kind = Literal["flat", "ivf", "hnsw"]

CHUNK = 1_024
"""Passages encoded at a time; what an interruption can lose."""

_DIGITS = 5
"""Scores are rounded to this many places."""

_SLACK = 2e-5
"""More than faiss's scores, which depend on the batch, can differ from ours."""

_BATCH = 256


class Dense(Stored["_Faiss"]):
    """The nearest passages by inner product of unit vectors.

    faiss runs on one thread of its own: with more it spins on busy machines, and a fork after that hangs. The index is
    mapped from its file at the first search of each process.
    """

    kind = "dense"

    def __init__(self, path: Path | str, encoder: Encoder) -> None:
        super().__init__(path)
        if (made := self.manifest["encoder"]) != encoder.name:
            raise ValueError(f"{path} was made with {made!r}, not with the encoder {encoder.name!r}")
        self._encoder = encoder

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The `k` nearest passages of each query; scores are cosines rounded to 5 places."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        return self.nearest(self._encoder.encode(queries), k) if queries else []

    def nearest(self, vectors: Vectors, k: int) -> list[list[Hit]]:
        """The `k` nearest passages of each vector.

        faiss proposes some more than `k`, which are scored again one by one: its own scores depend on the batch.
        """
        opened = self._open()
        count, index = len(opened.rank), opened.index
        vectors = np.ascontiguousarray(vectors, np.float32)
        found = []
        for vector, first in zip(vectors, index.propose(vectors, min(count, k + 16)), strict=True):

            def proposed(limit: int, vector: Vectors = vector, first: Rows = first) -> tuple[Rows, Scores]:
                rows = first if limit <= k + 16 else next(index.propose(vector[None], limit))
                return rows, np.round((index.vectors[rows] * vector.astype(np.float64)).sum(1), _DIGITS)

            found.append(opened.hits(*settled(proposed, k, count, _SLACK), k))
        return found

    def _load(self, folder: Path) -> "_Faiss":
        return _Faiss(folder, self.manifest["reach"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Dense, (self._path, self._encoder)


class _Faiss:
    """The vectors, and the index that proposes rows of them."""

    def __init__(self, folder: Path, reach: int) -> None:
        faiss = _faiss()
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r").view(np.ndarray)
        self._index = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
        self._exact = isinstance(self._index, faiss.IndexFlat)
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = reach
        elif hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = reach

    def propose(self, vectors: Vectors, k: int) -> Iterator[Rows]:
        """Rows near each vector. Only an exact index takes a batch: which lists another looks into depends on it."""
        _faiss()  # also in this thread
        size = _BATCH if self._exact else 1
        for start in range(0, len(vectors), size):
            for rows in self._index.search(vectors[start : start + size], k)[1]:
                yield rows[rows >= 0]


def build_dense(
    passages: Iterable[Passage],
    path: Path | str,
    encoder: Encoder,
    *,
    kind: Kind = "flat",
    reach: int = 8,
    vectors: Vectors | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Dense:
    """An index of these passages in the folder `path`, or the one that is there, if it is the same.

    `vectors` are theirs, row by row, if they were computed elsewhere; else `encoder` computes them from title and text,
    `progress` is told how many are done, and an interrupted build goes on where it was. `kind`: "flat" is exact; "ivf"
    looks into `reach` of about 4 sqrt(n) lists; "hnsw" is a graph of degree 32, searched with a beam of `reach` (use 32
    or more). Raises `ValueError` for vectors that do not fit, `FileExistsError` where the folder holds something else.
    """
    faiss, path, corpus = _faiss(), Path(path).absolute(), Corpus.of(passages)
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r} must be one of {', '.join(get_args(Kind))}")
    settings: dict[str, Any] = {"index": kind, "reach": reach, "encoder": encoder.name}
    if vectors is not None:
        if vectors.ndim != 2 or len(vectors) != len(corpus):
            raise ValueError(f"{len(corpus)} passages need as many vectors, in rows, not {vectors.shape}")
        settings["vectors"] = hashlib.sha256(np.ascontiguousarray(vectors, np.float32).tobytes()).hexdigest()
    with storing(path, Dense.kind, corpus, settings) as work:
        if work is not None:
            if vectors is None:
                vectors = _encoded(encoder, corpus, work, progress)
            vectors = np.ascontiguousarray(unit(vectors.astype(np.float32)))
            np.save(work / "index" / "vectors.npy", vectors)
            faiss.write_index(_made(faiss, vectors, kind), str(work / "index" / "vectors.faiss"))
    return Dense(path, encoder)


def _encoded(encoder: Encoder, corpus: Corpus, work: Path, progress: Callable[[int], None]) -> Vectors:
    """The passages' vectors, `CHUNK` of them at a time; what an earlier build left in `work` is taken from there."""
    chunks = []
    for start in range(0, len(corpus), CHUNK):
        part = [corpus[row] for row in range(start, min(start + CHUNK, len(corpus)))]
        texts = [f"{passage.title} {passage.text}".strip() for passage in part]
        content = "\0".join([encoder.name, *texts]).encode("utf-8", "surrogatepass")
        kept = work / f"{hashlib.sha256(content).hexdigest()}.npy"
        if not kept.exists():
            half = work / "half.npy"
            np.save(half, encoder.encode_passages(texts))
            half.rename(kept)
        chunks.append(np.load(kept))
        progress(start + len(texts))
    return np.concatenate(chunks)


def _made(faiss: Any, vectors: Vectors, kind: Kind) -> Any:
    count, width = vectors.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "ivf":
        lists = max(1, min(count // 40, 4 * int(count**0.5)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.min_points_per_centroid = 1, 1
        index.train(vectors)
    else:
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
    index.add(vectors)
    return index


def _faiss() -> Any:
    """The library, kept to one thread. OpenMP counts threads per thread that asks."""
    try:
        import faiss
    except ModuleNotFoundError:
        raise ModuleNotFoundError("dense retrieval needs faiss: pip install 'tir-gym[search]'") from None
    faiss.omp_set_num_threads(1)
    return faiss
