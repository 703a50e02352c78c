"""Known benchmarks: their questions over the SQLite files that come with them.

Sources are "NAME:FOLDER" (or, for defog, the folder or its `tasks.jsonl`), the folder as published:

- `defog`: `tasks.jsonl` (id, db, category, question, instructions, gold_sql, now) and `sqlite/DB.sqlite`.
- `spider`: `dev.json` or `train_spider.json` (db_id, question, query) and `database/DB/DB.sqlite`.
- `bird`: `dev.json` or `train.json` (question_id, db_id, question, evidence, SQL, difficulty) and
  `dev_databases/DB/DB.sqlite` or `train_databases/DB/DB.sqlite`.
- `wikisql`: `SPLIT.jsonl` (table_id, question, sql), `SPLIT.tables.jsonl`, `SPLIT.db`; SPLIT is dev, test or train.

Only defog was tried on its real files; the other three follow the published formats.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tir_gym.core.task import SPLITS, Gold, ListedTasks, Task, TaskSet, content_hash, open_rows, split_of
from tir_gym.envs.sql import exploring
from tir_gym.envs.sql.databases import fingerprint

_BIRD_LEVELS = {"simple": 3, "moderate": 6, "challenging": 9}
_AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
_OPERATORS = ("=", ">", "<", "OP")


class FileTasks(ListedTasks):
    """The questions of a benchmark's folder; by hash of the prompt, each belongs to one split, "all" is all of them."""

    def __init__(self, name: str, folder: Path, read: Callable[[Path], Iterator[Task]], split: str) -> None:
        self._folder = folder
        self._split = split
        kept = [task for task in read(folder) if split == "all" or split_of(task.prompt) == split]
        if not kept:
            raise ValueError(f"{folder} holds no task of split {split!r}")
        super().__init__(name, [replace(task, index=index, split=split) for index, task in enumerate(kept)])

    @property
    def fingerprint(self) -> str:
        """Hash of the questions and their golds."""
        return fingerprint([(task.id, content_hash(task.prompt), task.gold.answer) for task in self._tasks])

    def __repr__(self) -> str:
        return f"FileTasks({self.name!r}, {str(self._folder)!r}, split={self._split!r})"


def load(source: str, split: str, difficulty: int | None) -> TaskSet:
    """The tasks of "NAME:FOLDER". Raises `ValueError` that names the sources there are, `FileNotFoundError`."""
    name, found, folder = source.partition(":")
    if name not in _READERS or not found:
        if exploring.is_file(source):
            return exploring.load(source, split, difficulty)
        known = ", ".join(f"{each}:FOLDER" for each in _READERS)
        raise ValueError(
            f"tasks={source!r}: there are None for generated questions, {known}, and the path of a file (SQLite, "
            "DuckDB, CSV, parquet, JSON)"
        )
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split {split!r} is not one of {[*SPLITS, 'all']}")
    if difficulty is not None:
        raise ValueError(f"difficulty={difficulty}: the questions of {name} are not chosen by difficulty; leave it out")
    return FileTasks(name, Path(folder).resolve(), _READERS[name], split)


def _task(name: str, number: Any, database: Path, question: str, gold: list[str], **more: Any) -> Task:
    if not database.is_file():
        raise FileNotFoundError(f"{name} {number}: there is no database {database}")
    data = {"database": {"path": str(database)}, **({"now": more["now"]} if more.get("now") else {})}
    lines = [f"Database: {database.stem}.", question.strip()]
    lines += [f"Note: {more['note'].strip()}"] if more.get("note", "").strip() else []
    lines += [f"The time is {more['now']}."] if more.get("now") else []
    plan = {"tables": [], "sql": gold[0]}
    return Task(
        id=f"{name}/{number}",
        prompt="\n".join(lines),
        difficulty=more.get("level", 0),
        family=more.get("family", name),
        data=data,
        gold=Gold(gold[0] if len(gold) == 1 else gold, plan),
    )


def _defog(folder: Path) -> Iterator[Task]:
    path = folder if folder.is_file() else folder / "tasks.jsonl"
    with open_rows(path) as rows:
        for row in rows:
            database = path.parent / "sqlite" / f"{row['db']}.sqlite"
            golds = [sql.strip().rstrip(";") for sql in row["gold_sql"]]
            more = {"now": row["now"], "note": row["instructions"] or "", "family": row["category"]}
            yield _task("defog", row["id"], database, row["question"], golds, **more)


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of {', '.join(names)}")


def _spider(folder: Path) -> Iterator[Task]:
    with open_rows(_first(folder, "dev.json", "train_spider.json")) as rows:
        for number, row in enumerate(rows):
            database = folder / "database" / row["db_id"] / f"{row['db_id']}.sqlite"
            yield _task("spider", number, database, row["question"], [row["query"].strip().rstrip(";")])


def _bird(folder: Path) -> Iterator[Task]:
    path = _first(folder, "dev.json", "train.json")
    databases = _first(folder, f"{path.stem}_databases")
    with open_rows(path) as rows:
        for number, row in enumerate(rows):
            database = databases / row["db_id"] / f"{row['db_id']}.sqlite"
            level = _BIRD_LEVELS.get(row.get("difficulty", ""), 0)
            more = {"note": row.get("evidence", ""), "level": level, "family": row.get("difficulty", "bird")}
            gold = [row["SQL"].strip().rstrip(";")]
            yield _task("bird", row.get("question_id", number), database, row["question"], gold, **more)


def _wikisql(folder: Path) -> Iterator[Task]:
    for split in ("dev", "test", "train"):
        if not (folder / f"{split}.jsonl").exists():
            continue
        with open_rows(folder / f"{split}.tables.jsonl") as rows:
            tables = {row["id"]: row for row in rows}
        with open_rows(folder / f"{split}.jsonl") as rows:
            for number, row in enumerate(rows):
                gold = wikisql_query(row["sql"], tables[row["table_id"]])
                note = f"The table is {table_name(row['table_id'])}."
                database = folder / f"{split}.db"
                yield _task("wikisql", f"{split}-{number}", database, row["question"], [gold], note=note)


def table_name(table_id: str) -> str:
    """The name of a WikiSQL table in its database: `table_` and the id with underscores."""
    return f"table_{table_id.replace('-', '_')}"


def wikisql_query(sql: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """WikiSQL's logical form (`sel`, `agg`, `conds`) as SQL on columns col0, col1, ...; texts in small letters."""
    column = f"col{sql['sel']}"
    chosen = f"{_AGGREGATES[sql['agg']]}({column})" if sql["agg"] else column
    conditions = []
    for position, operator, value in sql["conds"]:
        if table["types"][position] == "real" and not isinstance(value, int | float):
            value = float(str(value).replace(",", ""))
        text = (
            json.dumps(value) if isinstance(value, int | float) else "'" + str(value).lower().replace("'", "''") + "'"
        )
        conditions.append(f"col{position} {_OPERATORS[operator]} {text}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {chosen} FROM {table_name(table['id'])}{where}"


_READERS: dict[str, Callable[[Path], Iterator[Task]]] = {
    "defog": _defog,
    "spider": _spider,
    "bird": _bird,
    "wikisql": _wikisql,
}
