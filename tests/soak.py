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


class Count:
    """Collects what each test came to."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
            self.seconds[report.nodeid] = round(report.duration, 1)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    count = Count()
    status = pytest.main(["-m", "soak", "-q", str(ROOT / "tests")], plugins=[count])
    failures = sorted(name for name, outcome in count.outcomes.items() if outcome == "failed")
    record = {
        "commit": commit + ("+changes" if changed else ""),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}",
        "tests": {name: [outcome, count.seconds[name]] for name, outcome in sorted(count.outcomes.items())},
        "failures": failures,
    }
    (ROOT / "docs" / "soak.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{len(count.outcomes) - len(failures)} passed, {len(failures)} failed; docs/soak.json written")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
