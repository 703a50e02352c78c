"""Questions about any file: its tables are looked at, and simple questions made of what is in them.

For databases that nobody wrote questions for. Names are used as they stand, so the wording is plainer than that of the
generated databases, and there is no check against misreadings: there are hardly two ways to read these.
"""

import contextlib
import functools
import itertools
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet
from tir_gym.envs.sql.databases import File, connect, database_of
from tir_gym.envs.sql.desks import quoted
from tir_gym.envs.sql.imported import SUFFIXES, Imported

_MAGIC = b"SQLite format 3\0"
_MOST_ROWS = 200
_MOST_STEPS = 500
"""Steps of 10,000 instructions that a gold query may take."""
_CATEGORIES = 40
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Column:
    """A column that questions may be about: as SQL names it, and some of its values, in order."""

    table: str
    name: str
    values: tuple[object, ...]

    def __str__(self) -> str:
        return quoted(self.name)


@dataclass(frozen=True, slots=True)
class Link:
    """A reference of a table to another."""

    child: str
    column: str
    parent: str
    key: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What there is to ask about: tables with rows, numbers, columns of few values, columns with NULLs, references."""

    tables: tuple[str, ...]
    numbers: tuple[Column, ...]
    categories: tuple[Column, ...]
    gaps: tuple[Column, ...]
    links: tuple[Link, ...]


Made = tuple[str, str]
"""A question and its gold query."""


class NoFit(Exception):  # noqa: N818
    """The file has nothing that such a question could be about."""


def load(source: str, split: str, difficulty: int | None) -> TaskSet:
    """Questions about a file. Raises `FileNotFoundError`, and `ValueError` where it has no table to ask about."""
    path = Path(source).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"tasks={source!r}: there is no such file")
    with path.open("rb") as file:
        native = file.read(len(_MAGIC)) == _MAGIC
    data = {"path" if native else "file": str(path)}
    if not native and path.suffix.lower() not in (*SUFFIXES, ".db"):
        raise ValueError(f"tasks={source!r} is no SQLite file, nor one of {', '.join(SUFFIXES)}")
    if not contents(*data.items()).tables:
        raise ValueError(f"tasks={source!r} has no table with rows")
    return GeneratedTasks(
        f"file-{path.stem}", functools.partial(draw, data=tuple(data.items())), split=split, difficulty=difficulty
    )


def is_file(source: str) -> bool:
    """Whether a source of tasks is the path of a file of data."""
    return Path(source).suffix.lower() in (*SUFFIXES, ".sqlite", ".sqlite3", ".db", ".db3") or Path(source).is_file()


def draw(rng: random.Random, level: int, data: Sequence[tuple[str, str]]) -> Draft:
    """A question about a file that has an answer."""
    database = database_of(dict(data))
    held = contents(*data)
    fitting = [(name, make) for name, (at, make) in KINDS.items() if abs(at - level) <= 2]
    for attempt in itertools.count():
        name, make = ("count_rows", count_rows) if attempt >= _TRIES else rng.choice(fitting)
        try:
            question, sql = make(rng, held)
        except NoFit:
            continue
        if attempt >= _TRIES or _says_something(sql, *data):
            break
    prompt = f"Database: {database.name}.\n{question}"
    used = [table for table in held.tables if quoted(table) in sql]
    return Draft(prompt, Gold(sql, plan={"tables": used, "sql": sql}), name, {"database": dict(data)})


def _run(data: tuple[str, str], sql: str) -> list[tuple[object, ...]]:
    """The rows of a query of our own. Raises `sqlite3.OperationalError` where it takes too long."""
    with contextlib.closing(connect(File(data[1]) if data[0] == "path" else Imported(data[1]))) as connection:
        steps = itertools.count()
        connection.set_progress_handler(lambda: next(steps) > _MOST_STEPS, 10_000)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return connection.execute(sql).fetchmany(_MOST_ROWS + 1)


def _says_something(sql: str, data: tuple[str, str]) -> bool:
    try:
        found = _run(data, sql)
    except sqlite3.OperationalError:
        return False
    return 1 <= len(found) <= _MOST_ROWS and any(cell not in (None, 0) for row in found for cell in row)


@functools.lru_cache(32)
def contents(data: tuple[str, str]) -> Contents:
    """What a file has to ask about."""
    listed = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    tables = [str(name) for (name,) in _run(data, listed) if not str(name).startswith("sqlite_")]
    tables = [table for table in tables if _run(data, f"SELECT 1 FROM {quoted(table)} LIMIT 1")]
    numbers, categories, gaps, links = [], [], [], []
    for table in tables:
        links += [
            Link(table, str(row[3]), str(row[2]), str(row[4]))
            for row in _run(data, f"PRAGMA foreign_key_list({quoted(table)})")
            if row[2] in tables and row[4] is not None
        ]
        keys = {link.column for link in links if link.child == table}
        for _, name, _, _, _, primary in _run(data, f"PRAGMA table_info({quoted(table)})"):
            column = str(name)
            if primary or column in keys or column.lower().endswith("id"):
                continue
            within = f"FROM {quoted(table)} WHERE {quoted(column)} IS NOT NULL"
            types = {kind for (kind,) in _run(data, f"SELECT DISTINCT typeof({quoted(column)}) {within}")}
            distinct = _run(data, f"SELECT DISTINCT {quoted(column)} {within} ORDER BY 1 LIMIT {_MOST_ROWS}")
            found = Column(table, column, tuple(value for (value,) in distinct))
            if types and types <= {"integer", "real"} and len(found.values) >= 4:
                numbers.append(found)
            if types in ({"text"}, {"integer"}) and 2 <= len(found.values) <= _CATEGORIES:
                categories.append(found)
            if types and _run(data, f"SELECT 1 FROM {quoted(table)} WHERE {quoted(column)} IS NULL LIMIT 1"):
                gaps.append(found)
    return Contents(tuple(tables), tuple(numbers), tuple(categories), tuple(gaps), tuple(links))


def _pick(rng: random.Random, among: Sequence[Column]) -> Column:
    if not among:
        raise NoFit
    return rng.choice(among)


def _pair(rng: random.Random, held: Contents) -> tuple[Column, Column]:
    """A category and a number of one table."""
    pairs = [(c, n) for c in held.categories for n in held.numbers if c.table == n.table and c.name != n.name]
    if not pairs:
        raise NoFit
    return rng.choice(pairs)


def _link(rng: random.Random, held: Contents) -> Link:
    if not held.links:
        raise NoFit
    return rng.choice(held.links)


def _value(rng: random.Random, column: Column) -> str:
    value = rng.choice(column.values)
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def count_rows(rng: random.Random, held: Contents) -> Made:
    """The number of rows of a table."""
    table = rng.choice(held.tables)
    return f"How many rows does the table {table} have?", f"SELECT COUNT(*) FROM {quoted(table)}"


def count_where(rng: random.Random, held: Contents) -> Made:
    """The number of rows with a value."""
    column = _pick(rng, held.categories)
    value = _value(rng, column)
    return (
        f"How many rows of {column.table} have {column.name} = {value}?",
        f"SELECT COUNT(*) FROM {quoted(column.table)} WHERE {column} = {value}",
    )


def count_beyond(rng: random.Random, held: Contents) -> Made:
    """The number of rows with a number above a bound."""
    column = _pick(rng, held.numbers)
    value = _value(rng, column)
    return (
        f"How many rows of {column.table} have a {column.name} greater than {value}?",
        f"SELECT COUNT(*) FROM {quoted(column.table)} WHERE {column} > {value}",
    )


def different(rng: random.Random, held: Contents) -> Made:
    """The different values of a column."""
    column = _pick(rng, held.categories)
    return (
        f"Which different values does {column.name} of {column.table} have, NULL left out?",
        f"SELECT DISTINCT {column} FROM {quoted(column.table)} WHERE {column} IS NOT NULL",
    )


def missing(rng: random.Random, held: Contents) -> Made:
    """The number of rows without a value."""
    column = _pick(rng, held.gaps)
    return (
        f"How many rows of {column.table} have no {column.name} (NULL)?",
        f"SELECT COUNT(*) FROM {quoted(column.table)} WHERE {column} IS NULL",
    )


def aggregate(rng: random.Random, held: Contents) -> Made:
    """The average, sum, least or greatest number of the rows with a value."""
    group, column = _pair(rng, held)
    function, word = rng.choice([("AVG", "average"), ("SUM", "sum of"), ("MIN", "least"), ("MAX", "greatest")])
    value = _value(rng, group)
    return (
        f"What is the {word} {column.name} of the rows of {group.table} with {group.name} = {value}?",
        f"SELECT {function}({column}) FROM {quoted(group.table)} WHERE {group} = {value}",
    )


def greatest(rng: random.Random, held: Contents) -> Made:
    """The greatest different numbers, in order."""
    column, count = _pick(rng, held.numbers), rng.randrange(3, 8)
    return (
        f"What are the {count} greatest different values of {column.name} in {column.table}, greatest first?",
        (
            f"SELECT DISTINCT {column} FROM {quoted(column.table)} WHERE {column} IS NOT NULL "
            f"ORDER BY {column} DESC LIMIT {count}"
        ),
    )


def group_count(rng: random.Random, held: Contents) -> Made:
    """How often each value occurs."""
    column = _pick(rng, held.categories)
    return (
        (
            f"For each {column.name} of {column.table} (NULL left out), how many rows have it? Return {column.name} "
            "and the number."
        ),
        f"SELECT {column}, COUNT(*) FROM {quoted(column.table)} WHERE {column} IS NOT NULL GROUP BY {column}",
    )


def group_average(rng: random.Random, held: Contents) -> Made:
    """An average for each value of another column."""
    group, column = _pair(rng, held)
    return (
        (
            f"For each {group.name} of {group.table} (NULL left out), what is the average {column.name}? Return "
            f"{group.name} and the average."
        ),
        f"SELECT {group}, AVG({column}) FROM {quoted(group.table)} WHERE {group} IS NOT NULL GROUP BY {group}",
    )


def frequent(rng: random.Random, held: Contents) -> Made:
    """The values that occur often."""
    column, least = _pick(rng, held.categories), rng.randrange(2, 30)
    return (
        f"Which values of {column.name} (NULL left out) do at least {least} rows of {column.table} have?",
        (
            f"SELECT {column} FROM {quoted(column.table)} WHERE {column} IS NOT NULL GROUP BY {column} "
            f"HAVING COUNT(*) >= {least}"
        ),
    )


def above_average(rng: random.Random, held: Contents) -> Made:
    """How many rows with a value have a number above the average of all."""
    group, column = _pair(rng, held)
    value, table = _value(rng, group), quoted(group.table)
    return (
        (
            f"How many rows of {group.table} with {group.name} = {value} have a {column.name} greater than the "
            f"average {column.name} of all rows?"
        ),
        f"SELECT COUNT(*) FROM {table} WHERE {group} = {value} AND {column} > (SELECT AVG({column}) FROM {table})",
    )


def referred(rng: random.Random, held: Contents) -> Made:
    """How many rows of another table refer to each row that any refers to."""
    link, least = _link(rng, held), rng.randrange(1, 10)
    key = quoted(link.key)
    return (
        (
            f"For each {link.key} of {link.parent} that at least {least} rows of {link.child} refer to "
            f"(by {link.column}), how many do? Return {link.key} and the number."
        ),
        (
            f"SELECT p.{key}, COUNT(*) FROM {quoted(link.parent)} p JOIN {quoted(link.child)} c "
            f"ON c.{quoted(link.column)} = p.{key} GROUP BY p.{key} HAVING COUNT(*) >= {least}"
        ),
    )


def not_referred(rng: random.Random, held: Contents) -> Made:
    """How many rows no row of another table refers to."""
    link = _link(rng, held)
    return (
        f"How many rows of {link.parent} does no row of {link.child} refer to (by {link.column})?",
        (
            f"SELECT COUNT(*) FROM {quoted(link.parent)} p WHERE NOT EXISTS (SELECT 1 FROM {quoted(link.child)} c "
            f"WHERE c.{quoted(link.column)} = p.{quoted(link.key)})"
        ),
    )


def share(rng: random.Random, held: Contents) -> Made:
    """The percentage of rows with a value among those with any."""
    column = _pick(rng, held.categories)
    value = _value(rng, column)
    return (
        (
            f"Of the rows of {column.table} that have a {column.name}, how many percent have {value}? Return a number "
            "from 0 to 100."
        ),
        (
            f"SELECT 100.0 * SUM(CASE WHEN {column} = {value} THEN 1 ELSE 0 END) / COUNT({column}) "
            f"FROM {quoted(column.table)}"
        ),
    )


def share_of_sum(rng: random.Random, held: Contents) -> Made:
    """For each value the percentage of a number's sum that its rows have."""
    group, column = _pair(rng, held)
    table = quoted(group.table)
    return (
        (
            f"For each {group.name} of {group.table} (NULL left out), how many percent of the sum of {column.name} "
            f"over the whole table do its rows have? Return {group.name} and a number from 0 to 100."
        ),
        (
            f"SELECT {group}, 100.0 * SUM({column}) / (SELECT SUM({column}) FROM {table}) FROM {table} "
            f"WHERE {group} IS NOT NULL GROUP BY {group}"
        ),
    )


KINDS: dict[str, tuple[int, Callable[[random.Random, Contents], Made]]] = {
    make.__name__: (level, make)
    for level, make in (
        (1, count_where),
        (2, count_beyond),
        (2, different),
        (3, missing),
        (3, aggregate),
        (4, greatest),
        (4, group_count),
        (5, group_average),
        (6, frequent),
        (7, above_average),
        (8, share),
        (8, not_referred),
        (9, referred),
        (10, share_of_sum),
    )
}
"""The kinds of question with their level from 1 to 10."""
