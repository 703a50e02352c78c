"""From a family, a seed and a size to the bytes of a SQLite database."""

import datetime
import random
from collections.abc import Iterator
from typing import Any

from tir_gym.core.seeding import derive
from tir_gym.envs.sql.schemas import Column, Family, Table
from tir_gym.envs.sql.words import POOLS

FIRST_DAY = datetime.date(2022, 1, 1)
DAYS = 1096
"""Dates are from 2022-01-01 to 2024-12-31."""


def build(family: Family, seed: int, rows: int, nulls: float) -> bytes:
    """A database of about `rows` rows; a share `nulls` of what may be missing is NULL.

    References are skewed: few rows have many, some have none. Equal arguments give equal content.
    """
    import sqlite_utils

    rng = random.Random(derive("sql database", family.name, seed, rows))
    database = sqlite_utils.Database(memory=True)
    counts: dict[str, int] = {}
    for table in family.tables:
        counts[table.name] = count = max(6, round(rows * table.share))
        made = database[table.name]
        made.create(  # type: ignore[union-attr]
            {column.name: column.type for column in table.columns},
            pk="id",
            not_null={c.name for c in table.columns if not c.nullable and c.kind != "id"},
            foreign_keys=[(column.name, column.target, "id") for column in table.of("ref")],
        )
        marks = ",".join("?" * len(table.columns))
        drawn = (tuple(row.values()) for row in _rows(table, rng, count, counts, nulls))
        database.conn.executemany(f"INSERT INTO {table.name} VALUES ({marks})", drawn)
        for column in table.of("label"):
            made.create_index([column.name], unique=True)  # type: ignore[union-attr]
    database.index_foreign_keys()
    database.conn.commit()
    content: bytes = database.conn.serialize()
    database.close()
    return content


def _rows(
    table: Table, rng: random.Random, count: int, counts: dict[str, int], nulls: float
) -> Iterator[dict[str, Any]]:
    labels = {column.name: names(column.pool[0], rng, count) for column in table.of("label")}
    for number in range(1, count + 1):
        row: dict[str, Any] = {}
        for column in table.columns:
            if column.nullable and nulls and rng.random() < nulls:
                row[column.name] = None
            elif column.kind == "id":
                row[column.name] = number
            elif column.kind == "label":
                row[column.name] = labels[column.name][number - 1]
            elif column.kind == "ref":
                row[column.name] = _reference(column, table, rng, number, counts)
            else:
                row[column.name] = value(column, rng)
        _in_order(row)
        yield row


def _reference(column: Column, table: Table, rng: random.Random, number: int, counts: dict[str, int]) -> int | None:
    if column.target == table.name:  # a tree: a row refers to an earlier one
        return None if number <= 3 else rng.randrange(1, number)
    return 1 + int(counts[column.target] * rng.random() ** 2)


def _in_order(row: dict[str, Any]) -> None:
    """What comes to an end does so after it began: the second of two dates is no earlier than the first."""
    days = [name for name, held in row.items() if name.endswith(("_on", "since")) and held is not None]
    if len(days) == 2 and row[days[0]] > row[days[1]]:
        row[days[0]], row[days[1]] = row[days[1]], row[days[0]]


def value(column: Column, rng: random.Random) -> Any:
    """A value of a category, number, date or flag."""
    if column.kind == "category":
        plain = column.pool[int(len(column.pool) * rng.random() ** 1.4)]
        return _soiled(plain, rng) if column.dirty else plain
    if column.kind in ("number", "decoy"):
        if column.places:
            return round(column.low + (column.high - column.low) * rng.random() ** 1.5, column.places)
        return rng.randrange(int(column.low), int(column.high) + 1)
    if column.kind == "flag":
        return int(rng.random() < 0.4)
    return (FIRST_DAY + datetime.timedelta(rng.randrange(DAYS))).isoformat()


def _soiled(plain: str, rng: random.Random) -> str:
    return rng.choice((plain, plain, plain, plain.upper(), plain.capitalize(), f" {plain}", f"{plain} "))


def names(pool: str, rng: random.Random, count: int) -> list[str]:
    """Different names from a pool; numbered where there are not enough."""
    firsts, seconds = POOLS[pool]
    pairs = len(firsts) * len(seconds)
    drawn = rng.sample(range(pairs), min(count, pairs))
    found = [f"{firsts[number % len(firsts)]} {seconds[number // len(firsts)]}".strip() for number in drawn]
    return found + [f"{found[number % pairs]} {number // pairs + 1}" for number in range(pairs, count)]
