"""Files that are no SQLite databases, as ones: DuckDB reads them in its worker, and their tables are copied."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tir_gym.envs.sql.databases import File, kept
from tir_gym.envs.sql.desks import quoted
from tir_gym.envs.sql.engine import engine
from tir_gym.envs.sql.results import Failure, QueryLimits, Table

SUFFIXES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".duckdb")
LIMITS = QueryLimits(rows=200_000, bytes=128 << 20, seconds=60.0, count=200_001)
"""Bounds of a table that is copied."""
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Imported:
    """The tables of a CSV, TSV, parquet, JSON or DuckDB file, copied into a SQLite database kept as bytes.

    Numbers and texts stay what they are, truth values become 1 and 0, everything else becomes text.
    """

    file: str

    @property
    def key(self) -> str:
        """The file, its size and time of change."""
        return f"copy of {File(self.file).key}"

    @property
    def name(self) -> str:
        """The file's name without ending."""
        return Path(self.file).stem

    @property
    def path(self) -> str:
        """The copy lies in no file."""
        return ""

    def content(self) -> bytes:
        """The bytes of the copy. Raises `ValueError` where a table is too large, `EngineUnavailable`."""
        return kept(self.key, self._copy)

    @property
    def data(self) -> dict[str, Any]:
        """What `database_of` makes it of."""
        return {"file": self.file}

    def _copy(self) -> bytes:
        with contextlib.closing(sqlite3.connect(":memory:")) as made:
            for (name,) in self._read(_TABLES).rows:
                table = self._read(f"SELECT * FROM {quoted(name)}")
                columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
                lines = [f"{quoted(each)} {_kind(held)}" for each, held in zip(table.columns, columns, strict=True)]
                made.execute(f"CREATE TABLE {quoted(name)} ({', '.join(lines)})")
                marks = ", ".join("?" * len(lines))
                rows = (tuple(map(_plain, row)) for row in table.rows)
                made.executemany(f"INSERT INTO {quoted(name)} VALUES ({marks})", rows)
            made.commit()
            return made.serialize()

    def _read(self, sql: str) -> Table:
        found = engine("duckdb").one(File(self.file), sql, LIMITS)
        if isinstance(found, Failure):
            raise ValueError(f"{self.file} cannot be read: {found.message}")
        if not found.whole:
            raise ValueError(
                f"{self.file}: a table of more than {LIMITS.rows} rows or {LIMITS.bytes >> 20} MB is not copied"
            )
        return found


def _kind(cells: tuple[Any, ...]) -> str:
    held = {type(cell) for cell in cells} - {type(None)}
    if held and held <= {int, bool}:
        return "INTEGER"
    return "REAL" if held and held <= {int, float, bool} else "BLOB" if held == {dict} else "TEXT"


def _plain(cell: Any) -> Any:
    return bytes.fromhex(cell["hex"]) if isinstance(cell, dict) else int(cell) if isinstance(cell, bool) else cell
