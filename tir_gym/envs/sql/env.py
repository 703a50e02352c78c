"""The domains: questions about a database, questions about one table, changes to a database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tir_gym.core.domain import Domain
from tir_gym.core.interfaces import Limits, World
from tir_gym.core.task import Filtered, Task, TaskSet
from tir_gym.core.tool import Toolkit
from tir_gym.core.verify import Verifier
from tir_gym.envs.sql import tables, writes
from tir_gym.envs.sql.databases import database_of, scaled
from tir_gym.envs.sql.desks import Desk, DuckDesk, WorldDesk
from tir_gym.envs.sql.engine import NOW, Kind
from tir_gym.envs.sql.onetable import one_table
from tir_gym.envs.sql.results import QueryLimits
from tir_gym.envs.sql.tasks import SIZES, has_one_value, is_portable, kinds, make_tasks
from tir_gym.envs.sql.tools import SqlToolkit, TableToolkit, WriteToolkit
from tir_gym.envs.sql.twins import TWINS
from tir_gym.envs.sql.verify import Mode, NumberVerifier, SqlVerifier, StateVerifier
from tir_gym.envs.sql.world import SqlWorld


@dataclass(frozen=True)
class Sql(Domain):
    """Questions about a database.

    Options: how the query is judged, on how many twins, rows shown, seconds a query, rows of a generated database
    (None: by difficulty), the engine that runs the policy's queries.
    """

    name: ClassVar[str] = "SQL"
    description: ClassVar[str] = "Answer a question about a database with a query that holds on its twins as well."
    instructions: ClassVar[str] = (
        "Answer the question with one SQL query, for SQLite unless the task names another engine. Look at the tables "
        "and try queries with the tools first. Your "
        "final answer is the query itself and nothing else. It is run and must return exactly the columns and "
        "rows asked "
        "for, duplicates included, on this database and on others with the same tables and different content. Do not "
        "round unless asked. The order of rows matters only where one is asked for."
    )
    floor: ClassVar[float] = 0.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": SqlToolkit}
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "id": "looked",
            "question": "Did it look at a table?",
            "rule": "called",
            "parameters": {"tool": "describe_table"},
        },
        {
            "id": "queried",
            "question": "Did it look at a table before its first query?",
            "rule": "called_before",
            "parameters": {"first": "describe_table", "second": "query"},
            "needs": ["looked"],
        },
        {
            "id": "tried",
            "question": "Did it run its final query, with success, before it gave it?",
            "rule": "sql_final_query_ran",
            "needs": ["queried"],
        },
        {
            "id": "no_repeats",
            "question": "Did it send no statement again that had failed?",
            "rule": "sql_no_failure_repeated",
            "needs": ["queried"],
        },
        {"id": "answered", "question": "Did it answer?", "rule": "answered", "needs": ["queried"]},
        {"id": "solved", "question": "Is the answer right?", "rule": "solved", "needs": ["queried"], "weight": 2.0},
    )

    mode: Mode = "test_suite"
    twins: Annotated[int, Field(ge=1, le=64)] = TWINS
    rows_shown: Annotated[int, Field(ge=1, le=1_000)] = 50
    query_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 5.0
    size: Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)] | None = None
    engine: Kind = "sqlite"

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated questions, those of a known benchmark ("defog:PATH"), or about a file ("PATH").

        Of generated ones: for values, those that have one; for DuckDB, those whose gold query it understands as well.
        """
        made = make_tasks(source, split, difficulty, self.size)
        if self.engine == "duckdb" and source is None:
            made = Filtered(made, is_portable)
        return Filtered(made, has_one_value) if self.mode == "value" and source is None else made

    def briefing(self, actor: str, task: Task) -> str:
        """The question; where a value is asked for, or another engine runs the queries, with word of it."""
        lines = [task.prompt]
        lines += ["The database is DuckDB's; dates are texts in it."] if self.engine == "duckdb" else []
        lines += ["Answer with the value itself, not with a query."] if self.mode == "value" else []
        return "\n".join(lines)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The tools, over the task's database."""
        limits = QueryLimits(rows=self.rows_shown, bytes=16_000, seconds=self.query_timeout_s)
        database = database_of(task.data["database"])
        desk = DuckDesk if self.engine == "duckdb" else Desk
        return SqlToolkit(desk(database, scaled(limits, database), task.data.get("now") or NOW))

    def verifier(self) -> Verifier:
        """The result of the final query against gold's."""
        return SqlVerifier(self.mode, self.twins, self.engine)

    def catalogue(self) -> list[dict[str, object]]:
        """The templates of questions, one row each."""
        return kinds()


@dataclass(frozen=True)
class TableQA(Domain):
    """Questions about one table, with SQL and Python.

    Options: seconds a call of `python` may take, megabytes its interpreter may use, rows shown, seconds a query.
    """

    name: ClassVar[str] = "TableQA"
    description: ClassVar[str] = "Answer a question about one table with a number, found with SQL and Python."
    instructions: ClassVar[str] = (
        "Answer the question about one table. It is in a SQLite database, which you can query, and in a CSV file in "
        "the working directory of a Python interpreter. Your final answer is the number and nothing else."
    )
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": TableToolkit}
    runs_code: ClassVar[bool] = True
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"id": "queried", "question": "Did a query work?", "rule": "called", "parameters": {"tool": "query"}},
        {"id": "ran", "question": "Did it run code that worked?", "rule": "called", "parameters": {"tool": "python"}},
        {
            "id": "no_repeats",
            "question": "Did it send no statement again that had failed?",
            "rule": "sql_no_failure_repeated",
            "needs": ["queried"],
        },
        {"id": "answered", "question": "Did it answer?", "rule": "answered", "needs": ["ran"]},
        {"id": "solved", "question": "Is the answer right?", "rule": "solved", "needs": ["ran"], "weight": 2.0},
    )

    call_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    memory_mb: Annotated[int, Field(ge=32)] = 512
    rows_shown: Annotated[int, Field(ge=1, le=1_000)] = 50
    query_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 5.0

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated questions."""
        return tables.make_tasks(source, split, difficulty)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The tools, over the task's table."""
        limits = QueryLimits(rows=self.rows_shown, bytes=16_000, seconds=self.query_timeout_s)
        database = one_table(task.data["database"])
        return TableToolkit(Desk(database, limits, NOW), database, self.call_timeout_s)

    def verifier(self) -> Verifier:
        """The number against gold's."""
        return NumberVerifier()

    def limits(self) -> Limits:
        """The options as limits of a session."""
        return Limits(wall_s=self.call_timeout_s, memory_mb=self.memory_mb)

    def catalogue(self) -> list[dict[str, object]]:
        """What is asked for, one row each."""
        return tables.kinds()


@dataclass(frozen=True)
class SqlWrite(Domain):
    """Changes to a database. Options: rows shown, seconds a statement."""

    name: ClassVar[str] = "SQLWrite"
    description: ClassVar[str] = "Change a database as asked and nothing else, judged by the state it is left in."
    instructions: ClassVar[str] = (
        "Change the database as asked, with statements for SQLite, and change nothing else. Look at the tables with "
        "the tools first. When the database is as it should be, end with the final answer `done`. The tables, columns "
        "and rows are judged as you leave them; their order does not matter. A new table needs no keys or types."
    )
    floor: ClassVar[float] = 0.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": WriteToolkit}
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "id": "looked",
            "question": "Did it look at a table before its first statement?",
            "rule": "called_before",
            "parameters": {"first": "describe_table", "second": "execute"},
        },
        {"id": "changed", "question": "Did a statement work?", "rule": "called", "parameters": {"tool": "execute"}},
        {
            "id": "no_repeats",
            "question": "Did it send no statement again that had failed?",
            "rule": "sql_no_failure_repeated",
            "needs": ["changed"],
        },
        {"id": "answered", "question": "Did it say it was done?", "rule": "answered", "needs": ["changed"]},
        {"id": "solved", "question": "Is the state right?", "rule": "solved", "needs": ["changed"], "weight": 2.0},
    )

    rows_shown: Annotated[int, Field(ge=1, le=1_000)] = 50
    query_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 5.0

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated changes."""
        return writes.make_tasks(source, split, difficulty)

    def world(self, task: Task, seed: int) -> World:
        """A copy of the task's database."""
        return SqlWorld(database_of(task.data["database"]))

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The tools, over the world."""
        limits = QueryLimits(rows=self.rows_shown, bytes=16_000, seconds=self.query_timeout_s)
        return WriteToolkit(WorldDesk(world.base, limits, NOW, world))

    def verifier(self) -> Verifier:
        """The final state against gold's."""
        return StateVerifier()

    def catalogue(self) -> list[dict[str, object]]:
        """The templates of changes, one row each."""
        return writes.kinds()
