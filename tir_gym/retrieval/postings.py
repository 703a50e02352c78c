"""Inverted lists for BM25 as Lucene scores it: made a segment at a time, merged into one index.

The score of a term in a passage is idf * tf / (tf + k1 (1 - b + b dl / avgdl)) with idf = ln(1 + (N - df + 1/2) /
(df + 1/2)) (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, without the constant factor k1 + 1),
and dl, the number of terms, as coarse as Lucene stores it in a byte.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.interfaces import Passage
from tir_gym.retrieval.analysis import term, words
from tir_gym.retrieval.corpus import Arrays, ordered, packed

NAMES = ("keys", "starts", "peaks", "docs", "impacts", "rank")
"""Of the arrays of an index: T terms in the order of their keys, P postings, n passages.

`keys` uint64 [T]; `starts` int64 [T + 1], where a term's postings begin and end; `peaks` float32 [T], its largest
impact; `docs` int32 [P], ascending within a term; `impacts` float32 [P]; `rank` int32 [n].
"""

New = Callable[[str, int, type[np.generic]], NDArray[Any]]
"""Makes an array of a name, a length and a type: in memory, or in a file."""


def key_of(text: str) -> int:
    """A term's key: 64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class _Vocabulary(dict[str, int]):
    """Words to numbers of terms in the order of their coming, -1 for a stop word."""

    def __init__(self) -> None:
        self.terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        found = term.__wrapped__(word)
        number = self.terms.setdefault(found, len(self.terms)) if found else -1
        self[word] = number
        return number


def segment(passages: Sequence[Passage]) -> Arrays:
    """These passages and their postings: `text`, `bounds`, `keys`, `starts`, `docs`, `freqs`, `lengths`."""
    vocabulary = _Vocabulary()
    flat: list[int] = []
    ends = np.zeros(len(passages), np.int64)
    for place, passage in enumerate(passages):
        flat += map(vocabulary.__getitem__, words(f"{passage.title}\n{passage.text}"))
        ends[place] = len(flat)
    numbers = np.array(flat, np.int64)
    owners = np.repeat(np.arange(len(passages)), np.diff(ends, prepend=0))
    kept = numbers >= 0
    numbers, owners = numbers[kept], owners[kept]
    keys = np.array([key_of(found) for found in vocabulary.terms], np.uint64)
    by_key = np.argsort(keys)
    place_of = np.empty(len(keys), np.int64)
    place_of[by_key] = np.arange(len(keys))
    pairs, freqs = np.unique(place_of[numbers] * len(passages) + owners, return_counts=True)
    text, bounds = packed(passages)
    starts = np.searchsorted(pairs, np.arange(len(keys) + 1) * len(passages))
    return {
        "text": text,
        "bounds": bounds,
        "keys": keys[by_key],
        "starts": starts.astype(np.int64),
        "docs": (pairs % max(len(passages), 1)).astype(np.int32),
        "freqs": freqs.astype(np.int32),
        "lengths": np.bincount(owners, minlength=len(passages)).astype(np.int32),
    }


def merge(parts: Sequence[Arrays], k1: float, b: float, new: New) -> None:
    """One index of all segments, passages and postings, in arrays from `new`.

    Raises `ValueError` where two passages have the same id.
    """
    _merge_passages(parts, new)
    keys = np.unique(np.concatenate([part["keys"] for part in parts]))
    places = [np.searchsorted(keys, part["keys"]) for part in parts]
    found_in = np.zeros(len(keys), np.int64)
    for part, place in zip(parts, places, strict=True):
        found_in[place] += np.diff(part["starts"])
    n = sum(len(part["lengths"]) for part in parts)
    total = sum(int(part["lengths"].sum()) for part in parts)
    idf = np.log(1 + (n - found_in + 0.5) / (found_in + 0.5)).astype(np.float32)
    starts = new("starts", len(keys) + 1, np.int64)
    starts[0] = 0
    np.cumsum(found_in, out=starts[1:])
    new("keys", len(keys), np.uint64)[:] = keys
    docs, impacts = new("docs", int(starts[-1]), np.int32), new("impacts", int(starts[-1]), np.float32)
    peaks = new("peaks", len(keys), np.float32)
    peaks[:] = 0
    written, first = starts[:-1].copy(), 0
    for part, place in zip(parts, places, strict=True):
        counts = np.diff(part["starts"])
        target = np.repeat(written[place] - part["starts"][:-1], counts) + np.arange(len(part["docs"]))
        norm = _norms(part["lengths"], total / max(n, 1), k1, b)[part["docs"]]
        weight = np.repeat(idf[place], counts)
        impact = weight - weight / (1 + part["freqs"].astype(np.float32) * norm)
        docs[target] = part["docs"] + np.int32(first)
        impacts[target] = impact
        np.maximum.at(peaks, np.repeat(place, counts), impact)
        written[place] += counts
        first += len(part["lengths"])


def _merge_passages(parts: Sequence[Arrays], new: New) -> None:
    """`text`, `bounds`, `order` and `rank` of all passages."""
    sizes = [len(part["text"]) for part in parts]
    text = new("text", sum(sizes), np.uint8)
    bounds = new("bounds", sum(len(part["bounds"]) - 1 for part in parts) + 1, np.int64)
    bounds[0] = written = at = 0
    for part, size in zip(parts, sizes, strict=True):
        more = len(part["bounds"]) - 1
        text[written : written + size] = part["text"]
        bounds[at + 1 : at + 1 + more] = part["bounds"][1:] + written
        written, at = written + size, at + more
    rows = ordered(text, bounds)
    new("order", len(rows), np.int32)[:] = rows
    rank = new("rank", len(rows), np.int32)
    rank[rows] = np.arange(len(rows), dtype=np.int32)


def _norms(lengths: NDArray[np.int32], average: float, k1: float, b: float) -> NDArray[np.float32]:
    """1 / (k1 (1 - b + b dl / avgdl)) of each passage, with lengths as Lucene keeps them."""
    coarse = coarse_length(lengths).astype(np.float32)
    norm = np.float32(k1) * (np.float32(1 - b) + np.float32(b) * coarse / np.float32(max(average, 1e-9)))
    inverse: NDArray[np.float32] = np.float32(1) / np.maximum(norm, np.float32(1e-30))
    return inverse


def coarse_length(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Lengths as Lucene's `SmallFloat.intToByte4` keeps them: exact below 40, then 24 + 4 leading bits."""
    above = np.maximum(lengths.astype(np.int64) - 24, 0)
    shift = np.maximum(np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) - 3, 0)
    return np.where(lengths < 24, lengths, 24 + ((above >> shift) << shift))
