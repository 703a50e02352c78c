"""The agent's tools: look at tables, query them, see a plan, submit the final query."""

import copy
from typing import Self

from tir_gym.core.interfaces import Done, RunStatus
from tir_gym.core.requests import RunCode
from tir_gym.core.tool import EnvError, Output, Submit, ToolError, Toolkit, ToolRun, tool
from tir_gym.core.transcript import CallErrorType, TextPart
from tir_gym.envs.sql.desks import Desk, Waiting, hint, quoted, rows
from tir_gym.envs.sql.onetable import OneTable
from tir_gym.envs.sql.results import Table
from tir_gym.envs.sql.show import as_text
from tir_gym.tools.python import PythonToolkit

SAMPLE_ROWS = 3
_WRITE = "with open({!r}, 'w') as file: _ = file.write({!r})\ndel file, _"
_PLACING_S = 30.0


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
    def list_tables(self) -> Waiting[Output]:
        """List the tables and views of the database with their number of columns and rows."""
        tables = yield from self._desk.tables()
        sizes = yield from self._desk.sizes(tables)
        listed = tuple((name, *(rows(found) or ((None, None),))[0]) for name, found in zip(tables, sizes, strict=True))
        return _output(Table(("table", "columns", "rows"), listed, len(listed)), typed=False, tables=len(listed))

    @tool(kind="evidence", effect="read", latency_s=0.01)
    def describe_table(self, table: str) -> Waiting[Output]:
        """Describe a table: columns with types and keys, the number of rows, and a few of them.

        Args:
            table: Its name, as `list_tables` gives it.
        """
        tables = yield from self._desk.tables()
        name = next((each for each in tables if each.lower() == table.lower()), None)
        if name is None:
            raise ToolError(f"there is no table {table[:80]!r}{hint(table, tables)}", CallErrorType.EXCEPTION)
        shape = yield from self._desk.shape(name)
        count, sample = yield from self._desk.run(
            f"SELECT COUNT(*) FROM {quoted(name)}", f"SELECT * FROM {quoted(name)} LIMIT {SAMPLE_ROWS}"
        )
        shown = as_text(sample) if isinstance(sample, Table) else "(its rows cannot be read)"
        total = rows(count)[0][0] if rows(count) else "unknown"
        text = f"{name}: {total} rows\n{as_text(shape, typed=False)}\nThe first rows:\n{shown}"
        return Output((TextPart(text),), text, facts={"table": name, "columns": len(shape.rows)})

    @tool(kind="evidence", effect="read", latency_s=0.01)
    def explain(self, sql: str) -> Waiting[Output]:
        """See how the database would run a statement (its query plan), without running it.

        Args:
            sql: The statement, without EXPLAIN.
        """
        lines = yield from self._desk.plan(sql)
        text = "\n".join(lines) or "(nothing to do)"
        return Output((TextPart(text),), text, facts={"steps": len(lines)})


class ReadingToolkit(LookingToolkit):
    """Read one database."""

    @tool(kind="evidence", effect="read", latency_s=0.05)
    def query(self, sql: str) -> Waiting[Output]:
        """Run one reading SQL statement (SELECT, WITH, VALUES) and see its result.

        Args:
            sql: The statement, in the dialect of SQLite, or of DuckDB where the task says so.
        """
        found = yield from self._desk.table(sql)
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
    def execute(self, sql: str) -> Waiting[Output]:
        """Run one SQL statement, which may read (SELECT, WITH) or change the database (INSERT, UPDATE, DELETE, CREATE,
        ALTER, DROP). It is done whole or, where it fails, not at all; references are enforced.

        Args:
            sql: The statement, in SQLite's dialect.
        """
        found = yield from self._desk.table(sql)
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


def _output(table: Table, *, typed: bool = True, **facts: int) -> Output:
    text = as_text(table, typed=typed)
    return Output((TextPart(text),), text, facts=facts)
