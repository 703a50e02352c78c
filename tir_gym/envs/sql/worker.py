"""The program that runs policy SQL on SQLite databases; exec'd fresh by `engine`, and killed by it if need be.

Standard library only: it imports nothing of ours. It serves one host on descriptor 0. A message is `HEADER` (length of
a JSON text, length of a blob) and both parts. Requests:

- `{"load": key, "path": ""}` with the bytes of a database as blob, or with the path of a file; answered with `{}`.
- `{"runs": [[key, sql], ...], "rows", "bytes", "ops", "seconds", "count", "now", "stop"}`; answered with
  `{"missing": [key]}` if a database is not loaded (any more), else with `{"results": [...]}`, one object for each run,
  in order (with `stop` up to the first that failed).

What keeps a statement in bounds:

- the authorizer allows reading ordinary tables, the functions of `FUNCTIONS`, and six pragmas that describe tables;
- nothing can be attached, loaded or written: the connection is `query_only`, files `mode=ro&immutable=1`, and the
  process may not write to files at all;
- a handler called every `STEP` virtual machine instructions ends it after `ops` of them or `seconds`;
- lengths, depths, and the memory of all connections together are limited; `printf` is refused wide fields;
- what no handler interrupts (a long `instr`, a deep `LIKE`) is ended by the host, which kills this process.

The clock stands still: `'now'` and `CURRENT_TIMESTAMP` are what the request says, and nothing is random.
"""

import ctypes
import functools
import json
import os
import re
import resource
import select
import socket
import sqlite3
import struct
import sys
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct("!IQ")
READY = b"R"
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


class Database:
    """One database, opened for reading, and the guard of the statement that runs on it."""

    def __init__(self, clock: Clock, blob: bytes, path: str) -> None:
        self.size = len(blob)
        self._clock = clock
        self.denied = ""
        self.ops = self.most_ops = 0
        self.deadline = 0.0
        if path:
            uri = f"file:{urllib.parse.quote(path)}?mode=ro&immutable=1"
            self.connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        else:
            self.connection = sqlite3.connect(":memory:", isolation_level=None)
            self.connection.deserialize(blob)
        connection = self.connection
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for pragma in ("trusted_schema=OFF", "temp_store=MEMORY", "query_only=ON", f"hard_heap_limit={HEAP}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        names = connection.execute("SELECT lower(name), sql FROM sqlite_master WHERE type IN ('table', 'view')")
        self.tables = {name for name, sql in names.fetchall() if not str(sql).upper().startswith("CREATE VIRTUAL")}
        self.modules = {name.lower() for (name,) in connection.execute("PRAGMA module_list").fetchall()}
        for function in (*(f"pragma_{name}('')" for name in sorted(PRAGMAS)), "json_each('[]')", "json_tree('[]')"):
            connection.execute(f"SELECT * FROM {function}").fetchall()  # their tables are made now or never
        for name in _CLOCKED:
            connection.create_function(name, -1, clock.function(name), deterministic=True)
        for name in ("date", "time", "datetime"):
            keyword = "current_timestamp" if name == "datetime" else f"current_{name}"
            connection.create_function(keyword, 0, clock.function(name), deterministic=True)
        connection.create_function("printf", -1, clock.printf, deterministic=True)
        connection.create_function("format", -1, clock.printf, deterministic=True)
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(self._authorize)
        connection.set_progress_handler(self._progress, STEP)

    def _authorize(self, action: int, first: str | None, second: str | None, _base: Any, _via: Any) -> int:
        if action == sqlite3.SQLITE_READ:
            name = (first or "").lower()
            if name in self.tables or name in CATALOGUES or not (name in self.modules or name.startswith("sqlite_")):
                return sqlite3.SQLITE_OK  # the last are names that the statement itself gives: recursive ones
            self.denied = f"the table {first}"
        elif action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
            return sqlite3.SQLITE_OK
        elif action == sqlite3.SQLITE_FUNCTION:
            if (second or "").lower() in FUNCTIONS:
                return sqlite3.SQLITE_OK
            self.denied = f"the function {second}"
        elif action == sqlite3.SQLITE_PRAGMA:
            if (first or "").lower() in PRAGMAS:
                return sqlite3.SQLITE_OK
            self.denied = f"PRAGMA {first}"
        else:
            self.denied = _DENIED.get(action, f"this statement (action {action})")
        return sqlite3.SQLITE_DENY

    def _progress(self) -> bool:
        self.ops += STEP
        return self.ops > self.most_ops or time.monotonic() > self.deadline

    def run(self, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        """The result of one statement, or its error; `ops` are counted in steps of `STEP`."""
        self.denied, self._clock.complaint, self.ops, self.most_ops = "", "", 0, limits["ops"]
        self.deadline = time.monotonic() + limits["seconds"]
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
        return {"error": "sql", "message": self._clock.complaint or message}


class Store:
    """The databases that are open, least recently used first."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.open: OrderedDict[str, Database] = OrderedDict()

    def load(self, key: str, blob: bytes, path: str) -> dict[str, Any]:
        """Open a database under a key, and close those that are too many."""
        try:
            self.open[key] = Database(self.clock, blob, path)
        except sqlite3.Error as error:
            return {"error": str(error)}
        while len(self.open) > 1 and (len(self.open) > 1_000 or sum(each.size for each in self.open.values()) > KEPT):
            _, oldest = self.open.popitem(last=False)
            oldest.connection.close()
        return {}

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """The results of the runs of a request."""
        if missing := [key for key, _ in request["runs"] if key not in self.open]:
            return {"missing": list(dict.fromkeys(missing))}
        self.clock.now = request["now"]
        results = []
        for key, sql in request["runs"]:
            self.open.move_to_end(key)
            results.append(self.open[key].run(sql, request))
            if request["stop"] and "error" in results[-1]:
                break
        return {"results": results}


def confine() -> None:
    """Take from this process what it does not need: writing files, cores, more memory, new rights."""
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: memory of one statement is kept for the next
        libc.mallopt(option, 32 << 20)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 1_100}
    limits[resource.RLIMIT_AS] = 2 * HEAP
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def main(host: int) -> None:
    """Serve the process `host` on descriptor 0 until that closes or the host ends."""
    watched = os.pidfd_open(host)
    if os.getppid() != host:
        return
    channel = socket.socket(fileno=0)
    requests = channel.makefile("rb")
    confine()
    store = Store()
    channel.sendall(READY)
    ends = [channel.fileno(), watched]
    while watched not in select.select(ends, [], [])[0]:
        header = requests.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length, size = HEADER.unpack(header)
        request = json.loads(requests.read(length))
        blob = requests.read(size)
        reply = store.load(request["load"], blob, request["path"]) if "load" in request else store.run(request)
        text = json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        channel.sendall(HEADER.pack(len(text), 0) + text)


if __name__ == "__main__":
    main(int(sys.argv[1]))
