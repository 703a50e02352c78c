"""Ours and its peers on the same work in one run: turns a second, CPU, memory, and how many replies were right.

    python -m benchmarks.peers --peers FOLDER [--install] [--full] [--json FILE] [--compare FILE] [--plot] ...

Each peer lives in a virtual environment of its own, FOLDER/NAME; `--install` makes those that are missing from the
package index. Every suite, ours too, plays in a process of its own (`peer_worker.py`), at its documented defaults and
in its fastest mode. A size of a piece of work is measured in rounds, in each of which every suite has its turn; every
reply is checked. PYTHONDONTWRITEBYTECODE is not set for any of them and all peers are compiled first: without that,
those that start an interpreter for every call would compile sympy anew each time, and look four times as slow.
Peers in containers use the engine that DOCKER_HOST names, if it has their image; without it a dockerd of this run
with the image FOLDER/rootfs.tar, which `--install` makes too (as root, with docker.io and mmdebstrap).
"""

import argparse
import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import containers
from benchmarks.machine import descendants, machine, pss_mb, ticks
from benchmarks.report import Result, add_options, number, plotter, report, save

WORKER = Path(__file__).with_name("peer_worker.py").absolute()
WORK = {
    "text": ("text", "", ""),
    "answer": ("answer", "", ""),
    "sum": ("code", "print(sum(i * i for i in range(100)))", "328350"),
    "numpy": ("code", "import numpy as np; print(int(np.linalg.det(np.eye(3)) * 2 + 7529.5))", "7531"),
    "sympy": ("code", "import sympy as s; x = s.Symbol('x'); print(s.solve(x**2 - 5*x + 6, x))", "[2, 3]"),
}
CODE = ("sum", "numpy", "sympy")
PINS = {
    "gem": ("gem-llm==0.1.0", "datasets", "pylatexenc", "numpy", "sympy"),
    "skyrl": ("skyrl-gym==0.4.0", "numpy", "sympy"),
    "openenv": ("openenv-core==0.3.0", "smolagents", "numpy", "sympy"),
    "jupyter": ("jupyter_client", "ipykernel", "numpy", "sympy"),
    "smolagents": ("smolagents[docker]==1.26.0",),
    "autogen": ("autogen-ext[docker-jupyter-executor]==0.7.5",),
    "textarena": ("textarena==0.7.4",),
    "verifiers": ("verifiers==0.1.14",),
    "reasoning-gym": ("reasoning-gym==0.1.25",),
}
CANNOT = (
    "verl-tool: not on the package index",
    "tau2-bench: not on the package index (`tau2` there is another package)",
    "OpenEnv's coding environment: in its repository only; its interpreter is measured alone and behind its server",
    "verifiers' PythonEnv: runs in a vendor's remote sandboxes; from 0.4 on each rollout starts a harness program",
    "GEM with bubblewrap: does not find an interpreter that lives in a virtual environment",
)

CONTAINER = "Docker container"


@dataclass(frozen=True)
class Suite:
    """A row: how `peer_worker.py` calls it, whose environment it needs ("" for ours), what it can do."""

    name: str
    mode: str
    home: str
    isolation: str
    lasting: str
    """Whether an interpreter keeps its state from call to call."""
    works: tuple[str, ...]
    most: int = 10**9
    """Episodes beyond which its processes would not fit into 16 GB."""


SUITES = (
    Suite("tir_gym", "tir_gym", "", "as its report says", "yes", tuple(WORK)),
    Suite("tir_gym, new interpreter each call", "tir_gym-stateless", "", "as its report says", "no", CODE),
    Suite("GEM SyncVectorEnv (default)", "gem", "gem", "process, words looked for", "no", tuple(WORK)),
    Suite("GEM AsyncVectorEnv", "gem-async", "gem", "process, words looked for", "no", tuple(WORK)),
    Suite("SkyRL-Gym, 32 threads (default)", "skyrl", "skyrl", "process", "no", tuple(WORK)),
    Suite("SkyRL-Gym, loop", "skyrl-loop", "skyrl", "none", "no", ("text", "answer")),
    Suite("SkyRL-Gym PersistentREPL (no imports)", "skyrl-repl", "skyrl", "none", "yes", ("sum",)),
    Suite("OpenEnv PyExecutor", "openenv", "openenv", "none (allow-list on the syntax tree)", "yes", CODE),
    Suite("OpenEnv server, WebSocket", "openenv-server", "openenv", "server (allow-list)", "yes", ("text", *CODE)),
    Suite("Jupyter kernels", "jupyter", "jupyter", "process", "yes", CODE, most=64),
    Suite("smolagents DockerExecutor", "smolagents", "smolagents", CONTAINER, "yes", CODE, most=16),
    Suite("AutoGen DockerJupyterCodeExecutor", "autogen", "autogen", CONTAINER, "yes", CODE, most=64),
    Suite("TextArena", "textarena", "textarena", "none", "no", ("text",)),
    Suite("verifiers SingleTurnEnv", "verifiers", "verifiers", "none", "no", ("answer",)),
    Suite("reasoning-gym", "reasoning-gym", "reasoning-gym", "none", "no", ("answer",)),
)


HEAD = (
    *("suite", "isolation", "state lasts", "turns/s", "ours to it (spread)", "right"),
    *("step p50, p99 ms (steps)", "CPU ms a turn", "peak MB PSS"),
)


class WorkerError(RuntimeError):
    """A worker ended, or took too long."""


class Worker:
    """A suite in a process of its own, with episodes open from construction to `close`."""

    def __init__(self, suite: Suite, python: Path, work: str, size: int, patience: float) -> None:
        self.suite, self._patience = suite, patience
        self._folder = tempfile.TemporaryDirectory(prefix="tir_gym-peers-")
        paths = f"{python.parent}:{os.environ['PATH']}"  # some tools run whatever "python" is
        env = {"PATH": paths, "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8", "HOME": self._folder.name}
        if suite.isolation == CONTAINER:
            env |= {name: value for name, value in os.environ.items() if name == "DOCKER_HOST"}
        if not suite.home:
            env["PYTHONPATH"] = str(WORKER.parents[1])
        self._said = (Path(self._folder.name) / "said").open("w+b")
        self._process = subprocess.Popen(
            [python, WORKER, suite.mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=self._folder.name,
            env=env,
            start_new_session=True,
        )
        kind, program, expected = WORK[work]
        try:
            opened = self._ask({"do": "open", "work": kind, "size": size, "program": program, "expected": expected})
        except BaseException:
            self.close()
            raise
        self.version: str = opened["version"]
        self._containers: list[str] = opened["containers"]
        self.isolation = (opened["isolation"] or suite.isolation) if kind == "code" else "no code runs"
        self.lasting = suite.lasting if kind == "code" else ""

    def turns(self, seconds: float) -> dict[str, Any]:
        """Turns in all episodes, for so long; with the processor seconds of the whole process tree, containers too."""
        before = ticks(self._tree())
        found = self._ask({"do": "step", "seconds": seconds})
        return found | {"cpu": ticks(self._tree()) - before}

    def memory(self) -> float:
        """The most MB PSS that the process tree takes during a step, which is not among those timed."""
        self._send({"do": "step", "seconds": 0.0})
        until = time.monotonic() + self._patience
        most = pss_mb(self._tree())
        while not self._readable(0.1) and time.monotonic() < until:
            most = max(most, pss_mb(self._tree()))
        self._answer("step")
        return max(most, pss_mb(self._tree()))

    def close(self) -> None:
        """End the episodes, and whatever is left of the process group."""
        try:
            if self._process.poll() is None:
                self._ask({"do": "close"})
        except (WorkerError, OSError):
            print(f"{self.suite.name} did not close", file=sys.stderr)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()
        self._folder.cleanup()

    def _tree(self) -> list[int]:
        pid = self._process.pid
        return [pid, *descendants(pid), *containers.processes(self._containers)]

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: `_answer` says how
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def _readable(self, seconds: float) -> bool:
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._send(request)
        return self._answer(request["do"])

    def _answer(self, to: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not self._readable(self._patience):
            os.killpg(self._process.pid, signal.SIGKILL)
            raise WorkerError(f"no answer to {to!r} in {self._patience:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").split("\n")
            raise WorkerError(next((text for text in reversed(said) if text.strip()), "ended without a word")[-300:])
        answer: dict[str, Any] = json.loads(line)
        return answer


# --- one piece of work at one size -----------------------------------------------------------------------------------
def compare(
    work: str, size: int, suites: list[tuple[Suite, Path]], chosen: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for every suite, ours (the first) before the others, and what could not be measured."""
    workers: list[Worker] = []
    lost = []
    rounds: dict[str, list[dict[str, Any]]] = {}
    memory = {}
    try:
        for suite, python in suites:
            try:
                workers.append(Worker(suite, python, work, size, chosen.patience))
            except WorkerError as error:
                lost.append(f"{suite.name}, {work} at {size}: {error}")
        for turn in range(chosen.rounds):
            for worker in list(workers):
                print(f"{work} at {size}, round {turn + 1}: {worker.suite.name}", file=sys.stderr)
                try:
                    rounds.setdefault(worker.suite.name, []).append(worker.turns(chosen.seconds))
                    if turn == chosen.rounds - 1:
                        memory[worker.suite.name] = worker.memory()
                except WorkerError as error:
                    lost.append(f"{worker.suite.name}, {work} at {size}: {error}")
                    workers.remove(worker)
                    worker.close()
                    rounds.pop(worker.suite.name, None)
    finally:
        for worker in workers:
            worker.close()
    if suites[0][0].name not in rounds:
        return [], [*lost, f"all, {work} at {size}: ratios are to {suites[0][0].name}"]
    rows: list[dict[str, Any]] = []
    own: list[float] = []
    for worker in workers:
        suite, found = worker.suite, rounds[worker.suite.name]
        rates = [each["turns"] / sum(each["walls"]) for each in found]
        own = own or rates
        walls = np.concatenate([each["walls"] for each in found]) * 1e3
        turns = sum(each["turns"] for each in found)
        ratios = [ours / rate for ours, rate in zip(own, rates, strict=True)]
        rows.append(
            {
                "work": work,
                "size": size,
                "suite": suite.name,
                "version": worker.version,
                "isolation": worker.isolation,
                "lasting": worker.lasting,
                "rate": statistics.median(rates),
                "slowest": min(rates),
                "fastest": max(rates),
                "p50_ms": float(np.percentile(walls, 50)),
                "p99_ms": float(np.percentile(walls, 99)),
                "steps": len(walls),
                "cpu_ms": sum(each["cpu"] for each in found) * 1e3 / turns,
                "right": sum(each["right"] for each in found) / turns,
                "wrong": next((each["wrong"] for each in found if each["wrong"]), ""),
                "pss_mb": memory[suite.name],
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
            }
        )
    return rows, lost


def measure(chosen: argparse.Namespace, engines: contextlib.ExitStack) -> Result:
    """All work at all sizes. `engines`: ends the one that is started, if need be."""
    compile_all(chosen.peers)
    found: Result = {"machine": machine(), "rows": [], "left_out": []}
    suites = []
    for suite in SUITES:
        python = chosen.peers / suite.home / "bin" / "python" if suite.home else Path(sys.executable)
        if chosen.only and suite.mode not in ("tir_gym", *chosen.only):
            continue
        if not suite.home or python.exists():
            if suite.isolation == CONTAINER and (lack := containers.lacking(python, chosen.peers, engines)):
                found["left_out"].append(f"{suite.name}: no Docker engine with the image {containers.IMAGE}: {lack}")
            else:
                suites.append((suite, python.absolute()))
        elif (line := f"{suite.home}: no {chosen.peers / suite.home}; see --install") not in found["left_out"]:
            found["left_out"].append(line)
    slow: dict[tuple[str, str], float] = {}
    for work in chosen.work:
        for size in chosen.sizes:
            able = []
            for suite, python in suites:
                expected = slow.get((suite.name, work), 0.0) * size if suite.home else 0.0
                if work not in suite.works:
                    continue
                if expected > chosen.longest:
                    found["left_out"].append(f"{suite.name}, {work} at {size}: a step would take {expected:.0f} s")
                elif size > suite.most:
                    found["left_out"].append(f"{suite.name}, {work} at {size}: more memory than there is")
                else:
                    able.append((suite, python))
            rows, lost = compare(work, size, able, chosen)
            found["rows"] += rows
            found["left_out"] += lost
            slow |= {(row["suite"], work): row["p50_ms"] / 1e3 / size for row in rows}
    found["left_out"] += CANNOT
    others = [row for row in found["rows"] if not row["suite"].startswith("tir_gym")]
    found["ratios"] = {f"{row['work']} at {row['size']} to {row['suite']}": row["ratio"] for row in others}
    found["load_after"] = os.getloadavg()[0]
    return found


def install(folder: Path) -> None:
    """Make the environments that are missing."""
    for name, packages in PINS.items():
        if not (folder / name).exists():
            print(f"installing {name}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
            pip: list[str | Path] = [folder / name / "bin" / "python", "-m", "pip", "install", "--quiet", *packages]
            if subprocess.run(pip, check=False).returncode:
                print(f"{name} cannot be installed here", file=sys.stderr)
    if not (folder / containers.ROOTFS).exists():
        try:
            containers.make_rootfs(folder / containers.ROOTFS)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no image for containers: {error}", file=sys.stderr)


def compile_all(folder: Path) -> None:
    """Compile every peer's modules by its own interpreter."""
    for name in PINS:
        if (python := folder / name / "bin" / "python").exists():
            print(f"compiling {name}", file=sys.stderr)
            packages = [str(path) for path in (folder / name).glob("lib/python*/site-packages")]
            # What packages ship for other Pythons does not compile.
            subprocess.run([python, "-m", "compileall", "-qq", "-j0", *packages], check=False)


# --- the tables ------------------------------------------------------------------------------------------------------
def show(found: Result) -> str:
    """A table for each piece of work at each size, as Markdown."""
    lines = []
    for key in dict.fromkeys((row["work"], row["size"]) for row in found["rows"]):
        rows = [row for row in found["rows"] if (row["work"], row["size"]) == key]
        lines += [
            f"**{key[0]}, {key[1]} episodes**",
            "",
            f"| {' | '.join(HEAD)} |",
            "|---|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for row in rows:
            ratio = f"{number(row['ratio'])} ({number(row['ratio_low'])} to {number(row['ratio_high'])})"
            cells = [row["suite"], row["isolation"], row["lasting"], number(row["rate"]), ratio, f"{row['right']:.0%}"]
            cells.append(f"{number(row['p50_ms'])}, {number(row['p99_ms'])} ({row['steps']})")
            cells += [number(row["cpu_ms"]), number(row["pss_mb"])]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    versions = dict.fromkeys(f"{row['suite']}: {row['version']}" for row in found["rows"])
    lines.append(f"Measured on {found['machine']}, {found['load_after']:.1f} at the end. {'; '.join(versions)}.")
    wrong = {f"{row['suite']}, {row['work']} at {row['size']}": row["wrong"] for row in found["rows"] if row["wrong"]}
    lines += ["", *(f"- Not right: {name}: `{' '.join(text.split())[-120:]}`" for name, text in wrong.items())]
    return "\n".join([*lines, "", "**LEFT OUT**:", "", *(f"- {line}" for line in found["left_out"])])


def draw(found: Result) -> None:
    """Turns a second of every suite at the largest size that was measured, one panel for each piece of work."""
    works = list(dict.fromkeys(row["work"] for row in found["rows"]))
    shown = []
    for work in works:
        size = max(row["size"] for row in found["rows"] if row["work"] == work and not row["suite"].startswith("tir"))
        shown.append([row for row in found["rows"] if (row["work"], row["size"]) == (work, size)])
    heights = [len(rows) + 1 for rows in shown]
    figure, panels = plotter().subplots(
        len(works), figsize=(7, 0.27 * sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axes, rows in zip(panels[:, 0], shown, strict=True):
        colours = ["tab:blue" if row["suite"].startswith("tir") else "tab:gray" for row in rows]
        bars = axes.barh([row["suite"] for row in rows], [row["rate"] for row in rows], color=colours, height=0.7)
        labels = [number(row["rate"]) + ("" if row["right"] == 1 else f" ({row['right']:.0%} right)") for row in rows]
        axes.bar_label(bars, labels, padding=3, fontsize="small")
        unit = "episodes" if rows[0]["work"] == "answer" else "turns"
        axes.set_title(
            f"{rows[0]['work']}, {rows[0]['size']} episodes: {unit} a second (logarithmic)",
            fontsize="medium",
            loc="left",
        )
        axes.set_xscale("log")
        rates = [row["rate"] for row in rows]
        axes.set_xlim(10 ** np.floor(np.log10(min(rates)) - 0.3), max(rates) * 10)
        axes.xaxis.set_major_formatter("{x:,.9g}")
        axes.minorticks_off()
        axes.invert_yaxis()
        axes.tick_params(labelsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, "peers")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="the folder of their environments")
    parser.add_argument("--install", action="store_true", help="make the environments that are missing")
    parser.add_argument("--full", action="store_true", help="64 and 256 episodes, 3 rounds; half an hour")
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--only", nargs="+", choices=[suite.mode for suite in SUITES], help="these beside ours")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a suite's turn in a round takes at least")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of a step beyond which none is tried")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds after which a suite is given up")
    add_options(parser, plots=True)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no worker, container or engine is left
    chosen.sizes = chosen.sizes or ([64, 256] if chosen.full else [16])
    chosen.rounds = chosen.rounds or (3 if chosen.full else 2)
    if chosen.install and not chosen.read:
        install(chosen.peers)
    with contextlib.ExitStack() as engines:
        report("peers", chosen, lambda: measure(chosen, engines), show, draw)


if __name__ == "__main__":
    main()
