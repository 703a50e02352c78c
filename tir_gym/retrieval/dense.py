"""Retrieval by vectors, with faiss: exact, inverted lists, or a graph."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval.corpus import PASSAGES, Corpus, best, load
from tir_gym.retrieval.encoders import Encoder, Vectors, unit
from tir_gym.retrieval.manifest import FORMAT, file_hash, read_manifest

Kind = Literal["flat", "ivf", "hnsw"]

_DIGITS = 5
"""Scores are rounded to this many places."""

_BATCH = 256


class Dense(Retriever):
    """The nearest passages by inner product of unit vectors.

    faiss runs on one thread of its own: with more it spins on busy machines, and a fork after that hangs. The index is
    mapped from its file at the first search of each process.
    """

    def __init__(self, path: Path | str, encoder: Encoder) -> None:
        self._path, self._encoder = Path(path).absolute(), encoder
        manifest = read_manifest(self._path)
        if manifest["kind"] != "dense" or manifest["encoder"] != encoder.name:
            made = manifest.get("encoder", manifest["kind"])
            raise ValueError(f"{path} was made with {made!r}, not with the encoder {encoder.name!r}")
        self._content_hash: str = manifest["content_hash"]
        self._reach: int = manifest["reach"]
        self._opened: _Opened | None = None

    @property
    def content_hash(self) -> str:
        """Of passages, vectors and kind of index."""
        return self._content_hash

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
        vectors = np.ascontiguousarray(vectors, np.float32)
        found = []
        for vector, rows in zip(vectors, opened.propose(vectors, min(len(opened.rank), k + 16)), strict=True):
            scores = np.round((opened.vectors[rows] * vector.astype(np.float64)).sum(1), _DIGITS)
            order = best(scores, opened.rank, rows, k)
            found.append([opened.corpus.hit(int(rows[i]), float(scores[i])) for i in order])
        return found

    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""
        return self._open().corpus.get(doc_id)

    def close(self) -> None:
        """Unmap the index; the next search maps it again."""
        self._opened = None

    def _open(self) -> "_Opened":
        opened = self._opened
        if opened is None:
            self._opened = opened = _Opened(self._path, self._reach)
        return opened

    def __reduce__(self) -> tuple[Any, ...]:
        return Dense, (self._path, self._encoder)


class _Opened:
    """An index in use."""

    def __init__(self, path: Path, reach: int) -> None:
        faiss = _faiss()
        self.corpus = Corpus(load(path, PASSAGES))
        self.rank = self.corpus.rank
        self.vectors = np.load(path / "vectors.npy", mmap_mode="r").view(np.ndarray)
        self._index = faiss.read_index(str(path / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
        self._exact = isinstance(self._index, faiss.IndexFlat)
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = reach
        elif hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = reach

    def propose(self, vectors: Vectors, k: int) -> Iterator[NDArray[np.int64]]:
        """Rows near each vector. Only an exact index takes a batch: which lists another looks into depends on it."""
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
) -> Dense:
    """An index of these passages in the folder `path`, which must not exist.

    `vectors` are theirs, row by row, if they were computed elsewhere; else `encoder` computes them from title and text.
    `kind`: "flat" is exact; "ivf" looks into `reach` of about 4 sqrt(n) lists; "hnsw" is a graph of degree 32, searched
    with a beam of `reach` (use 32 or more). Raises `ValueError` for vectors that do not fit.
    """
    path = Path(path).absolute()
    if path.exists():
        raise FileExistsError(f"{path} exists; remove it, or choose another folder")
    corpus = Corpus.of(passages)
    if vectors is None:
        vectors = encoder.encode_passages([f"{passage.title} {passage.text}".strip() for passage in corpus])
    if vectors.ndim != 2 or len(vectors) != len(corpus) or not len(corpus):
        raise ValueError(f"{len(corpus)} passages need as many vectors, in rows, not {vectors.shape}")
    vectors = np.ascontiguousarray(unit(vectors.astype(np.float32)))
    work = path.with_name(f"{path.name}.building-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name, array in corpus.arrays.items():
        np.save(work / f"{name}.npy", array)
    np.save(work / "vectors.npy", vectors)
    faiss = _faiss()
    faiss.write_index(_made(faiss, vectors, kind), str(work / "vectors.faiss"))
    content = f"dense\0{kind}\0{reach}\0{encoder.name}\0{corpus.content_hash}\0".encode() + vectors.tobytes()
    manifest = {
        "format": FORMAT,
        "kind": "dense",
        "index": kind,
        "reach": reach,
        "encoder": encoder.name,
        "passages": len(corpus),
        "dimensions": vectors.shape[1],
        "content_hash": hashlib.sha256(content).hexdigest(),
        "files": {file.name: file_hash(file) for file in sorted(work.iterdir())},
    }
    (work / "manifest.json").write_text(json.dumps(manifest, indent=1))
    work.rename(path)
    return Dense(path, encoder)


def _made(faiss: Any, vectors: Vectors, kind: Kind) -> Any:
    count, width = vectors.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    elif kind == "ivf":
        lists = max(1, min(count // 40, 4 * int(count**0.5)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.min_points_per_centroid = 1, 1
        index.train(vectors)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
    else:
        raise ValueError(f"kind={kind!r} must be flat, ivf or hnsw")
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
