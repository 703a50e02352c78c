"""What a statement may take, what it returns, and how two states of a database differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one statement. A row more, or a byte more once there is a row, is counted but not returned."""

    rows: int = 200
    bytes: int = 64_000
    ops: int = 20_000_000
    """Virtual machine instructions, counted in steps of 10,000: the same on every machine."""
    seconds: float = 5.0
    """Processor time of the worker; a second guard, which a slow machine may reach before `ops`."""
    count: int = 10_000
    """Rows beyond this many are not even counted."""

    @property
    def terms(self) -> dict[str, float]:
        """As a worker is told them."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "ops": self.ops,
            "seconds": self.seconds,
            "count": self.count,
        }

    def after(self, results: Sequence[Result]) -> QueryLimits:
        """What is left of instructions and seconds once these have used their part."""
        done = [found for found in results if isinstance(found, Table)]
        ops, seconds = sum(found.ops for found in done), sum(found.seconds for found in done)
        return replace(self, ops=max(0, self.ops - ops), seconds=max(0.0, self.seconds - seconds))


@dataclass(frozen=True, slots=True)
class Table:
    """What a statement returned: rows in order, with duplicates; a blob is `{"hex": digits}`.

    `count` is the number of rows there are, of which `rows` are the first; `more` says that even more were not counted.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    count: int
    more: bool = False
    changed: int = -1
    """Rows that it wrote, by triggers and references as well; -1 for a statement that only reads."""
    ops: int = field(default=0, compare=False)
    """Instructions it took, in steps of 10,000."""
    seconds: float = field(default=0.0, compare=False)
    """Processor time it took, where that was measured."""

    @property
    def whole(self) -> bool:
        """Whether every row is here."""
        return self.count == len(self.rows) and not self.more


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a statement returned nothing.

    `kind` is `sql` (SQLite's own complaint), `refused` (not allowed: `message` names what), `ops` or `time` (too long),
    `killed` (the worker had to be ended, or crashed), `memory`, or `space` (the database would grow too large).
    """

    kind: str
    message: str


Result = Table | Failure
Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How a table, view or trigger differs between two states of a database.

    `before` and `after` say what it is, one column, index or reference (or its SQL) a line; () where it is not there.
    `removed` and `added` are rows as bags, sorted: a row that was changed is in both, with its old and new values.
    """

    name: str
    """In small letters."""
    kind: str
    """`table`, `view` or `trigger`."""
    before: tuple[str, ...]
    after: tuple[str, ...]
    removed: Rows
    added: Rows


@dataclass(frozen=True, slots=True)
class Changes:
    """How two states of a database differ, by name; `more` says that rows beyond the limits are left out.

    `digest` is a hash of all of it, "" for no difference.
    """

    tables: tuple[Change, ...]
    more: bool
    digest: str
