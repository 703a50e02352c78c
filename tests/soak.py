"""`make soak`: the full counts, and docs/soak.json to show for it."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


SHARDS = 3
"""Processes that share the tests; most of a soak is waiting for sandboxes."""
WHOLE = ["-m", "soak or hypothesis", "--hypothesis-profile=soak"]
"""What is left out of `make test`, and its property tests with more examples."""


class Count:
    """Runs every `SHARDS`-th test from number `shard` on, and collects what each came to."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.outcomes: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.shard :: SHARDS]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
            self.seconds[report.nodeid] = round(report.duration, 1)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def run_shard(shard: int) -> None:
    """Run one shard and print what its tests came to as the last line."""
    count = Count(shard)
    status = int(pytest.main([*WHOLE, "-q", str(ROOT / "tests")], plugins=[count]))
    tests = {name: [outcome, count.seconds[name]] for name, outcome in count.outcomes.items()}
    print("\n" + json.dumps({"status": status, "tests": tests}))


def main() -> int:
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    command = [sys.executable, "-m", "tests.soak"]
    shards = [
        subprocess.Popen([*command, str(shard)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for shard in range(SHARDS)
    ]
    outputs = [shard.communicate()[0] for shard in shards]
    results = [json.loads(output.splitlines()[-1]) for output in outputs]
    tests = {name: outcome for result in results for name, outcome in result["tests"].items()}
    failures = sorted(name for name, (outcome, _) in tests.items() if outcome == "failed")
    status = max(result["status"] for result in results)
    record = {
        "commit": commit + ("+changes" if changed else ""),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}",
        "tests": dict(sorted(tests.items())),
        "failures": failures,
    }
    (ROOT / "docs" / "soak.json").write_text(json.dumps(record, indent=1) + "\n")
    print(*outputs if failures else (), f"{len(tests) - len(failures)} passed, {len(failures)} failed", sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(run_shard(int(sys.argv[1])) if len(sys.argv) > 1 else main())
