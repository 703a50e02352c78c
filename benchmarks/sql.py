"""What SQL costs: a query beyond SQLite's own time, turns a second, resets, verdicts. Prints one line a figure."""

import sqlite3
import statistics
import time
from collections.abc import Callable

import gymnasium as gym

import tir_gym
from tir_gym.core.task import GeneratedTasks
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.databases import Generated, database_of
from tir_gym.envs.sql.desks import Desk
from tir_gym.envs.sql.engine import NOW, QueryLimits, engine
from tir_gym.envs.sql.tasks import GENERATED, draw
from tir_gym.envs.sql.tools import SqlToolkit
from tir_gym.envs.sql.verify import SqlVerifier

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


def main() -> None:
    database = Generated("shop", 0, 14_000, 0.1, False)
    print(f"database: {len(database.content()) / 1e6:.1f} MB")
    plain = sqlite3.connect(":memory:")
    plain.deserialize(database.content())
    own = microseconds(lambda: plain.execute(QUERY).fetchall(), 200)
    kit = SqlToolkit(Desk(database, QueryLimits(rows=50), NOW))
    tool = microseconds(lambda: kit.query(QUERY), 500)
    print(f"query: {own:.0f} us in SQLite, {tool:.0f} us as a tool call, {tool - own:.0f} us beyond")
    print(f"the same in processor time of the host: {processor(lambda: kit.query(QUERY), 500):.0f} us")
    print(f"SELECT 1 as a tool call: {microseconds(lambda: kit.query('SELECT 1'), 2_000):.0f} us")

    envs = tir_gym.make_vec("tir/SQL-v0", ENVS, max_turns=1_000, max_calls=1_000, difficulty=1)
    envs.reset(seed=[0] * ENVS)
    text = '<call name="query"><arg name="sql">SELECT * FROM sqlite_master LIMIT 1</arg></call>'
    envs.step([text] * ENVS)
    start = time.perf_counter()
    for _ in range(8):
        envs.step([text] * ENVS)
    print(f"turns at {ENVS} episodes: {8 * ENVS / (time.perf_counter() - start):.0f} /s")
    envs.close()

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
