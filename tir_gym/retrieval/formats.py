"""Collections as they are published: passages, queries and relevance judgements from files.

| what | form |
|---|---|
| passages | `.jsonl` or `.parquet` with `id` (`_id`, `docid`) and `contents` (title, newline, text: Search-R1, FlashRAG, Anserini) or `title` and `text` (BEIR); `.tsv` with the columns id, text, title (DPR) |
| queries | `.tsv` with id and text, `.jsonl` with `id` (`_id`, `qid`) and `text` (`query`, `question`), TREC topics |
| judgements | TREC qrels (query, iteration, passage, gain), or the three columns of BEIR under a header |

Any of them may be compressed (`.gz`).
"""  # noqa: E501  a table

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tir_gym.core.interfaces import Passage

Qrels = dict[str, dict[str, float]]
"""Query id -> passage id -> gain; above 0 means relevant."""

_IDS = ("id", "_id", "docid", "doc_id", "qid", "query_id")
_QUERY = ("text", "query", "question")


def read_passages(path: Path) -> Iterator[Passage]:
    """The passages of a file, one at a time. Raises `ValueError` that names file, line and what is missing."""
    match _kind(path):
        case "jsonl":
            rows: Iterator[tuple[str, Mapping[str, Any]]] = _json_lines(path)
        case "parquet":
            rows = _parquet(path)
        case "tsv":
            rows = _table(path)
        case kind:
            raise ValueError(f"{path.name}: passages are read from .jsonl, .parquet or .tsv (or .gz), not {kind!r}")
    for where, row in rows:
        yield _passage(where, row)


def read_queries(path: Path) -> dict[str, str]:
    """Query id -> text. Raises `ValueError` for a file without queries or with an id twice."""
    if _kind(path) == "jsonl":
        found = [(_first(where, row, _IDS), _first(where, row, _QUERY)) for where, row in _json_lines(path)]
    else:
        with _opened(path) as file:
            text = file.read()
        if "<top>" in text:
            found = [_topic(path, topic) for topic in text.split("<top>")[1:]]
        else:
            rows = [line.split("\t", 1) for line in text.splitlines() if line.strip()]
            if wrong := [row[0] for row in rows if len(row) < 2]:
                raise ValueError(f"{path.name}: {wrong[0]!r} has no tab between the query's id and its text")
            found = [(name.strip(), query.strip()) for name, query in rows]
    queries = dict(found)
    if len(queries) < len(found) or not queries:
        raise ValueError(f"{path.name}: {'a query id stands there twice' if queries else 'there is no query in it'}")
    return queries


def read_qrels(path: Path) -> Qrels:
    """Relevance judgements. Raises `ValueError` that names the line that is none."""
    qrels: Qrels = {}
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.split()
            if not cells or (number == 1 and cells[0] in ("query-id", "query_id", "qid")):
                continue
            try:
                query, passage, gain = (cells[0], cells[-2], float(cells[-1]))
            except (IndexError, ValueError):
                cells = []
            if len(cells) not in (3, 4):
                raise ValueError(f"{path.name}:{number}: expected query, iteration, passage and gain, not {line!r}")
            qrels.setdefault(query, {})[passage] = gain
    return qrels


def split_contents(contents: str) -> tuple[str, str]:
    """Title and text of `"Title"\\ntext`, the form of wiki-18; no title where there is one line only."""
    title, newline, text = contents.partition("\n")
    return (title.strip().strip('"'), text) if newline else ("", contents)


def joined_contents(title: str, text: str) -> str:
    """The reverse of `split_contents`."""
    return f'"{title}"\n{text}' if title else text


def _passage(where: str, row: Mapping[str, Any]) -> Passage:
    name = _first(where, row, _IDS)
    if "contents" in row and "text" not in row:
        return Passage(name, *split_contents(str(row["contents"])))
    return Passage(name, str(row.get("title") or ""), _first(where, row, ("text", "contents")))


def _first(where: str, row: Mapping[str, Any], keys: Sequence[str]) -> str:
    for key in keys:
        if row.get(key) is not None:
            return str(row[key])
    raise ValueError(f"{where}: none of {', '.join(keys)} in {sorted(row)}")


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[2] if "." in name else ""


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8")
    return path.open(encoding="utf-8")


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where}: this is no JSON ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"{where}: expected a JSON object")
            yield where, row


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import parquet

    number = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(4096):
            for row in batch.to_pylist():
                number += 1
                yield f"{path.name}, row {number}", row


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _opened(path) as file:
        for number, cells in enumerate(csv.reader(file, delimiter="\t"), 1):
            if number == 1 and cells[:2] == ["id", "text"]:
                continue
            if len(cells) not in (2, 3):
                raise ValueError(f"{path.name}:{number}: expected id, text and title between tabs")
            yield f"{path.name}:{number}", dict(zip(("id", "text", "title"), cells, strict=False))


def _topic(path: Path, topic: str) -> tuple[str, str]:
    number = re.search(r"<num>\s*(?:Number:)?\s*([^\s<]+)", topic)
    title = re.search(r"<title>\s*(?:Topic:)?([^<]*)", topic)
    if number is None or title is None:
        raise ValueError(f"{path.name}: a topic without <num> or <title>")
    return number[1], " ".join(title[1].split())
