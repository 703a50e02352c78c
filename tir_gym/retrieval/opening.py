"""A retriever from a line of text, as options and the command line give it."""

from pathlib import Path

from tir_gym.core.interfaces import Retriever
from tir_gym.retrieval.bm25 import Bm25
from tir_gym.retrieval.manifest import read_manifest


def open_retriever(source: str) -> Retriever:
    """The retriever that `source` names: the folder of an index.

    Raises `FileNotFoundError` or `ValueError`, which say what is wrong.
    """
    path = Path(source)
    match read_manifest(path)["kind"]:
        case "bm25":
            return Bm25.open(path)
        case kind:
            raise ValueError(f"{source}: no retriever reads an index of kind {kind!r}")
