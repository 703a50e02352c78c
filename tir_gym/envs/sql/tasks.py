"""Where tasks come from: generated questions, or the files of known benchmarks."""

import functools
import itertools
import random
import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.envs.sql import templates  # noqa: F401  lists the templates
from tir_gym.envs.sql.asking import TEMPLATES, Ask, Listed, NoFit, Question, opened
from tir_gym.envs.sql.databases import Generated
from tir_gym.envs.sql.families import FAMILIES
from tir_gym.envs.sql.match import differ, is_ordered
from tir_gym.envs.sql.scan import names

GENERATED = "sql"
VARIANTS = 2
"""Databases of one family and size that differ in their content."""
_SQLITE_ONLY = re.compile(
    r"\b(?:strftime|julianday|date|time|datetime|unixepoch|iif|ifnull|total|group_concat|printf|instr|substr)\(", re.I
)
MOST_ROWS = 200
"""Rows of the longest result that a question may have."""
_OPS = 400
"""Steps of 10,000 instructions that a gold query may take, or one for each `_ROWS_A_STEP` rows if these are more."""
_ROWS_A_STEP = 50
SIZES = range(1_000, 1_000_001)
"""Rows that a database may be made of."""
_ROWS_KEPT = 1_000_000
"""Databases of an asked-for size are so many that they have about this many rows together, but at least one."""

_ROWS = (1_000, 1_000, 1_500, 1_500, 2_000, 2_000, 2_500, 2_500, 3_500, 3_500)
_NULLS = (0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.15, 0.15, 0.15, 0.15)
"""By level from 1 on: rows of a database, share of NULLs where there may be some."""
_DIRTY = 7
"""The level from which on values and names are dirty."""


def draw(rng: random.Random, level: int, size: int | None = None) -> Draft:
    """A question about a database that is worth asking at that level; `size` is its rows, None: by the level."""
    listings = fitting(level)
    for attempt in itertools.count():
        if attempt % 6 == 0:  # a template may not fit any database of the size
            listed = rng.choice(listings)
        database = database_for(rng, level, size)
        ask = Ask(rng, level, database)
        try:
            question = listed.make(ask)
        except NoFit:
            continue
        gold = worth_asking(question, database)
        if gold and not too_common(gold, rng):
            return _draft(question, ask, listed)
    raise AssertionError("unreachable")


def database_for(rng: random.Random, level: int, size: int | None = None, part: int = 1) -> Generated:
    """One of the databases for a level, of so many rows (None: by the level) or a part of them (2: half)."""
    families = list(FAMILIES)
    if size is not None:
        families = families[: max(1, min(len(families), _ROWS_KEPT // size))]
    variant = rng.randrange(VARIANTS if size is None else 1)
    rows = (size or _ROWS[level - 1]) // part
    return Generated(rng.choice(families), variant, rows, _NULLS[level - 1], level >= _DIRTY)


def too_common(gold: Sequence[tuple[Any, ...]], rng: random.Random) -> bool:
    """Whether a small whole number as the whole result is left out: most are, or one would be a guess worth making."""
    if len(gold) > 1 or len(gold[0]) > 1 or not isinstance(gold[0][0], int):
        return False
    return abs(gold[0][0]) < 30 and rng.random() > abs(gold[0][0]) / 30


def fitting(level: int) -> list[Listed]:
    """The templates for a level from 1 to 10."""
    wanted = 1 + (level - 1) * 6 / 9  # templates reach from 1 to 8
    return [listed for listed in TEMPLATES.values() if abs(listed.level - wanted) <= 1.2]


@functools.lru_cache(512)
def worth_asking(question: Question, database: Generated) -> Sequence[tuple[Any, ...]]:
    """The result, where it says something and every plausible misreading gives another; else nothing."""
    gold = results(question.sql, database)
    if gold is None or not 1 <= len(gold) <= MOST_ROWS or len(question.returns) != len(gold[0]):
        return ()
    if question.order and len(gold) < 3:  # else hardly anything would be ordered, on twins least of all
        return ()
    if all(cell in (None, 0) for row in gold for cell in row):
        return ()
    ordered = is_ordered(question.sql)
    if question.each and len(set(gold)) == len(gold):
        return ()
    for reading in (*question.readings, *misnamed(question.sql, database)):
        other = results(reading, database)
        if other is not None and not differ(gold, other, ordered=ordered):
            return ()
    return gold


def misnamed(sql: str, database: Generated) -> list[str]:
    """The query with a decoy in place of the column that it is like."""
    used = names(sql)
    decoys = [decoy for table in database.schema.tables if table.name in used for decoy in table.of("decoy")]
    return [re.sub(rf"\b{each.phrase}\b(?!')", each.name, sql) for each in decoys if each.phrase in used]


def results(sql: str, database: Generated) -> list[tuple[Any, ...]] | None:
    """The rows of a query of our own, None where it takes too long. Raises `sqlite3.Error` if it is wrong."""
    connection = opened(database)
    steps, most = 0, max(_OPS, database.rows // _ROWS_A_STEP)

    def progress() -> bool:
        nonlocal steps
        steps += 1
        return steps > most

    connection.set_progress_handler(progress, 10_000)
    try:
        return connection.execute(sql).fetchmany(MOST_ROWS + 1)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def is_portable(task: Task) -> bool:
    """Whether DuckDB understands a gold query as SQLite does: it has no function or form that only SQLite has."""
    return not _SQLITE_ONLY.search(task.gold.answer)


def has_one_value(task: Task) -> bool:
    """Whether a generated question has a single value for an answer."""
    found = results(task.gold.answer, Generated(**task.data["database"]))
    return found is not None and len(found) == len(found[0]) == 1


def _draft(question: Question, ask: Ask, listed: Listed) -> Draft:
    database = ask.database
    lines = [f"Database: {database.name} ({database.schema.about}).", question.text]
    if len(question.returns) > 1:
        lines.append(f"Columns: {'; '.join(question.returns)}.")
    else:
        lines.append(f"Return {question.returns[0]}.")
    if question.order:
        lines.append(f"Order: {question.order}.")
    if question.each:
        lines.append(f"Give one row for each {question.each}, also where rows are equal.")
    if ask.dirty:
        lines.append(
            f"Letter case and blanks at the ends vary in the {' and the '.join(ask.dirty)}: what differs in these "
            "only is the "
            "same, written in small letters without the blanks."
        )
    tables = [table.name for table in database.schema.tables if table.name in question.sql]
    gold = Gold(question.sql, plan={"tables": tables, "sql": question.sql})
    return Draft("\n".join(lines), gold, listed.name, {"database": database.data})


def make_tasks(source: str | None, split: str, difficulty: int | None, size: int | None = None) -> TaskSet:
    """The generated tasks (None), or those of a benchmark's files ("NAME:PATH"). Raises `ValueError`."""
    if source is None:
        name = GENERATED if size is None else f"{GENERATED}-{size}"
        return GeneratedTasks(name, functools.partial(draw, size=size), split=split, difficulty=difficulty)
    if size is not None:
        raise ValueError(f"size={size}: the databases of {source!r} have the size they have; leave it out")
    from tir_gym.envs.sql.benchmarks import load

    return load(source, split, difficulty)


def kinds() -> list[dict[str, object]]:
    """The templates, one row each."""
    return [
        {"template": listed.name, "level": listed.level, "asks for": (listed.make.__doc__ or "").strip().rstrip(".")}
        for listed in sorted(TEMPLATES.values(), key=lambda each: (each.level, each.name))
    ]
