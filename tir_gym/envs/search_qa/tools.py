"""The agent's tools: search, and with more of them open, find and look up; with an interpreter beside them or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tir_gym.core.interfaces import Passage
from tir_gym.core.requests import Retrieve
from tir_gym.core.tool import EnvError, Output, ToolError, Toolkit, ToolRun, tool
from tir_gym.core.transcript import TextPart
from tir_gym.envs.search_qa import show
from tir_gym.envs.search_qa.library import Library
from tir_gym.envs.search_qa.show import Room
from tir_gym.tools.python import PythonToolkit

MAX_QUERY = 2_000
_AROUND = 120
_MATCHES = 12


@dataclass(frozen=True, slots=True)
class Desk:
    """What the tools work with: the library, the room of an observation, passages a query, how patterns are read."""

    library: Library
    room: Room
    k: int = 3
    regular: bool = False


class SearchToolkit(Toolkit):
    """Search, and nothing else."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._found: dict[str, Passage] = {}
        """What this episode's searches brought, where the index does not know it any more; never changed in place."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "SearchToolkit":
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    @tool(kind="evidence", latency_s=0.2, parallel_safe=True, max_chars=200_000)
    def search(
        self,
        query: Annotated[str, Field(max_length=MAX_QUERY)],
        queries: Annotated[list[str], Field(max_length=15)] = [],  # noqa: B006
        k: Annotated[int, Field(ge=0, le=20)] = 0,
    ) -> ToolRun:
        """Search the passages. Each passage found comes with its title and, in square brackets, its id.

        Args:
            query: A few words.
            queries: More queries, to be answered at the same time.
            k: How many passages a query brings at most; 0 for the usual number.
        """
        wanted = [query, *queries]
        if any(len(one) > MAX_QUERY for one in wanted):
            raise ToolError(f"a query has at most {MAX_QUERY} characters; send a few words")
        retriever = self._retriever()
        found = yield Retrieve(retriever, wanted, k or self._desk.k)
        if not retriever.knows_all:
            self._found = self._found | {hit.id: Passage(hit.id, hit.title, hit.text) for hits in found for hit in hits}
        text, shown = show.hits(found, self._desk.room)
        return Output((TextPart(text),), text, {"hits": shown, "queries": len(wanted)})

    def _retriever(self) -> Any:
        try:
            return self._desk.library.retriever
        except Exception as error:
            raise EnvError(f"the index cannot be opened: {type(error).__name__}: {error}") from error


class BrowseToolkit(SearchToolkit):
    """Search, and read on in the documents found."""

    @tool(kind="evidence", latency_s=0.1, max_chars=200_000)
    def open(self, doc_id: Annotated[str, Field(max_length=200)], page: Annotated[int, Field(ge=1)] = 1) -> Output:
        """Open the document that a passage is part of, a page at a time.

        Args:
            doc_id: The id of the document, or of any passage of it.
            page: Which page, from 1.
        """
        made = show.pages(self._parts(doc_id), self._desk.room)
        if page > len(made):
            raise ToolError(
                f"the document has {len(made)} {'page' if len(made) == 1 else 'pages'}; ask for one of them"
            )
        text, ids = made[page - 1]
        return _output(f"(page {page} of {len(made)})\n{text}", ids)

    @tool(name="find", kind="evidence", latency_s=0.05, max_chars=200_000)
    def find_in(
        self, doc_id: Annotated[str, Field(max_length=200)], pattern: Annotated[str, Field(max_length=500)]
    ) -> Output:
        """Find where a word or phrase stands in a document; letter case plays no part.

        Args:
            doc_id: The id of the document, or of any passage of it.
            pattern: What to look for.
        """
        if not pattern.strip():
            raise ToolError("the pattern is empty; send what to look for")
        lines, ids = [], []
        matches = 0
        for part in self._parts(doc_id):
            for start, end in _found(pattern, part.text, self._desk.regular):
                matches += 1
                if matches <= _MATCHES:
                    around = part.text[max(0, start - _AROUND) : min(len(part.text), end + _AROUND)]
                    lines.append(f"[{part.id}] ...{self._desk.room.cut(around)}...")
                    ids.append(part.id)
        if not lines:
            raise ToolError(f"{pattern[:80]!r} does not stand in this document; try other words, or open it")
        more = [f"({matches - _MATCHES} more)"] if matches > _MATCHES else []
        return self._shown([*lines, *more], ids)

    @tool(kind="evidence", latency_s=0.05, max_chars=200_000)
    def lookup(
        self,
        doc_id: Annotated[str, Field(max_length=200)],
        table: Annotated[str, Field(max_length=200)] = "",
        row: Annotated[str, Field(max_length=200)] = "",
    ) -> Output:
        """Look a value up in the tables of a document.

        Args:
            doc_id: The id of the document, or of any passage of it.
            table: The name of a table, or of a column of one; without it, all tables.
            row: The name of a row; without it, all rows.
        """
        lines, ids, names = [], [], []
        for part in self._parts(doc_id):
            for name, rows in self._desk.library.tables(part).items():
                names.append(name)
                chosen = {key: value for key, value in rows.items() if row.lower() in ("", key.lower())}
                if table.lower() in ("", name.lower()) and chosen:
                    lines += [f"[{part.id}] {name}", *(f"{key}: {value}" for key, value in chosen.items())]
                    ids.append(part.id)
        if not lines:
            known = self._desk.room.cut(", ".join(dict.fromkeys(names)))
            there = f"its tables are: {known}; leave the row out to see all" if names else "it has no table"
            raise ToolError(f"there is nothing of that kind in this document; {there}")
        return self._shown(lines, ids)

    def _shown(self, lines: list[str], ids: list[str]) -> Output:
        """As many of the lines as there is room for, and the ids that stand in these."""
        text = self._desk.room.cut("\n".join(lines))
        return _output(text, [one for one in dict.fromkeys(ids) if f"[{one}]" in text])

    def _parts(self, doc_id: str) -> list[Passage]:
        self._retriever()
        parts = self._desk.library.parts(doc_id.strip().strip("[]"), self._found)
        if not parts:
            raise ToolError(f"there is no document {doc_id[:80]!r}; take an id in square brackets from a search")
        return parts


class SearchPythonToolkit(SearchToolkit):
    """Search, and an interpreter."""

    python = PythonToolkit.python

    def __init__(self, desk: Desk, deadline_s: float = 10.0) -> None:
        super().__init__(desk)
        self._deadline_s = deadline_s


class BrowsePythonToolkit(BrowseToolkit):
    """Search, reading on, and an interpreter."""

    python = PythonToolkit.python

    def __init__(self, desk: Desk, deadline_s: float = 10.0) -> None:
        super().__init__(desk)
        self._deadline_s = deadline_s


def _output(text: str, ids: list[str]) -> Output:
    return Output((TextPart(text),), text, {"hits": ids})


def _folded(text: str) -> str:
    """Without letter case and as long as before: of what a letter folds to, the first."""
    folded = text.casefold()
    return folded if len(folded) == len(text) else "".join(one.casefold()[:1] or one for one in text)


def _found(pattern: str, text: str, regular: bool) -> Iterator[tuple[int, int]]:
    """Where a pattern matches, as it stands or as a regular expression of RE2, which never backtracks."""
    if not regular:
        wanted, text = _folded(pattern), _folded(text)
        start = text.find(wanted)
        while start >= 0:
            yield start, start + len(wanted)
            start = text.find(wanted, start + len(wanted))
        return
    import re2

    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = 1 << 20
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options=options)
    except re2.error as error:
        raise ToolError(f"the pattern is no regular expression of RE2: {str(error)[:200]}; mend it") from None
    yield from ((match.start(), match.end()) for match in compiled.finditer(text) if match.end() > match.start())
