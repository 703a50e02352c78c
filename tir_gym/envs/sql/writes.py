"""Where tasks that change a database come from: drawn from templates, tried out, rejected where they are trivial."""

import functools
import itertools
import random
import sqlite3
from collections.abc import Sequence
from typing import Any

from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet
from tir_gym.envs.sql.asking import Ask, NoFit
from tir_gym.envs.sql.changing import WRITINGS, Change
from tir_gym.envs.sql.databases import Generated, connect
from tir_gym.envs.sql.scan import names
from tir_gym.envs.sql.tasks import database_for
from tir_gym.envs.sql.templates import changes  # noqa: F401  lists the templates

GENERATED = "sqlwrite"
MOST_CHANGED = 1_500
"""Rows that a task changes at most."""


def draw(rng: random.Random, level: int) -> Draft:
    """A change to a generated database, at a level from 1 to 10."""
    wanted = 1 + (level - 1) * 6 / 9
    fits = [(name, make) for name, (of, make) in WRITINGS.items() if abs(of - wanted) <= 1.6]
    for attempt in itertools.count():
        if attempt % 6 == 0:
            name, make = rng.choice(fits)
        database = database_for(rng, level, part=2)  # tables are compared whole
        ask = Ask(rng, level, database)
        try:
            change = make(ask)
        except NoFit:
            continue
        if worth_doing(change, database):
            return _draft(change, ask, name, database)
    raise AssertionError("unreachable")


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated tasks (None). Raises `ValueError` for any other source."""
    if source is not None:
        raise ValueError(f"tasks={source!r}: there are generated tasks only, tasks=None")
    return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)


def kinds() -> list[dict[str, object]]:
    """The templates, one row each."""
    return [
        {"template": name, "level": level, "asks for": (make.__doc__ or "").strip().rstrip(".")}
        for name, (level, make) in sorted(WRITINGS.items(), key=lambda each: (each[1][0], each[0]))
    ]


def _draft(change: Change, ask: Ask, name: str, database: Generated) -> Draft:
    lines = [f"Database: {database.name} ({database.schema.about}).", change.text]
    if ask.dirty:
        dirty = " and the ".join(ask.dirty)
        lines.append(
            f"Letter case and blanks at the ends vary in the {dirty}: values that differ in these only are the same, "
            "written in small letters without the blanks where they are written anew."
        )
    tables = [table.name for table in database.schema.tables if table.name in names(" ".join(change.statements))]
    plan = {"tables": tables, "statements": list(change.statements)}
    gold = Gold(None, plan, {"statements": list(change.statements), "free_keys": list(change.free_keys)})
    return Draft("\n".join(lines), gold, name, {"database": database.data})


@functools.lru_cache(2_048)
def worth_doing(change: Change, database: Generated) -> bool:
    """Whether something changes, not too much of it, and every plausible misreading leaves another state."""
    tables = _named_in(change, database)
    gold, before = outcome(change.statements, tables, database), outcome((), tables, database)
    if gold is None or before is None or gold == before:
        return False
    changed = sum(len({*gold.get(table, ())} ^ {*before.get(table, ())}) for table in {*gold, *before})
    if changed > 2 * MOST_CHANGED or any(rows and not gold.get(table) for table, rows in before.items()):
        return False
    return all(outcome(reading, tables, database) != gold for reading in change.readings)


def _named_in(change: Change, database: Generated) -> frozenset[str]:
    """The tables that the statements of a change or of its misreadings name."""
    used = names(" ".join(itertools.chain(change.statements, *change.readings)))
    return frozenset(table.name for table in database.schema.tables if table.name in used)


@functools.lru_cache(64)
def _writable(database: Generated) -> sqlite3.Connection:
    connection = connect(database)
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def outcome(
    statements: Sequence[str], tables: frozenset[str], database: Generated
) -> dict[str, list[tuple[Any, ...]]] | None:
    """The rows of these tables and of new ones after statements of our own, None where one of them fails."""
    connection = _writable(database)
    connection.execute("SAVEPOINT trial")
    try:
        for statement in statements:
            connection.execute(statement)
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        untouched = {table.name for table in database.schema.tables} - tables
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in sorted(there - untouched)}
    except sqlite3.IntegrityError:
        return None
    finally:
        connection.execute("ROLLBACK TO trial")
        connection.execute("RELEASE trial")
