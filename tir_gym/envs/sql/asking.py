"""Making a question: what a template may use of a database, and what it gives back."""

import functools
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tir_gym.envs.sql.databases import Generated, connect
from tir_gym.envs.sql.onetable import OneTable
from tir_gym.envs.sql.schemas import Column, Family, Kind, Link, Table

T = TypeVar("T")
Made = Generated | OneTable


class NoFit(Exception):  # noqa: N818
    """The schema does not have what the template needs."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold query.

    `returns` says what the columns are, `order` how rows are ordered ("" where any order will do), `readings` are
    queries of plausible misreadings, each of which must give another result. `each` names what there is one row for,
    where some rows are equal: without duplicates the result must be another one.
    """

    text: str
    sql: str
    returns: tuple[str, ...]
    order: str = ""
    readings: tuple[str, ...] = ()
    each: str = ""


class Ask:
    """A database to ask about, with random choices among what it has."""

    def __init__(self, rng: random.Random, level: int, database: Made) -> None:
        self.rng = rng
        self.level = level
        self.database = database
        self.family: Family = database.schema
        self.dirty: dict[str, None] = {}
        """How the dirty columns are spoken of that the question uses."""

    def pick(self, among: Sequence[T]) -> T:
        """One of these. Raises `NoFit` where there is none."""
        if not among:
            raise NoFit
        return among[self.rng.randrange(len(among))]

    def say(self, *wordings: str) -> str:
        """One of several wordings of the same."""
        return self.pick(wordings)

    def table(self, *kinds: Kind, least: int = 0, label: bool = False) -> Table:
        """A table that has columns of all these kinds; a `label` where asked; a share of at least `least` percent."""
        fits = [
            table
            for table in self.family.tables
            if all(table.of(kind) for kind in kinds) and (not label or table.label) and table.share * 100 >= least
        ]
        return self.pick(fits)

    def link(self, *kinds: Kind, label: bool = True, tree: bool = False) -> Link:
        """A reference whose child has columns of these kinds, and whose parent has a label where asked."""
        fits = [
            link
            for link in self.family.links
            if all(link.child.of(kind) for kind in kinds)
            and (not label or link.parent.label)
            and (link.child is link.parent) == tree
        ]
        return self.pick(fits)

    def column(self, table: Table, kind: Kind, *but: Column) -> Column:
        """A column of that kind, not one of `but`."""
        return self.pick([column for column in table.of(kind) if column not in but])

    def sure(self, table: Table, kind: Kind) -> Column:
        """A column of that kind that is never NULL."""
        return self.pick([column for column in table.of(kind) if not column.nullable])

    def e(self, column: Column, alias: str = "") -> str:
        """The column in SQL: as it is, or with case and blanks removed where it is dirty."""
        name = f"{alias}.{column.name}" if alias else column.name
        if not column.dirty:
            return name
        self.dirty[column.phrase] = None
        return f"lower(trim({name}))"

    def values(self, table: Table, column: Column) -> tuple[object, ...]:
        """The different values there are, in order, without NULL."""
        return _values(self.database, table.name, column.name if not column.dirty else f"lower(trim({column.name}))")

    def value(self, table: Table, column: Column) -> str:
        """One of a category's values, as SQL."""
        return quote(self.pick(self.values(table, column)))

    def two_values(self, table: Table, column: Column) -> tuple[str, str]:
        """Two different values of a category, as SQL."""
        held = self.values(table, column)
        if len(held) < 2:
            raise NoFit
        first, second = self.rng.sample(held, 2)
        return quote(first), quote(second)

    def middling(self, table: Table, column: Column, low: float = 0.3, high: float = 0.7) -> str:
        """A value that stands between these shares of the different values of a number or date, as SQL."""
        held = self.values(table, column)
        if len(held) < 4:
            raise NoFit
        first, last = int(low * len(held)), int(high * len(held))
        return quote(held[self.rng.randrange(first, max(last, first + 1))])

    def span(self, table: Table, column: Column) -> tuple[str, str]:
        """Two dates or numbers with a good part of the values between them, as SQL."""
        return self.middling(table, column, 0.05, 0.35), self.middling(table, column, 0.6, 0.95)

    def low_in(self, tree: Link, steps: int) -> int:
        """The id of a row with at least so many rows above it in a tree, of 30 tried. Raises `NoFit`."""
        ids = self.values(tree.child, tree.child.columns[0])
        up = f"SELECT {tree.column.name} FROM {tree.child.name} WHERE id = ?"
        for _ in range(30):
            start = here = self.pick(ids)
            for _ in range(steps):
                ((here,),) = opened(self.database).execute(up, (here,))
                if here is None:
                    break
            else:
                return int(str(start))
        raise NoFit


@functools.lru_cache(256)
def opened(database: Made) -> sqlite3.Connection:
    """A connection to a copy of a database, for gold queries."""
    connection = connect(database)
    connection.execute("PRAGMA query_only=ON")
    return connection


@functools.lru_cache(4_096)
def fetched(database: Made, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query of our own, remembered; not to be changed."""
    return opened(database).execute(sql).fetchall()


@functools.lru_cache(8_192)
def _values(database: Made, table: str, expression: str) -> tuple[object, ...]:
    sql = f"SELECT DISTINCT {expression} v FROM {table} WHERE v IS NOT NULL ORDER BY v"
    return tuple(value for (value,) in opened(database).execute(sql))


def quote(value: object) -> str:
    """A value as SQL."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


Template = Callable[[Ask], Question]


@dataclass(frozen=True, slots=True)
class Listed:
    """A template with its name and the level of its question on the scale of difficulty."""

    name: str
    level: int
    make: Template


TEMPLATES: dict[str, Listed] = {}


def template(level: int) -> Callable[[Template], Template]:
    """List a template under its function's name."""

    def enter(make: Template) -> Template:
        name = make.__name__
        TEMPLATES[name] = Listed(name, level, make)
        return make

    return enter


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a row: in SQL, and in words ("whose price is at least 5")."""

    sql: str
    words: str


SECOND = (0.0, 0.0, 0.0, 0.3, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9)
"""By level from 1 on: how often a condition is two in one."""


def condition(a: Ask, table: Table, alias: str = "", *but: Column) -> Condition:
    """A condition on rows of a table, on none of the columns `but`; at higher levels often on two columns."""
    kinds: tuple[Kind, ...] = ("category", "number", "day", "flag")
    fits = [column for column in table.of(*kinds) if column not in but]
    column = a.pick(fits)
    first = _on_one(a, table, column, alias)
    fits.remove(column)
    if not fits or a.rng.random() >= SECOND[a.level - 1]:
        return first
    second = _on_one(a, table, a.pick(fits), alias)
    return Condition(f"{first.sql} AND {second.sql}", f"{first.words} and {second.words}")


def _on_one(a: Ask, table: Table, column: Column, alias: str) -> Condition:
    e = a.e(column, alias)
    if column.kind == "flag":
        held = a.rng.randrange(2)
        return Condition(f"{e} = {held}", f"that are {'' if held else 'not '}{column.phrase}")
    if column.kind == "category":
        if a.rng.random() < 0.6:
            value = a.value(table, column)
            return Condition(f"{e} = {value}", f"whose {column.phrase} is {value}")
        first, second = a.two_values(table, column)
        return Condition(f"{e} IN ({first}, {second})", f"whose {column.phrase} is {first} or {second}")
    value = a.middling(table, column)
    more, least, less, most = (
        ("after", "on or after", "before", "on or before")
        if column.kind == "day"
        else ("more than", "at least", "less than", "at most")
    )
    operator, words = a.pick([(">", more), (">=", least), ("<", less), ("<=", most)])
    return Condition(f"{e} {operator} {value}", f"whose {column.phrase} is {words} {value}")


def named(a: Ask, table: Table, alias: str = "") -> tuple[str, str]:
    """What identifies a row in a result: its label, or else its id; in SQL and in words."""
    column = table.label or table.columns[0]
    return a.e(column, alias), f"{column.phrase} of the {table.one}"


def role(link: Link) -> str:
    """What the parent is to the child ("origin"), or simply what it is ("airport")."""
    return link.column.phrase or link.parent.one


def children(link: Link) -> str:
    """The children of a parent, in words that say by which reference ("flights with it as origin")."""
    several = sum(1 for each in link.child.of("ref") if each.target == link.parent.name) > 1
    return f"{link.child.many} with it as {role(link)}" if several else link.child.many
