"""Passages by row and by id, in memory or memory-mapped: any number of processes read one copy."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Hit, Passage

Arrays = dict[str, NDArray[Any]]
"""Arrays by the name of their file, without `.npy`."""


PASSAGES = ("text", "bounds", "order")
"""Of the arrays that a `Corpus` is made of."""


class Corpus:
    """Passages in the order in which they were given (rows 0 to n - 1), found by row or by id.

    `text` holds id, title and text of each passage one after another in UTF-8, `bounds` the 3 n + 1 places where one
    ends, `order` the rows in the order of their ids.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._text = np.asarray(arrays["text"], np.uint8).view(np.ndarray)
        self._bounds = np.asarray(arrays["bounds"], np.int64).view(np.ndarray)
        self._order = np.asarray(arrays["order"], np.int32).view(np.ndarray)

    @classmethod
    def of(cls, passages: Iterable[Passage]) -> "Corpus":
        """Passages in memory. Raises `ValueError` where two have the same id."""
        text, bounds = packed(passages)
        return cls({"text": text, "bounds": bounds, "order": ordered(text, bounds)})

    @property
    def arrays(self) -> Arrays:
        """What it is made of."""
        return {"text": self._text, "bounds": self._bounds, "order": self._order}

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, row: int) -> Passage:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} passages")
        return Passage(*self._parts(*self._bounds[3 * row : 3 * row + 4].tolist()))

    def __iter__(self) -> Iterator[Passage]:
        return map(self.__getitem__, range(len(self)))

    def row(self, doc_id: str) -> int:
        """The row of an id. Raises `KeyError`."""
        wanted, low, high = _encoded(doc_id), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = self._id(int(self._order[middle]))
            if found == wanted:
                return int(self._order[middle])
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        raise KeyError(f"no passage has the id {doc_id!r}")

    def get(self, doc_id: str) -> Passage:
        """The passage with an id. Raises `KeyError`."""
        return self[self.row(doc_id)]

    def hit(self, row: int, score: float) -> Hit:
        """A passage as it was found."""
        passage = self[row]
        return Hit(passage.id, score, passage.title, passage.text)

    def hits(self, rows: NDArray[np.integer], scores: NDArray[np.floating]) -> list[Hit]:
        """Passages as they were found."""
        bounds = self._bounds[3 * rows.astype(np.int64)[:, None] + np.arange(4)].tolist()
        found = []
        for places, score in zip(bounds, scores.tolist(), strict=True):
            doc_id, title, text = self._parts(*places)
            found.append(Hit(doc_id, score, title, text))
        return found

    def _parts(self, start: int, title: int, text: int, end: int) -> tuple[str, str, str]:
        """Id, title and text that lie between these bounds."""
        raw = self._text[start:end].tobytes()
        return (
            raw[: title - start].decode("utf-8", "surrogatepass"),
            raw[title - start : text - start].decode("utf-8", "surrogatepass"),
            raw[text - start :].decode("utf-8", "surrogatepass"),
        )

    def _id(self, row: int) -> bytes:
        return self._text[self._bounds[3 * row] : self._bounds[3 * row + 1]].tobytes()

    @property
    def rank(self) -> NDArray[np.int32]:
        """Each row's place in the order of ids, by which equal scores are ordered."""
        places = np.empty(len(self), np.int32)
        places[self._order] = np.arange(len(self), dtype=np.int32)
        return places

    @property
    def content_hash(self) -> str:
        """SHA-256 of all passages in their order; reads them all."""
        found = hashlib.sha256(self._bounds.astype("<i8").tobytes())
        for start in range(0, len(self._text), 1 << 24):
            found.update(self._text[start : start + (1 << 24)].tobytes())
        return found.hexdigest()


def packed(passages: Iterable[Passage]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`text` and `bounds` of these passages."""
    parts: list[bytes] = []
    for passage in passages:
        parts += (_encoded(passage.id), _encoded(passage.title), _encoded(passage.text))
    bounds = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=bounds[1:])
    return np.frombuffer(b"".join(parts), np.uint8), bounds


def ordered(text: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.int32]:
    """The rows in the order of their ids. Raises `ValueError` where two have the same."""
    starts, ends = bounds[:-1:3].tolist(), bounds[1::3].tolist()
    ids = [text[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]
    rows = sorted(range(len(ids)), key=ids.__getitem__)
    for before, after in pairwise(rows):
        if ids[before] == ids[after]:
            raise ValueError(f"two passages have the id {ids[before].decode()!r}: ids must be different")
    return np.array(rows, np.int32)


def best(scores: NDArray[np.floating], rank: NDArray[np.int32], rows: NDArray[np.integer], k: int) -> Sequence[int]:
    """Places in `rows` of the `k` best, by score and then by rank of the row."""
    if len(scores) > k:
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        among = np.flatnonzero(scores >= edge)
    else:
        among = np.arange(len(scores))
    found: list[int] = among[np.lexsort((rank[rows[among]], -scores[among]))][:k].tolist()
    return found


def load(folder: Path, names: Iterable[str]) -> Arrays:
    """Arrays of a folder, memory-mapped."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
