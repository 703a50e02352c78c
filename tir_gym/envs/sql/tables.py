"""Questions about one table, for SQL and Python together: find a group of rows, then compute a number of them."""

import functools
import itertools
import random
from dataclasses import dataclass

from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet
from tir_gym.envs.sql.asking import Ask, Made, NoFit, fetched, opened
from tir_gym.envs.sql.measures import STATISTICS, Statistic
from tir_gym.envs.sql.onetable import OneTable
from tir_gym.envs.sql.schemas import Column, Table
from tir_gym.envs.sql.tasks import database_for

GENERATED = "tableqa"
_FEWEST = 12
"""Rows that a statistic is made of."""
_GROUPED = 4
"""The level from which on the rows are those of a group that is to be found first."""


@dataclass(frozen=True, slots=True)
class _Filter:
    """A condition on a row: in SQL, in words, and in Python on a dictionary `r` of texts."""

    sql: str
    words: str
    python: str


@dataclass(frozen=True, slots=True)
class _Group:
    """How a group is chosen: the order of groups in SQL, and its words."""

    order: str
    words: str


def draw(rng: random.Random, level: int) -> Draft:
    """A question about one table of a generated database, at a level from 1 to 10."""
    for _ in itertools.count():
        base = database_for(rng, level)
        tables = [each for each in base.schema.tables if each.share >= 0.3 and each.of("category", "ref")]
        if not tables:
            continue
        database = OneTable(base, rng.choice(tables).name)
        try:
            return _asked(Ask(rng, level, database), database)
        except NoFit:
            continue
    raise AssertionError("unreachable")


def make_tasks(source: str | None, split: str, difficulty: int | None) -> TaskSet:
    """The generated tasks (None). Raises `ValueError` for any other source."""
    if source is not None:
        raise ValueError(f"tasks={source!r}: there are generated tasks only, tasks=None")
    return GeneratedTasks(GENERATED, draw, split=split, difficulty=difficulty)


def kinds() -> list[dict[str, object]]:
    """The statistics, one row each."""
    return [{"statistic": name, "level": each.level, "asks for": each.words} for name, each in STATISTICS.items()]


def _asked(a: Ask, database: OneTable) -> Draft:
    (t,) = a.family.tables
    name, statistic = a.pick(
        [(name, each) for name, each in STATISTICS.items() if abs(each.level - (1 + (a.level - 1) * 8 / 9)) <= 2.5]
    )
    x, y, d = _columns(a, t, statistic)
    kept = [_filter(a, t, x, y) for _ in range(1 + (a.level >= 8))]
    known = [column for column in (x, y, d) if column is not None]
    where = " AND ".join([each.sql for each in kept])
    words = " and ".join(each.words for each in kept)
    tests = [each.python for each in kept]
    if a.level < _GROUPED:
        first = f"SELECT COUNT(*) FROM {t.name} WHERE {where}"
        text = f"Take the {t.many} {words}."
        chosen = where
    else:
        group = a.pick([c for c in t.of("category") if c is not x and not any(c.name in each.sql for each in kept)])
        rule = _group(a, t, group)
        e = a.e(group)
        first = f"SELECT {e} FROM {t.name} WHERE {where} AND {e} IS NOT NULL GROUP BY {e} ORDER BY {rule.order} LIMIT 1"
        key = _leader(a, first)
        text = a.say(
            f"Look only at the {t.many} {words}. Find the {group.phrase} {rule.words}, and take the {t.many} with it.",
            f"Of the {t.many} {words}, take those of the {group.phrase} {rule.words} among them.",
        )
        chosen = f"{where} AND {e} = '{key}'"
        tests.append(f"{_read(group)} == KEY")
    value = _value(a, t, statistic, (x, y, d), chosen)
    asked = statistic.words.format(x=x.phrase, y=y.phrase if y else "", d=d.phrase if d else "")
    missing = " or the ".join(column.phrase for column in known if column.nullable and database.base.nulls)
    lines = [
        f"Table: {t.name} ({a.family.about}), in the database and in the file {t.name}.csv.",
        f"{text} What is {asked}?" if a.rng.random() < 0.5 else f"{text} Compute {asked}.",
        *(
            [f"In this last step leave out rows in which the {missing} is missing."]
            if missing and database.base.nulls
            else []
        ),
        *_about_dirt(a),
        "Give the number, rounded to 3 decimals.",
    ]
    plan = {"table": t.name, "sql": first, "python": _program(t, statistic, (x, y, d), tests)}
    return Draft("\n".join(lines), Gold(f"{value:.10g}", plan), name, {"database": database.data})


def _columns(a: Ask, t: Table, statistic: Statistic) -> tuple[Column, Column | None, Column | None]:
    numbers = [c for c in t.of("number") if c.places or c.high - c.low >= 60]
    x = a.pick(t.of("category") if "category" in statistic.needs else numbers)
    y = a.pick([c for c in t.of("number") if c is not x and c.low >= 0]) if "second" in statistic.needs else None
    return x, y, a.column(t, "day") if "day" in statistic.needs else None


def _filter(a: Ask, t: Table, *but: Column | None) -> _Filter:
    column = a.pick([c for c in t.of("category", "number", "day", "flag") if c not in but])
    e, read = a.e(column), _read(column)
    if column.kind == "flag":
        held = a.rng.randrange(2)
        return _Filter(f"{e} = {held}", f"that are {'' if held else 'not '}{column.phrase}", f"{read} == {held}")
    if column.kind == "category":
        value = a.value(t, column)
        return _Filter(
            f"{e} <> {value}", f"whose {column.phrase} is known and not {value}", f"{read} not in ('', {value})"
        )
    bound = a.middling(t, column, 0.1, 0.5)
    words = "on or after" if column.kind == "day" else "at least"
    return _Filter(
        f"{e} >= {bound}", f"whose {column.phrase} is {words} {bound}", f"r[{column.name!r}] and {read} >= {bound}"
    )


def _read(column: Column) -> str:
    if column.kind in ("number", "flag"):
        return f"float(r[{column.name!r}])"
    return f"r[{column.name!r}].strip().lower()" if column.dirty else f"r[{column.name!r}]"


def _group(a: Ask, t: Table, group: Column) -> _Group:
    number = a.column(t, "number")
    e = number.name
    return a.pick(
        [
            _Group("COUNT(*) DESC", "that occurs most often"),
            _Group(f"SUM({e}) DESC", f"with the largest total {number.phrase}"),
            _Group(f"MAX({e}) - MIN({e}) DESC", f"with the widest range of {number.phrase} (largest minus smallest)"),
            _Group(f"COUNT(DISTINCT {e}) DESC", f"with the most different values of {number.phrase}"),
        ]
    )


def _leader(a: Ask, sql: str) -> str:
    """The group that comes first. Raises `NoFit` where it shares the place."""
    score = sql.partition(" ORDER BY ")[2].removesuffix(" DESC LIMIT 1")
    scored = sql.replace("SELECT ", f"SELECT {score}, ", 1).replace("LIMIT 1", "LIMIT 2")
    found = fetched(a.database, scored)
    if len(found) < 2 or found[0][0] is None or found[0][0] == found[1][0]:
        raise NoFit
    return str(found[0][1])


def _value(
    a: Ask, t: Table, statistic: Statistic, columns: tuple[Column, Column | None, Column | None], where: str
) -> float:
    """The statistic of the rows. Raises `NoFit` for too few or for all rows, and for next to nothing as the result."""
    x, y, d = columns
    cells = [a.e(x), a.e(y) if y else "1", a.e(d) if d else "1"]
    known = " AND ".join(f"{cell} IS NOT NULL" for cell in cells)
    select = f"SELECT {', '.join(cells)}, id FROM {t.name} WHERE {known}"
    found = _computed(a.database, statistic, select, where)
    if found is None:
        raise NoFit
    return found


@functools.lru_cache(4_096)
def _computed(database: Made, statistic: Statistic, select: str, where: str) -> float | None:
    connection = opened(database)
    rows = connection.execute(f"{select} AND ({where}) ORDER BY 3, id").fetchall()
    (total,) = connection.execute(f"SELECT COUNT(*) FROM ({select})").fetchone()
    if not _FEWEST <= len(rows) < total:
        return None
    try:
        value = statistic.value([row[0] for row in rows], [row[1] for row in rows])
    except ValueError:  # it is not defined for these
        return None
    return value if abs(value) >= 0.02 else None


def _program(
    t: Table, statistic: Statistic, columns: tuple[Column, Column | None, Column | None], tests: list[str]
) -> str:
    x, y, d = columns
    known = [f"r[{column.name!r}]" for column in columns if column]
    order = f"(r[{d.name!r}], int(r['id']))" if d else "int(r['id'])"
    return "\n".join(
        [
            "import csv",
            "import numpy as np",
            f"rows = [r for r in csv.DictReader(open({t.name + '.csv'!r})) if {' and '.join([*known, *tests])}]",
            f"rows.sort(key=lambda r: {order})",
            f"x = np.array([{_read(x)} for r in rows])",
            *([f"y = np.array([{_read(y)} for r in rows])"] if y else []),
            statistic.program,
        ]
    )


def _about_dirt(a: Ask) -> list[str]:
    if not a.dirty:
        return []
    dirty = " and the ".join(a.dirty)
    said = f"Letter case and blanks at the ends vary in the {dirty}: what differs in these only is the same"
    return [f"{said}, written in small letters without the blanks."]
