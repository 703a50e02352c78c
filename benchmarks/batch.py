"""Token batches: how fast rows become arrays, and how little of them is padding.

    python -m benchmarks.batch [--json FILE] [--compare FILE] ...

Rows are TIR-like: a prompt, then turns and tool results in turns, lengths log-normal and cut at 2,048 tokens.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import machine, reference
from benchmarks.report import Result, add_options, report
from tir_gym.rollout.batch import packs, padded_buffers, split, to_csr, to_packed, to_padded
from tir_gym.rollout.tokens import Role, TokenRollout, TokenRow

WIDTH, BUDGET = 2_048, 16_384


def make_rows(count: int) -> list[TokenRow]:
    """The same rows at every call."""
    rng = np.random.default_rng(0)
    rows: list[TokenRow] = []
    for _ in range(count):
        rollout = TokenRollout()
        length = min(WIDTH, int(rng.lognormal(np.log(0.6 * WIDTH), 0.6)) + 200)
        rollout.append_prompt(rng.integers(0, 50_000, 150).tolist())
        while len(rollout) < length - 60:
            sampled = rng.integers(0, 50_000, int(rng.integers(20, 300))).tolist()[: length - len(rollout) - 50]
            rollout.append_sampled(sampled, [-0.5] * len(sampled), 3)
            rollout.append_context(rng.integers(0, 50_000, 50).tolist(), Role.TOOL)
        rows += rollout.rows()
    return rows


def measure(chosen: argparse.Namespace) -> Result:
    """All ways in turn, round by round; a ratio is calls to those of `machine.reference`, both in processor time."""
    about = machine()
    rows = make_rows(chosen.rows)
    lengths = np.array([len(row) for row in rows])
    tokens = int(lengths.sum())
    buffers = padded_buffers(len(rows), WIDTH)
    advantages = np.linspace(-1, 1, len(rows), dtype=np.float32)
    work: dict[str, Callable[[], object]] = {
        f"padded to {len(rows):,} x {WIDTH:,}, into buffers": lambda: to_padded(rows, length=WIDTH, out=buffers),
        "the same with advantages": lambda: to_padded(rows, length=WIDTH, out=buffers, advantages=advantages),
        "the same into new arrays": lambda: to_padded(rows, length=WIDTH, advantages=advantages),
        "one after another, with advantages": lambda: to_csr(rows, advantages=advantages),
        f"packs of {BUDGET:,}, with advantages": lambda: to_packed(rows, BUDGET, advantages=advantages),
        "split among 8 ranks": lambda: split(rows, 8),
    }
    walls: dict[str, list[float]] = {name: [] for name in work}
    processor: dict[str, list[float]] = {name: [] for name in work}
    ratios: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(chosen.rounds):
        for name, each in work.items():
            unit = reference(0.01, time.process_time)
            wall, begin = time.perf_counter(), time.process_time()
            each()
            processor[name].append(time.process_time() - begin)
            walls[name].append(time.perf_counter() - wall)
            ratios[name].append(1 / processor[name][-1] / unit)
    middle = statistics.median
    shares = [sum(int(lengths[i]) for i in part) for part in split(rows, 8)]
    filled = tokens / (len(packs(lengths, BUDGET)) * BUDGET)
    last = f"Padding waste {to_padded(rows, out=buffers).waste:.1%}; packs are {filled:.1%} full; "
    last += f"the fullest of 8 ranks has {max(shares) / min(shares) - 1:.2%} more tokens than the emptiest."
    lines = [
        f"On {about}. {len(rows):,} rows, {tokens:,} tokens; medians of {chosen.rounds}.",
        "",
        "| batch | ms | CPU ms | million tokens/s of CPU |",
        "|---|---:|---:|---:|",
    ]
    for name in work:
        cpu = middle(processor[name])
        lines.append(f"| {name} | {1e3 * middle(walls[name]):.1f} | {1e3 * cpu:.1f} | {tokens / cpu / 1e6:,.0f} |")
    found = {name: middle(each) for name, each in ratios.items()} | {"share of packs that is tokens": filled}
    return {"machine": about, "text": "\n".join([*lines, "", last]), "ratios": found}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=15)
    add_options(parser)
    chosen = parser.parse_args()
    report("batch", chosen, lambda: measure(chosen), lambda found: str(found["text"]))


if __name__ == "__main__":
    main()
