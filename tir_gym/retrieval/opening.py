"""A retriever from a line of text, as options and the command line give it."""

from pathlib import Path

from tir_gym.core.interfaces import Retriever
from tir_gym.retrieval.bm25 import Bm25
from tir_gym.retrieval.dense import Dense
from tir_gym.retrieval.encoders import encoder_named
from tir_gym.retrieval.fusion import Hybrid
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.lucene import Lucene
from tir_gym.retrieval.manifest import read_manifest


def open_retriever(source: str) -> Retriever:
    """The retriever that `source` names.

    `FOLDER` is an index of ours; `http://HOST:PORT` a server that speaks Search-R1's protocol, `skyrl+http://...`,
    `gem+http://...` and `research+http://...` those of others; `lucene:FOLDER` an index of Lucene's;
    `SOURCE,SOURCE` the fusion of several. Raises `FileNotFoundError` or `ValueError`, which say what is wrong.
    """
    if "," in source:
        return Hybrid([open_retriever(part) for part in source.split(",")])
    scheme, colon, rest = source.partition("://")
    if colon:
        protocol, plus, scheme = scheme.rpartition("+")
        return Http(f"{scheme}://{rest}", protocol if plus else "search-r1")
    if source.startswith("lucene:"):
        return Lucene(source.removeprefix("lucene:"))
    path = Path(source)
    manifest = read_manifest(path)
    match manifest["kind"]:
        case "bm25":
            return Bm25.open(path)
        case "dense":
            return Dense(path, encoder_named(manifest["encoder"]))
        case kind:
            raise ValueError(f"{source}: no retriever reads an index of kind {kind!r}")
