"""BM25 by the library tantivy (Lucene's design in Rust), whose k1 = 1.2 and b = 0.75 are fixed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tir_gym.core.interfaces import Hit, Passage
from tir_gym.retrieval import analysis
from tir_gym.retrieval.corpus import Corpus
from tir_gym.retrieval.stored import Opened, Rows, Scores, Stored, settled, storing


class Tantivy(Stored[Any]):
    """An index made by `build_tantivy`, over our analyser's terms. A query is words alone: it has no syntax."""

    kind = "tantivy"

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` passages that share a term with each query; scores are rounded to 4 places."""
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        opened = self._open()
        return [self._best(opened, analysis.terms(query), k) for query in queries]

    def _best(self, opened: Opened[Any], terms: list[str], k: int) -> list[Hit]:
        library, searcher = _tantivy(), opened.index.searcher()
        each = [library.Query.term_query(opened.index.schema, "terms", term, "freq") for term in terms]
        query = library.Query.boolean_query([(library.Occur.Should, one) for one in each])

        def propose(limit: int) -> tuple[Rows, Scores]:
            hits = searcher.search(query, limit, count=False).hits
            rows = np.array([searcher.doc(address)["row"][0] for _, address in hits], np.int64)
            scores: Scores = np.fromiter((score for score, _ in hits), np.float64, len(hits))
            return rows, scores.round(4)

        return opened.hits(*settled(propose, k, len(opened.rank), 0.0), k)

    def _load(self, folder: Path) -> Any:
        index = _tantivy().Index.open(str(folder / "tantivy"))
        index.config_reader("manual")  # the other policies watch the folder in a thread, which a fork would lose
        return index


def build_tantivy(passages: Iterable[Passage], path: Path | str) -> Tantivy:
    """An index of these passages in the folder `path`, or the one that is there, if it is the same.

    Raises `FileExistsError` where the folder holds something else, `ValueError` for no passages or an id twice.
    """
    library, path, corpus = _tantivy(), Path(path).absolute(), Corpus.of(passages)
    with storing(path, Tantivy.kind, corpus, {"analysis": analysis.NAME}) as work:
        if work is not None:
            folder = work / "index" / "tantivy"
            folder.mkdir()
            schema = library.SchemaBuilder()
            schema.add_unsigned_field("row", stored=True)
            schema.add_text_field("terms", tokenizer_name="whitespace", index_option="freq")
            writer = library.Index(schema.build(), str(folder)).writer(num_threads=1)
            for row, passage in enumerate(corpus):
                document = library.Document()
                document.add_unsigned("row", row)
                document.add_text("terms", " ".join(analysis.terms(f"{passage.title}\n{passage.text}")))
                writer.add_document(document)
            writer.commit()
            writer.wait_merging_threads()
    return Tantivy(path)


def _tantivy() -> Any:
    try:
        import tantivy
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this index needs tantivy: pip install 'tir-gym[tantivy]'") from None
    return tantivy
