"""The command line: what it prints, how it ends, and that mistakes are told with their mend."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import tir_gym, told
from tests.play import SHIPPED_IDS
from tests.processes import descendants, wait_until_gone
from tests.rollout.model_server import ModelServer
from tir_gym.cli.terminal import console
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors import ForkServer
from tir_gym.rollout import POLICIES, read_records
from tir_gym.version import __version__

TIR_GYM = Path(sys.executable).parent / "tir-gym"
MATH = "tir/MathCode-v0"


@pytest.fixture(params=[80, 120])
def width(request, monkeypatch):
    monkeypatch.setattr(console, "_width", request.param)
    return request.param


def test_version():
    assert tir_gym("--version").stdout.strip() == __version__


# --- environments ----------------------------------------------------------------------------------------------------
def test_list_names_every_id():
    shown = tir_gym("list").stdout
    assert all(env_id in shown for env_id in SHIPPED_IDS)
    assert set(SHIPPED_IDS) <= {row["id"] for row in told("list")}


@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_describe_shows_tools_and_a_first_observation(env_id):
    facts = told("describe", env_id, "--set", "difficulty=4")
    assert facts["tools"][0]["function"]["name"] in facts["first_observation"]
    assert facts["floor"] <= 0.02
    assert facts["task_set"]["fingerprint"]
    assert facts["protocols"]["xml"] == ""
    shown = tir_gym("describe", env_id).stdout
    assert env_id in shown
    assert f"{facts['tools'][0]['function']['name']}(" in shown


def test_describe_says_which_protocols_do_not_fit_and_why():
    reason = told("describe", "toy/Ledger-v0")["protocols"]["fenced"]
    assert "python(code)" in reason
    assert "no: " in tir_gym("describe", "toy/Ledger-v0").stdout


def test_describe_shows_the_options_that_were_set():
    assert told("describe", "toy/Ledger-v0", "--set", "currency=SEK")["options"] == {"currency": "SEK"}
    assert "SEK" in tir_gym("describe", "toy/Ledger-v0", "--set", "currency=SEK").stdout


@pytest.mark.parametrize("arguments", [["list"], ["describe", MATH], ["describe", "toy/Ledger-v0"], ["doctor"]])
def test_nothing_is_cut_or_too_wide(width, arguments):
    shown = tir_gym(*arguments).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown


def test_doctor_reports_what_a_live_session_shows():
    findings = told("doctor")
    assert findings["python"].startswith("ok")
    assert sum(finding == "enforced" for finding in findings.values()) >= 5
    assert findings["executor"].startswith("ok: forkserver, tier ")


def test_doctor_examines_other_executors(monkeypatch):
    findings = told("doctor", "--executor", "bwrap") if shutil.which("bwrap") else {"executor": "ok: bwrap, tier A"}
    assert findings["executor"].startswith("ok: bwrap, tier ")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "install bubblewrap" in told("doctor", "--executor", "bwrap", code=1)["executor"]
    assert "'forkserver', 'bwrap', 'docker'" in tir_gym("doctor", "--executor", "lxc", code=2).stderr


def test_doctor_says_what_is_missing_below_what_an_executor_needs(monkeypatch):
    monkeypatch.setattr("tir_gym.cli.doctor.ForkServer", functools.partial(ForkServer, namespaces=False, min_tier="A"))
    findings = told("doctor", code=1)
    assert findings["executor"] == "missing: forkserver, tier B; needs A or better"
    assert findings["landlock"] == "enforced"
    assert findings["namespaces"].startswith("missing: ")


# --- rollout ---------------------------------------------------------------------------------------------------------
def test_rollout_plays_records_shows_and_resumes(tmp_path):
    arguments = ["rollout", MATH, "--policy", "oracle", "--policy", "null", "--out", tmp_path]
    oracle, null = told(*arguments, "-n", 4)
    assert (oracle["score"], oracle["episodes"], oracle["invalid"]) == (1.0, 4, 0.0)
    assert (null["score"], null["outcomes"]) == (0.0, {"truncated": 4})
    again = told(*arguments, "-n", 6)[0]
    assert (again["episodes"], again["resumed"]) == (6, 4)
    records = list(read_records(oracle["file"]))
    assert len({record.key for record in records}) == len(records) == 6


@pytest.mark.parametrize("concurrency", [1, 3])
def test_show_prints_an_episode_that_was_played(tmp_path, concurrency, width):
    arguments = ["-n", 3, "--policy", "oracle", "--out", tmp_path, "--show", "--concurrency", concurrency]
    shown = tir_gym("rollout", MATH, *arguments).stdout
    assert "ORACLE ANSWER" in shown
    assert "3 solved" in shown
    *lines, files = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert files == f"trajectories: {tmp_path / 'MathCode-v0.oracle.jsonl'}"


def test_a_script_is_a_policy(tmp_path):
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"turns": ["<answer>1</answer>"]}) + "\n")
    arguments = ["rollout", MATH, "--policy", "scripted", "--script", script, "--out", tmp_path, "-n", 2]
    (row,) = told(*arguments)
    assert (row["turns"], row["episodes"], row["resumed"]) == (1.0, 2, 0)
    script.write_text(json.dumps({"turns": ["<answer>2</answer>"]}) + "\n")
    assert told(*arguments)[0]["resumed"] == 0  # another script is another policy


def test_a_domain_of_ones_own_is_imported(tmp_path):
    (row,) = told("rollout", "tests.toys:toy/Ledger-v0", "-n", 1, "--policy", "oracle", "--out", tmp_path)
    assert row["id"] == "toy/Ledger-v0"


@pytest.fixture
def model():
    """A model that answers 1, whatever it is asked."""
    with ModelServer(lambda request: {"content": "<answer>1</answer>"}) as server:
        yield server


def asked(server, tmp_path, *more):
    return ["rollout", MATH, "--endpoint", server.url, "--model", "a/b", "--out", tmp_path, "-n", 3, *more]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_model_behind_an_endpoint_plays(model, tmp_path, concurrency):
    more = ("--concurrency", concurrency, "--temperature", 0.5, "--max-tokens", 77)
    (row,) = told(*asked(model, tmp_path, *more))
    assert (row["episodes"], row["turns"], row["left_out"]) == (3, 1.0, 0)
    assert Path(row["file"]).parent == tmp_path
    sent = [(body["model"], body["temperature"], body["max_tokens"]) for body in model.requests]
    assert sent == [("a/b", 0.5, 77)] * 3
    assert told(*asked(model, tmp_path, *more))[0]["resumed"] == 3


def test_an_episode_that_a_model_could_not_play_is_left_out_and_told(model, tmp_path):
    model.faults = ["400"]
    done = tir_gym(*asked(model, tmp_path), code=2)
    assert "episodes left out: 1; the same command plays them" in done.stderr
    assert "seeds 0" in done.stderr
    assert "2 failed" in done.stdout
    assert told(*asked(model, tmp_path))[0]["resumed"] == 2


def test_a_key_that_is_refused_ends_the_rollout(model, tmp_path):
    model.faults = ["401"]
    assert "HTTP 401" in tir_gym(*asked(model, tmp_path), code=2).stderr
    assert len(model.requests) == 1


# --- mistakes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "tir/Nothing-v0"], MATH),
        (["play", "tir/Nothing-v0"], MATH),
        (["describe", "no.such.module:x"], "no.such.module"),
        (["rollout", MATH, "--policy", "genius"], "oracle"),
        (["rollout", MATH, "--policy", "human"], "tir-gym play"),
        (["rollout", MATH, "--policy", "scripted"], "--script FILE"),
        (["rollout", MATH, "--policy", "scripted", "--script", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["rollout", MATH, "--model", "x"], "--endpoint URL"),
        (["rollout", MATH, "--endpoint", "nonsense", "--model", "x"], "http://HOST:PORT/v1"),
        (["rollout", MATH, "--set", "colour=red"], "colour"),
        (["rollout", MATH, "--set", "split=dev"], "validation"),
        (["rollout", MATH, "--set", "tasks=gsm8k:/nowhere.jsonl", "--policy", "gold"], "nowhere.jsonl"),
        (["rollout", MATH, "--set", "protocol"], "NAME=VALUE"),
        (["rollout", MATH, "-n", "1", "--out", "/dev/null/x"], "/dev/null"),
        (["play", MATH, "--task", "nothing"], "mathcode/train/any/SEED/INDEX"),
        (["stats", "/nowhere.jsonl"], "/nowhere.jsonl: No such file"),
        (["rescore", "/nowhere.jsonl"], "/nowhere.jsonl: No such file"),
        (["export", "/nowhere.jsonl", "--format", "adp", "--out", "x"], "/nowhere.jsonl: No such file"),
        (["export", "x", "--format", "parquet", "--out", "x"], "openai, sharegpt, adp, pairs"),
        (["export", "x", "--format", "adp", "--out", "x", "--outcome", "won"], "solved, failed"),
        (["stats", "x", "--by", "colour"], "difficulty"),
        (["rescore", "x", "--import", "no_such_module"], "no_such_module"),
        (["fly"], "No such command"),
        (["stats"], "Missing argument"),
    ],
)
def test_a_mistake_is_named_with_its_mend(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tir_gym(*arguments, code=2)
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_oracle_without_a_plan_says_what_to_use(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    done = tir_gym("rollout", MATH, "--set", f"tasks=gsm8k:{path}", "--out", tmp_path, code=2)
    assert "the policy 'gold' plays" in done.stderr


@pytest.mark.parametrize("command", ["describe", "play", "rollout"])
def test_a_machine_that_cannot_jail_is_told_so(monkeypatch, command, tmp_path):
    def refuse(self):
        raise ExecutorUnavailable("no user namespaces: ask the administrator")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tir_gym.drivers.slot.Slot._lease", refuse)
    done = tir_gym(command, MATH, code=2)
    assert "no user namespaces" in done.stderr
    assert "tir-gym doctor" in done.stderr


# --- help ------------------------------------------------------------------------------------------------------------
COMMANDS = ("list", "describe", "doctor", "play", "rollout", "stats", "rescore", "export")


def test_help_has_groups_a_quick_start_and_the_exit_statuses():
    shown = tir_gym("--help").stdout
    for words in (*COMMANDS, "Environments", "Playing", "Trajectories", "Quick start", "Exit status", "130"):
        assert words in shown
    assert all(command in tir_gym(code=2).output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_example_and_can_speak_json(command):
    shown = tir_gym(command, "--help").stdout
    assert f"tir-gym {command}" in shown.partition("Example:")[2]
    assert "--json" in shown


def test_help_names_every_policy():
    shown = "".join(tir_gym("rollout", "--help").stdout.split())
    assert all(name in shown for name in POLICIES)


# --- as a process ----------------------------------------------------------------------------------------------------
def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([TIR_GYM, "describe", MATH], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_ctrl_c_ends_a_rollout_with_130_and_keeps_what_was_played(tmp_path):
    command = [TIR_GYM, "rollout", MATH, "--policy", "oracle", "-n", "100000", "--out", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    path = tmp_path / "MathCode-v0.oracle.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < 4:  # the last may not be on the disk yet
        assert process.poll() is None, process.communicate()
    started = descendants(process.pid)
    assert started
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert len(list(read_records(path))) >= 3
    wait_until_gone(started)
