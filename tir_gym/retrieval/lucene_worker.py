"""Run as a program by `lucene`: holds a Java machine with Anserini and answers questions, a line of JSON each.

It imports nothing of ours and nothing of pyserini's but the jar. Its standard output is the answers alone: what Java
prints goes to standard error.
"""

import json
import os
import sys
from typing import Any


def _start(jar: str, heap_mb: str) -> None:
    import jnius_config

    jnius_config.set_classpath(jar)
    jnius_config.add_options("-Xms64m", f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError")


class Answers:
    """What can be asked, by the first key of the question."""

    def __init__(self) -> None:
        from jnius import autoclass

        self._class = autoclass
        self._searcher: Any = None

    def open(self, path: str, k1: float, b: float) -> bool:
        """Open an index. Any text is a query, also one of more terms than Lucene allows by default (1,024)."""
        self._class("org.apache.lucene.search.IndexSearcher").setMaxClauseCount(1 << 20)
        self._searcher = self._class("io.anserini.search.SimpleSearcher")(path)
        self._searcher.set_bm25(k1, b)
        return True

    def search(self, queries: list[str], k: int) -> list[list[list[Any]]]:
        """`[id, score, stored document]` of each hit of each query."""
        return [[self._row(hit) for hit in self._searcher.search(query, k)] for query in queries]

    def get(self, doc_id: str) -> str | None:
        """A stored document, or null."""
        return self._raw(doc_id)

    def build(self, source: str, to: str) -> bool:
        """Index the JSON lines of a folder."""
        arguments = ["-collection", "JsonCollection", "-input", source, "-index", to, "-generator"]
        arguments += ["DefaultLuceneDocumentGenerator", "-threads", "1", "-storeRaw", "-optimize"]
        self._class("io.anserini.index.IndexCollection").main(arguments)
        return True

    def _row(self, hit: Any) -> list[Any]:
        return [hit.docid, float(hit.score), self._raw(hit.docid)]

    def _raw(self, doc_id: str) -> str | None:
        document = self._searcher.doc(doc_id)
        return None if document is None else str(document.get("raw"))


def main() -> None:
    """Answer until standard input ends."""
    jar, heap_mb, *paths = sys.argv[1:]
    sys.path += paths
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Java writes to descriptor 1
    _start(jar, heap_mb)
    about = Answers()
    for line in sys.stdin:
        question = json.loads(line)
        name = next(iter(question))
        try:
            answer = {"ok": getattr(about, name)(*question.values())}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
