"""What rewards cost: a finished record of ten turns with all five families, and files of many records on all cores.

Run with `python -m benchmarks.rewards`; `--write` puts the table into docs/performance.md. The verdict is taken
from the record in the first part (`reward`), reached anew in the second (`rescore`).
"""

import argparse
import os
import time
from collections.abc import Iterator

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import machine, median_us
from benchmarks.report import write
from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.envs.registration import make_env
from tir_gym.rewards import Base, RewardProgram, Term
from tir_gym.rewards.calibration import Margin
from tir_gym.rewards.checklist import Checklist
from tir_gym.rewards.correctness import ExactMatch
from tir_gym.rewards.efficiency import OTCPPO
from tir_gym.rewards.format import TurnFormat
from tir_gym.rollout import Rescorer, record_of
from tir_gym.rollout.parallel import cores, rescore_many

ID = "tir/MathCode-v0"
TURNS = 10
THOUGHT = "<think>" + "Let me consider the number of ways once more. " * 8 + "</think>"
FIVE = RewardProgram(
    (
        ExactMatch(),
        Term(TurnFormat(), 0.1),
        Term(OTCPPO(), 0.5),
        Term(Margin(), 0.25),
        Term(Checklist(), 0.2),
    )
)


def finished() -> tuple[ToolEnv, EpisodeRecord]:
    """An episode of nine calls and an answer that is 80 % sure, and its record."""
    env = make_env(ID, rewards=FIVE, max_turns=TURNS)
    env.reset(seed=0)
    for number in range(TURNS - 1):
        env.step(f'{THOUGHT}<call name="python"><arg name="code">sum(i * i for i in range({number}))</arg></call>')
    env.step(f"{THOUGHT}<confidence>0.8</confidence><answer>12</answer>")
    return env, record_of(env)


def scoring(times: int) -> list[tuple[str, str, str]]:
    """What one finished episode costs, by family and whole, live and from its record."""
    env, record = finished()
    rows = []
    view = env.view
    for term in FIVE.terms:
        own = RewardProgram((term,) if term.component.channels == ("base",) else (Term(Base(), 0.0), term))
        name = type(term.component).__name__
        rows.append(
            (f"{name}, at the end of the episode", "", f"{median_us(lambda p=own: p.earned(view), times):.0f} us")
        )
    live = median_us(lambda: FIVE.earned(env.view), times)
    rows.append(("all five families and their sum, at the end of the episode", "200 us", f"{live:.0f} us"))
    with Rescorer() as again:
        offline = median_us(lambda: again.reward(record), times)
    rows.append(
        ("the same from the record in memory (task found, view made, record copied)", "200 us", f"{offline:.0f} us")
    )
    env.close()
    return rows


def many(count: int) -> list[tuple[str, str, str]]:
    """A file's worth of records rescored by one process and by all, with a bar, and whether they agree."""
    env, record = finished()
    env.close()
    line = record.model_dump_json()

    def stream() -> Iterator[EpisodeRecord]:
        for number in range(count):
            yield EpisodeRecord.model_validate_json(line).model_copy(update={"key": str(number)})

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found = {}
    for workers in (1, cores()):
        with Progress(*columns) as progress:
            bar = progress.add_task(f"rescore, {workers} workers", total=count)
            start, spent = time.perf_counter(), processor_s()
            results = []
            for _, result in rescore_many(stream(), workers=workers):
                if not isinstance(result, EpisodeRecord):
                    raise result
                results.append((result.key, result.total, sorted(result.rewards.items())))
                progress.advance(bar)
            found[workers] = time.perf_counter() - start, processor_s() - spent, results
    rows = []
    for workers, (seconds, cpu, results) in found.items():
        agree = "" if workers == 1 else ", the same" if repr(results) == repr(found[1][2]) else ", NOT THE SAME"
        what = f"rescore of {count:,} records of ten turns, {workers} process{'es' * (workers > 1)}"
        rows.append((what, "", f"{seconds:.1f} s, {cpu:.1f} s of processor time{agree}"))
    return rows


def processor_s() -> float:
    """Processor time of this process and of those it has waited for, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def table(rows: list[tuple[str, str, str]]) -> str:
    """The rows as Markdown."""
    return "\n".join(["| what | goal | median |", "|---|---:|---:|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def main() -> None:
    """Run everything, print the table, and with --write put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    about = machine()
    text = table([*scoring(chosen.times), *many(chosen.records)]) + f"\n\nMeasured on {about}."
    print(text)
    if chosen.write:
        write("rewards", text)


if __name__ == "__main__":
    main()
