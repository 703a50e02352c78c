"""A retriever of two passages."""

from collections.abc import Sequence
from hashlib import sha256

from tir_gym.core.interfaces import Hit, Passage, Retriever

PASSAGES = {"brighten": "brighten shows the picture; then count_lit counts", "warranty": "two years"}


class Manual(Retriever):
    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [
            [Hit(key, 1.0, key, text) for key, text in sorted(PASSAGES.items()) if key in query][:k]
            for query in queries
        ]

    def get(self, doc_id: str) -> Passage:
        return Passage(doc_id, doc_id, PASSAGES[doc_id])

    @property
    def content_hash(self) -> str:
        return sha256(repr(PASSAGES).encode()).hexdigest()
