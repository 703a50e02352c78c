"""What the environments cost: reset, text turn, python turn, fork; 1 to 256 episodes; beside a plain subprocess.

Each figure is the median of several rounds within this run, interleaved; host CPU is `time.process_time`. Run with
`make bench`.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

import tir_gym
from benchmarks.machine import descendants, machine, pss_mb
from benchmarks.report import Result, add_options, report
from tir_gym.core.interfaces import Done, Limits
from tir_gym.core.task import Task
from tir_gym.core.tool import Toolkit, tool
from tir_gym.drivers.env import ToolEnv
from tir_gym.envs.math_code.env import MathCode
from tir_gym.envs.registration import default_executor, make_env, make_setting

ID = "tir/MathCode-v0"
THOUGHT = "<think>" + "Let me consider the number of ways once more. " * 8 + "</think>"
CALL = THOUGHT + '<call name="python"><arg name="code">sum(i * i for i in range(100))</arg></call>'
ANSWER = THOUGHT + "<answer>no answer</answer>"


@dataclass
class Row:
    """One line of the table: microseconds an operation, wall percentiles and host CPU, operations a second."""

    name: str
    episodes: int
    p50: float
    p95: float
    p99: float
    cpu: float
    rate: float


def measure(name: str, episodes: int, operation: Callable[[], object], rounds: int, each: int = 1) -> Row:
    """Time `rounds` operations, each of which stands for `each` of the kind named."""
    operation()
    walls: list[float] = []
    gc.collect()
    cpu = time.process_time()
    begin = time.perf_counter()
    for _ in range(rounds):
        start = time.perf_counter()
        operation()
        walls.append((time.perf_counter() - start) * 1e6 / each)
    total = time.perf_counter() - begin
    cpu = (time.process_time() - cpu) * 1e6 / rounds / each
    p50, p95, p99 = np.percentile(walls, [50, 95, 99])
    return Row(name, episodes, p50, p95, p99, cpu, rounds * each / total)


def single(rounds: int) -> list[Row]:
    """One environment: reset, turns, fork, and the bare session beside them."""
    env = make_env(ID, max_turns=10**6, max_calls=10**6)
    rows = [measure("env.reset", 1, lambda: env.reset(seed=0), rounds)]

    def turns(text: str, count: int = 8) -> Callable[[], object]:
        def play() -> None:
            for _ in range(count):
                env.step(text)

        return play

    env.reset(seed=0)
    rows.append(measure("text turn", 1, turns(THOUGHT), rounds, each=8))
    rows.append(host_tool(rounds))
    env.reset(seed=0)
    env.step(CALL)
    rows.append(measure("python turn", 1, turns(CALL), rounds // 4, each=8))
    rows.append(measure("fork of a live episode", 1, lambda: fork_and_close(env), rounds // 8))
    rows.append(measure("reset, first python turn, answer", 1, lambda: whole(env), rounds // 8))
    env.close()
    return [*rows, *sessions(rounds)]


class Adder(Toolkit):
    """A tool that costs nothing, so that what is left is the environment's own time."""

    @tool()
    def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b


@dataclass(frozen=True)
class Adding(MathCode):
    """MathCode's tasks with the free tool in place of the interpreter."""

    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": Adder}
    runs_code: ClassVar[bool] = False

    def toolkit(self, actor: str, task: Task, world: object) -> Toolkit:
        return Adder()


def host_tool(rounds: int) -> Row:
    """A turn with one call of a tool in the host process."""
    base = make_setting(ID, max_turns=10**6, max_calls=10**6)
    env = ToolEnv(replace(base, domain=Adding()), None)
    env.reset(seed=0)
    text = THOUGHT + '<call name="add"><arg name="a" type="json">1</arg><arg name="b" type="json">2</arg></call>'

    def play() -> None:
        for _ in range(8):
            env.step(text)

    row = measure("host tool turn", 1, play, rounds, each=8)
    env.close()
    return row


def fork_and_close(env: ToolEnv) -> None:
    """One live copy."""
    for twin in tir_gym.fork(env):
        twin.close()


def whole(env: ToolEnv) -> None:
    """A short episode with a fresh interpreter."""
    env.reset(seed=0)
    env.step(CALL)
    env.step(ANSWER)


def sessions(rounds: int) -> list[Row]:
    """The executor alone."""
    import select

    executor = default_executor()
    executor.acquire()

    def run(session: object, code: str) -> Done:
        session.submit(code, 10.0)  # type: ignore[attr-defined]
        poller = select.poll()
        poller.register(session.fileno(), select.POLLIN)  # type: ignore[attr-defined]
        while True:
            poller.poll(1000)
            for event in session.events():  # type: ignore[attr-defined]
                if isinstance(event, Done):
                    return event

    warm = executor.open(Limits(), 0)
    run(warm, "1+1")

    def fresh() -> None:
        session = executor.open(Limits(), 0)
        run(session, "1+1")
        session.close()

    rows = [
        measure("session: warm call", 1, lambda: run(warm, "1+1"), rounds),
        measure("session: start, first call, close", 1, fresh, rounds // 4),
        measure("session: live fork", 1, lambda: warm.fork().close(), rounds // 8),
    ]
    warm.close()
    executor.release()
    return rows


def batches(sizes: list[int], rounds: int) -> list[Row]:
    """The vector environment at several sizes."""
    rows = []
    for size in sizes:
        vector = tir_gym.make_vec(ID, size, max_turns=10**6, max_calls=10**6)
        vector.reset(seed=0)
        count = max(4, rounds * 4 // size)
        rows.append(
            measure("vector: text turn", size, lambda v=vector, n=size: v.step([THOUGHT] * n), count, each=size)
        )
        vector.reset(seed=0)
        vector.step([CALL] * size)
        rows.append(measure("vector: python turn", size, lambda v=vector, n=size: v.step([CALL] * n), count, each=size))
        memory = pss_mb(descendants(os.getpid())) / size
        rows.append(Row("vector: memory, MB PSS an episode", size, memory, *(float("nan"),) * 4))
        vector.close()
    return rows


def subprocesses(rounds: int) -> list[Row]:
    """What peers do: a fresh interpreter for each call, not isolated."""
    code = "print(sum(i * i for i in range(100)))"

    def call(program: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    return [
        measure("subprocess: python -c", 1, call(code), rounds),
        measure("subprocess: python -c with numpy", 1, call(f"import numpy; {code}"), rounds),
        measure("subprocess: python -c with sympy", 1, call(f"import sympy; {code}"), max(3, rounds // 4)),
    ]


def medians(runs: list[list[Row]]) -> list[Row]:
    """Row by row the median of several runs."""
    rows = []
    for versions in zip(*runs, strict=True):
        numbers = [[getattr(row, field) for row in versions] for field in ("p50", "p95", "p99", "cpu", "rate")]
        rows.append(Row(versions[0].name, versions[0].episodes, *map(statistics.median, numbers)))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as Markdown, with the ratio of the plain subprocess to the warm python turn below."""
    lines = [
        "| what | episodes | p50 us | p95 us | p99 us | host CPU us | per second |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "memory" in row.name:
            lines.append(f"| {row.name} | {row.episodes} | {row.p50:.1f} MB | | | | |")
        else:
            numbers = f"{row.p50:,.0f} | {row.p95:,.0f} | {row.p99:,.0f} | {row.cpu:,.0f} | {row.rate:,.0f}"
            lines.append(f"| {row.name} | {row.episodes} | {numbers} |")
    by_name = {row.name: row for row in rows if row.episodes == 1}
    turn = by_name["python turn"].p50
    ratios = [
        f"{name.removeprefix('subprocess: ')} {row.p50 / turn:,.0f}x" for name, row in by_name.items() if "sub" in name
    ]
    return "\n".join(
        [*lines, "", f"A warm, jailed python turn against an unisolated fresh process: {', '.join(ratios)}."]
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 16, 64, 256])
    add_options(parser)
    chosen = parser.parse_args()
    report("throughput", chosen, lambda: measure_all(chosen), lambda found: str(found["text"]))


def measure_all(chosen: argparse.Namespace) -> Result:
    """Everything, several times; the ratios are to a fresh interpreter for each call."""
    about = machine()
    executor = default_executor()
    executor.acquire()
    runs = []
    try:
        for repeat in range(chosen.repeats):
            print(f"round {repeat + 1} of {chosen.repeats}", file=sys.stderr)
            runs.append(
                single(chosen.rounds) + batches(chosen.sizes, chosen.rounds) + subprocesses(max(5, chosen.rounds // 40))
            )
    finally:
        executor.release()
    rows = medians(runs)
    text = f"{table(rows)}\n\nMeasured on {about}; medians of {chosen.repeats} interleaved rounds."
    unit = next(row.rate for row in rows if row.name == "subprocess: python -c")
    timed = [row for row in rows if "memory" not in row.name and "subprocess" not in row.name]
    return {
        "machine": about,
        "text": text,
        "ratios": {f"{row.name} at {row.episodes}": row.rate / unit for row in timed},
    }


if __name__ == "__main__":
    main()
