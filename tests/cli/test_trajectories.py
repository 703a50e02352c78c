"""`stats`, `rescore` and `export` over files that `rollout` wrote."""

import json

import pytest

from tests.cli.command import tir_gym, told
from tests.play import make
from tir_gym.cli.terminal import console
from tir_gym.rollout import TrajectoryFile, collect, read_records


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four episodes each of the oracle and of one that always answers 1."""
    folder = tmp_path_factory.mktemp("runs")
    env = make("tir/MathCode-v0")
    for policy in ("oracle", "constant"):
        with TrajectoryFile(folder / f"{policy}.jsonl") as file:
            assert len(list(collect(env, policy, range(4), file))) == 4
    env.close()
    return folder


@pytest.fixture
def files(runs):
    return sorted(runs.iterdir())


def forge(source, target, **changes):
    """A file in which the first record says something else."""
    first, *others = read_records(source)
    records = [first.model_copy(update=changes), *others]
    target.write_text("".join(record.model_dump_json() + "\n" for record in records))
    return target


# --- stats -----------------------------------------------------------------------------------------------------------
def test_stats_has_a_row_for_each_environment_and_policy(files):
    constant, oracle = told("stats", *files)
    assert (oracle["policy"], oracle["score"], oracle["valid"], oracle["pass_at"]) == ("oracle", 1.0, 4, {})
    assert (constant["policy"], constant["score"], constant["score_low"]) == ("constant", 0.0, 0.0)
    assert oracle["score_low"] == pytest.approx(0.510, abs=1e-3)


def test_stats_groups_as_told_and_shows_pass_at_k(files):
    rows = told("stats", *files, "--by", "difficulty", "--by", "policy")
    assert sum(row["episodes"] for row in rows) == 8
    assert all(list(row)[:2] == ["difficulty", "policy"] for row in rows)
    twice = told("stats", *files, *files, "--by", "policy")
    assert [row["pass_at"] for row in twice] == [{"1": 0.0, "2": 0.0}, {"1": 1.0, "2": 1.0}]
    assert "pass@2" in tir_gym("stats", *files, *files).stdout


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", [["stats"], ["rescore"], ["stats", "--by", "family", "--by", "env"]])
def test_tables_fit_and_nothing_is_cut(files, width, command, monkeypatch):
    monkeypatch.setattr(console, "_width", width)
    shown = tir_gym(command[0], *files, *command[1:]).stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown


def test_stats_keeps_numbers_and_headings_whole_in_80_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_width", 80)
    env = make("tir/OpaqueKnapsack-v0")
    with TrajectoryFile(tmp_path / "runs.jsonl") as file:
        list(collect(env, "null", range(2), file, name="Organisation/Model-7B-abcdef"))
    env.close()
    shown = tir_gym("stats", file.path).stdout
    for word in ("outcomes", "invalid", "0.00-0.66", "2 truncated", "repeat", "repairs", "failed"):
        assert word in shown


def test_an_empty_file_has_no_statistics(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "no episode" in tir_gym("stats", tmp_path / "empty.jsonl", code=2).stderr
    assert told("stats", tmp_path / "empty.jsonl") == []


@pytest.mark.parametrize("command", [["stats"], ["rescore"], ["export", "--format", "adp", "--out", "x.jsonl"]])
def test_a_line_that_is_no_episode_is_named(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n')
    error = tir_gym(*command, "bad.jsonl", code=2).stderr
    assert "bad.jsonl, line 1: this is no episode (version: field required)" in error
    assert len(error) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


@pytest.mark.parametrize("changes", [{"policy": "[/b]\x1b[2J"}, {"outcome": "[/b]\x1b[2J"}])
@pytest.mark.parametrize("command", [["stats"], ["stats", "--by", "outcome", "--by", "policy"], ["rescore"]])
def test_what_a_file_says_neither_drives_the_terminal_nor_is_markup(files, tmp_path, command, changes):
    shown = tir_gym(*command, forge(files[1], tmp_path / "forged.jsonl", **changes)).output
    assert "\x1b[2J" not in shown
    if command != ["rescore"] or "outcome" in changes:
        assert "[/b]\u241b[2J" in shown.replace("\n", "")


def test_a_reason_from_a_file_does_not_drive_the_terminal(files, tmp_path):
    (first, *_) = read_records(files[1])
    task = first.state.task.model_copy(update={"fingerprint": "\x1b[2J"})
    forged = forge(files[1], tmp_path / "forged.jsonl", state=first.state.model_copy(update={"task": task}))
    shown = tir_gym("rescore", forged).output
    assert "fingerprint \u241b[2J" in shown


# --- rescore ---------------------------------------------------------------------------------------------------------
def test_rescore_finds_nothing_to_change(files):
    assert told("rescore", *files, "--check") == {
        "records": 8,
        "changed": 0,
        "invalid": 0,
        "not_scored": 0,
        "changes": [],
        "reasons": {},
    }


@pytest.mark.parametrize("options", [[], ["--reverify"]])
def test_rescore_tells_what_changed_and_writes_it(files, tmp_path, options):
    constant, oracle = files
    true = next(read_records(oracle))
    verdict = true.verdict.model_copy(update={"value": 0.0})
    false = forge(oracle, tmp_path / "f.jsonl", verdict=verdict, outcome="failed", rewards={"base": 0.0}, total=0.0)
    out = tmp_path / "right.jsonl"
    found = told("rescore", constant, false, "--out", out, "--check", *options, code=1)
    assert (found["records"], found["changed"], found["not_scored"]) == (8, 1, 0)
    assert found["changes"] == [{"from": "failed 0, reward 0", "to": "solved 1, reward 1", "records": 1}]
    assert list(read_records(out)) == [*read_records(constant), *read_records(oracle)]
    assert "solved 1" in tir_gym("rescore", false, *options).stdout


def test_rescore_reports_records_of_other_tasks_and_keeps_them(files, tmp_path):
    true = next(read_records(files[0]))
    task = true.state.task.model_copy(update={"fingerprint": "feed"})
    moved = forge(files[0], tmp_path / "moved.jsonl", state=true.state.model_copy(update={"task": task}))
    out = tmp_path / "out.jsonl"
    found = told("rescore", moved, "--check", "--out", out, code=1)
    assert found["not_scored"] == 1
    assert "feed" in next(iter(found["reasons"]))
    assert out.read_text() == moved.read_text()
    assert "1 not scored: task set 'mathcode'" in tir_gym("rescore", moved).stderr


def test_rescore_asks_for_replay_where_the_world_is_judged(tmp_path):
    env = make("toy/Ledger-v0")
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        list(collect(env, "oracle", range(2), file))
    env.close()
    path = tmp_path / "a.jsonl"
    assert "--reverify" in tir_gym("rescore", path, "--import", "tests.toys", "--check", code=1).stderr
    assert told("rescore", path, "--reverify", "--check", "--import", "tests.toys")["changed"] == 0


# --- export ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("form", "rows"), [("openai", 8), ("sharegpt", 8), ("adp", 8), ("pairs", 4)])
def test_export_writes_rows_and_counts_them(files, tmp_path, form, rows):
    out = tmp_path / "deep" / "rows.jsonl"
    assert told("export", *files, "--format", form, "--out", out)["rows"] == rows
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == rows
    assert f"gave {rows} rows in {out}" in tir_gym("export", *files, "--format", form, "--out", out).stdout


def test_export_takes_only_what_is_asked_for(files, tmp_path):
    out = tmp_path / "rows.jsonl"
    found = told("export", *files, "--format", "openai", "--out", out, "--outcome", "solved", "--only-valid")
    assert (found["records"], found["kept"], found["skipped"]) == (8, 4, {"outcome failed": 4})
    assert told("export", *files, "--format", "openai", "--out", out, "--min-score", "0.5")["kept"] == 4


def test_nothing_to_export_is_status_1_and_no_file(files, tmp_path):
    constant, _ = files
    out = tmp_path / "rows.jsonl"
    done = tir_gym("export", constant, "--format", "pairs", "--out", out, code=1)
    assert "pairs need tasks with several rollouts" in done.stderr
    done = tir_gym("export", constant, "--format", "adp", "--out", out, "--outcome", "solved", code=1)
    assert "nothing was exported" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_never_takes_the_place_of_what_it_reads(files):
    before = [path.read_bytes() for path in files]
    done = tir_gym("export", *files, "--format", "adp", "--out", files[0], code=2)
    assert "name another" in done.stderr
    assert [path.read_bytes() for path in files] == before


def test_images_are_missed_aloud(tmp_path):
    env = make("toy/Shapes-v0")
    with TrajectoryFile(tmp_path / "a.jsonl") as file:
        list(collect(env, "oracle", range(2), file))
    env.close()
    done = tir_gym("export", tmp_path / "a.jsonl", "--format", "adp", "--out", tmp_path / "b.jsonl")
    assert "2 records had images" in done.stderr
