"""What the math verifier costs and decides: the figures of docs/math_verifier.md.

Run `python -m benchmarks.math_verifier [--data DIR]` from the repository root. Without the data folder the tables over
real golds are left out. Rates are medians of five rounds on one thread; caches are emptied before every round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

from tests.scoring.test_compare import BOMBS
from tir_gym.scoring import math
from tir_gym.scoring.symbolic import comparer

SETS = [
    ("gsm8k/test", ""), ("gsm8k/train", ""), ("math/math500_first100", "answer"), ("math/aime24", "answer"),
    ("math/amc23", "answer"), ("math/svamp_first100", "Answer"), ("math/college_math_first60", "answer"),
    ("math/olympiadbench_first60", "final_answer"),
]  # fmt: skip
IDENTITIES = [
    (r"\sin^2 {k}x+\cos^2 {k}x", "1"),
    (r"2\sin {k}x\cos {k}x", r"\sin({k}x+{k}x)"),
    (r"\frac{(n+{k})!}{(n+{k}-1)!}", "n+{k}"),
    (r"\ln(x^2+{k})+\ln 2", r"\ln(2x^2+2\cdot{k})"),
    (r"\sqrt{{k}+1+2\sqrt{{k}}}", r"1+\sqrt{{k}}"),
    (r"e^{{k}\ln(1+x^2)}", r"(1+x^2)^{{k}}"),
    (r"\cos {k}x", r"\sin {k}x"),
]


def golds(path: Path, field: str) -> list[str]:
    """The gold answers of one file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    values = [row[field] if field else row["answer"].rpartition("####")[2].strip() for row in rows]
    return [str(value[0] if isinstance(value, list) else value) for value in values]


def rate(pairs: list[tuple[str, str]]) -> float:
    """Comparisons a second."""

    def once() -> float:
        math._read.cache_clear()
        begin = time.perf_counter()
        for answer, gold in pairs:
            math.compare(answer, gold)
        return len(pairs) / (time.perf_counter() - begin)

    return statistics.median(once() for _ in range(5))


def timed(compare: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    begin = time.perf_counter()
    compare()
    return 1000 * (time.perf_counter() - begin)


def real(data: Path) -> None:
    """Golds against themselves and each other, and the 120 cases."""
    print("| set | golds | distinct | not equal to itself | pairs | pairs equal |\n|---|---|---|---|---|---|")
    for name, field in SETS:
        answers = golds(data / f"{name}.jsonl", field)
        distinct = sorted(set(answers))
        lost = [gold for gold in distinct if not math.equivalent(gold, gold)]
        pairs = list(combinations(distinct, 2))
        equal = [f"`{a}` = `{b}`" for a, b in pairs if math.equivalent(a, b)]
        row = (name, len(answers), len(distinct), len(lost), len(pairs), ", ".join(equal) or "none")
        print("| " + " | ".join(map(str, row)) + " |")
    cases = [json.loads(line) for line in (data / "math_verify_cases/cases.jsonl").read_text().splitlines()]
    agreed = sum(math.equivalent(case["pred"], case["gold"]) == bool(case["expected"]) for case in cases)
    print(f"\nmath_verify cases: {agreed} of {len(cases)} agree")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    data = parser.parse_args().data
    comparer().acquire()
    comparer().warm(60.0)
    if data.is_dir():
        real(data)
    aime = [(rf"So the answer is $\boxed{{{k:03d}}}$.", str(k + k % 3)) for k in range(1000)]
    grade = [(f"${k},{k:03d}" if k % 2 else f"{k} dollars", str(k)) for k in range(1, 1000)]
    print(f"\nfast path: AIME-like {rate(aime):,.0f}/s, GSM8K-like {rate(grade):,.0f}/s")
    algebra = [(rf"\boxed{{(x+{k})^2}}", f"x^2+{2 * k}x+{k * k}") for k in range(200)]
    print(f"exact path in the host (squares expanded): {rate(algebra):,.0f}/s")
    identities = [[side.replace("{k}", str(k)) for side in pair] for pair in IDENTITIES for k in range(2, 42)]
    times = sorted(timed(partial(math.compare, *pair)) for pair in identities)
    cut = [times[int(len(times) * part)] for part in (0.5, 0.95)]
    print(f"symbolic path, {len(times)} identities: p50 {cut[0]:.1f} ms, p95 {cut[1]:.1f} ms, max {times[-1]:.1f} ms")
    bombs = [timed(partial(math.compare, a, b)) for a in BOMBS.values() for b in ("5", r"\sin x", a + "+1")]
    print(f"bombs, {len(bombs)} comparisons: max {max(bombs):.0f} ms")
    comparer().release()
    cold = timed(lambda: math.compare(r"\cos 2x", r"1-2\sin^2 x"))
    print(f"first comparison of a process that needs the worker: {cold:.0f} ms")
    math.close()


if __name__ == "__main__":
    main()
