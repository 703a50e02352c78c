"""Finding passages: one protocol, `Retriever`, and what keeps it."""

from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.retrieval.bm25 import Bm25
from tir_gym.retrieval.building import build
from tir_gym.retrieval.corpus import Corpus

__all__ = ["Bm25", "Corpus", "Hit", "Passage", "Retriever", "build"]
