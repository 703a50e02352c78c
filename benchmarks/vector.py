"""The vector environment: turns a second at 1 to 4,096 episodes, memory, start, and how busy it keeps a generator.

    python -m benchmarks.vector [--full] [--sizes 1 64 256] [--rounds 5] [--json FILE] [--compare FILE] [--plot] ...

Turns: every step takes one turn in every episode, and all results are checked; a figure is the median of interleaved
rounds, the ratio is to a fixed piece of plain Python timed in turn with it (`machine.reference`).

Generator: an engine that decodes at most `slots` sequences at once, each for as long as is drawn (`--generation`), is
simulated by timers in real time; the tools are real code that really sleeps in real sandboxes, and the k-th turn of an
episode takes as long whichever way it is driven. There are twice as many episodes as slots (for heavy-tailed tools also
as many). *Busy* is the share of time in which at least one sequence is decoded (the engine is not waiting for
environments), *full* the share of its slots' time that is used.
"""

import argparse
import gc
import heapq
import os
import statistics
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tir_gym
from benchmarks.machine import descendants, machine, pss_mb, reference
from benchmarks.report import Result, add_options, number, plotter, report, save
from tir_gym.drivers.vector import ToolVectorEnv
from tir_gym.envs.registration import default_executor

ID = "tir/MathCode-v0"
THOUGHT = "<think>" + "Let me consider the number of ways once more. " * 8 + "</think>"
PROGRAMS = {
    "text": ("", "the turn has no action"),
    "python": ("print(sum(i * i for i in range(100)))", "328350"),
    "numpy": ("import numpy as np; print(int(np.linalg.det(np.eye(3)) * 2 + 7529.5))", "7531"),
}
MB_A_SESSION = 5
"""More than an idle interpreter takes: python turns are left out where there is not room for so much."""
GENERATION_S, TOOL_S, CAP_S = 0.5, 0.25, 8.0
"""Mean seconds of a generation and of a tool call, and the longest of either."""


def call(code: str) -> str:
    """A completion: a thought of 400 characters and, if there is code, a call."""
    return f'{THOUGHT}<call name="python"><arg name="code">{code}</arg></call>' if code else THOUGHT


def make(size: int) -> ToolVectorEnv:
    """Episodes that do not run out of turns."""
    return tir_gym.make_vec(ID, size, max_turns=10**6, max_calls=10**6)


# --- turns ---------------------------------------------------------------------------------------------------------
def turn(envs: ToolVectorEnv, kind: str) -> float:
    """Seconds of one turn in every episode. Raises `RuntimeError` where one has another result than it should."""
    code, printed = PROGRAMS[kind]
    actions = [call(code)] * envs.num_envs
    begin = time.perf_counter()
    observations, _, terminations, truncations, _ = envs.step(actions)
    wall = time.perf_counter() - begin
    wrong = [text for text in observations if printed not in text]
    if wrong or terminations.any() or truncations.any():
        raise RuntimeError(f"{kind}: {len(wrong)} of {envs.num_envs} replies are wrong: {wrong[:1]}")
    return wall


def turns(size: int, rounds: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Every kind of turn at one size."""
    envs = make(size)
    walls: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    count = max(4, 256 // size)
    for kind in kinds:
        envs.reset(seed=0)
        turn(envs, kind)
    for _ in range(rounds):
        for kind in kinds:
            unit = reference()
            gc.collect()
            host = time.process_time()
            taken = [turn(envs, kind) for _ in range(count)]
            cpu[kind].append((time.process_time() - host) / count / size)
            walls[kind].append(taken)
            ratios[kind].append(count * size / sum(taken) / unit)
    envs.close()
    rows = []
    for kind in kinds:
        rates = [count * size / sum(taken) for taken in walls[kind]]
        rows.append(
            {
                "kind": kind,
                "episodes": size,
                "rate": statistics.median(rates),
                "slowest": min(rates),
                "fastest": max(rates),
                "p50_ms": float(np.percentile(np.concatenate(walls[kind]), 50)) * 1e3,
                "p99_ms": float(np.percentile(np.concatenate(walls[kind]), 99)) * 1e3,
                "host_us": statistics.median(cpu[kind]) * 1e6,
                "ratio": statistics.median(ratios[kind]),
            }
        )
    return rows


def room_for(size: int) -> bool:
    """Whether so many interpreters fit into what memory is free."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 1024 > size * MB_A_SESSION


def start(size: int, rounds: int) -> dict[str, Any]:
    """Seconds to `size` isolated episodes, and to the first reply of each; memory when all are idle.

    The fork server runs before: a process starts it once, whatever is made afterwards.
    """
    resets, replies, memory = [], [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        envs = make(size)
        envs.reset(seed=0)
        resets.append(time.perf_counter() - begin)
        turn(envs, "python")
        replies.append(time.perf_counter() - begin)
        memory.append(pss_mb(descendants(os.getpid())) / size)
        envs.close()
    middle = statistics.median
    return {"episodes": size, "reset_s": middle(resets), "reply_s": middle(replies), "pss_mb": middle(memory)}


# --- the generator ---------------------------------------------------------------------------------------------------
class Generator:
    """A simulated engine in real time: at most `slots` sequences at once, the others wait in a queue.

    It runs on by itself: a free slot takes the next sequence when it becomes free, not when somebody looks.
    """

    def __init__(self, slots: int, seconds: NDArray[np.float64]) -> None:
        self._slots, self._seconds = slots, seconds
        self._running: list[tuple[float, int]] = []
        self._queue: deque[int] = deque()
        self._generated = [0] * len(seconds)
        self._began = self._last = time.perf_counter()
        self._busy = self._area = 0.0

    def submit(self, episodes: list[int], done: list[int]) -> None:
        """Ask for the next completion of these; what ended meanwhile is added to `done`."""
        now = time.perf_counter()
        self._run(now, done)
        for episode in episodes:
            self._queue.append(episode)
        self._fill(now)

    def finished(self) -> list[int]:
        """Episodes whose completion is there since the last look."""
        done: list[int] = []
        self._run(time.perf_counter(), done)
        return done

    def next_end(self) -> float:
        """Seconds until a sequence ends; inf where none runs."""
        return max(0.0, self._running[0][0] - time.perf_counter()) if self._running else float("inf")

    def used(self) -> tuple[float, float]:
        """Shares of the time since it was made: busy at all, slots in use."""
        now = time.perf_counter()
        self._pass(now)
        total = now - self._began
        return self._busy / total, self._area / total / self._slots

    def _run(self, now: float, done: list[int]) -> None:
        while self._running and self._running[0][0] <= now:
            self._pass(self._running[0][0])
            end, episode = heapq.heappop(self._running)
            done.append(episode)
            self._fill(end)

    def _fill(self, now: float) -> None:
        self._pass(now)
        while self._queue and len(self._running) < self._slots:
            episode = self._queue.popleft()
            taken = self._seconds[episode, self._generated[episode] % self._seconds.shape[1]]
            self._generated[episode] += 1
            heapq.heappush(self._running, (now + float(taken), episode))

    def _pass(self, now: float) -> None:
        self._busy += (now - self._last) * bool(self._running)
        self._area += (now - self._last) * len(self._running)
        self._last = now


def latencies(kind: str, shape: tuple[int, int], mean: float, sigma: float, seed: int) -> NDArray[np.float64]:
    """Seconds drawn from a distribution with this mean before the cap: the same at every call.

    constant; lognormal (of this sigma); heavy: Pareto with the exponent 1.2.
    """
    rng = np.random.default_rng(seed)
    drawn = {
        "constant": lambda: np.ones(shape),
        "lognormal": lambda: rng.lognormal(-(sigma**2) / 2, sigma, shape),
        "heavy": lambda: (1 - 1 / 1.2) * (1 + rng.pareto(1.2, shape)),
    }[kind]()
    return np.minimum(CAP_S, mean * drawn)


def generate(kind: str, driver: str, slots: int, size: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """One way of driving against one kind of tool, until `--turns` turns an episode are done on average."""
    turns_each = chosen.turns
    generations = latencies(chosen.generation, (size, turns_each), GENERATION_S, 0.5, 9) * chosen.scale
    sleeps = latencies(kind, (size, turns_each), TOOL_S, 1.0, 8) * chosen.scale
    envs = make(size)
    envs.reset(seed=0)
    turn(envs, "python")
    played = [0] * size

    def action(i: int) -> str:
        played[i] += 1
        return call(f"import time; time.sleep({sleeps[i, (played[i] - 1) % turns_each]:.4f}); print('woke {i}.')")

    def check(ids: list[int], observations: list[str]) -> None:
        wrong = [text for i, text in zip(ids, observations, strict=True) if f"woke {i}." not in text]
        if wrong:
            raise RuntimeError(f"a tool that sleeps gave {wrong[0]!r}")

    everyone = list(range(size))
    generator = Generator(slots, generations)
    done: list[int] = []
    generator.submit(everyone, done)
    begin = time.perf_counter()
    count = 0
    while count < size * turns_each:
        if driver == "barrier":
            while len(done) < size:
                time.sleep(min(1.0, generator.next_end()))
                done += generator.finished()
            received, observations = everyone, list(envs.step([action(i) for i in everyone])[0])
            done = []
        else:
            done += generator.finished()
            envs.send([action(i) for i in done], done)
            observations, _, _, _, infos = envs.recv(timeout=generator.next_end())
            received, observations, done = infos["env_id"].tolist(), list(observations), []
        count += len(received)
        generator.submit(received, done)
        check(received, observations)
    wall = time.perf_counter() - begin
    busy, full = generator.used()
    envs.close()
    row = {"generation": chosen.generation, "tools": kind, "driver": driver, "slots": slots, "episodes": size}
    row |= {"busy": busy, "full": full}
    return row | {"turns": count, "rate": count / wall, "slowest_tool_s": float(sleeps.max())}


# --- all of it -------------------------------------------------------------------------------------------------------
def measure(chosen: argparse.Namespace) -> Result:
    """Everything the options ask for."""
    found: Result = {"machine": machine(), "turns": [], "start": [], "generator": [], "left_out": []}
    executor = default_executor()
    executor.acquire()
    try:
        for size in chosen.sizes:
            kinds = list(PROGRAMS) if size <= chosen.most and room_for(size) else ["text"]
            if len(kinds) == 1:
                found["left_out"].append(f"python turns at {size:,}: --most, or no room for {size * MB_A_SESSION:,} MB")
            print(f"{size} episodes", file=sys.stderr)
            found["turns"] += turns(size, chosen.rounds, kinds)
        for size in chosen.start:
            print(f"start of {size} episodes", file=sys.stderr)
            found["start"].append(start(size, chosen.rounds))
        for kind, each in (("constant", 2), ("lognormal", 2), ("heavy", 2), ("heavy", 1)) if chosen.slots else ():
            for driver in ("barrier", "send/recv"):
                print(f"generator, {kind} tools, {driver}", file=sys.stderr)
                size = each * chosen.slots
                found["generator"].append(generate(kind, driver, chosen.slots, size, chosen))
    finally:
        executor.release()
    found["ratios"] = {f"{row['kind']} at {row['episodes']}": row["ratio"] for row in found["turns"]}
    for barrier, free in zip(found["generator"][::2], found["generator"][1::2], strict=True):
        name = f"{free['generation']} completions, {free['tools']} tools, {free['episodes']} episodes"
        found["ratios"][f"{name}: busy"] = free["busy"]
        found["ratios"][f"{name}: turns to the barrier's"] = free["rate"] / barrier["rate"]
    found["load_after"] = os.getloadavg()[0]
    return found


def show(found: Result) -> str:
    """The tables, as Markdown."""
    lines = [
        "| turn | episodes | turns/s | slowest, fastest round | step p50 ms | step p99 ms | host CPU us a turn |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["turns"]:
        cells = [row["kind"], f"{row['episodes']:,}", f"{row['rate']:,.0f}"]
        cells.append(f"{row['slowest']:,.0f}, {row['fastest']:,.0f}")
        lines.append(f"| {' | '.join(cells + [number(row[key]) for key in ('p50_ms', 'p99_ms', 'host_us')])} |")
    if found["start"]:
        lines += ["", "| isolated episodes | reset s | first python reply of each, s | idle, MB PSS each |"]
        lines += ["|---:|---:|---:|---:|"]
    for row in found["start"]:
        cells = [number(row[key]) for key in ("reset_s", "reply_s", "pss_mb")]
        lines.append(f"| {row['episodes']:,} | {' | '.join(cells)} |")
    if found["generator"]:
        first = found["generator"][0]
        drawn = first.get("generation", "lognormal")
        lines += ["", f"A generator of {first['slots']} slots ({drawn} completions), simulated in real time:", ""]
        lines += ["| tools | episodes | driven by | busy | slots full | turns/s | slowest call s |"]
        lines += ["|---|---:|---|---:|---:|---:|---:|"]
        for row in found["generator"]:
            cells = [row["tools"], str(row["episodes"]), row["driver"], f"{row['busy']:.1%}", f"{row['full']:.1%}"]
            cells.append(f"{row['rate']:,.0f}")
            lines.append(f"| {' | '.join(cells)} | {row['slowest_tool_s']:.2f} |")
    lines += ["", f"Measured on {found['machine']}, {found['load_after']:.1f} at the end."]
    return "\n".join(lines + [f"Left out: {line}." for line in found["left_out"]])


def draw(found: Result) -> None:
    """What there is of the two drawings."""
    if found["turns"]:
        draw_turns(found["turns"])
    if found["generator"]:
        draw_generator(found["generator"])


def draw_turns(rows: list[dict[str, Any]]) -> None:
    """Turns a second over episodes."""
    figure, axes = plotter().subplots(figsize=(6, 3.6), layout="constrained")
    for kind in PROGRAMS:
        own = [row for row in rows if row["kind"] == kind]
        axes.plot([row["episodes"] for row in own], [row["rate"] for row in own], marker="o", label=f"{kind} turn")
    axes.set(xscale="log", yscale="log", xlabel="episodes", ylabel="turns a second, all episodes")
    sizes = sorted({row["episodes"] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter("")
    axes.minorticks_off()
    axes.set_ylim(10 ** np.floor(np.log10(min(row["rate"] for row in rows))))
    axes.grid(which="major", alpha=0.3)
    axes.legend()
    save(figure, "vector-turns")


def draw_generator(rows: list[dict[str, Any]]) -> None:
    """How busy the generator is."""
    figure, axes = plotter().subplots(figsize=(6, 3), layout="constrained")
    places = [f"{row['tools']} tools,\n{row['episodes']} episodes" for row in rows[::2]]
    for place, (driver, colour) in enumerate((("barrier", "tab:gray"), ("send/recv", "tab:blue"))):
        own = [row for row in rows if row["driver"] == driver]
        where = np.arange(len(own)) + 0.4 * place - 0.2
        busy, full = ([100 * row[key] for row in own] for key in ("busy", "full"))
        bars = axes.bar(where, busy, 0.36, label=f"{driver}: busy", color=colour, alpha=0.5)
        axes.bar(where, full, 0.36, label=f"{driver}: slots full", color=colour)
        axes.bar_label(bars, fmt="%.0f")
    axes.set_xticks(range(len(places)), places, fontsize="small")
    axes.set(ylabel="% of the generator's time", ylim=(0, 112))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, fontsize="small", frameon=False)
    save(figure, "vector-generator")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1 to 4,096 episodes, 1,024 of them with interpreters")
    parser.add_argument("--sizes", type=int, nargs="*", help="episodes (1 16 64)")
    parser.add_argument("--most", type=int, help="the most episodes with interpreters (1,024)", default=1024)
    parser.add_argument("--start", type=int, nargs="*", help="episodes to start (32; full: 256)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, help="of the generator (16; full: 128; 0: no generator)")
    parser.add_argument("--generation", choices=("constant", "lognormal", "heavy"), default="lognormal")
    parser.add_argument("--turns", type=int, default=8, help="an episode, with the generator")
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds that generator and tools take")
    add_options(parser, plots=True)
    chosen = parser.parse_args()
    if chosen.sizes is None:
        chosen.sizes = [1, 4, 16, 64, 256, 1024, 4096] if chosen.full else [1, 16, 64]
    if chosen.start is None:
        chosen.start = [256] if chosen.full else [32]
    if chosen.slots is None:
        chosen.slots = 128 if chosen.full else 16
    report("vector", chosen, lambda: measure(chosen), show, draw)


if __name__ == "__main__":
    main()
