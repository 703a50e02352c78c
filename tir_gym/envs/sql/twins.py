"""Twins of a database: the same tables with other, telling content.

A query that is right by luck on one database returns something else on a twin (test-suite accuracy, after Zhong, Yu
and Klein, "Semantic Evaluation for Text-to-SQL with Distilled Test Suites", 2020; how rows are changed is a
definition by this project). A twin keeps what may be relied on: types, NOT NULL, unique columns, foreign keys, trees
without cycles, the values that occur in a column, dates of one row in their order. It changes what may not: which
values stand together, how many rows there are, who has children, how often values repeat, what is NULL, the order of
ids. The literals of a gold query are put in where they fit, and values just beside them, so that boundaries are met.

A column without NULL stays so, and texts that differ in all rows of a table with a key go on to differ: whoever looks
at the data may take it that they do, though the schema does not say it.
"""

import datetime
import functools
import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tir_gym.core.seeding import derive
from tir_gym.envs.sql.databases import Database, connect, fingerprint
from tir_gym.envs.sql.scan import literals, names

Literal: TypeAlias = str | int | float

TWINS = 8
_SAMPLE = 160
"""Rows of a table that a twin is made from."""
_FEWEST = 24
"""Rows that a table of a twin has at least, where rows may be repeated under new ids."""
_STYLES: tuple[dict[str, float], ...] = (
    {"keep": 0.6, "fresh": 0.3, "literal": 0.25, "null": 0.10, "few": 0.0, "repeat": 0.2},
    {"keep": 0.4, "fresh": 0.5, "literal": 0.50, "null": 0.00, "few": 0.0, "repeat": 0.5},
    {"keep": 0.5, "fresh": 0.5, "literal": 0.40, "null": 0.30, "few": 1.0, "repeat": 0.3},
    {"keep": 0.8, "fresh": 0.8, "literal": 0.60, "null": 0.15, "few": 1.0, "repeat": 0.0},
)
"""By turns: share of rows kept, of cells drawn anew, of cells set to or beside a literal, of NULLs; whether numbers and
dates take few different values; share of rows repeated under a new id."""


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    nullable: bool
    key: bool
    unique: bool
    target: str

    @property
    def free(self) -> bool:
        return not (self.key or self.unique or self.target)


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    ddl: str
    columns: tuple[_Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    key: int
    """Position of the column that is the primary key alone and a whole number; -1 where there is none."""


@dataclass(frozen=True, slots=True)
class Twin:
    """The twin of that number of a database, made for a gold query."""

    base: Database
    number: int
    gold: str

    @property
    def key(self) -> str:
        """The base's key, the number, and what of the gold query matters."""
        return f"{self.base.key}#{self.number}:{fingerprint(self.gold)}"

    @property
    def path(self) -> str:
        """It lies in no file."""
        return ""

    def content(self) -> bytes:
        """Its bytes; made anew at every call."""
        return _build(
            _tables(self.base, self.base.key), derive("sql twin", self.base.key, self.number), self.number, self.gold
        )


def twins(base: Database, gold: str, count: int = TWINS) -> list[Twin]:
    """The twins of a database for a gold query."""
    return [Twin(base, number, gold) for number in range(count)]


@functools.lru_cache(16)
def _tables(base: Database, key: str) -> dict[str, _Table]:
    """The tables of the database with that key, each with a sample of its rows, parents before children."""
    connection = connect(base)
    try:
        return _sampled(connection)
    finally:
        connection.close()


def _sampled(connection: sqlite3.Connection) -> dict[str, _Table]:
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    found: dict[str, _Table] = {}
    listed = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    for name, ddl in listed.fetchall():
        quoted = '"' + name.replace('"', '""') + '"'
        unique = set()
        for _, index, is_unique, *_ in connection.execute(f"PRAGMA index_list({quoted})").fetchall():
            held = [row[2] for row in connection.execute(f'PRAGMA index_info("{index}")')]
            if is_unique and len(held) == 1:
                unique.add(held[0])
        targets = {row[3]: row[2] for row in connection.execute(f"PRAGMA foreign_key_list({quoted})")}
        info = connection.execute(f"PRAGMA table_info({quoted})").fetchall()
        fields = ['"' + column.replace('"', '""') + '"' for _, column, *_ in info]
        counted = ", ".join(
            f"COUNT({field}), COUNT(DISTINCT {field}), MAX(typeof({field}) = 'text')" for field in fields
        )
        total, *counts = connection.execute(f"SELECT COUNT(*), {counted} FROM {quoted}").fetchone()
        keyed = any(key for *_, key in info)
        columns = []
        for place, (_, column, _, _, _, key) in enumerate(info):
            held, different, text = counts[3 * place : 3 * place + 3]
            named = keyed and total >= 3 and held == different == total and text == 1  # its values name the rows
            alone = not key and (column in unique or (named and column not in targets))
            columns.append(_Column(column, held < total and not key, bool(key), alone, targets.get(column, "")))
        step = max(1, total // _SAMPLE)
        rows = connection.execute(f"SELECT * FROM {quoted} LIMIT {_SAMPLE * step}").fetchall()[::step]
        found[name] = _Table(name, ddl, tuple(columns), tuple(rows), _key(columns, rows))
    return _parents_first(_inferred(found))


def _inferred(tables: dict[str, _Table]) -> dict[str, _Table]:
    """What a schema leaves unsaid: a first column of different whole numbers named `...id` is the key of a table that
    declares none, and a column named as the key of one other table refers to it."""
    for name, table in tables.items():
        first, *others = table.columns
        held = [row[0] for row in table.rows]
        plain = not any(column.key for column in table.columns) and first.name.lower().endswith("id")
        if plain and held and all(isinstance(value, int) for value in held) and len(set(held)) == len(held):
            tables[name] = replace(table, columns=(replace(first, key=True, nullable=False), *others), key=0)
    keys: dict[str, list[str]] = {}
    for name, table in tables.items():
        if table.key >= 0:
            keys.setdefault(table.columns[table.key].name.lower(), []).append(name)
    for name, table in tables.items():
        columns = []
        for column in table.columns:
            owners = [owner for owner in keys.get(column.name.lower(), ()) if owner != name]
            refers = column.free and len(owners) == 1 and column.name.lower() != "id"
            columns.append(replace(column, target=owners[0]) if refers else column)
        tables[name] = replace(table, columns=tuple(columns))
    return tables


def _key(columns: Sequence[_Column], rows: Sequence[tuple[Any, ...]]) -> int:
    keys = [position for position, column in enumerate(columns) if column.key]
    return keys[0] if len(keys) == 1 and all(isinstance(row[keys[0]], int) for row in rows) else -1


def _parents_first(tables: Mapping[str, _Table]) -> dict[str, _Table]:
    ordered: dict[str, _Table] = {}
    by_small = {name.lower(): name for name in tables}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in ordered or name in above:
            return
        for column in tables[name].columns:
            if column.target.lower() in by_small:
                visit(by_small[column.target.lower()], above | {name})
        ordered[name] = tables[name]

    for name in tables:
        visit(name, frozenset())
    return ordered


def _build(tables: Mapping[str, _Table], seed: int, number: int, gold: str) -> bytes:
    rng = random.Random(seed)
    style = _STYLES[number % len(_STYLES)]
    used, held = names(gold), literals(gold)
    made: dict[str, list[list[Any]]] = {}
    out = sqlite3.connect(":memory:", isolation_level=None)
    try:
        out.execute("BEGIN")
        for table in tables.values():
            out.execute(table.ddl)
            rows = _rows(table, rng, style, {n.lower(): (tables[n], r) for n, r in made.items()})
            if table.name.lower() in used:
                _put_literals(table, rows, rng, style["literal"], used, held)
            made[table.name] = rows
            marks = ",".join("?" * len(table.columns))
            name = '"' + table.name.replace('"', '""') + '"'
            out.executemany(f"INSERT OR IGNORE INTO {name} VALUES ({marks})", rows)
        out.execute("COMMIT")
        return out.serialize()
    finally:
        out.close()


def _rows(
    table: _Table, rng: random.Random, style: Mapping[str, float], made: Mapping[str, tuple[_Table, list[list[Any]]]]
) -> list[list[Any]]:
    """New rows for a table, made of those it has."""
    base = table.rows
    if not base:
        return []
    count = max(min(8, len(base)), int(len(base) * style["keep"]))
    rows = [list(row) for row in rng.sample(base, count)]
    key = table.key
    if not any(column.unique or (column.key and position != key) for position, column in enumerate(table.columns)):
        more = max(int(len(rows) * style["repeat"]), _FEWEST - len(rows))
        rows += [list(rng.choice(base)) for _ in range(more)]
    if key >= 0:
        first = min(row[key] for row in base)
        for row, new in zip(rows, rng.sample(range(first, first + len(rows) + len(rows) // 4), len(rows)), strict=True):
            row[key] = new
    pools = [_pool(base, position, rng, style["few"]) for position in range(len(table.columns))]
    days = [p for p, column in enumerate(table.columns) if column.free and _is_day(pools[p])]
    for row in rows:
        donor = rng.choice(base)
        if rng.random() < style["fresh"]:
            for position in days:
                row[position] = donor[position]
        for position, column in enumerate(table.columns):
            if column.free and position not in days and pools[position] and rng.random() < style["fresh"]:
                row[position] = rng.choice(pools[position])
            if column.free and column.nullable and rng.random() < style["null"]:
                row[position] = None
    for position, column in enumerate(table.columns):
        if column.unique:
            shuffled = [row[position] for row in rows]
            rng.shuffle(shuffled)
            for row, new in zip(rows, shuffled, strict=True):
                row[position] = new
        if column.target:
            _refer(table, rows, position, rng, made)
    return rows


def _pool(base: tuple[tuple[Any, ...], ...], position: int, rng: random.Random, few: float) -> list[Any]:
    """The values to draw from: those of the column, between floats also others, or few different ones where asked."""
    held = [row[position] for row in base]
    floats = [value for value in held if isinstance(value, float)]
    if floats:
        held += [round((rng.choice(floats) + rng.choice(floats)) / 2, 2) for _ in range(len(held) // 3)]
    if few and isinstance(held[0], int | float):
        return rng.sample(held, min(5, len(held)))
    return held


def _is_day(pool: list[Any]) -> bool:
    held = [value for value in pool[:50] if value is not None]
    return bool(held) and all(isinstance(value, str) and _as_day(value) for value in held)


def _as_day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None


def _refer(
    table: _Table,
    rows: list[list[Any]],
    position: int,
    rng: random.Random,
    made: Mapping[str, tuple[_Table, list[list[Any]]]],
) -> None:
    """Let references point to rows that there are; some rows have none pointing to them, some many."""
    target = table.columns[position].target.lower()
    nullable = table.columns[position].nullable
    if target == table.name.lower():
        for number, row in enumerate(rows):
            row[position] = rows[rng.randrange(number)][table.key] if number > 2 and table.key >= 0 else None
        return
    parent, theirs = made.get(target, (None, []))
    if parent is None or parent.key < 0 or not theirs:
        return
    ids = [row[parent.key] for row in theirs]
    liked = rng.sample(ids, max(1, int(len(ids) * 0.8)))
    for row in rows:
        missing = nullable and row[position] is None
        row[position] = None if missing else liked[int(len(liked) * rng.random() ** 1.5)]


def _put_literals(
    table: _Table,
    rows: list[list[Any]],
    rng: random.Random,
    share: float,
    used: frozenset[str],
    held: Sequence[Literal],
) -> None:
    """Set cells of the columns that a query names to its literals, where such values occur, or just beside them."""
    for position, column in enumerate(table.columns):
        if not column.free or column.name.lower() not in used:
            continue
        values = [row[position] for row in table.rows if row[position] is not None]
        step = _step(values)
        near = [(_spellings(literal, values), _beside(literal, step)) for literal in held if _fits(literal, values)]
        if not near:
            continue
        for row in rows:
            if rng.random() < share:
                exact, beside = rng.choice(near)
                row[position] = rng.choice(beside if rng.random() < 0.4 else exact)


def _fits(literal: Literal, values: Sequence[Any]) -> bool:
    """Whether a literal is of the kind of a column's values."""
    if not values:
        return False
    if isinstance(literal, str):
        if _as_day(literal):
            return isinstance(values[0], str) and _as_day(values[0]) is not None
        return any(isinstance(value, str) and _alike(value, literal) for value in values)
    numbers = [value for value in values if isinstance(value, int | float)]
    return bool(numbers) and min(numbers) <= literal <= max(numbers)


def _alike(one: str, other: str) -> bool:
    return one.strip().lower() == other.strip().lower()


def _spellings(literal: Literal, values: Sequence[Any]) -> list[Any]:
    """The literal as a column spells it: as it stands there, with the time of day that its dates have."""
    if not isinstance(literal, str):
        return [type(values[0])(literal)]
    if _as_day(literal):
        return [literal[:10] + values[0][10:]]
    return [value for value in values if isinstance(value, str) and _alike(value, literal)]


def _step(values: Sequence[Any]) -> float:
    """The last decimal that the numbers of a column have: 1, 0.1, 0.01, ...; 0.01 where they have many."""
    places = max((len(repr(value).partition(".")[2]) for value in values if isinstance(value, float)), default=0)
    return float(10 ** -(places if places <= 4 else 2))


def _beside(literal: Literal, step: float) -> list[Any]:
    """The values next to a number or a date; a text has none but itself."""
    if not isinstance(literal, str):
        steps = {1} if step == 1 else {step, 0.01}
        return [round(literal + way * size, 6) for size in sorted(steps) for way in (-1, 1)]
    day = _as_day(literal)
    if day is None:
        return [literal]
    return [(day + datetime.timedelta(step)).isoformat() + literal[10:] for step in (-1, 1)]
