"""One wide table made of a generated database: the rows of one table with the names of what they refer to."""

import csv
import functools
import io
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from tir_gym.envs.sql.databases import Generated, connect, kept
from tir_gym.envs.sql.schemas import Column, Family, Table

_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}


@dataclass(frozen=True, slots=True)
class OneTable:
    """A database that holds nothing but one table of another, its references replaced by names."""

    base: Generated
    table: str

    @property
    def key(self) -> str:
        """What it is made of."""
        return f"{self.base.key}|{self.table}"

    @property
    def name(self) -> str:
        """What prompts call it."""
        return self.table

    @property
    def path(self) -> str:
        """It lies in no file."""
        return ""

    @property
    def rows(self) -> int:
        """Rows of the database it is made of."""
        return self.base.rows

    @property
    def schema(self) -> Family:
        """A family of one table."""
        return _schema(self)

    def content(self) -> bytes:
        """Its bytes."""
        return kept(self.key, self._build)

    @property
    def data(self) -> dict[str, Any]:
        """What `databases.database_of` and `one_table` make it of."""
        return {**self.base.data, "table": self.table}

    def _build(self) -> bytes:
        source = connect(self.base)
        (table,) = self.schema.tables
        out = sqlite3.connect(":memory:", isolation_level=None)
        try:
            typed = ", ".join(f"{c.name} {_TYPES[c.type]}" for c in table.columns)
            out.execute("BEGIN")
            out.execute(f"CREATE TABLE {table.name} ({typed.replace('id INTEGER', 'id INTEGER PRIMARY KEY', 1)})")
            marks = ",".join("?" * len(table.columns))
            out.executemany(f"INSERT INTO {table.name} VALUES ({marks})", source.execute(_selecting(self)))
            out.execute("COMMIT")
            return out.serialize()
        finally:
            source.close()
            out.close()

    def csv(self) -> str:
        """The table as a CSV file with a head; what is missing is empty."""
        return _csv(self)


def one_table(data: dict[str, Any]) -> OneTable:
    """The table that a task's data names."""
    rest = dict(data)
    return OneTable(table=rest.pop("table"), base=Generated(**rest))


def _sources(database: OneTable) -> list[tuple[str, Column]]:
    """Each column with the SQL that it comes from."""
    family = database.base.schema
    found = []
    for column in family.table(database.table).columns:
        if column.kind != "ref":
            found.append((f"c.{column.name}", column))
            continue
        named = family.table(column.target).label
        if named and column.target != database.table:
            name = f"{column.name.removesuffix('_id')}_name"
            spoken = column.phrase or family.table(column.target).one
            own = replace(named, name=name, phrase=spoken, kind="category", nullable=column.nullable, dirty=False)
            found.append((f"(SELECT {named.name} FROM {column.target} WHERE id = c.{column.name})", own))
    return found


@functools.cache
def _schema(database: OneTable) -> Family:
    base = database.base.schema
    columns = tuple(column for _, column in _sources(database))
    table: Table = replace(base.table(database.table), columns=columns)
    return Family(base.name, base.about, (table,))


def _selecting(database: OneTable) -> str:
    return f"SELECT {', '.join(sql for sql, _ in _sources(database))} FROM {database.table} c ORDER BY id"


@functools.lru_cache(64)
def _csv(database: OneTable) -> str:
    connection = connect(database)
    try:
        found = connection.execute(f"SELECT * FROM {database.table} ORDER BY id")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column[0] for column in found.description])
        writer.writerows(found)
        return text.getvalue()
    finally:
        connection.close()
