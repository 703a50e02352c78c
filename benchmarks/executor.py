"""What our executors cost beside each other, a plain subprocess and peers' python tools: one table of one run.

`python -m benchmarks.executor` from the repository root measures what this machine has and says what it left out.
`--gem-python`, `--skyrl-python`: interpreters in whose environments gem-llm and skyrl-gym (with numpy and sympy) are
installed. `--docker-url`, `--docker-image`: an engine other than that of DOCKER_HOST, an image with numpy and sympy;
`--docker-rootfs`: instead of both, a tar file of such an image's files, for a dockerd that is started for this run.
`--full` is the size of the stated goals (256 sessions).

In each round every contender is started, measured and ended in turn; all outputs are checked. A figure is the median of
all rounds. Where each call is a new process, that is also the fresh session and the first use.
"""

import argparse
import contextlib
import datetime
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import descendants, machine, pss_mb
from benchmarks.report import Result, add_options, number, report
from tir_gym.core.interfaces import Done, Executor, ExecutorUnavailable, Limits, Session
from tir_gym.executors.bwrap import BwrapExecutor
from tir_gym.executors.docker import LABEL, DockerExecutor
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.unsafe import UnsafeExecutorWarning, UnsafeSubprocess

CALL = "print(sum(i * i for i in range(100)))", "328350"
NUMPY = "import numpy as np; print(float(np.linalg.det(np.eye(3))))", "1.0"
SOLVE = "import sympy as s; x = s.Symbol('x'); print(s.solve(x**2 - 5*x + 6, x))", "[2, 3]"
LIMITS = Limits(wall_s=60.0, memory_mb=256)
THREADS = 32
"""For calls at once where each is a process that somebody must wait for."""
WORKER = Path(__file__).with_name("tool_worker.py")
Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured in a round."""

    calls: int
    fresh: int
    sessions: int
    few: int
    """Sessions at once where each has an interpreter that shares no memory."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of all rounds, as `share` of its distribution, in what unit and against what."""

    name: str
    key: str
    goal: str = ""
    share: int = 50
    ratio: str = ""
    """How this line is called among the ratios, if it is one."""


ROWS = (
    Row("warm call, us", "call", "<= 200", ratio="call"),
    Row("warm call, p95, us", "call", share=95),
    Row("warm call: CPU of the host process, us", "host"),
    Row("warm call: CPU of host and session, us", "cpu"),
    Row("call that uses numpy, us", "numpy", ratio="numpy call"),
    Row("calls/s, all sessions at once", "rate", ">= 5,000", ratio="calls/s"),
    Row("fresh session to first reply, back to back, ms", "fresh", "<= 5", ratio="fresh session"),
    Row("fresh session to first reply, after a pause (warm pool), ms", "pooled", "<= 1"),
    Row("first sympy.solve in a fresh session, ms", "solve", "<= 60", ratio="first solve"),
    Row("fork of a live session, ms", "fork", "<= 4"),
    Row("memory, MB PSS an idle session", "pss", "<= 3.5"),
    Row("kill and reap all sessions, s", "reap", "<= 1"),
)


class Contender(ABC):
    """One column."""

    name: str
    isolation: str
    sessions: int

    @abstractmethod
    def round(self, sizes: Sizes) -> Figures:
        """Start, measure and end it once."""


# --- ours ------------------------------------------------------------------------------------------------------------
def finish(session: Session) -> Done:
    """Wait for the end of the running submission."""
    while True:
        for event in session.events():
            if isinstance(event, Done):
                return event
        poll = select.poll()
        poll.register(session.fileno(), select.POLLIN)
        poll.poll(max(0.0, (session.wakeup() or time.monotonic() + 1.0) - time.monotonic()) * 1000)


def say(session: Session, program: tuple[str, str]) -> float:
    """Microseconds of one call. Raises `RuntimeError` where it prints anything else than it should."""
    begin = time.perf_counter()
    session.submit(program[0], LIMITS.wall_s)
    done = finish(session)
    wall = (time.perf_counter() - begin) * 1e6
    expect(done.stdout or done.error, program)
    return wall


def expect(printed: str, program: tuple[str, str]) -> None:
    """Raise `RuntimeError` unless the program did what it is for."""
    if printed.strip() != program[1]:
        raise RuntimeError(f"{program[0]!r} gave {printed[-300:]!r}")


def at_once(sessions: list[Session], program: tuple[str, str]) -> float:
    """Seconds until every one of the sessions has run the program."""
    begin = time.perf_counter()
    with select.epoll() as poll:
        waiting = {session.fileno(): session for session in sessions}
        for fd, session in waiting.items():
            session.submit(program[0], LIMITS.wall_s)
            poll.register(fd, select.EPOLLIN)
        while waiting:
            for fd, _ in poll.poll(0.01) or [(fd, 0) for fd in waiting]:
                for event in waiting[fd].events():
                    if isinstance(event, Done):
                        expect(event.stdout or event.error, program)
                        del waiting[fd]
                        poll.unregister(fd)
    return time.perf_counter() - begin


def ran(pids: list[int]) -> float:
    """Processor seconds that single-threaded processes have used, to the nanosecond."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


class Ours(Contender):
    """An executor of this package. `pause`: seconds in which it can make a session ready ahead of demand."""

    def __init__(self, name: str, executor: Executor, sessions: int, pause: float) -> None:
        self.name, self.executor, self.sessions, self.pause = name, executor, sessions, pause
        report = executor.report()
        tier = report.pop("tier")
        lacking = [layer for layer, verdict in report.items() if verdict != "enforced"]
        self.isolation = f"tier {tier}, " + (f"all layers but {', '.join(lacking)}" if lacking else "all layers")
        if isinstance(executor, UnsafeSubprocess):
            self.isolation = "none"

    def processes(self) -> list[int]:
        """All that it has started."""
        return [pid for pid in descendants(os.getpid()) if pid not in self._others]

    def round(self, sizes: Sizes) -> Figures:
        self._others = set(descendants(os.getpid()))
        found: Figures = defaultdict(list)
        self.executor.acquire()
        try:
            session = self.executor.open(LIMITS, 0)
            for program in (CALL, NUMPY, SOLVE):
                say(session, program)
            time.sleep(self.pause)
            self._warm(session, sizes, found)
            if isinstance(self.executor, ForkServer):
                for _ in range(sizes.fresh):
                    begin = time.perf_counter()
                    twin = session.fork()
                    found["fork"].append((time.perf_counter() - begin) * 1e3)
                    twin.close()
            session.close()
            self._fresh(min(sizes.fresh, self.sessions), found)
            self._crowd(found)
        finally:
            self.executor.release()
        return found

    def _warm(self, session: Session, sizes: Sizes, found: Figures) -> None:
        processes = self.processes()
        host, guests = time.process_time(), ran(processes)
        found["call"] += [say(session, CALL) for _ in range(sizes.calls)]
        host, guests = time.process_time() - host, ran(processes) - guests
        found["host"].append(host * 1e6 / sizes.calls)
        found["cpu"].append((host + guests) * 1e6 / sizes.calls)
        found["numpy"] += [say(session, NUMPY) for _ in range(sizes.calls)]

    def _fresh(self, count: int, found: Figures) -> None:
        for key, pause in (("fresh", 0.0), ("pooled", self.pause)):
            sessions = []
            time.sleep(self.pause)
            for _ in range(count):
                time.sleep(pause)
                begin = time.perf_counter()
                sessions.append(self.executor.open(LIMITS, 0))
                say(sessions[-1], CALL)
                found[key].append((time.perf_counter() - begin) * 1e3)
            found["solve"] += [say(session, SOLVE) / 1e3 for session in sessions]
            for session in sessions:
                session.close()

    def _crowd(self, found: Figures) -> None:
        sessions = [self.executor.open(LIMITS, 0) for _ in range(self.sessions)]
        for session in sessions:
            say(session, CALL)
        time.sleep(self.pause)
        alive = self.processes()
        found["pss"].append(pss_mb(alive) / self.sessions)
        found["rate"] += [self.sessions / at_once(sessions, CALL) for _ in range(4)][1:]
        begin = last = time.perf_counter()
        for session in sessions:
            session.close()
        ended = 0
        while ended < self.sessions or time.perf_counter() - last < self.pause:
            left = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
            if len(left) < len(alive):
                alive, ended, last = left, ended + len(alive) - len(left), time.perf_counter()
            time.sleep(0.005)
        found["reap"].append(last - begin)


class Containers(Ours):
    """Docker: what runs in containers is the engine's to name."""

    executor: DockerExecutor

    def processes(self) -> list[int]:
        import docker

        settings = docker.utils.kwargs_from_env() | ({"base_url": self.executor.url} if self.executor.url else {})
        engine = docker.APIClient(version="auto", **settings)
        try:
            found = engine.containers(filters={"label": LABEL})
            first = [engine.inspect_container(container["Id"])["State"]["Pid"] for container in found]
        finally:
            engine.close()
        return [pid for top in first for pid in (top, *descendants(top))]


# --- others ----------------------------------------------------------------------------------------------------------
class Stateless(Contender):
    """A tool that starts a process for every call, timed by `tool_worker.py` in the interpreter that has it."""

    def __init__(self, name: str, isolation: str, python: str, tool: str, sessions: int) -> None:
        self.name, self.isolation, self.sessions, self._tool = name, isolation, sessions, tool
        self._folder = tempfile.TemporaryDirectory(prefix="tir_gym-bench-")
        paths = f"{Path(python).absolute().parent}:{os.environ['PATH']}"  # these tools run whatever "python" is
        self._driver = subprocess.Popen(
            [Path(python).absolute(), WORKER.absolute(), tool],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env={"PATH": paths, "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
            text=True,
        )
        try:
            self.version = self._answer()["name"]
            for program in (CALL, NUMPY, SOLVE):
                self._ask(program, 1)
        except BaseException:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._driver.stdout is not None
        line = self._driver.stdout.readline()
        if not line:
            raise RuntimeError(f"its driver ended: exit status {self._driver.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, program: tuple[str, str], count: int, threads: int = 1) -> dict[str, Any]:
        assert self._driver.stdin is not None
        print(json.dumps({"code": program[0], "count": count, "threads": threads}), file=self._driver.stdin, flush=True)
        answer = self._answer()
        for printed in answer["printed"]:
            expect(printed, program)
        return answer

    def round(self, sizes: Sizes) -> Figures:
        calls = self._ask(CALL, sizes.fresh)
        fresh = [wall / 1e3 for wall in calls["walls"]]
        counted = self._tool != "gem-bwrap"  # bubblewrap does not wait for what it starts
        return {
            "call": calls["walls"],
            "host": [calls["host"]],
            "cpu": [calls["host"] + calls["children"]] if counted else [],
            "numpy": self._ask(NUMPY, 3)["walls"],
            "rate": [self.sessions / self._ask(CALL, self.sessions, min(THREADS, self.sessions))["seconds"]],
            "fresh": fresh,
            "pooled": fresh,
            "solve": [wall / 1e3 for wall in self._ask(SOLVE, 3)["walls"]],
        }

    def close(self) -> None:
        """End the driver."""
        for stream in (self._driver.stdin, self._driver.stdout):
            assert stream is not None
            stream.close()
        self._driver.wait()
        self._folder.cleanup()


def contenders(chosen: argparse.Namespace, sizes: Sizes) -> tuple[list[Contender], list[str]]:
    """What this machine has, and why it has not the rest."""
    found: list[Contender] = []
    missing: list[str] = []

    def add(name: str, make: Any) -> None:
        print(f"trying {name}", file=sys.stderr)
        try:
            found.append(make())
        except (ExecutorUnavailable, RuntimeError, OSError) as error:
            missing.append(f"{name}: {' '.join(str(error).split())[-300:]}")

    lean = ("numpy", "sympy")
    docker = DockerExecutor(chosen.docker_image, lean, url=chosen.docker_url)
    add("fork server", lambda: Ours("ForkServer (lean)", ForkServer(lean), sizes.sessions, 0.1))
    add("bwrap", lambda: Ours("BwrapExecutor", BwrapExecutor(lean), sizes.few, 1.0))
    add("docker", lambda: Containers("DockerExecutor", docker, sizes.few, 2.0))
    add("unsafe", lambda: Ours("UnsafeSubprocess", UnsafeSubprocess(lean), sizes.few, 1.0))
    add("subprocess", lambda: Stateless("subprocess.run", "none", sys.executable, "plain", sizes.sessions))
    gem, skyrl = chosen.gem_python, chosen.skyrl_python
    for name, isolation, python, tool, option in (
        ("GEM", "words looked for", gem, "gem", "--gem-python"),
        ("GEM bwrap", "namespaces", gem, "gem-bwrap", "--gem-python"),
        ("SkyRL-Gym", "none", skyrl, "skyrl", "--skyrl-python"),
    ):
        if python:
            add(name, lambda n=name, i=isolation, p=python, t=tool: Stateless(n, i, p, t, sizes.sessions))
        else:
            missing.append(f"{name}: no {option}")
    return found, missing


# --- the table -------------------------------------------------------------------------------------------------------
def figure(row: Row, figures: Figures) -> float:
    """The percentile of a row, nan where there is no such figure."""
    values = sorted(figures.get(row.key, ()))
    if not values:
        return float("nan")
    return (
        statistics.median(values) if row.share == 50 else values[min(len(values) - 1, len(values) * row.share // 100)]
    )


def table(columns: list[tuple[Contender, Figures]]) -> str:
    """The figures as Markdown, and the ratios of the first column to the others."""
    lines = [
        "| what | goal | " + " | ".join(contender.name for contender, _ in columns) + " |",
        "|---|---:|" + "---:|" * len(columns),
        "| isolation | | " + " | ".join(contender.isolation for contender, _ in columns) + " |",
        "| sessions at once | | " + " | ".join(str(contender.sessions) for contender, _ in columns) + " |",
    ]
    for row in ROWS:
        cells = [number(figure(row, figures)) for _, figures in columns]
        lines.append(f"| {row.name} | {row.goal} | {' | '.join(cells)} |")
    lines.append("")
    for contender, _ in columns[1:]:
        told = [f"{name} {number(ratio)}x" for name, ratio in ratios(contender.name, columns).items()]
        lines.append(f"- {columns[0][0].name} against {contender.name}: {', '.join(told)}.")
    return "\n".join(lines)


def ratios(name: str, columns: list[tuple[Contender, Figures]]) -> dict[str, float]:
    """How many times better the first column is than the one of this name."""
    own, other = columns[0][1], next(figures for contender, figures in columns if contender.name == name)
    found = {row: figure(row, other) / figure(row, own) for row in ROWS if row.ratio}
    return {row.ratio: 1 / ratio if row.key == "rate" else ratio for row, ratio in found.items()}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="256 sessions, 1000 calls a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--gem-python", default="")
    parser.add_argument("--skyrl-python", default="")
    parser.add_argument("--docker-url", default="")
    parser.add_argument("--docker-image", default="")
    parser.add_argument("--docker-rootfs", type=Path)
    add_options(parser)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", UnsafeExecutorWarning)  # it is meant
    calls, sessions = chosen.calls or (1000 if chosen.full else 200), chosen.sessions or (256 if chosen.full else 32)
    sizes = Sizes(calls, max(1, calls // 20), sessions, max(3, sessions // 32))
    with contextlib.ExitStack() as engines:
        if chosen.docker_rootfs:
            from tests.executors.engine import IMAGE, engine

            chosen.docker_url, chosen.docker_image = engines.enter_context(engine(chosen.docker_rootfs)), IMAGE
        report("executor", chosen, lambda: measure(chosen, sizes), lambda found: str(found["text"]))


def measure(chosen: argparse.Namespace, sizes: Sizes) -> Result:
    """All rounds, and what they say."""
    about = machine()
    found, missing = contenders(chosen, sizes)
    columns: list[tuple[Contender, Figures]] = [(contender, defaultdict(list)) for contender in found]
    try:
        for number_of_round in range(chosen.rounds):
            for contender, figures in columns:
                print(f"round {number_of_round + 1} of {chosen.rounds}: {contender.name}", file=sys.stderr)
                for key, values in contender.round(sizes).items():
                    figures[key] += values
    finally:
        for contender in found:
            if isinstance(contender, Stateless):
                contender.close()
    versions = ", ".join(f"{c.name}: {c.version}" for c in found if isinstance(c, Stateless))
    text = (
        f"{table(columns)}\n\nMeasured {datetime.datetime.now(datetime.UTC):%Y-%m-%d} on {about}, "
        f"{os.getloadavg()[0]:.1f} at the end; {chosen.rounds} rounds, each with every column in turn. "
        f"{versions}."
    )
    if missing:
        text += "\n\n**LEFT OUT**, for lack of what it needs:\n\n" + "\n".join(f"- {line}" for line in missing)
    against = {f"{name} against {c.name}": ratio for c in found[1:] for name, ratio in ratios(c.name, columns).items()}
    return {"machine": about, "text": text, "ratios": against}


if __name__ == "__main__":
    main()
