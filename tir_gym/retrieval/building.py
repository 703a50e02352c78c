"""An index on disk: built once, a segment at a time, put in place whole. An interrupted build goes on from there."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Passage
from tir_gym.retrieval import analysis
from tir_gym.retrieval.bm25 import K1, B, Bm25, hash_of
from tir_gym.retrieval.corpus import PASSAGES, Arrays, Corpus, load, packed
from tir_gym.retrieval.manifest import FORMAT, alone_in, read_manifest, write_manifest
from tir_gym.retrieval.postings import NAMES, merge, segment

SEGMENT = 20_000
"""Passages analysed at a time; what an interruption can lose."""


def build(
    passages: Iterable[Passage],
    path: Path | str,
    *,
    k1: float = K1,
    b: float = B,
    progress: Callable[[int], None] = lambda done: None,
) -> Bm25:
    """A BM25 index of these passages in the folder `path`; the one that is there, if it is of the same passages.

    `progress` is told how many passages are done. One process builds, others that want the same folder wait for it.
    Raises `FileExistsError` where the folder holds something else, `ValueError` where two passages have the same id.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(path.parent):
        if path.exists():
            return _same(passages, path, k1, b)
        work = path.with_name(f"{path.name}.building")
        parts = []
        done = 0
        for number, chunk in enumerate(_chunks(passages)):
            parts.append(_segment(chunk, work / f"segment-{number:05d}"))
            done += len(chunk)
            progress(done)
        if not parts:
            raise ValueError(f"there is no passage to index in {path.name}")
        final = work / "index"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir()

        def new(name: str, length: int, kind: type[np.generic]) -> NDArray[Any]:
            if not length:  # nothing can be mapped
                np.save(final / f"{name}.npy", np.empty(0, kind))
                return np.empty(0, kind)
            return np.lib.format.open_memmap(final / f"{name}.npy", "w+", kind, (length,))

        merge([load(part, _SEGMENT_NAMES) for part in parts], k1, b, new)
        _write_manifest(final, [_source(part) for part in parts], k1, b)
        final.rename(path)
        shutil.rmtree(work)
    return Bm25.open(path)


_SEGMENT_NAMES = ("text", "bounds", "keys", "starts", "docs", "freqs", "lengths")


def _chunks(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    rest = iter(passages)
    while chunk := list(islice(rest, SEGMENT)):
        yield chunk


def _hash_of_source(chunk: list[Passage]) -> str:
    text, bounds = packed(chunk)
    found = hashlib.sha256(f"{FORMAT}\0{analysis.NAME}\0".encode())
    found.update(bounds.astype("<i8").tobytes())
    found.update(text.tobytes())
    return found.hexdigest()


def _source(part: Path) -> str:
    return (part / "source").read_text()


def _segment(chunk: list[Passage], part: Path) -> Path:
    """The folder of a segment, made unless an earlier build left it."""
    source = _hash_of_source(chunk)
    if part.exists():
        if _source(part) == source:
            return part
        shutil.rmtree(part)
    half = part.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name, array in segment(chunk).items():
        np.save(half / f"{name}.npy", array)
    (half / "source").write_text(source)
    half.rename(part)
    return part


def _same(passages: Iterable[Passage], path: Path, k1: float, b: float) -> Bm25:
    """The index that is there, if it is of these passages."""
    manifest = read_manifest(path)
    wanted = {"analysis": analysis.NAME, "k1": k1, "b": b}
    if {key: manifest.get(key) for key in wanted} != wanted:
        raise FileExistsError(f"{path} holds an index with other settings; remove it, or choose another folder")
    if [_hash_of_source(chunk) for chunk in _chunks(passages)] != manifest["segments"]:
        raise FileExistsError(f"{path} holds an index of other passages; remove it, or choose another folder")
    return Bm25.open(path)


def _write_manifest(folder: Path, segments: list[str], k1: float, b: float) -> None:
    arrays: Arrays = load(folder, (*PASSAGES, *NAMES))
    corpus = Corpus(arrays)
    corpus_hash = corpus.content_hash
    about = {
        "kind": "bm25",
        "analysis": analysis.NAME,
        "k1": k1,
        "b": b,
        "passages": len(corpus),
        "terms": len(arrays["keys"]),
        "postings": len(arrays["docs"]),
        "content_hash": hash_of(corpus_hash, k1, b),
        "corpus_hash": corpus_hash,
        "segments": segments,
    }
    write_manifest(folder, about)
