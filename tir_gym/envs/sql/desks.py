"""Where the statements of an episode are run, and what its mistakes are called."""

import difflib
import re
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from tir_gym.core.requests import Shared
from tir_gym.core.tool import EnvError, ToolError
from tir_gym.core.transcript import CallErrorType
from tir_gym.envs.sql.engine import Job, Kind, Source, engine
from tir_gym.envs.sql.results import Failure, QueryLimits, Result, Rows, Table
from tir_gym.envs.sql.scan import names
from tir_gym.envs.sql.world import SqlWorld

_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_MISSING = re.compile(r"no such (table|column): (?:\w+\.)?(.+)")

T = TypeVar("T")
Waiting = Generator[Any, Any, T]
"""What takes requests to find out."""


@dataclass(slots=True)
class Statements(Shared):
    """Run statements that read; answered with `list[Result]`, or with `EnvError` where SQL cannot be run."""

    kind: Kind
    jobs: Sequence[Job]

    @property
    def service(self) -> Hashable:
        """The engine."""
        return self.kind

    @classmethod
    def perform_all(cls, requests: Sequence[Self]) -> list[Any]:
        """All of them at once."""
        found = iter(engine(requests[0].kind).each([job for request in requests for job in request.jobs]))
        return [_results([next(found) for _ in request.jobs]) for request in requests]


def _results(found: list[Result | Exception]) -> list[Any] | EnvError:
    failure = next((each for each in found if isinstance(each, Exception)), None)
    return found if failure is None else EnvError(str(failure))


@dataclass(frozen=True)
class Desk:
    """Where statements of one episode are run: a database, limits, and the moment at which its clock stands."""

    database: Source
    limits: QueryLimits
    now: str
    allowed: ClassVar[str] = "only reading is, with SELECT or WITH ... SELECT"
    kind: ClassVar[Kind] = "sqlite"

    def run(self, *statements: str) -> Waiting[list[Result]]:
        """The results. Raises `EnvError` where the environment cannot run SQL."""
        jobs = [Job(self.database, sql, self.limits, self.now) for sql in statements]
        found: list[Result] = yield Statements(self.kind, jobs)
        return found

    def table(self, sql: str) -> Waiting[Table]:
        """The result of a statement of ours or the policy's. Raises `ToolError` that says what is wrong with it."""
        (found,) = yield from self.run(sql)
        if isinstance(found, Failure):
            raise (yield from self.complaint(found, sql))
        return found

    def tables(self) -> Waiting[list[str]]:
        """The names of tables and views."""
        found = yield from self.table(_TABLES)
        return [name for (name,) in found.rows]

    def sizes(self, tables: Sequence[str]) -> Waiting[list[Result]]:
        """Of each table the number of columns and that of rows."""
        columns = "SELECT COUNT(*) FROM pragma_table_info"
        return (yield from self.run(*(f"SELECT ({columns}('{_text(t)}')), COUNT(*) FROM {quoted(t)}" for t in tables)))

    def shape(self, table: str) -> Waiting[Table]:
        """The columns of a table: name, type, constraints. Raises `ToolError`."""
        info, keys, indexes = yield from self.run(
            f"PRAGMA table_info({quoted(table)})",
            f"PRAGMA foreign_key_list({quoted(table)})",
            f"SELECT i.name FROM pragma_index_list('{_text(table)}') l, pragma_index_info(l.name) i "
            'WHERE l."unique" GROUP BY l.name HAVING COUNT(*) = 1',
        )
        if isinstance(info, Failure):
            raise (yield from self.complaint(info, table))
        links = {row[3]: f"references {row[2]}({row[4] or 'its key'})" for row in rows(keys)}
        unique = {row[0] for row in rows(indexes)}
        columns = []
        for _, column, kind, not_null, _, primary in info.rows:
            notes = ["primary key"] if primary else ["unique"] if column in unique else []
            notes += ["not null"] if not_null and not primary else []
            notes += [links[column]] if column in links else []
            columns.append((column, kind or None, ", ".join(notes) or None))
        return Table(("column", "type", "constraints"), tuple(columns), len(columns))

    def plan(self, sql: str) -> Waiting[list[str]]:
        """How a statement would be run, one step a line. Raises `ToolError`."""
        depth: dict[int, int] = {0: -1}
        lines = []
        found = yield from self.table(f"EXPLAIN QUERY PLAN {sql}")
        for own, parent, _, detail in found.rows:
            depth[own] = depth.get(parent, -1) + 1
            lines.append("  " * depth[own] + detail)
        return lines

    def complaint(self, failure: Failure, sql: str) -> Waiting[ToolError]:
        """A failure in words, with the mend."""
        match failure.kind:
            case "refused":
                return ToolError(f"not allowed here: {failure.message}; {self.allowed}")
            case "ops" | "time" | "killed":
                return ToolError("the query takes too long and was ended; make it simpler", CallErrorType.TIMEOUT)
            case "space":
                return ToolError(f"{failure.message}; write less")
            case "memory":
                return ToolError("the query needs too much memory; make it simpler", CallErrorType.TIMEOUT)
        message = f"SQL error: {failure.message}"
        if missing := _MISSING.match(failure.message):
            message += yield from self._nearest(missing[1], missing[2], sql)
        return ToolError(message, CallErrorType.EXCEPTION)

    def _nearest(self, kind: str, name: str, sql: str) -> Waiting[str]:
        tables = yield from self.tables()
        if kind == "table":
            return hint(name, tables)
        used = names(sql)
        asked = [table for table in tables if table.lower() in used] or tables
        columns: dict[str, list[str]] = {}
        described = yield from self.run(*(f"PRAGMA table_info({quoted(table)})" for table in asked))
        for table, found in zip(asked, described, strict=True):
            for row in found.rows if isinstance(found, Table) else ():
                columns.setdefault(row[1], []).append(table)
        near = difflib.get_close_matches(name.lower()[:80], columns, n=3, cutoff=0.5)
        if near:
            return "; the nearest are: " + ", ".join(f"{'/'.join(columns[each])}.{each}" for each in near)
        return "; there are: " + ", ".join(f"{'/'.join(held)}.{each}" for each, held in columns.items())[:400]


def hint(name: str, there_are: list[str]) -> str:
    """What of what there is a name is nearest to, as the end of a complaint."""
    near = difflib.get_close_matches(name[:80], there_are, n=3, cutoff=0.5)
    return f"; the nearest are: {', '.join(near)}" if near else f"; there are: {', '.join(there_are)[:400]}"


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


class DuckDesk(Desk):
    """A desk whose statements DuckDB runs."""

    kind: ClassVar[Kind] = "duckdb"

    def tables(self) -> Waiting[list[str]]:
        """The names of tables and views."""
        found = yield from self.table(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY 1"
        )
        return [name for (name,) in found.rows]

    def sizes(self, tables: Sequence[str]) -> Waiting[list[Result]]:
        """Of each table the number of columns and that of rows."""
        columns = "SELECT COUNT(*) FROM duckdb_columns() WHERE schema_name = 'main' AND table_name ="
        return (yield from self.run(*(f"SELECT ({columns} '{_text(t)}'), COUNT(*) FROM {quoted(t)}" for t in tables)))

    def shape(self, table: str) -> Waiting[Table]:
        """The columns of a table: name, type, constraints. Raises `ToolError`."""
        info, keys = yield from self.run(
            "SELECT column_name, data_type, is_nullable, comment FROM duckdb_columns() "
            f"WHERE schema_name = 'main' AND table_name = '{_text(table)}' ORDER BY column_index",
            "SELECT unnest(constraint_column_names), constraint_type FROM duckdb_constraints() "
            f"WHERE table_name = '{_text(table)}' AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')",
        )
        if isinstance(info, Failure):
            raise (yield from self.complaint(info, table))
        held = {column: kind.lower() for column, kind in rows(keys)}
        columns = []
        for column, kind, nullable, comment in info.rows:
            notes = [held[column]] if column in held else []
            notes += ["not null"] if not nullable and held.get(column) != "primary key" else []
            notes += [comment] if comment else []
            columns.append((column, kind, ", ".join(notes) or None))
        return Table(("column", "type", "constraints"), tuple(columns), len(columns))

    def plan(self, sql: str) -> Waiting[list[str]]:
        """How a statement would be run. Raises `ToolError`."""
        found = yield from self.table(f"EXPLAIN {sql}")
        return [line for row in found.rows for line in str(row[-1]).splitlines()]

    def complaint(self, failure: Failure, sql: str) -> Waiting[ToolError]:
        """A failure in words; DuckDB itself names what is nearest."""
        if failure.kind == "sql":
            return ToolError(f"SQL error: {failure.message[:1_000]}", CallErrorType.EXCEPTION)
        return (yield from super().complaint(failure, sql))


@dataclass(frozen=True)
class WorldDesk(Desk):
    """A desk where statements are run on a world, and may change it."""

    world: SqlWorld
    allowed: ClassVar[str] = "only reading and changing tables of this database is"

    def run(self, *statements: str) -> Waiting[list[Result]]:
        """The results. Raises `EnvError` where the environment cannot run SQL."""
        yield from ()
        return [self.world.run(sql, self.limits) for sql in statements]


def rows(found: Result) -> Rows:
    """The rows of a result, none of a failure."""
    return found.rows if isinstance(found, Table) else ()


def _text(name: str) -> str:
    return name.replace("'", "''")
