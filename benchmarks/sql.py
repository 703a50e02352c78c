"""What SQL costs: a query beyond SQLite's own time, turns a second, worlds, resets, verdicts. One line a figure."""

import argparse
import multiprocessing
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym

import tir_gym
from benchmarks.machine import median_us
from tir_gym.core.task import GeneratedTasks
from tir_gym.core.tool import Output
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.databases import Generated, database_of
from tir_gym.envs.sql.desks import Desk, DuckDesk, Statements
from tir_gym.envs.sql.engine import NOW, engine
from tir_gym.envs.sql.results import QueryLimits
from tir_gym.envs.sql.tasks import GENERATED, draw
from tir_gym.envs.sql.tools import SqlToolkit
from tir_gym.envs.sql.verify import SqlVerifier
from tir_gym.envs.sql.world import SqlWorld

QUERY = "SELECT status, COUNT(*), MAX(placed_on) FROM purchase GROUP BY status"
ENVS = 256


def processor(run: Callable[[], object], times: int) -> float:
    """Mean processor time of a call, of this process alone, in microseconds."""
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times * 1e6


def worker_ns() -> int:
    """Processor time of the SQL worker so far, in nanoseconds."""
    return int(Path(f"/proc/{engine()._worker.pid}/schedstat").read_text().split()[0])


def both(run: Callable[[], object], times: int) -> tuple[float, float]:
    """Mean processor time of a call in the host and in its worker, in microseconds."""
    run()
    before = worker_ns()
    host = processor(run, times)
    return host, (worker_ns() - before) / times / 1e3


def called(kit: SqlToolkit, sql: str, count: int) -> list[Output]:
    """What calls of `query` return that many episodes make at once."""
    runs = [kit.query(sql) for _ in range(count)]
    results = Statements.perform_all([next(run) for run in runs])
    shown = []
    for run, result in zip(runs, results, strict=True):
        try:
            run.send(result)
        except StopIteration as stop:
            shown.append(stop.value)
    return shown


def turns(count: int, rounds: int = 32) -> tuple[float, float, float]:
    """Turns a second, one query each, of `count` episodes in this process; its and its worker's time for one, in us."""
    envs = tir_gym.make_vec("tir/SQL-v0", count, max_turns=1_000, max_calls=1_000, difficulty=1)
    envs.reset(seed=[0] * count)
    text = '<call name="query"><arg name="sql">SELECT * FROM sqlite_master LIMIT 1</arg></call>'
    envs.step([text] * count)
    start = time.perf_counter()
    host, worker = both(lambda: envs.step([text] * count), rounds)
    taken = time.perf_counter() - start
    envs.close()
    return (rounds + 1) * count / taken, host / count, worker / count


def worlds() -> None:
    base = Generated("shop", 0, 1_500, 0.1, False)
    world = SqlWorld(base)
    world.run("UPDATE purchase SET status = status")
    step = median_us(lambda: world.run("UPDATE purchase SET status = status WHERE id = 1"), 100)
    print(f"a statement that changes one row of a world: {step:.0f} us")
    print(f"a new world: {median_us(lambda: SqlWorld(base), 500):.0f} us")
    first = median_us(lambda: SqlWorld(base).run("UPDATE purchase SET status = status WHERE id = 1"), 100)
    print(f"a new world and its first change: {first:.0f} us")
    print(f"live fork of a world of {len(base.content()) >> 10} kB: {median_us(world.fork, 100):.0f} us")
    print(f"its digest: {median_us(world.digest, 50) / 1e3:.1f} ms")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    database = Generated("shop", 0, 14_000, 0.1, False)
    print(f"database: {len(database.content()) / 1e6:.1f} MB")
    plain = sqlite3.connect(":memory:")
    plain.deserialize(database.content())
    kit = SqlToolkit(Desk(database, QueryLimits(rows=50), NOW))
    own = median_us(lambda: plain.execute(QUERY).fetchall(), 200)
    tool = median_us(lambda: called(kit, QUERY, 1), 500)
    print(f"query: {own:.0f} us in SQLite, {tool:.0f} us as a tool call, {tool - own:.0f} us beyond")
    own = processor(lambda: plain.execute(QUERY).fetchall(), 200)
    for count in (1, ENVS):
        host, worker = (each / count for each in both(lambda n=count: called(kit, QUERY, n), 1 + 500 // count))
        print(
            f"the same in processor time, {count} at once: {own:.0f} us in SQLite, {host:.0f} us in the host, ", end=""
        )
        print(f"{worker:.0f} us in the worker, {host + worker - own:.0f} us beyond")
    for count in (1, ENVS):
        taken = median_us(lambda n=count: called(kit, "SELECT 1", n), 1 + 2_000 // count) / count
        host, worker = (each / count for each in both(lambda n=count: called(kit, "SELECT 1", n), 1 + 2_000 // count))
        print(f"SELECT 1 as a tool call, {count} at once: {taken:.0f} us; {host:.0f} us of the host, ", end="")
        print(f"{worker:.0f} us of the worker")
    duck = SqlToolkit(DuckDesk(database, QueryLimits(rows=50), NOW))
    print(f"SELECT 1 as a tool call on DuckDB: {median_us(lambda: called(duck, 'SELECT 1', 1), 500):.0f} us")
    engine("duckdb").close()
    worlds()

    rate, host, worker = turns(ENVS)
    print(f"turns at {ENVS} episodes: {rate:.0f} /s; processor time: {host:.0f} us, {worker:.0f} us of the worker")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(turns, [ENVS // 2] * 2)
        two = pool.map(turns, [ENVS // 2] * 2)
    spent = sum(host + worker for _, host, worker in two) / 2
    print(f"turns at {ENVS} episodes in two processes: {sum(rate for rate, _, _ in two):.0f} /s; {spent:.0f} us in all")

    env = gym.make("tir/SQL-v0").unwrapped
    _, info = env.reset(seed=0)
    options = {"task_id": info["task"]["id"]}
    print(f"reset to a known task, processor: {processor(lambda: env.reset(seed=0, options=options), 50):.0f} us")
    print(f"reset to a known task: {median_us(lambda: env.reset(seed=0, options=options), 50):.0f} us")
    seeds = iter(range(10_000))
    for _ in range(300):
        env.reset(seed=next(seeds))
    print(f"reset to a new task (databases made): {median_us(lambda: env.reset(seed=next(seeds)), 200):.0f} us")
    env.close()

    tasks = [GeneratedTasks(GENERATED, draw).task(1, index) for index in range(40)]
    verifier = SqlVerifier("test_suite", 8)
    verifier.acquire()
    first, again = [], []
    for task in tasks:
        database_of(task.data["database"]).content()
        evidence = Evidence(task.public, Answer(task.gold.answer), (), None, (), "answer")
        first.append(median_us(lambda e=evidence, g=task.gold: verifier.score(e, g), 1))
        again.append(median_us(lambda e=evidence, g=task.gold: verifier.score(e, g), 5))
    new, known = statistics.median(first) / 1e3, statistics.median(again) / 1e3
    print(f"verdict with 8 twins: first {new:.1f} ms, then {known:.2f} ms")
    verifier.release()
    engine().close()


if __name__ == "__main__":
    main()
