"""`make test`: the tests in two processes at once, for most of a run is waiting for sandboxes."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST = ("executors", "protocols", "rewards", "rollout", "scoring", "tools", "wrappers")
"""Folders of one half; all that is not named is in the other. They take about as long."""


def main() -> int:
    """Run both halves, with the arguments given here to each; the worse of their statuses."""
    chosen = [f"tests/{name}" for name in FIRST]
    command = [sys.executable, "-m", "pytest", "-m", "not soak", "--durations=25", *sys.argv[1:]]
    with tempfile.TemporaryFile("w+") as told:
        rest = subprocess.Popen(
            [*command, *(f"--ignore={folder}" for folder in chosen), "-p", "no:cacheprovider"],
            cwd=ROOT,
            stdout=told,
            stderr=subprocess.STDOUT,
        )
        try:
            first = subprocess.run([*command, *chosen], cwd=ROOT, check=False).returncode
            second = rest.wait()
        finally:
            rest.terminate()
            told.seek(0)
            sys.stdout.writelines(told)
    print(f"both halves: {'passed' if not (first or second) else f'failed ({first}, {second})'}")
    return max(first, second)


if __name__ == "__main__":
    sys.exit(main())
