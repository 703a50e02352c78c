"""What is searched: the encyclopaedia of a world, a benchmark's own passages, or an index on disk; made at first use.

A corpus is named by a task's data: `{"world": [seed, passages]}`, `{"pool": PATH, "format": NAME}` or
`{"index": SOURCE}`. Indexes of worlds, pools and files lie under `cache_root()`, one folder for each content.
"""

import functools
import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tir_gym.core.interfaces import Passage, Retriever
from tir_gym.envs.search_qa.tables import Table, tables_in
from tir_gym.envs.search_qa.world.graph import Spec, graph_of
from tir_gym.envs.search_qa.world.prose import Prose
from tir_gym.retrieval import Bm25, build
from tir_gym.retrieval.layers import Cached
from tir_gym.retrieval.manifest import cache_root

IN_MEMORY = 2_000
"""A world of fewer passages is indexed in memory, in less time than it takes to read a file."""
REMEMBERED = 1_000
"""Queries whose hits are kept, for rollouts of one task search alike."""
_GAPS = 4
"""So many sections in a row may be missing in a document."""
_PART = re.compile(r"(.+)\.(\d{1,4})")


class Library(ABC):
    """Passages to search, and documents made of them: `ID.0`, `ID.1`, ... are parts of the document `ID`."""

    def __init__(self) -> None:
        self._retriever: Retriever | None = None
        self._lock = threading.Lock()

    @property
    def retriever(self) -> Retriever:
        """What searches; made by the first who asks, while others wait."""
        with self._lock:
            if self._retriever is None:
                self._retriever = Cached(self._opened(), REMEMBERED)
            return self._retriever

    @abstractmethod
    def _opened(self) -> Retriever:
        """Open the index, or build it."""

    def parts(self, doc_id: str, found: Mapping[str, Passage]) -> list[Passage]:
        """The passages of a document in order, by its id or by that of one of them; [] where there is none.

        Of an index that does not know all its passages, those among `found`, which the episode's searches brought.
        """
        get = functools.partial(self._get, found)
        match = _PART.fullmatch(doc_id)
        if match is None and (whole := get(doc_id)):
            return [whole]
        document = match[1] if match else doc_id
        parts: list[Passage] = []
        missing = number = 0
        while missing < _GAPS:
            part = get(f"{document}.{number}")
            number += 1
            missing = 0 if part else missing + 1
            parts += [part] if part else []
        if not parts and match and (whole := get(doc_id)):
            return [whole]
        return parts

    def _get(self, found: Mapping[str, Passage], passage_id: str) -> Passage | None:
        retriever = self.retriever
        try:
            return retriever.get(passage_id) if retriever.knows_all else found[passage_id]
        except KeyError:
            return None

    def tables(self, passage: Passage) -> dict[str, Table]:
        """The tables of a passage, by name: what stands in it in Markdown."""
        return tables_in(passage.text)


class WorldLibrary(Library):
    """The encyclopaedia of a world."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._spec = spec
        self._prose: Prose | None = None

    @property
    def prose(self) -> Prose:
        """Its articles."""
        if self._prose is None:
            self._prose = Prose(graph_of(self._spec))
        return self._prose

    def _passages(self) -> Iterable[Passage]:
        return (Passage(page.id, page.title, page.text) for page in self.prose.pages())

    def _opened(self) -> Retriever:
        if self._spec.passages < IN_MEMORY:
            return Bm25.of(self._passages())
        return _kept(f"world-{self._spec.seed}-{self._spec.passages}", _wording_hash(), self._passages)

    def tables(self, passage: Passage) -> dict[str, Table]:
        """The figures of cities and companies by year."""
        page = self.prose.find(passage.id)
        found: dict[str, Table] = {}
        for fact in page.facts if page else ():
            if fact.at and isinstance(fact.value, int):
                found.setdefault(fact.relation, {})[str(fact.at)] = f"{fact.value:,}"
        return found


class PoolLibrary(Library):
    """The passages that come with a benchmark's file."""

    def __init__(self, path: Path, form: str) -> None:
        super().__init__()
        self._path, self._form = path, form

    def _opened(self) -> Retriever:
        from tir_gym.envs.search_qa.benchmarks import pool

        passages = pool(self._path, self._form)
        if len(passages) < IN_MEMORY:
            return Bm25.of(passages)
        content = hashlib.sha256(repr(passages).encode("utf-8", "surrogatepass")).hexdigest()
        return _kept(f"pool-{self._path.stem}", content, lambda: passages)


class IndexLibrary(Library):
    """Another retriever, named as `open_retriever` takes it (the folder of an index, say), or a file of passages."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def _opened(self) -> Retriever:
        from tir_gym.retrieval.formats import read_passages
        from tir_gym.retrieval.opening import open_retriever

        path = Path(self._source)
        if not path.is_file():
            return open_retriever(self._source)
        state = path.stat()
        content = hashlib.sha256(repr((str(path.resolve()), state.st_size, state.st_mtime_ns)).encode()).hexdigest()
        return _kept(f"file-{path.name.partition('.')[0]}", content, lambda: read_passages(path))


def _kept(name: str, content: str, passages: Any) -> Retriever:
    """The index of that name and content under `cache_root()`, built whole or not at all."""
    folder = cache_root() / "search_qa" / f"{name}-{content[:16]}"
    return Bm25.open(folder) if (folder / "manifest.json").is_file() else build(passages(), folder)


@functools.cache
def _wording_hash() -> str:
    """Hash of the code that makes a world, so that another version of it never meets an old index."""
    found = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "world").glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def library_of(data: Mapping[str, Any]) -> Library:
    """The library that a task's data names; one object a process, so that all episodes share an index.

    Raises `ValueError` where the data name none.
    """
    if "world" in data:
        seed, passages = data["world"]
        return _library("world", seed, passages)
    if "pool" in data:
        return _library("pool", data["pool"], data["format"])
    if "index" in data:
        return _library("index", data["index"])
    raise ValueError("the task names no corpus: its data need 'world', 'pool' or 'index'; give the option `corpus`")


@functools.lru_cache(16)
def _library(kind: str, *what: Any) -> Library:
    if kind == "world":
        return WorldLibrary(Spec(*what))
    return PoolLibrary(Path(what[0]), what[1]) if kind == "pool" else IndexLibrary(what[0])
