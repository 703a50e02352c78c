"""Passages for tests: Cranfield as published, and the pool of HotpotQA's distractors."""

import json
import re
from pathlib import Path

from tir_gym.retrieval import Passage


def cranfield(data: Path) -> tuple[list[Passage], dict[str, str], dict[str, dict[str, float]]]:
    """Documents, queries numbered by order, and gains: 4 for the code 1 (a complete answer) to 1 for the code 4."""
    folder = data / "cranfield"
    passages = []
    for record in _records(folder / "cran.all.1400"):
        name, rest = record.split("\n", 1)
        fields = dict(re.findall(r"^\.([TABW])\n(.*?)(?=^\.[TABW]\n|\Z)", rest, re.DOTALL | re.MULTILINE))
        passages.append(Passage(name.strip(), _line(fields["T"]), _line(fields["W"])))
    texts = [_line(record.split(".W\n")[1]) for record in _records(folder / "cran.qry")]
    gains: dict[str, dict[str, float]] = {}
    for line in (folder / "cranqrel").read_text().splitlines():
        query, passage, code = line.split()
        if int(code) > 0:
            gains.setdefault(query, {})[passage] = 5.0 - int(code)
    return passages, {str(number): text for number, text in enumerate(texts, 1)}, gains


def hotpot(data: Path) -> tuple[list[Passage], dict[str, str], dict[str, dict[str, float]]]:
    """The paragraphs of all questions in one pool; relevant is what has a supporting fact."""
    pool, queries, gains = {}, {}, {}
    for line in (data / "hotpotqa" / "distractor_first100.jsonl").read_text().splitlines():
        row = json.loads(line)
        pool |= {title: Passage(title, title, "".join(sentences)) for title, sentences in row["context"]}
        queries[row["_id"]] = row["question"]
        gains[row["_id"]] = {title: 1.0 for title, _ in row["supporting_facts"]}
    return list(pool.values()), queries, gains


def _records(path: Path) -> list[str]:
    return path.read_text().split(".I ")[1:]


def _line(text: str) -> str:
    return " ".join(text.split())
