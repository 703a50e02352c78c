"""Known benchmarks: their questions, and where they come with passages, the pool of these to search in.

Sources are "NAME:PATH", the file as published (JSONL, JSON, CSV, TSV or parquet, each also gzipped):

- `hotpotqa`, `2wiki`: question, answer, supporting_facts, context (lists, columns as on the Hub, or either as JSON in a
  text), type, level; or FlashRAG's form, with these in `metadata`.
- `musique`: question, answer, answer_aliases, answerable, paragraphs.
- `squad2`: question, answers, is_impossible, title, context, or the nested original; a title is a document.
- `nq`, `triviaqa`, `popqa`, `bamboogle`, `flashrag`, `search_r1`: question and golden_answers (FlashRAG's form), or
  possible_answers, answer, or reward_model.ground_truth.target (Search-R1's parquet; in verl's the question is
  extra_info.question); they bring no passages.

Where there are none, the option `corpus` names an index to search (a wiki-18 dump, say).
"""

import functools
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tir_gym.core.interfaces import Passage
from tir_gym.core.task import SPLITS, Gold, ListedTasks, Task, content_hash, open_rows, split_of

_LEVELS = {"easy": 3, "medium": 6, "hard": 9}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as read: what is asked, what is accepted ([]: there is no answer), and the passages that come with it.

    Passages are (title, text), `needed` the numbers of those that settle the question.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    family: str
    passages: tuple[tuple[str, str], ...] = ()
    needed: tuple[int, ...] = ()
    difficulty: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Collection:
    """A file as read: its entries, the pool of all passages, and the id of each."""

    entries: tuple[Entry, ...]
    passages: tuple[Passage, ...]
    ids: Mapping[tuple[str, str], str] = field(repr=False)


class BenchmarkTasks(ListedTasks):
    """The questions of a benchmark's file; by hash of the question each belongs to one split, "all" is all of them."""

    def __init__(self, name: str, path: Path, split: str) -> None:
        self._path = path
        self._split = split
        entries = [e for e in collection(path, name).entries if split == "all" or split_of(e.question) == split]
        if not entries:
            raise ValueError(f"{path} holds no question of split {split!r}")
        super().__init__(name, [self._task(name, index, entry) for index, entry in enumerate(entries)])

    @property
    def fingerprint(self) -> str:
        """Hash of the questions and what they accept."""
        return content_hash(repr([(t.id, t.prompt, t.gold.answer, t.gold.data) for t in self._tasks]))

    def __repr__(self) -> str:
        return f"BenchmarkTasks({self.name!r}, {str(self._path)!r}, split={self._split!r})"

    def _task(self, name: str, index: int, entry: Entry) -> Task:
        found = collection(self._path, name)
        data: dict[str, Any] = dict(entry.extra)
        if entry.needed:
            data["sources"] = [found.ids[entry.passages[number]] for number in entry.needed]
        if not entry.answers:
            data["abstain"] = True
        answers: Any = list(entry.answers) if len(entry.answers) > 1 else "".join(entry.answers) or "unknown"
        return Task(
            id=f"{name}/{entry.id}",
            prompt=entry.question,
            index=index,
            split=self._split,
            difficulty=entry.difficulty,
            family=entry.family,
            data={"pool": str(self._path), "format": name} if found.passages else {},
            gold=Gold(answers, data=data),
        )


def load(source: str, split: str, difficulty: int | None) -> BenchmarkTasks:
    """The tasks of "NAME:PATH". Raises `ValueError` that names the sources there are, `FileNotFoundError`."""
    name, found, path = source.partition(":")
    if name not in READERS or not found:
        raise ValueError(
            f"tasks={source!r}: there are None for generated questions, and NAME:PATH with {list(READERS)}"
        )
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split {split!r} is not one of {[*SPLITS, 'all']}")
    if difficulty is not None:
        raise ValueError(f"difficulty={difficulty}: the questions of {name} are not chosen by difficulty; leave it out")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return BenchmarkTasks(name, Path(path).resolve(), split)


@functools.lru_cache(8)
def collection(path: Path, form: str) -> Collection:
    """A file, read once. Raises `ValueError` that names the row and what it lacks."""
    entries: list[Entry] = []
    for number, row in enumerate(_rows(path)):
        try:
            entries.append(READERS[form](row, number))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"no column {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path}, row {number}: {told}; it has {', '.join(map(str, row))}") from error
    ids: dict[tuple[str, str], str] = {}
    titles: dict[str, int] = {}
    parts: dict[str, int] = {}
    for entry in entries:
        for title, text in entry.passages:
            if (title, text) not in ids:
                document = titles.setdefault(title, len(titles))
                ids[title, text] = f"p{document}.{parts.setdefault(title, 0)}"
                parts[title] += 1
    return Collection(tuple(entries), tuple(Passage(name, *what) for what, name in ids.items()), ids)


def pool(path: Path, form: str) -> Sequence[Passage]:
    """All passages of a file, each once."""
    return collection(path, form).passages


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file; of SQuAD's and TriviaQA's nested originals, a row a question."""
    whole = _nested(path)
    if "Data" in whole:  # TriviaQA
        yield from whole["Data"]
    elif "data" in whole:
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    yield {"title": article["title"], "context": paragraph["context"], **qa}
    else:
        with open_rows(path) as rows:
            yield from rows


def _nested(path: Path) -> Mapping[str, Any]:
    """The object that a JSON file is; {} for a list of rows or another kind of file."""
    if path.name.removesuffix(".gz").rpartition(".")[2] != "json":
        return {}
    raw = path.read_bytes()
    whole = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return whole if isinstance(whole, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    """Accepted answers, from one text, a list of them, or one of them as JSON; empty ones are left out."""
    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    texts = [value] if isinstance(value, str | int | float) else list(value)
    return tuple(dict.fromkeys(str(text).strip() for text in texts if str(text).strip()))


def _answers(value: Any) -> tuple[str, ...]:
    """As `_texts`. Raises `ValueError` where there is none."""
    texts = _texts(value)
    if not texts:
        raise ValueError("there is no answer: leave the row out")
    return texts


def _id(row: Mapping[str, Any], number: int) -> str:
    for column in ("_id", "id", "question_id", "QuestionId"):
        if row.get(column) is not None:
            return str(row[column])
    return str(number)


def _hotpot(row: Mapping[str, Any], number: int) -> Entry:
    row = {**(row.get("metadata") or {}), **row}
    context, facts = (_parsed(row.get(name) or ()) for name in ("context", "supporting_facts"))
    if isinstance(context, Mapping):  # columns, as on the Hub
        context = list(zip(context["title"], context.get("sentences", context.get("content")), strict=True))
    titles = list(facts["title"]) if isinstance(facts, Mapping) else [fact[0] for fact in facts]
    passages = tuple((str(title), " ".join(map(str.strip, sentences))) for title, sentences in context)
    needed = tuple(i for i, (title, _) in enumerate(passages) if title in titles)
    level = _LEVELS.get(str(row.get("level", "")), 0)
    family = str(row.get("type") or "hotpotqa")
    answers = _answers(row["answer"] if "answer" in row else row["golden_answers"])
    return Entry(_id(row, number), row["question"].strip(), answers, family, passages, needed, level)


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _musique(row: Mapping[str, Any], number: int) -> Entry:
    paragraphs = row.get("paragraphs") or ()
    passages = tuple((str(one["title"]), str(one["paragraph_text"]).strip()) for one in paragraphs)
    needed = tuple(i for i, one in enumerate(paragraphs) if one.get("is_supporting"))
    answers = _answers([*_texts(row["answer"]), *_texts(row.get("answer_aliases") or ())])
    if not row.get("answerable", True):
        answers = ()
    return Entry(_id(row, number), row["question"].strip(), answers, "musique", passages, needed)


def _squad(row: Mapping[str, Any], number: int) -> Entry:
    given = row.get("answers") or ()
    texts = given.get("text", ()) if isinstance(given, Mapping) else [one["text"] for one in given]
    answers = () if row.get("is_impossible") or not texts else _answers(texts)
    passages = ((str(row["title"]), str(row["context"]).strip()),)
    family = "answerable" if answers else "impossible"
    return Entry(_id(row, number), row["question"].strip(), answers, family, passages, (0,))


def _open_domain(row: Mapping[str, Any], number: int) -> Entry:
    asked = next((row[name] for name in ("question", "Question") if name in row), None)
    if asked is None:  # verl's form
        asked = row["extra_info"]["question"]
    golds = next(
        (row[name] for name in ("golden_answers", "possible_answers", "answer", "Answer") if name in row), None
    )
    if isinstance(golds, Mapping):  # TriviaQA's own form
        golds = [golds.get("Value", golds.get("value", "")), *golds.get("Aliases", golds.get("aliases", ()))]
    if golds is None:
        golds = row["reward_model"]["ground_truth"]["target"]
    source = str(row.get("data_source") or "")
    name = f"{source}/{_id(row, number)}" if source else _id(row, number)  # each of several sets numbers its own
    return Entry(name, str(asked).strip(), _answers(golds), source or "open")


READERS: dict[str, Callable[[Mapping[str, Any], int], Entry]] = {
    "hotpotqa": _hotpot,
    "2wiki": _hotpot,
    "musique": _musique,
    "squad2": _squad,
    "nq": _open_domain,
    "triviaqa": _open_domain,
    "popqa": _open_domain,
    "bamboogle": _open_domain,
    "flashrag": _open_domain,
    "search_r1": _open_domain,
}
