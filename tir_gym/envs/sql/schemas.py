"""How a family of databases is described: tables, columns, and what questions may call them."""

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["id", "ref", "label", "category", "number", "day", "flag", "decoy"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its kind, how it is spoken of, and what its values are drawn from.

    `pool` names the words of a label or holds the values of a category, `target` is the table that a reference points
    to, `low` and `high` bound a number (of `places` decimals). `nullable` columns hold NULL at harder levels, and so do
    references that are `optional`. A label is unique in its table, and the table says so. A decoy is a number with a
    name like that of another one, `phrase`; no question is about it.
    """

    name: str
    kind: Kind
    phrase: str = ""
    pool: tuple[str, ...] = ()
    target: str = ""
    low: float = 0
    high: float = 0
    places: int = 0
    nullable: bool = False
    dirty: bool = False
    """Whether letter case and blanks round its values vary in this database."""

    @property
    def type(self) -> type:
        """The Python type of its values."""
        if self.kind in ("number", "decoy"):
            return float if self.places else int
        return int if self.kind in ("id", "ref", "flag") else str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, one and many of what a row is, its share of all rows, and its columns; the first is the id."""

    name: str
    one: str
    many: str
    share: float
    columns: tuple[Column, ...]

    def of(self, *kinds: Kind) -> tuple[Column, ...]:
        """The columns of these kinds."""
        return tuple(column for column in self.columns if column.kind in kinds)

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def label(self) -> Column | None:
        """The column that names a row, if there is one."""
        return next(iter(self.of("label")), None)


@dataclass(frozen=True, slots=True)
class Link:
    """A reference from one table (`child`) to another (`parent`) by a column of the child."""

    child: Table
    column: Column
    parent: Table


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of database: tables such that a reference points to an earlier table, or to its own."""

    name: str
    about: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of that name."""
        return next(table for table in self.tables if table.name == name)

    @property
    def links(self) -> tuple[Link, ...]:
        """Every reference."""
        return tuple(
            Link(table, column, self.table(column.target)) for table in self.tables for column in table.of("ref")
        )


def family(name: str, about: str, *tables: Table) -> Family:
    """A family. Raises `ValueError` for a reference to a table that does not stand before it."""
    for position, table in enumerate(tables):
        known = {earlier.name for earlier in tables[: position + 1]}
        if lost := [column.name for column in table.of("ref") if column.target not in known]:
            raise ValueError(f"{name}.{table.name}: {lost} point to no earlier table")
    return Family(name, about, tables)


def table(name: str, one: str, many: str, share: float, *columns: Column) -> Table:
    """A table with an `id` before the columns given."""
    return Table(name, one, many, share, (Column("id", "id", "id"), *columns))


def label(pool: str, name: str = "name", phrase: str = "name") -> Column:
    """What names a row, drawn from the words `pool`."""
    return Column(name, "label", phrase, (pool,))


def ref(target: str, name: str = "", phrase: str = "", optional: bool = False) -> Column:
    """A reference to a row of `target`; `phrase` is what that row is to this one ("manager")."""
    return Column(name or f"{target}_id", "ref", phrase, target=target, nullable=optional)


def category(name: str, values: str, phrase: str = "", nullable: bool = False) -> Column:
    """One of a few words."""
    return Column(name, "category", phrase or name.replace("_", " "), tuple(values.split()), nullable=nullable)


def number(name: str, low: float, high: float, phrase: str = "", places: int = 0, nullable: bool = False) -> Column:
    """A quantity from `low` to `high`."""
    spoken = phrase or name.replace("_", " ")
    return Column(name, "number", spoken, low=low, high=high, places=places, nullable=nullable)


def day(name: str, phrase: str, nullable: bool = False) -> Column:
    """A date, ISO 8601 text."""
    return Column(name, "day", phrase, nullable=nullable)


def flag(name: str, phrase: str) -> Column:
    """1 or 0."""
    return Column(name, "flag", phrase)


_DECOYS = ("old_{}", "{}_prev", "{}_v1")


def dirtied(base: Family) -> Family:
    """The family with every second category of a table dirty, and a decoy of its first number after its own columns."""
    tables = []
    for place, one in enumerate(base.tables):
        chosen = one.of("category")[::2]
        columns = [replace(column, dirty=True) if column in chosen else column for column in one.columns]
        columns += [
            replace(first, name=_DECOYS[place % 3].format(first.name), kind="decoy", phrase=first.name)
            for first in one.of("number")[:1]
        ]
        tables.append(replace(one, columns=tuple(columns)))
    return replace(base, tables=tuple(tables))
