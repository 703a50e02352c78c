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

ROWS, WIDTH, BUDGET = 1_024, 2_048, 16_384


def make_rows(count: int = ROWS, width: int = WIDTH) -> list[TokenRow]:
    """The same rows at every call."""
    rng = np.random.default_rng(0)
    rows: list[TokenRow] = []
    for _ in range(count):
        rollout = TokenRollout()
        length = min(width, int(rng.lognormal(np.log(0.6 * width), 0.6)) + 200)
        rollout.append_prompt(rng.integers(0, 50_000, 150).tolist())
        while len(rollout) < length - 60:
            sampled = rng.integers(0, 50_000, int(rng.integers(20, 300))).tolist()[: length - len(rollout) - 50]
            rollout.append_sampled(sampled, [-0.5] * len(sampled), 3)
            rollout.append_context(rng.integers(0, 50_000, 50).tolist(), Role.TOOL)
        rows += rollout.rows()
    return rows


def milliseconds(work: Callable[[], object], times: int = 15) -> float:
    """The median of CPU time."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return 1_000 * statistics.median(taken)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    report("batch", parser.parse_args(), measure, lambda found: str(found["text"]))


def measure() -> Result:
    """All ways, one after another; the ratios are calls a second to `machine.reference`."""
    rows = make_rows()
    lengths = np.array([len(row) for row in rows])
    tokens = int(lengths.sum())
    buffers = padded_buffers(ROWS, WIDTH)
    advantages = np.linspace(-1, 1, ROWS, dtype=np.float32)
    work: dict[str, Callable[[], object]] = {
        f"padded to {ROWS:,} x {WIDTH:,}, into buffers": lambda: to_padded(rows, length=WIDTH, out=buffers),
        "the same with advantages": lambda: to_padded(rows, length=WIDTH, out=buffers, advantages=advantages),
        "the same into new arrays": lambda: to_padded(rows, length=WIDTH, advantages=advantages),
        "one after another, with advantages": lambda: to_csr(rows, advantages=advantages),
        f"packs of {BUDGET:,}, with advantages": lambda: to_packed(rows, BUDGET, advantages=advantages),
        "split among 8 ranks": lambda: split(rows, 8),
    }
    figures = {name: milliseconds(each) for name, each in work.items()}
    shares = [sum(int(lengths[i]) for i in part) for part in split(rows, 8)]
    filled = tokens / (len(packs(lengths, BUDGET)) * BUDGET)
    waste = to_padded(rows, out=buffers).waste
    last = f"Padding waste {waste:.1%}; packs are {filled:.1%} full; "
    last += f"the fullest of 8 ranks has {max(shares) / min(shares) - 1:.2%} more tokens than the emptiest."
    lines = [
        f"On {machine()}. {ROWS:,} rows, {tokens:,} tokens; medians of 15, CPU time.",
        "",
        "| batch | ms | million tokens/s |",
        "|---|---|---|",
        *(f"| {name} | {ms:.1f} | {tokens / ms / 1_000:.0f} |" for name, ms in figures.items()),
        "",
        last,
    ]
    unit = statistics.median(reference() for _ in range(5))
    ratios = {name: 1_000 / ms / unit for name, ms in figures.items()} | {"share of packs that is tokens": filled}
    return {"machine": lines[0], "text": "\n".join(lines), "ratios": ratios}


if __name__ == "__main__":
    main()
