"""What keeps a policy's SQL in bounds: the authorizer, the limits, the clock that stands still.

Standard library only; loaded by `serve`, in a process that the host can kill.

- The authorizer allows reading ordinary tables, the functions of `FUNCTIONS`, and six pragmas that describe tables;
  in a session that writes (`writing`) also INSERT, UPDATE, DELETE and the statements of `_WRITES` on ordinary tables.
- Nothing can be attached or loaded, and no file written: files are opened `mode=ro&immutable=1`, reading connections
  are `query_only`, and the process may not write to files at all.
- A handler called every `STEP` virtual machine instructions ends a statement after `ops` of them, or `seconds` of
  processor time: what else the machine is doing costs a statement nothing.
- Lengths, depths, and the memory of all connections together are limited; `printf` is refused wide fields.
- What no handler interrupts (a long `instr`, a deep `LIKE`) is ended by the host, which kills this process.

The clock stands still: `'now'` and `CURRENT_TIMESTAMP` are what the request says, and nothing is random.
"""

import contextlib
import functools
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

STEP = 10_000
HEAP = 768 << 20
"""Bytes that all connections may hold together, databases in memory included."""
KEPT = 256 << 20
"""Bytes of databases kept in memory; beyond, the least recently used is dropped."""
WIDEST = 1_000
"""Greatest width or precision that `printf` takes."""

_NAMES = (
    "abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh count "
    "cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor "
    "format glob group_concat hex ifnull iif instr json json_array json_array_length json_each json_extract "
    "json_group_array json_group_object json_object json_quote json_tree json_type json_valid julianday lag "
    "last_value lead length like likelihood likely ln log log10 log2 lower ltrim max min mod nth_value ntile "
    "nullif octet_length percent_rank pi pow power printf quote radians rank replace round row_number rtrim sign "
    "sin sinh soundex sqrt strftime string_agg substr substring subtype sum tan tanh time total trim trunc typeof "
    "unhex unicode unixepoch unlikely upper -> ->> "
)
FUNCTIONS = frozenset(_NAMES.split())
"""What a query may call. Each is linear in its arguments, or bounded at `LENGTH` by the host's kill."""

PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
CATALOGUES = frozenset({"sqlite_master", "sqlite_schema", "json_each", "json_tree", *(f"pragma_{p}" for p in PRAGMAS)})
"""Tables that may be read besides those of the database."""

LENGTH = 200_000
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LENGTH,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 50_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 250_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 4,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_CHANGES = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_DEFINES = frozenset(
    getattr(sqlite3, f"SQLITE_{deed}_{kind}")
    for deed in ("CREATE", "DROP")
    for kind in ("TABLE", "INDEX", "VIEW", "TRIGGER")
) | {sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_REINDEX}
"""What else a writing session may do. Nothing temporary: a copy of the database would not have it."""
_CATALOGUED = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_sequence", "sqlite_stat1"})
"""Tables that these statements read and write; SQLite itself lets no statement write the first three by name."""
_RENAMING = frozenset(
    f"sqlite_{name}" for name in ("rename_column", "rename_table", "rename_test", "rename_quotefix", "drop_column")
)
"""Functions of ALTER TABLE, which SQLite hides from statements."""
_DENIED = {
    value: name.removeprefix("SQLITE_").replace("_", " ")
    for name, value in vars(sqlite3).items()
    if name.startswith(("SQLITE_CREATE", "SQLITE_DROP", "SQLITE_ALTER"))
} | {
    sqlite3.SQLITE_INSERT: "INSERT",
    sqlite3.SQLITE_UPDATE: "UPDATE",
    sqlite3.SQLITE_DELETE: "DELETE",
    sqlite3.SQLITE_ATTACH: "ATTACH (or VACUUM)",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_TRANSACTION: "a transaction",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT",
    sqlite3.SQLITE_REINDEX: "REINDEX",
    sqlite3.SQLITE_ANALYZE: "ANALYZE",
}
_NO_FILE = (10, 14)
"""SQLITE_IOERR, SQLITE_CANTOPEN: what it answers where it may not have a temporary file."""
_CLOCKED = ("date", "time", "datetime", "julianday", "unixepoch", "strftime")
_WIDE = re.compile(r"%[-+ 0#,!]*(\*|\d+)?(?:\.(\*|\d+))?")


class Clock:
    """The built-in date functions with a fixed moment for `now`."""

    def __init__(self) -> None:
        self.now = self.complaint = ""
        self._plain = sqlite3.connect(":memory:")
        self._call = functools.lru_cache(8192, typed=True)(self._delegate)

    def _delegate(self, name: str, *arguments: Any) -> Any:
        marks = ",".join("?" * len(arguments))
        return self._plain.execute(f"SELECT {name}({marks})", arguments).fetchone()[0]

    def function(self, name: str) -> Callable[..., Any]:
        """The built-in function of that name, told the time."""
        moment = 1 if name == "strftime" else 0

        def tell(*arguments: Any) -> Any:
            given = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in arguments]
            given = [each.partition("\0")[0] if isinstance(each, str) else each for each in given]
            if len(given) == moment:
                given.append(self.now)
            elif len(given) > moment and isinstance(given[moment], str) and given[moment].lower() == "now":
                given[moment] = self.now
            return self._call(name, *given)

        return tell

    def printf(self, *arguments: Any) -> Any:
        """`printf` without wide fields. Raises `ValueError` for one, and leaves word of it in `complaint`."""
        if arguments and isinstance(arguments[0], str):
            for found in _WIDE.findall(arguments[0]):
                if any(part == "*" or (part and (len(part) > 4 or int(part) > WIDEST)) for part in found):
                    self.complaint = f"printf: a width is a number up to {WIDEST}"
                    raise ValueError(self.complaint)
        return self._call("printf", *arguments)


def opened(blob: bytes, path: str) -> sqlite3.Connection:
    """A connection that only reads: to the file of that path, or to the bytes of one. Raises `sqlite3.Error`."""
    if path:
        uri = f"file:{urllib.parse.quote(path)}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    else:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.deserialize(blob)
    connection.execute("PRAGMA query_only=ON")
    return connection


@functools.cache
def _modules() -> frozenset[str]:
    """Names of what makes virtual tables in this build of SQLite."""
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        return frozenset(name.lower() for (name,) in plain.execute("PRAGMA module_list"))


@functools.cache
def _refused() -> tuple[tuple[str, int], ...]:
    """Functions of this build that are not allowed, with their numbers of arguments."""
    with contextlib.closing(sqlite3.connect(":memory:")) as plain:
        held = plain.execute("SELECT DISTINCT name, narg FROM pragma_function_list WHERE type = 's'")
        return tuple(each for each in held if each[0] not in FUNCTIONS)


def _refuse(name: str) -> Callable[..., Any]:
    def refused(*arguments: Any) -> Any:
        raise PermissionError(name)

    return refused


class Database:
    """One database and the guard of the statement that runs on it; `writable` says whether it may change it."""

    writable = False

    def __init__(self, clock: Clock, connection: sqlite3.Connection, size: int) -> None:
        self.size = size
        self.connection = connection
        self._clock = clock
        self.denied = ""
        self.trusted = False
        """Whether the statement is one of ours."""
        self.changes = False
        """Whether the statement was one that changes something."""
        self.ops = self.most_ops = 0
        self.deadline = 0.0
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute(f"PRAGMA hard_heap_limit={HEAP}").fetchall()
        if self.writable:  # a statement that has changed something cannot be run again
            connection.execute("PRAGMA temp_store=MEMORY")
        names = connection.execute("SELECT lower(name), sql FROM sqlite_master WHERE type IN ('table', 'view')")
        self.tables = {name for name, sql in names.fetchall() if not str(sql).upper().startswith("CREATE VIRTUAL")}
        self.modules = _modules()
        for function in (*(f"pragma_{name}('')" for name in sorted(PRAGMAS)), "json_each('[]')", "json_tree('[]')"):
            connection.execute(f"SELECT * FROM {function}").fetchall()  # their tables are made now or never
        self._replace_functions()
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(self._authorize)
        connection.set_progress_handler(self._progress, STEP)

    def _replace_functions(self) -> None:
        """Put ours in the place of those that tell the time or pad; and of those that are not allowed, which the
        authorizer does not see where a column's DEFAULT calls them."""
        connection, clock = self.connection, self._clock
        for name, arguments in _refused():
            connection.create_function(name, arguments, _refuse(name), deterministic=True)
        for name in _CLOCKED:
            connection.create_function(name, -1, clock.function(name), deterministic=True)
        for name in ("date", "time", "datetime"):
            keyword = "current_timestamp" if name == "datetime" else f"current_{name}"
            connection.create_function(keyword, 0, clock.function(name), deterministic=True)
        connection.create_function("printf", -1, clock.printf, deterministic=True)
        connection.create_function("format", -1, clock.printf, deterministic=True)

    def _authorize(self, action: int, first: str | None, second: str | None, base: Any, _via: Any) -> int:
        if self.trusted:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            if self._ordinary(first or "", CATALOGUES | _CATALOGUED if self.writable else CATALOGUES):
                return sqlite3.SQLITE_OK
            self.denied = f"the table {first}"
        elif action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        elif action == sqlite3.SQLITE_FUNCTION:
            name = (second or "").lower()
            if name in FUNCTIONS or (self.writable and name in _RENAMING):
                return sqlite3.SQLITE_OK
            self.denied = f"the function {second}"
        elif action == sqlite3.SQLITE_PRAGMA:
            if (first or "").lower() in PRAGMAS:
                return sqlite3.SQLITE_OK
            self.denied = f"PRAGMA {first}"
        elif self.writable and (
            (action in _CHANGES and self._ordinary(first or "", _CATALOGUED)) or (action in _DEFINES and base != "temp")
        ):
            self.changes = True
            return sqlite3.SQLITE_OK
        else:
            self.denied = _DENIED.get(action, f"this statement (action {action})")
        return sqlite3.SQLITE_DENY

    def _ordinary(self, table: str, besides: frozenset[str]) -> bool:
        """Whether a name is that of a plain table or view, or is one of `besides`, or given by the statement itself."""
        name = table.lower()
        return name in self.tables or name in besides or not (name in self.modules or name.startswith("sqlite_"))

    def _progress(self) -> bool:
        self.ops += STEP
        return self.ops > self.most_ops or time.process_time() > self.deadline

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    @contextlib.contextmanager
    def ours(self) -> Iterator[None]:
        """What runs meanwhile is not the policy's."""
        self.trusted = True
        try:
            yield
        finally:
            self.trusted = False

    def run(self, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        """The result of one statement, or its error; `ops` are counted in steps of `STEP`.

        Sorting is a third faster with `temp_store` as it is by default; where that would need a file, which this
        process may not have, the statement is run again with all of it in memory.
        """
        self.deadline = time.process_time() + limits["seconds"]
        found = self._run(sql, limits)
        if found.get("error") != "file":
            return found
        with self.ours():
            self.connection.execute("PRAGMA temp_store=MEMORY")
        found = self._run(sql, limits)
        with self.ours():
            self.connection.execute("PRAGMA temp_store=DEFAULT")
        return found

    def _run(self, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        self.denied, self._clock.complaint, self.ops, self.most_ops = "", "", 0, limits["ops"]
        self.changes = False
        try:
            cursor = self.connection.execute(sql)
            try:
                return self._fetch(cursor, limits)
            finally:
                cursor.close()
        except MemoryError:
            return {"error": "memory", "message": "out of memory"}
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            return self._explain(error)

    def _fetch(self, cursor: sqlite3.Cursor, limits: dict[str, Any]) -> dict[str, Any]:
        rows: list[list[Any]] = []
        size, count, full = 0, 0, False
        for row in cursor:
            count += 1
            if not full:
                cells = [{"hex": cell.hex()} if isinstance(cell, bytes) else cell for cell in row]
                size += sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
                full = len(rows) >= limits["rows"] or (size > limits["bytes"] and bool(rows))
                if not full:
                    rows.append(cells)
            elif count >= limits["count"]:
                return {**self._table(cursor, rows), "count": count, "more": True}
        return {**self._table(cursor, rows), "count": count, "more": False}

    def _table(self, cursor: sqlite3.Cursor, rows: list[list[Any]]) -> dict[str, Any]:
        return {"columns": [column[0] for column in cursor.description or ()], "rows": rows, "ops": self.ops}

    def _explain(self, error: Exception) -> dict[str, Any]:
        message = str(error)
        if self.denied:
            return {"error": "refused", "message": self.denied}
        if message == "interrupted":
            kind = "ops" if self.ops > self.most_ops else "time"
            return {"error": kind, "message": "interrupted", "ops": self.ops}
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_FILE:
            return {"error": "file", "message": message}
        if message == "database or disk is full":
            return {"error": "space", "message": "the database would grow beyond what is allowed"}
        return {"error": "sql", "message": self._clock.complaint or message}
