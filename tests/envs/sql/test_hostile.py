"""What a policy may try with SQL: nothing is written, no file is touched, nothing runs on, and the next query works."""

import ast
import hashlib
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.envs.sql.samples import SHELF, Sample, sample
from tir_gym.envs.sql.results import Failure, QueryLimits, Table
from tir_gym.envs.sql.worker.guard import FUNCTIONS, LENGTH
from tir_gym.workers import module_command

SECONDS = 3.0
LIMITS = QueryLimits(rows=50, bytes=20_000, seconds=SECONDS)
_TEXT = "replace(hex(printf('%900s', 'a')), '2', '" + "x" * 90 + "')"

WRITES = [
    "INSERT INTO author VALUES (9, 'Eve', 1)",
    "REPLACE INTO author VALUES (1, 'Eve', 1)",
    "UPDATE author SET name = 'Eve'",
    "DELETE FROM author",
    "INSERT INTO author SELECT id + 10, name, born FROM author",
    "WITH gone AS (SELECT 1) DELETE FROM book WHERE id IN gone",
    "UPDATE sqlite_master SET sql = 'x'",
    "DROP TABLE author",
    "DROP VIEW cheap",
    "ALTER TABLE author RENAME TO writer",
    "ALTER TABLE author ADD COLUMN x",
    "CREATE TABLE mine (a)",
    "CREATE TABLE mine AS SELECT * FROM author",
    "CREATE TEMP TABLE mine (a)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE TEMP VIEW mine AS SELECT 1",
    "CREATE INDEX mine ON author (name)",
    "CREATE TRIGGER mine AFTER INSERT ON author BEGIN DELETE FROM book; END",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON author BEGIN DELETE FROM book; END",
    "CREATE VIRTUAL TABLE mine USING fts5 (a)",
    "CREATE VIRTUAL TABLE temp.mine USING rtree (id, a, b)",
    "REINDEX",
    "ANALYZE",
    "EXPLAIN DELETE FROM author",
    "EXPLAIN QUERY PLAN INSERT INTO author VALUES (9, 'Eve', 1)",
]
FILES = [
    "ATTACH '{place}/evil.db' AS evil",
    "ATTACH 'file:{place}/evil.db?mode=rwc' AS evil",
    "ATTACH '{secret}' AS secret",
    "ATTACH ':memory:' AS m",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{place}/evil.db'",
    "SELECT writefile('{place}/evil.db', 'x')",
    "SELECT readfile('{secret}')",
    "SELECT load_extension('{place}/evil')",
    "SELECT edit('{secret}')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT * FROM fsdir('{place}')",
    "SELECT * FROM csv('{secret}')",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM bytecode('SELECT 1')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_compile_options",
    "PRAGMA database_list",
    "PRAGMA temp_store_directory = '{place}'",
    "PRAGMA data_store_directory = '{place}'",
    ".read {secret}",
]
SETTINGS = [
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA trusted_schema = ON",
    "PRAGMA hard_heap_limit = 0",
    "PRAGMA journal_mode = WAL",
    "PRAGMA user_version = 7",
    "PRAGMA wal_checkpoint",
    "PRAGMA shrink_memory",
    "PRAGMA optimize",
    "BEGIN",
    "BEGIN EXCLUSIVE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "RELEASE a",
]
NOT_STATEMENTS = [
    "",
    ";",
    "-- nothing",
    "SELECT 1; DELETE FROM author",
    "SELECT 1; SELECT 2",
    "SELECT ?",
    "SELECT :name",
    "SELECT '\ud800'",
    "SELECT 'a\0b'",
    "SELECT 'unclosed",
    "SELECT " + "(" * 3_000 + "1" + ")" * 3_000,
    "SELECT " + "-" * 5_000 + "1",
    "SELECT " + "+".join("1" * 5_000),
    "SELECT " + " UNION ".join(["SELECT 1"] * 500),
    "SELECT " + ", ".join(["1"] * 5_000),
    "SELECT '" + "x" * 60_000 + "'",
    "SELECT * FROM " + ", ".join(["author"] * 100),
    "SELECT randomblob(10)",
    "SELECT random()",
    "SELECT zeroblob(1000000000)",
    "SELECT hex(zeroblob(1000000000))",
    "SELECT printf('%1000000000d', 1)",
    "SELECT format('%.*c', 900000000, 'x')",
    "SELECT printf('%0*d', 1000000000, 1)",
    "SELECT last_insert_rowid()",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT replace(printf('%1000s', 'a'), ' ', printf('%1000s', 'b'))",
    f"SELECT {_TEXT} || {_TEXT} || {_TEXT}",
    "WITH RECURSIVE r(x) AS (SELECT 'aaaaaaaa' UNION ALL SELECT x || x FROM r) SELECT max(length(x)) FROM r",
]
ENDLESS = [
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r ORDER BY n DESC",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n + 1 FROM r) SELECT n FROM r WHERE n < 0",
    "SELECT count(*) FROM big a, big b, big c",
    "SELECT count(DISTINCT a.word || b.n) FROM big a, big b",
    "SELECT a.n FROM big a JOIN big b ON a.word <> b.word ORDER BY a.n + b.n LIMIT 1",
    "SELECT max(s) FROM (SELECT sum(a.n) OVER (ORDER BY a.n + b.n) s FROM big a, big b)",
    "SELECT count(*) FROM big a WHERE EXISTS (SELECT 1 FROM big b, big c WHERE b.n + c.n = -a.n)",
    "SELECT n FROM big ORDER BY (SELECT count(*) FROM big b, big c WHERE b.n + c.n > big.n)",
]
_LONG = "WITH RECURSIVE t(x) AS (SELECT 'aaaaaaaaaa' UNION ALL SELECT x || x FROM t WHERE length(x) < 80000), "
_PAIR = _LONG + "p(x, y) AS (SELECT max(x), substr(max(x), 1, 80000) || 'b' FROM t) "
UNINTERRUPTIBLE = [  # no instruction of the virtual machine ends within one call
    _PAIR + "SELECT sum(instr(x || n, y)) FROM p, big",
    _PAIR + "SELECT sum(length(replace(x || n, y, ''))) FROM p, big",
]
BOUNDED = [  # looked as bad
    _PAIR + "SELECT sum(length(trim(x || n, 'b' || y))) FROM p, big",
    _PAIR + "SELECT sum(x || n GLOB '*[^b]*a[a-z]*a*a*a[a]*a*a?a*a*a*b') FROM p, big",
    _PAIR + "SELECT sum(x || n LIKE '%_a%a_a%a__a%a%a_a%a_a%a%a%a%b') FROM p, big",
]
EXFILTRATION = ["SELECT * FROM gold", "SELECT * FROM temp.gold", "SELECT sql FROM sqlite_temp_master"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which nothing may appear, with a secret beside it and a database in a file."""
    folder = tmp_path_factory.mktemp("place")
    secret = folder.parent / "secret.db"
    with sqlite3.connect(secret) as connection:
        connection.execute("CREATE TABLE gold AS SELECT 'treasure' AS answer")
    connection.close()
    shelf = folder.parent / "shelf ?#%.sqlite"
    with sqlite3.connect(shelf) as connection:
        connection.executescript(SHELF)
    connection.close()
    return folder, secret, shelf


@pytest.fixture(scope="module", params=["memory", "file"])
def database(request, place):
    return sample() if request.param == "memory" else Sample("shelf file", path=str(place[2]))


def surroundings(engine, database, place):
    """The database's content and the files around it."""
    folder, _, shelf = place
    tables = [engine.one(database, f"SELECT * FROM {table}") for table in ("author", "book", "cheap", "sqlite_master")]
    assert all(isinstance(table, Table) for table in tables)
    return tables, hashlib.sha256(shelf.read_bytes()).hexdigest(), sorted(folder.parent.iterdir())


@pytest.mark.parametrize("sql", WRITES + FILES + SETTINGS + EXFILTRATION)
def test_what_writes_configures_or_reaches_out_is_refused(warm, database, place, sql):
    folder, secret, _ = place
    before = surroundings(warm, database, place)
    found = warm.one(database, sql.format(place=folder, secret=secret), LIMITS)
    assert isinstance(found, Failure)
    assert found.kind in ("refused", "sql")
    assert "treasure" not in found.message
    assert not list(folder.iterdir())
    assert before == surroundings(warm, database, place)


@pytest.fixture(scope="module")
def warm():
    from tir_gym.envs.sql.engine import engine

    return engine()


@pytest.mark.parametrize("sql", NOT_STATEMENTS, ids=lambda sql: ascii(sql[:40]))
def test_what_is_no_statement_or_too_large_is_an_error(warm, sql):
    found = warm.one(sample(), sql, LIMITS)
    if sql in ("", ";", "-- nothing"):
        assert found == Table((), (), 0)
    else:
        assert isinstance(found, Failure)
        assert found.kind in ("sql", "refused", "memory", "ops")
    assert isinstance(warm.one(sample(), "SELECT 1", LIMITS), Table)


@pytest.mark.parametrize("sql", ENDLESS)
def test_what_would_run_on_is_ended_after_a_number_of_instructions(warm, sql):
    database = sample(key="big", many=9_000)
    few = QueryLimits(ops=2_000_000, seconds=60.0)
    first = warm.one(database, sql, few)
    assert isinstance(first, Failure)
    assert first.kind == "ops"
    assert first == warm.one(database, sql, few)


@pytest.mark.parametrize("sql", UNINTERRUPTIBLE)
def test_what_no_handler_interrupts_is_ended_all_the_same(own_engine, sql):
    database = sample(key="big", many=4_000)
    found = own_engine.one(database, sql, QueryLimits(seconds=1.0))
    assert isinstance(found, Failure)
    assert found.kind in ("killed", "time", "ops")
    assert own_engine.one(database, "SELECT count(*) FROM big", LIMITS) == Table(("count(*)",), ((4_000,),), 1)


@pytest.mark.parametrize("sql", BOUNDED)
def test_what_looks_endless_and_is_not_ends(own_engine, sql):
    found = own_engine.one(sample(key="big", many=4_000), sql, QueryLimits(seconds=60.0))
    assert isinstance(found, Table) or found.kind in ("sql", "ops")
    worker = own_engine._worker
    own_engine.one(sample(), "SELECT 1")
    assert own_engine._worker is worker


def test_a_flood_of_rows_or_bytes_is_cut_and_counted(warm):
    database = sample(key="big", many=9_000)
    found = warm.one(database, "SELECT * FROM big", LIMITS)
    assert (len(found.rows), found.count, found.more) == (50, 9_000, False)
    found = warm.one(database, "SELECT printf('%1000s', word) FROM big", LIMITS)
    assert (len(found.rows), found.count) == (20, 9_000)
    found = warm.one(database, "SELECT a.n FROM big a, big b", LIMITS)
    assert (len(found.rows), found.count, found.more) == (50, 10_000, True)
    one_long_cell = warm.one(database, "SELECT group_concat(word, '-') FROM big WHERE n < 3000", LIMITS)
    assert len(one_long_cell.rows) == 1
    assert len(one_long_cell.rows[0][0]) <= LENGTH


def test_memory_is_bounded(own_engine):
    database = sample(key="big", many=9_000)
    sql = "SELECT count(DISTINCT printf('%1000d', a.n * 9000 + b.n)) FROM big a, big b"
    found = own_engine.one(database, sql, QueryLimits(ops=10**12, seconds=60.0))
    assert found == Failure("memory", "out of memory")
    assert isinstance(own_engine.one(database, "SELECT 1"), Table)


def test_the_clock_stands_and_cannot_be_read_otherwise(warm):
    ways = [
        *("date('now')", "date()", "current_date", "date('n' || 'ow')", "date(x'6e6f77')", "date('NOW')"),
        *("strftime('%Y-%m-%d', 'now')", "strftime('%Y-%m-%d')", "date('now', 'localtime')", "date(datetime('now'))"),
        *("date(julianday('now'))", "date(unixepoch('now'), 'unixepoch')", "date(current_timestamp)"),
        "date('now' || char(0) || 'x')",
    ]
    found = warm.one(sample(), f"SELECT {', '.join(ways)}", now="2001-02-03 04:05:06")
    assert found.rows == (("2001-02-03",) * len(ways),)
    assert warm.one(sample(), "SELECT time(), current_time", now="2001-02-03 04:05:06").rows == (("04:05:06",) * 2,)


def test_no_function_that_reads_files_or_is_random_is_allowed():
    forbidden = {
        "random",
        "randomblob",
        "load_extension",
        "readfile",
        "writefile",
        "edit",
        "fts3_tokenizer",
        "zeroblob",
    }
    assert not forbidden & FUNCTIONS


def test_the_worker_runs_without_the_hosts_environment_and_cannot_write(own_engine):
    own_engine.one(sample(), "SELECT 1")
    process = Path("/proc") / str(own_engine._worker.pid)
    assert (process / "environ").read_bytes() == b"TZ=UTC\0"
    limits = (process / "limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
    for task in (process / "task").iterdir():
        status = (task / "status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status
        assert own_engine.layers()["system calls"] != "enforced" or "Seccomp:\t2" in status
    assert {(process / "fd" / name).readlink().name.split(":")[0] for name in ("0", "1", "2")} == {"socket", "null"}
    assert len(list((process / "fd").iterdir())) == 4, "the channel, twice nothing, and the host's pid descriptor"


ESCAPES = """
import ctypes, os, signal, socket, subprocess, threading
HOME = os.environ["PLACE"]
libc = ctypes.CDLL(None, use_errno=True)

def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

ATTEMPTS = {
    "read a file": lambda: open(HOME + "/secret.db").read(),
    "read a password file": lambda: open("/etc/passwd").read(),
    "list a folder": lambda: os.listdir(HOME),
    "write a file": lambda: open(HOME + "/evil", "w"),
    "append to the file allowed": lambda: open(HOME + "/allowed", "a"),
    "cut the file allowed": lambda: os.truncate(HOME + "/allowed", 0),
    "remove a file": lambda: os.unlink(HOME + "/secret.db"),
    "remove the file allowed": lambda: os.unlink(HOME + "/allowed"),
    "rename a file": lambda: os.rename(HOME + "/secret.db", HOME + "/evil"),
    "link a file": lambda: os.link(HOME + "/secret.db", HOME + "/evil"),
    "make a folder": lambda: os.mkdir(HOME + "/evil"),
    "change a mode": lambda: os.chmod(HOME + "/allowed", 0o777),
    "look at the host": lambda: open(f"/proc/{os.getppid()}/environ").read(),
    "write the host's memory": lambda: open(f"/proc/{os.getppid()}/mem", "r+b"),
    "trace the host": lambda: raw(101, 16, os.getppid(), 0, 0),
    "read the host's memory": lambda: raw(310, os.getppid(), 0, 0, 0, 0, 0),
    "kill the host": lambda: os.kill(os.getppid(), 0),
    "kill the group": lambda: os.killpg(0, 0),
    "fork": os.fork,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "spawn a program": lambda: subprocess.run(["/bin/true"]),
    "call out": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "speak to a local service": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "make a file in memory": lambda: os.memfd_create("evil"),
    "become another user": lambda: os.setuid(12345),
    "change the root": lambda: os.chroot(HOME),
    "leave the namespace": lambda: raw(272, 0x10000000),
    "use io_uring": lambda: raw(425, 8, 0),
    "load bpf": lambda: raw(321, 0, 0, 0),
    "raise a limit": lambda: raw(302, 0, 9, ctypes.create_string_buffer(bytes([255] * 16)), None),
}

def main():
    free = {name for name, attempt in ATTEMPTS.items() if harmless(name, attempt)}
    from tir_gym.envs.sql.worker.confine import confine
    layers = confine([HOME + "/allowed"])
    assert open(HOME + "/allowed").read() == "allowed"
    threads = []
    reached = []
    def attack():
        for name, attempt in ATTEMPTS.items():
            try:
                attempt()
            except PermissionError:
                continue
            except OSError as error:
                reached.append(f"{name}: {error}")
            else:
                reached.append(name)
    attack()
    thread = threading.Thread(target=attack)
    thread.start()
    thread.join()
    print({"layers": layers, "reached": reached, "free": sorted(free)})

def harmless(name, attempt):
    if name not in ("read a file", "read a password file", "list a folder", "kill the host", "call out",
                    "send a datagram", "speak to a local service", "make a file in memory", "look at the host"):
        return False
    try:
        attempt()
    except OSError:
        return False
    return True
"""


def test_a_fault_in_sqlite_would_reach_nothing(own_engine, tmp_path):
    """What code that took over the worker could do: tried in a process confined like it; and free without."""
    layers = own_engine.layers()
    missing = {layer: why for layer, why in layers.items() if why != "enforced"}
    assert "it was set and does not hold" not in missing.values()
    if missing:
        pytest.skip(f"the kernel does not offer it: {missing}")
    (tmp_path / "secret.db").write_text("treasure")
    (tmp_path / "allowed").write_text("allowed")
    command = module_command("tir_gym.envs.sql.worker.confine", beside=("tir_gym.executors",))
    place = command.index("-c") + 1
    command[place] = command[place].replace("importlib.import_module(module).main(*arguments)", ESCAPES + "\nmain()")
    ran = subprocess.run(command, capture_output=True, text=True, env={"PLACE": str(tmp_path)})
    assert ran.returncode == 0, ran.stderr
    told = ast.literal_eval(ran.stdout)
    assert told["reached"] == []
    assert set(told["layers"].values()) == {"enforced"}
    assert len(told["free"]) == 9, "without confinement they succeed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["allowed", "secret.db"]
