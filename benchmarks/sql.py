"""What SQL costs: a query beyond SQLite's own time, turns a second, worlds, resets, verdicts. One line a figure."""

import multiprocessing
import os
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym

import tir_gym
from tir_gym.core.task import GeneratedTasks
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.databases import Generated, database_of
from tir_gym.envs.sql.desks import Desk, DuckDesk
from tir_gym.envs.sql.engine import NOW, QueryLimits, engine
from tir_gym.envs.sql.tasks import GENERATED, draw
from tir_gym.envs.sql.tools import SqlToolkit
from tir_gym.envs.sql.verify import SqlVerifier
from tir_gym.envs.sql.world import SqlWorld

QUERY = "SELECT status, COUNT(*), MAX(placed_on) FROM purchase GROUP BY status"
ENVS = 256


def microseconds(run: Callable[[], object], times: int) -> float:
    """The median of single calls."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def processor(run: Callable[[], object], times: int) -> float:
    """Mean processor time of a call, of this process alone, in microseconds."""
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times * 1e6


def both(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Mean processor time of a call in the host and in its worker, in microseconds; the latter in ticks of 10 ms."""
    run()
    stat = Path(f"/proc/{engine()._worker.pid}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    host = processor(run, times)
    return host, (ticks() - before) / os.sysconf("SC_CLK_TCK") / times * 1e6


def turns(count: int) -> float:
    """Turns a second, one query each, of `count` episodes in this process."""
    envs = tir_gym.make_vec("tir/SQL-v0", count, max_turns=1_000, max_calls=1_000, difficulty=1)
    envs.reset(seed=[0] * count)
    text = '<call name="query"><arg name="sql">SELECT * FROM sqlite_master LIMIT 1</arg></call>'
    envs.step([text] * count)
    start = time.perf_counter()
    for _ in range(8):
        envs.step([text] * count)
    taken = time.perf_counter() - start
    envs.close()
    return 8 * count / taken


def worlds() -> None:
    base = Generated("shop", 0, 1_500, 0.1, False)
    world = SqlWorld(base)
    world.run("UPDATE purchase SET status = status")
    step = microseconds(lambda: world.run("UPDATE purchase SET status = status WHERE id = 1"), 100)
    print(f"a statement that changes one row of a world: {step:.0f} us")
    print(f"a new world: {microseconds(lambda: SqlWorld(base), 500):.0f} us")
    first = microseconds(lambda: SqlWorld(base).run("UPDATE purchase SET status = status WHERE id = 1"), 100)
    print(f"a new world and its first change: {first:.0f} us")
    print(f"live fork of a world of {len(base.content()) >> 10} kB: {microseconds(world.fork, 100):.0f} us")
    print(f"its digest: {microseconds(world.digest, 50) / 1e3:.1f} ms")


def main() -> None:
    database = Generated("shop", 0, 14_000, 0.1, False)
    print(f"database: {len(database.content()) / 1e6:.1f} MB")
    plain = sqlite3.connect(":memory:")
    plain.deserialize(database.content())
    own = microseconds(lambda: plain.execute(QUERY).fetchall(), 200)
    kit = SqlToolkit(Desk(database, QueryLimits(rows=50), NOW))
    tool = microseconds(lambda: kit.query(QUERY), 500)
    print(f"query: {own:.0f} us in SQLite, {tool:.0f} us as a tool call, {tool - own:.0f} us beyond")
    own = processor(lambda: plain.execute(QUERY).fetchall(), 200)
    host, worker = both(lambda: kit.query(QUERY), 500)
    print(f"the same in processor time: {own:.0f} us; {host:.0f} us in the host, {worker:.0f} us in the worker")
    print(f"SELECT 1 as a tool call: {microseconds(lambda: kit.query('SELECT 1'), 2_000):.0f} us")
    duck = SqlToolkit(DuckDesk(database, QueryLimits(rows=50), NOW))
    print(f"SELECT 1 as a tool call on DuckDB: {microseconds(lambda: duck.query('SELECT 1'), 500):.0f} us")
    engine("duckdb").close()
    worlds()

    print(f"turns at {ENVS} episodes: {turns(ENVS):.0f} /s")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(turns, [ENVS // 2] * 2)
        together = sum(pool.map(turns, [ENVS // 2] * 2))
    print(f"turns at {ENVS} episodes in two processes: {together:.0f} /s")

    env = gym.make("tir/SQL-v0").unwrapped
    _, info = env.reset(seed=0)
    options = {"task_id": info["task"]["id"]}
    print(f"reset to a known task, processor: {processor(lambda: env.reset(seed=0, options=options), 50):.0f} us")
    print(f"reset to a known task: {microseconds(lambda: env.reset(seed=0, options=options), 50):.0f} us")
    seeds = iter(range(10_000))
    for _ in range(300):
        env.reset(seed=next(seeds))
    print(f"reset to a new task (databases made): {microseconds(lambda: env.reset(seed=next(seeds)), 200):.0f} us")
    env.close()

    tasks = [GeneratedTasks(GENERATED, draw).task(1, index) for index in range(40)]
    verifier = SqlVerifier("test_suite", 8)
    verifier.acquire()
    first, again = [], []
    for task in tasks:
        database_of(task.data["database"]).content()
        evidence = Evidence(task.public, Answer(task.gold.answer), (), None, (), "answer")
        first.append(microseconds(lambda e=evidence, g=task.gold: verifier.score(e, g), 1))
        again.append(microseconds(lambda e=evidence, g=task.gold: verifier.score(e, g), 5))
    new, known = statistics.median(first) / 1e3, statistics.median(again) / 1e3
    print(f"verdict with 8 twins: first {new:.1f} ms, then {known:.2f} ms")
    verifier.release()
    engine().close()


if __name__ == "__main__":
    main()
