"""The benchmarks run; what they find is not asserted."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import descendants

ROOT = Path(__file__).parents[1]


def test_the_executors_are_measured_in_one_table():
    before = descendants()
    sizes = ["--rounds", "1", "--calls", "3", "--sessions", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.executor", *sizes], cwd=ROOT, capture_output=True, text=True, check=True
    )
    head, _, *lines = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head[:3]] == ["what", "goal", "ForkServer (lean)"]
    assert head[-1].strip() == "subprocess.run"
    figures = {line[0].strip(): [cell.strip() for cell in line[2:]] for line in lines}
    assert {"warm call, us", "fork of a live session, ms", "kill and reap all sessions, s"} <= figures.keys()
    assert all(cells[0] for name, cells in figures.items() if "memory" not in name or os.geteuid() == 0)
    assert all(figures["first sympy.solve in a fresh session, ms"])
    left_out = done.stdout.partition("**LEFT OUT**")[2]
    assert "GEM: no --gem-python" in left_out
    assert "SkyRL-Gym: no --skyrl-python" in left_out
    assert descendants() == before
