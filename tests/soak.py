"""`make soak`: the full counts, and docs/soak.json to show for it."""

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


SHARDS = 3
"""Processes that share the tests; most of a soak is waiting for sandboxes."""
WHOLE = ["-m", "soak or hypothesis", "--hypothesis-profile=soak"]
"""What is left out of `make test`, and its property tests with more examples."""


class Count:
    """Runs every `SHARDS`-th test from number `shard` on, and writes down what each came to."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.file = log(shard, "jsonl").open("w", buffering=1)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.shard :: SHARDS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.file.write(json.dumps([report.nodeid, report.outcome, round(report.duration, 1)]) + "\n")


def log(shard: int, kind: str) -> Path:
    """A shard's outcomes ("jsonl") or output ("log"), in which one can watch how far it is."""
    return ROOT / "runs" / "soak" / f"{shard}.{kind}"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def run_shard(shard: int) -> int:
    return int(pytest.main([*WHOLE, "-q", str(ROOT / "tests")], plugins=[Count(shard)]))


def main() -> int:
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    log(0, "log").parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as outputs:
        shards = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak", str(shard)],
                cwd=ROOT,
                stdout=outputs.enter_context(log(shard, "log").open("w")),
                stderr=subprocess.STDOUT,
            )
            for shard in range(SHARDS)
        ]
        status = max(abs(shard.wait()) for shard in shards)
    lines = [json.loads(line) for shard in range(SHARDS) for line in log(shard, "jsonl").read_text().splitlines()]
    failures = sorted({name for name, outcome, _ in lines if outcome == "failed"})
    tests = {name: [outcome, seconds] for name, outcome, seconds in lines}
    record = {
        "commit": commit + ("+changes" if changed else ""),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}",
        "counts": dict(Counter(outcome for outcome, _ in tests.values())),
        "failures": failures,
        "tests": dict(sorted(tests.items())),
    }
    (ROOT / "docs" / "soak.json").write_text(json.dumps(record, indent=1) + "\n")
    print(*(log(shard, "log").read_text() for shard in range(SHARDS) if status), sep="\n")
    print(f"{len(tests)} tests, {len(failures)} failed, status {status}")
    return status


if __name__ == "__main__":
    sys.exit(run_shard(int(sys.argv[1])) if len(sys.argv) > 1 else main())
