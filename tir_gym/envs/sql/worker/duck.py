"""What keeps a policy's SQL in bounds on DuckDB: one SELECT a statement, in a transaction that only reads.

Standard library and duckdb only; loaded by `serve`.

- External access is off before the first statement: no function reads or writes a file, nothing is attached or loaded,
  no Python variable is taken for a table; then the configuration is locked.
- A statement runs on one thread, with `MEMORY` and no file to spill to, in a read-only transaction that is rolled back.
- A signal interrupts it after `seconds` of processor time; what does not heed that is ended by the host.
  There is no count of instructions as SQLite has one, so how far a statement gets depends on the machine.
- The functions of `_FROZEN` tell the time of the request, those of `_RANDOM` are errors.
"""

import contextlib
import datetime
import decimal
import json
import os
import re
import signal
import sqlite3
import sys
import types
from collections.abc import Iterator
from typing import Any

import duckdb

ERRORS = (duckdb.Error, sqlite3.Error, OSError, ValueError)
"""What opening a database raises."""
MEMORY = 512 << 20
LONGEST = 200_000
"""Characters or bytes of one value."""
_SETTINGS = {
    "threads": "1",
    "async_threads": "1",
    "memory_limit": f"{MEMORY}B",
    "temp_directory": "",
    "python_enable_replacements": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
}
_FROZEN = {
    "now": "TIMESTAMP '{now}'",
    "get_current_timestamp": "TIMESTAMP '{now}'",
    "current_timestamp": "TIMESTAMP '{now}'",
    "transaction_timestamp": "TIMESTAMP '{now}'",
    "current_localtimestamp": "TIMESTAMP '{now}'",
    "localtimestamp": "TIMESTAMP '{now}'",
    "today": "DATE '{now}'",
    "current_date": "DATE '{now}'",
    "get_current_time": "CAST(TIMESTAMP '{now}' AS TIME)",
    "current_time": "CAST(TIMESTAMP '{now}' AS TIME)",
    "current_localtime": "CAST(TIMESTAMP '{now}' AS TIME)",
    "localtime": "CAST(TIMESTAMP '{now}' AS TIME)",
}
_RANDOM = ("random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "setseed")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?", re.IGNORECASE)
_MOMENT = re.compile(r"[-0-9T:. ]+")
_CHUNK = 256
_LEAST = 4 << 20
"""Bytes that each open database is taken to need at least."""
NEEDED = ("/proc/self/cgroup", "/sys/fs/cgroup")
"""What it insists on reading when a database is opened: how much memory and how many processors there are."""
_TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl")


class _Utc(datetime.tzinfo):
    """What DuckDB asks `pytz`, a package that need not be installed, for: the zone of a time stamp, here always UTC."""

    def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta()

    dst = utcoffset

    def tzname(self, _: datetime.datetime | None) -> str:
        return "UTC"

    def localize(self, moment: datetime.datetime) -> datetime.datetime:
        return moment.replace(tzinfo=self)


_pytz = sys.modules.setdefault("pytz", types.ModuleType("pytz"))
_pytz.timezone = lambda name: _Utc()  # type: ignore[attr-defined]
_pytz.utc = _Utc()  # type: ignore[attr-defined]
with duckdb.connect() as _warm:  # what makes values of every type is loaded now or never
    _warm.execute("SELECT * FROM test_all_types()").fetchall()


class DuckDatabase:
    """One database and what its statements run in."""

    def __init__(self, blob: bytes, path: str) -> None:
        """Open the bytes of a SQLite file, or a file: of SQLite, of DuckDB, or a table. Raises `duckdb.Error`."""
        self.size = max(len(blob) or os.stat(path).st_size, _LEAST)  # noqa: PTH116
        native = bool(path) and _is_duckdb(path)
        self.connection = duckdb.connect(path if native else ":memory:", read_only=native, config=dict(_SETTINGS))
        if path.lower().endswith(_TABLES):
            self._load_table(path)
        elif not native:
            self._load_sqlite(blob, path)
        self._now = ""
        self._late = False
        self.connection.execute("SET enable_external_access=false")
        self.connection.execute("SET lock_configuration=true")

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    def _load_table(self, path: str) -> None:
        stem = re.sub(r"\W+", "_", os.path.basename(path).rpartition(".")[0])  # noqa: PTH119
        reader = {".parquet": "read_parquet", ".json": "read_json", ".jsonl": "read_json"}
        function = reader.get(os.path.splitext(path.lower())[1], "read_csv")  # noqa: PTH122
        self.connection.execute(f"CREATE TABLE {_quoted(stem)} AS SELECT * FROM {function}($1)", [path])

    def _load_sqlite(self, blob: bytes, path: str) -> None:
        from tir_gym.envs.sql.worker.guard import opened

        source = opened(blob, path)
        source.text_factory = lambda raw: raw.decode("utf-8", "replace")
        names = source.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
            "AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY rowid"
        )
        for (name,) in names.fetchall():
            self._copy_table(source, name)
        source.close()

    def _copy_table(self, source: sqlite3.Connection, name: str) -> None:
        """Copy a table: types as its values are, primary key and NOT NULL; references become comments."""
        table = _quoted(name)
        info = source.execute(f"PRAGMA table_info({table})").fetchall()
        columns = [list(column) for column in zip(*source.execute(f"SELECT * FROM {table}"), strict=True)]
        columns = columns or [[] for _ in info]
        kinds = [_kind(held, declared) for held, (_, _, declared, *_) in zip(columns, info, strict=True)]
        lines = [
            f"{_quoted(column)} {kind}{' NOT NULL' if required else ''}"
            for kind, (_, column, _, required, *_) in zip(kinds, info, strict=True)
        ]
        keys = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        if keys:
            lines.append(f"PRIMARY KEY ({', '.join(map(_quoted, keys))})")
        self.connection.execute(f"CREATE TABLE {table} ({', '.join(lines)})")
        for held, kind in zip(columns, kinds, strict=True):
            if kind == "VARCHAR":
                held[:] = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in held]
        marks = ", ".join(f"unnest(${place}::{kind}[])" for place, kind in enumerate(kinds, 1))
        if columns[0]:
            self.connection.execute(f"INSERT INTO {table} SELECT {marks}", columns)
        for row in source.execute(f"PRAGMA foreign_key_list({table})").fetchall():
            told = f"references {row[2]}({row[4] or 'its key'})".replace("'", "''")
            self.connection.execute(f"COMMENT ON COLUMN {table}.{_quoted(row[3])} IS '{told}'")

    def run(self, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        """The result of one statement, or its error."""
        try:
            sql.encode()  # a half of a surrogate pair is an error of the statement
            self._tell(limits["now"])
            if told := self._not_allowed(sql):
                return {"error": "refused", "message": told}
            with self._reading(), self._deadline(limits["seconds"]):
                self.connection.execute(sql)
                return self._fetch(limits)
        except (MemoryError, duckdb.OutOfMemoryException):
            return {"error": "memory", "message": "out of memory"}
        except (duckdb.Error, ValueError, OverflowError, RuntimeError) as error:
            if self._late:
                return {"error": "time", "message": "interrupted"}
            return {"error": "sql", "message": str(error).split("\n\nLINE")[0]}

    def _tell(self, now: str) -> None:
        """Let the clock stand at that moment."""
        if now == self._now or not _MOMENT.fullmatch(now):
            return
        for name, value in _FROZEN.items():
            self.connection.execute(f"CREATE OR REPLACE TEMP MACRO {name}() AS {value.format(now=now)}")
        for name in _RANDOM:
            self.connection.execute(f"CREATE OR REPLACE TEMP MACRO {name}() AS error('nothing is random here')")
        self._now = now

    def _not_allowed(self, sql: str) -> str:
        """What kind of statement it is, if it is none that may be run. Raises `duckdb.Error` for bad syntax."""
        found = self.connection.extract_statements(sql)
        if len(found) == 1 and found[0].type == duckdb.StatementType.EXPLAIN:
            plain = _EXPLAIN.sub("", sql, count=1)
            if plain == sql:
                return "EXPLAIN with options"
            found = self.connection.extract_statements(plain)
        if not found:
            raise ValueError("there is no statement in this")
        if len(found) > 1:
            return "more than one statement"
        kind = found[0].type
        return "" if kind == duckdb.StatementType.SELECT else str(kind).rpartition(".")[2]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self.connection.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield
        finally:
            with contextlib.suppress(duckdb.Error):
                self.connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        def end(*_: object) -> None:
            self._late = True
            self.connection.interrupt()

        self._late = False
        before = signal.signal(signal.SIGPROF, end)
        try:
            signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-3), 0.05)
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def _fetch(self, limits: dict[str, Any]) -> dict[str, Any]:
        columns = [column[0] for column in self.connection.description or ()]
        rows: list[list[Any]] = []
        size, count, full = 0, 0, False
        while held := self.connection.fetchmany(_CHUNK):
            for row in held:
                count += 1
                if not full:
                    cells = [_cell(cell) for cell in row]
                    size += sum(len(cell) if isinstance(cell, str) else 8 for cell in cells)
                    full = len(rows) >= limits["rows"] or (size > limits["bytes"] and bool(rows))
                    if not full:
                        rows.append(cells)
                elif count >= limits["count"]:
                    return {"columns": columns, "rows": rows, "ops": 0, "count": count, "more": True}
        return {"columns": columns, "rows": rows, "ops": 0, "count": count, "more": False}


def _is_duckdb(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read(12)[8:] == b"DUCK"


def _kind(cells: list[Any], declared: str) -> str:
    """The type of a column that holds these values; that of its declaration where it holds none."""
    held = {type(cell) for cell in cells} - {type(None)}
    if not held:
        word = declared.upper()
        held = {int} if "INT" in word else {float} if any(w in word for w in ("REAL", "FLOA", "DOUB")) else {str}
    if held == {int}:
        return "BIGINT"
    if held <= {int, float}:
        return "DOUBLE"
    return "BLOB" if held == {bytes} else "VARCHAR"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cell(cell: Any) -> Any:
    """A value as JSON has it: numbers, texts, truth values, NULL, blobs; else as text."""
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    if isinstance(cell, str):
        if len(cell) > LONGEST:
            raise ValueError(f"a value of {len(cell)} characters is too long")
        return cell
    if isinstance(cell, decimal.Decimal):
        whole = isinstance(exponent := cell.as_tuple().exponent, int) and exponent >= 0
        return int(cell) if whole else float(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        if len(cell) > LONGEST:
            raise ValueError(f"a value of {len(cell)} bytes is too long")
        return {"hex": bytes(cell).hex()}
    if isinstance(cell, dict | list | tuple):
        text = json.dumps(cell, default=str, ensure_ascii=False)
        return text if len(text) <= LONGEST else _cell(text)
    return str(cell)
