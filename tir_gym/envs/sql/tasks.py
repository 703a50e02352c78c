"""Where tasks come from: generated questions, or the files of known benchmarks."""

import functools
import itertools
import random
import sqlite3
from typing import Any

from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.envs.sql import templates  # noqa: F401  lists the templates
from tir_gym.envs.sql.asking import TEMPLATES, Ask, Listed, NoFit, Question, opened
from tir_gym.envs.sql.databases import Generated
from tir_gym.envs.sql.families import FAMILIES
from tir_gym.envs.sql.match import differ, is_ordered

GENERATED = "sql"
VARIANTS = 2
"""Databases of one family and size that differ in their content."""
MOST_ROWS = 200
"""Rows of the longest result that a question may have."""
_OPS = 400
"""Steps of 10,000 instructions that a gold query may take."""

_SIZES = ((3, 1_000, 0.0, False), (6, 1_500, 0.1, False), (10, 2_500, 0.15, True))
"""Up to which level: rows of a database, share of NULLs where there may be some, dirty values."""


def draw(rng: random.Random, level: int) -> Draft:
    """A question about a database that is worth asking at that level."""
    _, rows, nulls, dirty = next(size for size in _SIZES if level <= size[0])
    names, listings = list(FAMILIES), fitting(level)
    for attempt in itertools.count():
        if attempt % 6 == 0:  # a template may not fit any database of the size
            listed = rng.choice(listings)
        database = Generated(rng.choice(names), rng.randrange(VARIANTS), rows, nulls, dirty)
        ask = Ask(rng, level, database)
        try:
            question = listed.make(ask)
        except NoFit:
            continue
        if worth_asking(question, database):
            return _draft(question, ask, listed)
    raise AssertionError("unreachable")


def fitting(level: int) -> list[Listed]:
    """The templates for a level from 1 to 10."""
    wanted = 1 + (level - 1) * 6 / 9  # templates reach from 1 to 8
    return [listed for listed in TEMPLATES.values() if abs(listed.level - wanted) <= 1.2]


@functools.lru_cache(4_096)
def worth_asking(question: Question, database: Generated) -> bool:
    """Whether the result says something, and every plausible misreading gives another."""
    gold = results(question.sql, database)
    if gold is None or not 1 <= len(gold) <= MOST_ROWS or len(question.returns) != len(gold[0]):
        return False
    if question.order and len(gold) < 3:  # else hardly anything would be ordered, on twins least of all
        return False
    if all(cell in (None, 0) for row in gold for cell in row):
        return False
    ordered = is_ordered(question.sql)
    return all(
        other is None or differ(gold, other, ordered=ordered)
        for other in (results(reading, database) for reading in question.readings)
    )


def results(sql: str, database: Generated) -> list[tuple[Any, ...]] | None:
    """The rows of a query of our own, None where it takes too long. Raises `sqlite3.Error` if it is wrong."""
    connection = opened(database)
    steps = 0

    def progress() -> bool:
        nonlocal steps
        steps += 1
        return steps > _OPS

    connection.set_progress_handler(progress, 10_000)
    try:
        return connection.execute(sql).fetchmany(MOST_ROWS + 1)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)


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
    if ask.dirty:
        lines.append(
            f"Letter case and blanks at the ends vary in the {' and the '.join(ask.dirty)}: what differs in these "
            "only is the "
            "same, written in small letters without the blanks."
        )
    tables = [table.name for table in database.schema.tables if table.name in question.sql]
    gold = Gold(question.sql, plan={"tables": tables, "sql": question.sql})
    return Draft("\n".join(lines), gold, listed.name, {"database": database.data})


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated tasks (None), or those of a benchmark's files ("NAME:PATH"). Raises `ValueError`."""
    if source is None:
        return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)
    from tir_gym.envs.sql.benchmarks import load

    return load(source, split, difficulty)


def kinds() -> list[dict[str, object]]:
    """The templates, one row each."""
    return [
        {"template": listed.name, "level": listed.level, "asks for": (listed.make.__doc__ or "").strip().rstrip(".")}
        for listed in sorted(TEMPLATES.values(), key=lambda each: (each.level, each.name))
    ]
