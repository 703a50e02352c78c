"""The benchmarks run; what they find is not asserted."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.containers import lacking, processes
from benchmarks.report import add_options, regressions
from benchmarks.vector import CAP_S, Generator, latencies
from tests.processes import check_nothing_left, footprint

ROOT = Path(__file__).parents[1]


def test_the_executors_are_measured_in_one_table():
    before = footprint()
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
    check_nothing_left(before)


def figures(module: str, *options: str) -> dict[str, Any]:
    """What a benchmark of this size writes as JSON; it leaves no process."""
    before = footprint()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(file)]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        found: dict[str, Any] = json.loads(file.read_text())
    check_nothing_left(before)
    return found


def test_the_vector_environment_is_measured_and_keeps_a_generator_busy():
    sizes = ["--sizes", "1", "2", "--most", "1", "--start", "2", "--rounds", "1"]
    found = figures("vector", *sizes, "--slots", "2", "--turns", "2", "--scale", "0.02")
    assert [(row["kind"], row["episodes"]) for row in found["turns"]] == [
        *(("text", 1), ("python", 1), ("numpy", 1)),
        ("text", 2),
    ]
    assert found["left_out"]
    assert found["start"][0]["reply_s"] > found["start"][0]["reset_s"] > 0
    assert [(row["tools"], row["driver"]) for row in found["generator"]] == [
        (tools, driver) for tools in ("constant", "lognormal", "heavy", "heavy") for driver in ("barrier", "send/recv")
    ]
    assert all(
        0 < row["full"] <= row["busy"] <= 1 and row["turns"] >= 2 * row["episodes"] for row in found["generator"]
    )


def test_token_batches_are_measured():
    found = figures("batch", "--rows", "40", "--rounds", "1")
    assert len(found["ratios"]) == 7
    assert all(ratio > 0 for ratio in found["ratios"].values())
    assert "padded to 40 x 2,048" in found["text"]
    assert "Padding waste" in found["text"]


@pytest.mark.soak
def test_episodes_are_measured_alone_and_in_batches():
    found = figures("throughput", "--rounds", "8", "--repeats", "1", "--sizes", "2")
    assert {"env.reset at 1", "python turn at 1", "vector: text turn at 2"} <= found["ratios"].keys()
    assert all(ratio > 0 for ratio in found["ratios"].values())


def test_peers_are_measured_beside_ours_and_those_that_are_missing_are_named(tmp_path, monkeypatch):
    size = ["--sizes", "2", "--rounds", "1", "--seconds", "0", "--work", "sum", "answer"]
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    (tmp_path / "autogen" / "lib" / "python3" / "site-packages").mkdir(parents=True)
    (tmp_path / "autogen" / "bin").mkdir()
    (tmp_path / "autogen" / "bin" / "python").symlink_to(sys.executable)
    found = figures("peers", "--peers", str(tmp_path), *size, "--only", "tir_gym", "gem", "autogen")
    rows = [(row["work"], row["suite"]) for row in found["rows"]]
    assert rows == [("sum", "tir_gym"), ("answer", "tir_gym")]
    assert all(row["right"] == 1 and row["cpu_ms"] >= 0 and row["ratio"] > 0 for row in found["rows"])
    assert any(line.startswith("gem: no ") for line in found["left_out"])
    assert any(line.startswith("AutoGen DockerJupyterCodeExecutor: no Docker engine") for line in found["left_out"])
    assert any(line.startswith("verl-tool") for line in found["left_out"])


def test_without_ours_nothing_is_compared():
    """A peer is never taken for ours."""
    chosen = argparse.Namespace(rounds=1, seconds=0.0, patience=60.0)
    gem = next(suite for suite in peers.SUITES if suite.mode == "gem")
    rows, lost = peers.compare("text", 1, [(gem, Path(sys.executable))], chosen)
    assert rows == []
    assert "No module named 'gem'" in lost[0]
    assert "ratios are to" in lost[1]


def test_a_worker_that_ends_is_one_suite_less(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text("""input(), print('{"version": "1", "isolation": "", "containers": []}', flush=True)""")
    monkeypatch.setattr(peers, "WORKER", script)
    worker = peers.Worker(peers.SUITES[0], Path(sys.executable), "text", 1, 60.0)
    worker._process.wait()
    with pytest.raises(peers.WorkerError):
        worker.turns(0.0)
    worker.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no"),
        ("{", "cannot be read"),
        ("[]", "make it again"),
        ('{"machine": "here"}', "make it again"),
        ('{"ratios": {}}', "holds no ratios"),
    ],
)
def test_a_baseline_that_is_none_is_refused_before_anything_is_measured(tmp_path, capsys, content, complaint):
    file = tmp_path / "baseline.json"
    if content is not None:
        file.write_text(content)
    parser = argparse.ArgumentParser()
    add_options(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--compare", str(file)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert str(file) in said


def test_an_engine_that_does_not_answer_is_named_as_what_lacks(tmp_path, monkeypatch):
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    with ExitStack() as engines:
        assert "DockerException" in lacking(Path(sys.executable), tmp_path, engines)


def test_processes_of_containers_are_those_that_name_one_and_there_are_none_of_none():
    container = uuid.uuid4().hex
    command = [sys.executable, "-c", "input(1)", container]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"1"
        assert processes([uuid.uuid4().hex, container]) == [process.pid]
        assert processes([]) == []
        process.communicate(b"\n")


def test_a_ratio_may_fall_within_the_tolerance_and_no_further():
    baseline = {"text at 1": 10.0, "python at 1": 2.0, "gone": 1.0}
    assert regressions({"text at 1": 7.1, "python at 1": 9.0, "gone": 1.0, "new": 0.1}, baseline, 0.3) == []
    fallen = regressions({"text at 1": 6.9, "python at 1": float("nan")}, baseline, 0.3)
    assert [line.partition(":")[0] for line in fallen] == ["text at 1", "python at 1", "gone"]


def test_the_gate_ends_with_status_1_and_names_what_fell(tmp_path):
    now, before = tmp_path / "now.json", tmp_path / "before.json"
    rest = {"machine": "here", "load_after": 0.0, "turns": [], "start": [], "generator": [], "left_out": []}
    now.write_text(json.dumps({"ratios": {"text at 1": 5.0}} | rest))
    before.write_text(json.dumps({"ratios": {"text at 1": 10.0}} | rest))
    command = [sys.executable, "-m", "benchmarks.vector", "--read", str(now), "--compare"]
    assert subprocess.run([*command, str(now)], cwd=ROOT, capture_output=True).returncode == 0
    done = subprocess.run([*command, str(before)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "text at 1: 10, now 5 (-50%)" in done.stderr


@pytest.mark.parametrize("kind", ["constant", "lognormal", "heavy"])
def test_seconds_are_drawn_alike_for_both_ways_of_driving(kind):
    drawn = latencies(kind, (200, 200), 0.5, 1.0, 3)
    assert (drawn == latencies(kind, (200, 200), 0.5, 1.0, 3)).all()
    assert 0 < drawn.min() <= drawn.max() <= CAP_S
    assert drawn.mean() == pytest.approx(0.5, rel=0.5 if kind == "heavy" else 0.05)  # the cap takes from a heavy tail


def test_a_simulated_engine_fills_its_slots_by_itself():
    generator = Generator(2, np.full((4, 1), 0.01))
    done: list[int] = []
    generator.submit([0, 1, 2, 3], done)
    while len(done) < 4:
        done += generator.finished()
    busy, full = generator.used()
    assert sorted(done) == [0, 1, 2, 3]
    assert 0 < full <= busy + 1e-9 <= 1 + 2e-9
    assert generator.next_end() == float("inf")
