"""The databases of tasks: generated ones, kept as bytes, and files."""

import functools
import hashlib
import sqlite3
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tir_gym.envs.sql.build import build
from tir_gym.envs.sql.engine import Source
from tir_gym.envs.sql.families import FAMILIES
from tir_gym.envs.sql.kept import Kept
from tir_gym.envs.sql.results import QueryLimits
from tir_gym.envs.sql.schemas import Family, dirtied

KEPT = 128 << 20
"""Bytes of generated databases that a process keeps; the least recently used are made again when needed."""


_kept: Kept[str, bytes] = Kept(KEPT, len)


def kept(key: str, make: Callable[[], bytes]) -> bytes:
    """The bytes of a generated database, made if need be."""
    return _kept.get(key, make)


@dataclass(frozen=True, slots=True)
class Generated:
    """A generated database: family, number of its variant, rows, share of NULLs, and whether values are dirty."""

    family: str
    variant: int
    rows: int
    nulls: float
    dirty: bool

    @property
    def key(self) -> str:
        """What it is made of."""
        return f"{self.family}/{self.variant}/{self.rows}/{self.nulls:g}/{'dirty' if self.dirty else 'clean'}"

    @property
    def name(self) -> str:
        """What prompts call it."""
        return self.family

    @property
    def path(self) -> str:
        """It lies in no file."""
        return ""

    @property
    def schema(self) -> Family:
        """Its family, with the columns marked whose values are dirty."""
        return schema_of(self.family, self.dirty)

    def content(self) -> bytes:
        """Its bytes."""
        return kept(self.key, lambda: build(self.schema, self.variant, self.rows, self.nulls))

    @property
    def data(self) -> dict[str, Any]:
        """What `database_of` makes it of."""
        return {
            "family": self.family,
            "variant": self.variant,
            "rows": self.rows,
            "nulls": self.nulls,
            "dirty": self.dirty,
        }


@functools.cache
def schema_of(family: str, dirty: bool) -> Family:
    """The family of that name, where `dirty` with dirty values and names."""
    return dirtied(FAMILIES[family]) if dirty else FAMILIES[family]


@dataclass(frozen=True, slots=True)
class File:
    """A SQLite file, opened read-only where it lies; it must not change while it is used."""

    path: str

    @property
    def key(self) -> str:
        """The path, and the file's size and time of change."""
        status = Path(self.path).stat()
        return f"{self.path}:{status.st_size}:{status.st_mtime_ns}"

    @property
    def name(self) -> str:
        """The file's name without ending."""
        return Path(self.path).stem

    def content(self) -> bytes:
        """Nothing: the file is opened by its path."""
        return b""

    @property
    def data(self) -> dict[str, Any]:
        """What `database_of` makes it of."""
        return {"path": self.path}


class Database(Source, Hashable, Protocol):
    """What tasks are about."""

    @property
    def name(self) -> str:
        """What prompts call it."""

    @property
    def data(self) -> dict[str, Any]:
        """What `database_of` makes it of."""


def database_of(data: Mapping[str, Any]) -> Database:
    """The database that a task's data names."""
    if "file" in data:
        from tir_gym.envs.sql.imported import Imported

        return Imported(data["file"])
    return File(data["path"]) if "path" in data else Generated(**data)


def connect(database: Source) -> sqlite3.Connection:
    """A connection of this process to a copy in memory or to the file, for SQL of our own only; to be closed."""
    if database.path:
        return sqlite3.connect(f"{Path(database.path).resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(database.content())
    return connection


def scaled(limits: QueryLimits, database: Database) -> QueryLimits:
    """Limits for statements on a database: more work and time on one that was made larger than usual."""
    rows = database.rows if isinstance(database, Generated) else 0
    return replace(limits, ops=max(limits.ops, 400 * rows), seconds=max(limits.seconds, rows / 40_000))


def fingerprint(rows: Any) -> str:
    """Short hash of plain data."""
    return hashlib.blake2b(repr(rows).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
