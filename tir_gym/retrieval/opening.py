"""A retriever from a line of text, an index by its backend's name, as options and the command line give them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tir_gym.core.interfaces import Passage, Retriever
from tir_gym.retrieval.bm25 import Bm25
from tir_gym.retrieval.bm25s import Bm25s, build_bm25s
from tir_gym.retrieval.building import build
from tir_gym.retrieval.dense import Dense, build_dense
from tir_gym.retrieval.encoders import encoder_named
from tir_gym.retrieval.fusion import Hybrid
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.lucene import Lucene, build_lucene
from tir_gym.retrieval.manifest import read_manifest
from tir_gym.retrieval.tantivy import Tantivy, build_tantivy

BACKENDS: dict[str, tuple[Callable[..., Retriever], frozenset[str]]] = {
    "bm25": (build, frozenset({"k1", "b", "progress"})),
    "dense": (build_dense, frozenset({"encoder", "kind", "reach", "vectors", "progress"})),
    "lucene": (build_lucene, frozenset()),
    "bm25s": (build_bm25s, frozenset({"k1", "b"})),
    "tantivy": (build_tantivy, frozenset()),
}
"""What builds an index of each kind, and the options that it takes."""


def build_index(
    backend: str, passages: Iterable[Passage], path: Path | str, progress: Callable[[int], None], **options: Any
) -> Retriever:
    """An index of these passages, in the folder `path`. `encoder` is a name (`encoders.encoder_named`).

    Raises `ValueError` for an unknown backend or options that it does not take; else as the backend's builder does.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} must be one of {', '.join(BACKENDS)}")
    builder, takes = BACKENDS[backend]
    if wrong := sorted(options.keys() - takes):
        has = ", ".join(sorted(takes - {"progress"})) or "no options"
        raise ValueError(f"the backend {backend} takes {has}, not {', '.join(wrong)}")
    if "encoder" in takes:
        options["encoder"] = encoder_named(options.get("encoder", "minilm"))
    if "progress" in takes:
        options["progress"] = progress
    return builder(passages, path, **options)


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
        case "bm25s":
            return Bm25s(path)
        case "tantivy":
            return Tantivy(path)
        case "lucene":
            return Lucene(path)
        case kind:
            raise ValueError(f"{source}: no retriever reads an index of kind {kind!r}")
