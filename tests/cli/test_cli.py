"""The command line, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.play import SHIPPED_IDS
from tir_gym.rollout import read_records

TIR_GYM = Path(sys.executable).parent / "tir-gym"


def tir_gym(*arguments, cwd=None):
    return subprocess.run([TIR_GYM, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False)


def test_list_names_every_id():
    done = tir_gym("list")
    assert done.returncode == 0
    assert all(env_id in done.stdout for env_id in SHIPPED_IDS)
    assert [row["id"] for row in json.loads(tir_gym("list", "--json").stdout)] == SHIPPED_IDS


@pytest.mark.parametrize("env_id", SHIPPED_IDS)
def test_describe_shows_tools_and_a_first_observation(env_id):
    facts = json.loads(tir_gym("describe", env_id, "--json", "--set", "difficulty=4").stdout)
    assert facts["tools"][0]["function"]["name"] in facts["first_observation"]
    assert facts["floor"] <= 0.02
    assert facts["task_set"]["fingerprint"]
    assert env_id in tir_gym("describe", env_id).stdout


def test_rollout_plays_records_shows_and_resumes(tmp_path):
    arguments = ["rollout", "tir/MathCode-v0", "--policy", "oracle", "--policy", "null", "--out", tmp_path, "--json"]
    oracle, null = json.loads(tir_gym(*arguments, "-n", 4).stdout)
    assert (oracle["score"], oracle["episodes"], oracle["invalid"]) == (1.0, 4, 0.0)
    assert (null["score"], null["outcomes"]) == (0.0, {"truncated": 4})
    again = json.loads(tir_gym(*arguments, "-n", 6).stdout)[0]
    assert (again["episodes"], again["resumed"]) == (6, 4)
    records = list(read_records(oracle["file"]))
    assert len({record.key for record in records}) == len(records) == 6
    shown = tir_gym("rollout", "tir/MathCode-v0", "-n", 1, "--policy", "oracle", "--out", tmp_path / "b", "--show")
    assert "ORACLE ANSWER" in shown.stdout
    assert "solved" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "tir/Nothing-v0"], "tir/MathCode-v0"),
        (["rollout", "tir/MathCode-v0", "--policy", "genius"], "oracle"),
        (["rollout", "tir/MathCode-v0", "--set", "colour=red"], "colour"),
        (["rollout", "tir/MathCode-v0", "--set", "split=dev"], "validation"),
        (["rollout", "tir/MathCode-v0", "--set", "tasks=gsm8k:/nowhere.jsonl", "--policy", "gold"], "nowhere.jsonl"),
        (["rollout", "tir/MathCode-v0", "--set", "protocol"], "NAME=VALUE"),
    ],
)
def test_a_mistake_is_named_with_its_mend(arguments, words, tmp_path):
    done = tir_gym(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_oracle_without_a_plan_says_what_to_use(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    done = tir_gym("rollout", "tir/MathCode-v0", "--set", f"tasks=gsm8k:{path}", "--out", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "GoldPolicy" in done.stderr


def test_doctor_reports_what_a_live_session_shows():
    done = tir_gym("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == 0
    assert findings["python"].startswith("ok")
    assert sum(finding == "enforced" for finding in findings.values()) >= 5


def test_no_argument_shows_help():
    done = tir_gym()
    for command in ("list", "describe", "rollout", "doctor"):
        assert command in done.stdout + done.stderr
