"""The agent's tools: look at tables, query them, see a plan, submit the final query."""

import copy
import difflib
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from tir_gym.core.interfaces import Done, RunStatus
from tir_gym.core.requests import RunCode
from tir_gym.core.tool import EnvError, Output, Submit, ToolError, Toolkit, ToolRun, tool
from tir_gym.core.transcript import CallErrorType, TextPart
from tir_gym.envs.sql.engine import EngineUnavailable, Failure, QueryLimits, Result, Source, Table, engine
from tir_gym.envs.sql.onetable import OneTable
from tir_gym.envs.sql.scan import names
from tir_gym.envs.sql.show import as_text
from tir_gym.envs.sql.world import SqlWorld
from tir_gym.tools.python import PythonToolkit

SAMPLE_ROWS = 3
_WRITE = "with open({!r}, 'w') as file: _ = file.write({!r})\ndel file, _"
_PLACING_S = 30.0
_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
_MISSING = re.compile(r"no such (table|column): (?:\w+\.)?(.+)")


@dataclass(frozen=True)
class Desk:
    """Where statements of one episode are run: a database, limits, and the moment at which its clock stands."""

    database: Source
    limits: QueryLimits
    now: str
    allowed: ClassVar[str] = "only reading is, with SELECT or WITH ... SELECT"

    def run(self, *statements: str) -> list[Result]:
        """The results. Raises `EnvError` where the environment cannot run SQL."""
        try:
            return engine().run([(self.database, sql) for sql in statements], self.limits, self.now)
        except (EngineUnavailable, OSError) as error:
            raise EnvError(str(error)) from error

    def table(self, sql: str) -> Table:
        """The result of a statement of ours or the policy's. Raises `ToolError` that says what is wrong with it."""
        (found,) = self.run(sql)
        if isinstance(found, Failure):
            raise self.complaint(found, sql)
        return found

    def tables(self) -> list[str]:
        """The names of tables and views."""
        return [name for (name,) in self.table(_TABLES).rows]

    def complaint(self, failure: Failure, sql: str) -> ToolError:
        """A failure in words, with the mend."""
        match failure.kind:
            case "refused":
                return ToolError(f"not allowed here: {failure.message}; {self.allowed}")
            case "ops" | "time" | "killed":
                return ToolError("the query takes too long and was ended; make it simpler", CallErrorType.TIMEOUT)
            case "memory":
                return ToolError("the query needs too much memory; make it simpler", CallErrorType.TIMEOUT)
        message = f"SQL error: {failure.message}"
        if missing := _MISSING.match(failure.message):
            message += self._nearest(missing[1], missing[2], sql)
        return ToolError(message, CallErrorType.EXCEPTION)

    def _nearest(self, kind: str, name: str, sql: str) -> str:
        tables = self.tables()
        if kind == "table":
            return _hint(name, tables)
        used = names(sql)
        asked = [table for table in tables if table.lower() in used] or tables
        columns: dict[str, list[str]] = {}
        described = self.run(*(f"PRAGMA table_info({_quoted(table)})" for table in asked))
        for table, found in zip(asked, described, strict=True):
            for row in found.rows if isinstance(found, Table) else ():
                columns.setdefault(row[1], []).append(table)
        near = difflib.get_close_matches(name.lower()[:80], columns, n=3, cutoff=0.5)
        if near:
            return "; the nearest are: " + ", ".join(f"{'/'.join(columns[each])}.{each}" for each in near)
        return "; there are: " + ", ".join(f"{'/'.join(held)}.{each}" for each, held in columns.items())[:400]


def _hint(name: str, there_are: list[str]) -> str:
    near = difflib.get_close_matches(name[:80], there_are, n=3, cutoff=0.5)
    return f"; the nearest are: {', '.join(near)}" if near else f"; there are: {', '.join(there_are)[:400]}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class WorldDesk(Desk):
    """A desk where statements are run on a world, and may change it."""

    world: SqlWorld
    allowed: ClassVar[str] = "only reading and changing tables of this database is"

    def run(self, *statements: str) -> list[Result]:
        """The results. Raises `EnvError` where the environment cannot run SQL."""
        return [self.world.run(sql, self.limits) for sql in statements]


class LookingToolkit(Toolkit):
    """Look at the tables of one database, and at the plans of statements."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self)(self._desk)
        copied._withheld, copied.tools_version = self._withheld, self.tools_version
        return copied

    @tool(kind="evidence", effect="read", latency_s=0.01)
    def list_tables(self) -> Output:
        """List the tables and views of the database with their number of columns and rows."""
        tables = self._desk.tables()
        counted = [
            f"SELECT (SELECT COUNT(*) FROM pragma_table_info('{_text(t)}')), COUNT(*) FROM {_quoted(t)}" for t in tables
        ]
        rows = []
        for name, found in zip(tables, self._desk.run(*counted), strict=True):
            rows.append((name, *(found.rows[0] if isinstance(found, Table) else (None, None))))
        return _output(Table(("table", "columns", "rows"), tuple(rows), len(rows)), typed=False, tables=len(rows))

    @tool(kind="evidence", effect="read", latency_s=0.01)
    def describe_table(self, table: str) -> Output:
        """Describe a table: columns with types and keys, the number of rows, and a few of them.

        Args:
            table: Its name, as `list_tables` gives it.
        """
        tables = self._desk.tables()
        name = next((each for each in tables if each.lower() == table.lower()), None)
        if name is None:
            raise ToolError(f"there is no table {table[:80]!r}{_hint(table, tables)}", CallErrorType.EXCEPTION)
        quoted = _quoted(name)
        info, keys, indexes, count, sample = self._desk.run(
            f"PRAGMA table_info({quoted})",
            f"PRAGMA foreign_key_list({quoted})",
            f"SELECT i.name FROM pragma_index_list('{_text(name)}') l, pragma_index_info(l.name) i "
            'WHERE l."unique" GROUP BY l.name HAVING COUNT(*) = 1',
            f"SELECT COUNT(*) FROM {quoted}",
            f"SELECT * FROM {quoted} LIMIT {SAMPLE_ROWS}",
        )
        if isinstance(info, Failure):
            raise self._desk.complaint(info, name)
        links = {row[3]: f"references {row[2]}({row[4] or 'its key'})" for row in _rows(keys)}
        unique = {row[0] for row in _rows(indexes)}
        columns = []
        for _, column, kind, not_null, _, primary in info.rows:
            notes = ["primary key"] if primary else ["unique"] if column in unique else []
            notes += ["not null"] if not_null and not primary else []
            notes += [links[column]] if column in links else []
            columns.append((column, kind or None, ", ".join(notes) or None))
        shape = Table(("column", "type", "constraints"), tuple(columns), len(columns))
        total = _rows(count)
        shown = as_text(sample) if isinstance(sample, Table) else "(its rows cannot be read)"
        rows = total[0][0] if total else "unknown"
        text = f"{name}: {rows} rows\n{as_text(shape, typed=False)}\nThe first rows:\n{shown}"
        return Output((TextPart(text),), text, facts={"table": name, "columns": len(columns)})

    @tool(kind="evidence", effect="read", latency_s=0.01)
    def explain(self, sql: str) -> Output:
        """See how the database would run a statement (its query plan), without running it.

        Args:
            sql: The statement, without EXPLAIN.
        """
        found = self._desk.table(f"EXPLAIN QUERY PLAN {sql}")
        depth: dict[int, int] = {0: -1}
        lines = []
        for own, parent, _, detail in found.rows:
            depth[own] = depth.get(parent, -1) + 1
            lines.append("  " * depth[own] + detail)
        text = "\n".join(lines) or "(nothing to do)"
        return Output((TextPart(text),), text, facts={"steps": len(lines)})


class ReadingToolkit(LookingToolkit):
    """Read one database."""

    @tool(kind="evidence", effect="read", latency_s=0.05)
    def query(self, sql: str) -> Output:
        """Run one reading SQL statement (SELECT, WITH, VALUES) and see its result.

        Args:
            sql: The statement, in SQLite's dialect.
        """
        found = self._desk.table(sql)
        if not found.columns:
            raise ToolError("there is no statement in this; send one SELECT", CallErrorType.EXCEPTION)
        return _output(found, rows=found.count, columns=len(found.columns))


class SqlToolkit(ReadingToolkit):
    """Read one database and submit a query."""

    @tool(kind="control", effect="read")
    def submit_sql(self, sql: str) -> Submit:
        """Submit the query that answers the question and end. It is judged by what it returns.

        Args:
            sql: One SELECT statement.
        """
        return Submit(sql)


class WriteToolkit(LookingToolkit):
    """Read and change one database, a copy that belongs to the episode."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self)(copy.deepcopy(self._desk, memo))
        copied._withheld, copied.tools_version = self._withheld, self.tools_version
        return copied

    @tool(kind="action", effect="write", latency_s=0.05)
    def execute(self, sql: str) -> Output:
        """Run one SQL statement, which may read (SELECT, WITH) or change the database (INSERT, UPDATE, DELETE, CREATE,
        ALTER, DROP). It is done whole or, where it fails, not at all; references are enforced.

        Args:
            sql: The statement, in SQLite's dialect.
        """
        found = self._desk.table(sql)
        if found.columns:
            return _output(found, rows=found.count, columns=len(found.columns), changed=found.changed)
        if found.changed < 0:
            raise ToolError("there is no statement in this; send one", CallErrorType.EXCEPTION)
        text = f"done, {found.changed} row{'' if found.changed == 1 else 's'} changed"
        return Output((TextPart(text),), text, facts={"rows": 0, "columns": 0, "changed": found.changed})

    @tool(kind="control", effect="read")
    def submit_done(self) -> Submit:
        """Say that the database is as it was asked for, and end. It is judged as it then is."""
        return Submit("done")


class TableToolkit(ReadingToolkit):
    """Read one table with SQL, and with Python, in whose working directory it lies as a CSV file."""

    def __init__(self, desk: Desk, database: OneTable, deadline_s: float) -> None:
        super().__init__(desk)
        self._database = database
        self._deadline_s = deadline_s
        self._placed = False

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self)(self._desk, self._database, self._deadline_s)
        copied._withheld, copied.tools_version, copied._placed = self._withheld, self.tools_version, self._placed
        return copied

    @tool(kind="verification", effect="write", latency_s=0.1, from_code=False)
    def python(self, code: str) -> ToolRun:
        """Run Python code.
        The table is a CSV file in the working directory. Variables stay for the next call; what you print and the
        value of the last expression come back. numpy is installed; there is no network.

        Args:
            code: the program text
        """
        if not self._placed:
            placed: Done = yield RunCode(_WRITE.format(f"{self._database.table}.csv", self._database.csv()), _PLACING_S)
            if placed.status is not RunStatus.OK:
                raise EnvError(f"the table could not be written to the session: {placed.error or placed.status.value}")
            self._placed = True
        output: Output = yield from PythonToolkit(self._deadline_s).python(code)
        self._placed = not output.facts["state_lost"]
        return output

    @tool(kind="control", effect="read")
    def submit_value(self, value: float) -> Submit:
        """Submit the value that answers the question and end.

        Args:
            value: The number.
        """
        return Submit(repr(value))


def _rows(found: Result) -> tuple[tuple[object, ...], ...]:
    return found.rows if isinstance(found, Table) else ()


def _text(name: str) -> str:
    return name.replace("'", "''")


def _output(table: Table, *, typed: bool = True, **facts: int) -> Output:
    text = as_text(table, typed=typed)
    return Output((TextPart(text),), text, facts=facts)
