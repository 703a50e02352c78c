"""A person plays: through a pipe, as the tests do, and once through a real terminal."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.processes import check_nothing_left, descendants, footprint, wait_until_gone
from tir_gym.cli.main import app
from tir_gym.cli.terminal import console
from tir_gym.envs.registration import make_setting
from tir_gym.rollout import read_records
from tir_gym.rollout.rescore import rescore

MATH = "tir/MathCode-v0"
LEDGER = "toy/Ledger-v0"


def play(env_id, *lines, code=0, arguments=()):
    """What an episode looks like to a person who writes these lines."""
    done = CliRunner().invoke(
        app, ["play", env_id, "--seed", "3", *map(str, arguments)], "".join(f"{x}\n" for x in lines)
    )
    assert done.exit_code == code, done.output
    return done


def recorded(tmp_path, env_id, *lines, arguments=()):
    """The record of an episode in which these lines are written."""
    path = tmp_path / "me.jsonl"
    play(env_id, *lines, arguments=("--out", path, *arguments))
    return list(read_records(path))[-1]


def raws(record):
    return [action.raw for action in record.state.actions]


def test_the_screen_shows_what_a_policy_sees_and_what_is_left():
    shown = play(MATH).stdout
    setting = make_setting(MATH)
    assert "/help" in shown
    assert " ".join(setting.domain.instructions.split()[:6]) in shown
    assert "turn 1 of 8, 64 calls left" in shown


@pytest.mark.parametrize("protocol", ["xml", "openai", "fenced"])
def test_commands_write_what_the_protocol_wants(tmp_path, protocol):
    record = recorded(
        tmp_path, MATH, "/call python print(6 * 7)", "/answer 42", arguments=("--set", f"protocol={protocol}")
    )
    assert [(call.tool, call.arguments, call.status) for call in record.calls] == [
        ("python", {"code": "print(6 * 7)"}, "ok")
    ]
    assert (record.answer, record.policy, record.outcome) == ("42", "human", "failed")
    syntax = make_setting(MATH, protocol=protocol).protocol
    assert [syntax.parse(raw).errors for raw in raws(record)] == [(), ()]
    assert rescore(record).verdict == record.verdict


def test_code_of_several_lines_ends_with_a_dot(tmp_path):
    record = recorded(
        tmp_path, MATH, "/call python", "for i in range(2):", "    print(i)", "", "print('x')", ".", "/answer 1"
    )
    assert record.calls[0].arguments == {"code": "for i in range(2):\n    print(i)\n\nprint('x')"}


def test_a_raw_completion_is_taken_as_it_is_written(tmp_path):
    lines = ("<think>raw", "", "text</think>", "<answer>1</answer> tail", ".")
    assert raws(recorded(tmp_path, MATH, *lines)) == ["<think>raw\n\ntext</think>\n<answer>1</answer> tail"]
    assert raws(recorded(tmp_path, MATH, "/raw", *lines)) == ["<think>raw\n\ntext</think>\n<answer>1</answer> tail"]
    assert raws(recorded(tmp_path, MATH, "/raw", "/path", ".", "<answer>1</answer>", "."))[0] == "/path"
    assert raws(recorded(tmp_path, MATH, "<answer>1</answer>")) == ["<answer>1</answer>"]  # Ctrl-D ends it too


def test_a_thought_goes_with_the_next_turn_only(tmp_path):
    record = recorded(tmp_path, MATH, "/think first", "/call python 1", "/answer 1")
    assert [action.thought for action in record.state.actions] == ["first", ""]


def test_arguments_are_asked_for_or_given_as_json(tmp_path):
    record = recorded(
        tmp_path,
        LEDGER,
        "/call list_accounts",
        '/call transfer {"source": "a", "target": "b", "amount": 5}',
        *("/call transfer", "a", "b", "7"),
        "/call balance a",
        "/call transfer a b 7",
        "/call close_books 12",
    )
    assert [(call.tool, call.arguments) for call in record.calls] == [
        ("list_accounts", {}),
        ("transfer", {"source": "a", "target": "b", "amount": 5}),
        ("transfer", {"source": "a", "target": "b", "amount": 7}),
        ("balance", {"account": "a"}),
        ("close_books", {"balance": 12}),
    ]


def test_a_call_is_written_as_a_program_where_only_programs_call(tmp_path):
    lines = ("/call list_accounts", "/call close_books 12")
    record = recorded(tmp_path, LEDGER, *lines, arguments=("--set", "protocol=python"))
    assert [call.tool for call in record.calls] == ["python", "list_accounts", "python", "close_books"]
    assert record.calls[1].status == "ok"


def test_undo_takes_the_turn_back_with_all_that_it_did(tmp_path):
    record = recorded(
        tmp_path,
        MATH,
        *("/call python x = 1", "/call python x = x + 10", "/undo", "/call python print('x is', x)"),
        *("/answer 0", "/undo", "/answer 5"),
    )
    assert [call.arguments["code"] for call in record.calls] == ["x = 1", "print('x is', x)"]
    assert any(entry.text.strip() == "x is 1" for entry in record.transcript)
    assert record.answer == "5"
    assert record.policy == "human-assisted"
    assert rescore(record, reverify=True).state.digest == record.state.digest


def test_more_turns_than_are_kept_can_be_played_and_the_last_taken_back(tmp_path, monkeypatch):
    monkeypatch.setattr("tir_gym.cli.game.MOST_UNDOS", 2)
    shown = play(MATH, *(f"/call python {n}" for n in range(4)), "/undo", "/undo", "/undo", "/undo").stdout
    assert shown.count("The last turn is taken back.") == 2
    assert shown.count("this turn cannot be taken back") == 2
    assert "there is no turn to take back" in play(MATH, "/undo").stdout


def test_hints_lead_to_the_goal_and_mark_the_record(tmp_path):
    path = tmp_path / "me.jsonl"
    lines = ["/hint"]
    shown = play(MATH, *lines).stdout
    assert "The oracle would write:" in shown
    assert "ORACLE ANSWER" in shown
    code = shown.partition('<arg name="code">\n')[2].rpartition('<arg name="code">\n')[2].partition("\n</arg>")[0]
    lines += ["/call python", *code.splitlines(), ".", "/hint"]
    answer = play(MATH, *lines).stdout.rpartition("<answer>")[2].partition("</answer>")[0]
    play(MATH, *lines, f"/answer {answer}", arguments=("--out", path))
    (record,) = read_records(path)
    assert (record.policy, record.outcome) == ("human-assisted", "solved")


def test_a_hint_off_the_plan_says_so():
    shown = play(MATH, "/call python print(1)", "/hint").stdout
    assert "the oracle knows no next step" in shown


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/nope", "there is no /nope"),
        ("/say hello", "nobody to talk to"),
        ("/call nothing", "/call which tool? There are python"),
        ("/call transfer a b", "/call which tool?"),
        ("/tools", "python(code: string)"),
        ("/help", "/answer TEXT"),
    ],
)
def test_what_takes_no_turn_says_what_does(line, words):
    shown = play(MATH, line, "/raw", ".").stdout
    assert words in shown
    assert "nothing was written" in shown
    assert "turn 2" not in shown


def test_what_a_protocol_cannot_say_takes_no_turn():
    shown = play(MATH, "/finish enough", arguments=("--set", "protocol=openai")).stdout
    assert "cannot express 'finish'" in shown
    assert "turn 2" not in shown


def test_a_conversation_shows_what_the_agent_hears_and_nothing_else(tmp_path):
    path = tmp_path / "me.jsonl"
    shown = play(
        "toy/Helpdesk-v0",
        *("/call required_channel", "/say Please set channel 1234.", "/say Goodbye!"),
        arguments=("--out", path),
    ).stdout
    assert "My line is dead" in shown
    assert "I have done that." in shown
    assert "channel is" not in shown
    (record,) = read_records(path)
    assert record.ended_by == "user"


def test_one_person_plays_every_policy(tmp_path):
    path = tmp_path / "me.jsonl"
    lines = ("/call read", "/say it", "/call submit x")
    shown = play("toy/Handover-v0", *lines, arguments=("--out", path)).stdout
    assert "reader_0 to move" in shown
    assert "writer_0 to move" in shown
    (record,) = read_records(path)
    assert [(call.actor, call.tool) for call in record.calls] == [("reader_0", "read"), ("writer_0", "submit")]


def test_control_characters_cannot_drive_the_screen():
    shown = play(MATH, r"/call python print('\x1b[2J\x07\x9b31m\u202eabc')").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "␛[2J␇" in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_lines_wrap_and_nothing_is_cut(monkeypatch, width):
    monkeypatch.setattr(console, "_width", width)
    shown = play(MATH, "/call python print('ab' * 200)").stdout
    panel = shown.partition("tool python")[2]
    letters = "".join(line.strip("│ ") for line in panel.splitlines()[1:] if line.startswith("│"))
    assert letters == "ab" * 200
    assert max(map(len, panel.splitlines()[1:])) <= width


@pytest.mark.parametrize(("lines", "code", "kept"), [(["/answer 1"], 0, 1), (["/call python 1"], 130, 0)])
def test_ctrl_c_keeps_an_episode_that_is_over(tmp_path, monkeypatch, lines, code, kept):
    def line(self, prompt):
        if lines:
            return lines.pop(0)
        raise KeyboardInterrupt

    monkeypatch.setattr("tir_gym.cli.keyboard.Keyboard.line", line)
    play(MATH, arguments=("--out", tmp_path / "me.jsonl"), code=code)
    assert [len(list(read_records(path))) for path in tmp_path.iterdir()] == [1] * kept


def test_an_episode_not_finished_is_not_recorded(tmp_path):
    path = tmp_path / "me.jsonl"
    shown = play(MATH, "/call python 1", arguments=("--out", path)).stdout
    assert "not recorded" in shown
    assert not path.exists()


def test_the_same_seed_can_be_recorded_twice_and_a_bad_file_is_told_first(tmp_path):
    path = tmp_path / "me.jsonl"
    for _ in range(2):
        play(MATH, "/answer 1", arguments=("--out", path))
    first, second = read_records(path)
    assert second.key == f"{first.key}#2"
    done = play(MATH, "/answer 1", arguments=("--out", tmp_path), code=2)
    assert "Is a directory" in done.stderr
    assert "turn 1" not in done.stdout


def test_bytes_that_are_no_text_are_replaced():
    done = CliRunner().invoke(app, ["play", MATH, "--seed", "3"], b"/answer 4\xff2\n")
    assert done.exit_code == 0
    assert "4\ufffd2" in done.stdout


def test_json_comes_alone_on_standard_output():
    done = play(MATH, "/answer 1", arguments=("--json",))
    told = json.loads(done.stdout)
    assert (told["outcome"], told["policy"], told["turns"]) == ("failed", "human", 1)
    assert "turn 1 of 8" in done.stderr


def test_nothing_is_left_behind():
    play(MATH, "/call python 1")
    before = footprint()
    play(MATH, "/call python 1", "/undo", "/call python 2", "/call python 3")
    check_nothing_left(before)


# --- a real terminal -------------------------------------------------------------------------------------------------
class Terminal:
    """`tir-gym` at the other end of a pseudo-terminal."""

    def __init__(self, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        tir_gym = Path(sys.executable).parent / "tir-gym"
        self.process = subprocess.Popen(
            [tir_gym, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )
        self.seen = ""

    def read_until(self, words):
        """Everything up to some words that have not been read yet."""
        while words not in self.seen:
            assert select.select([self.master], [], [], 60)[0], f"{words!r} does not come:\n{self.seen}"
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        read, found, self.seen = self.seen.partition(words)
        return read + found

    def write(self, text):
        os.write(self.master, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def wait_until_busy(pid):
    """Wait until a process below this one has used 0.1 s of the processor since now."""

    def ticks():
        total = 0
        for child in descendants(pid):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11])
        return total

    goal = ticks() + os.sysconf("SC_CLK_TCK") // 10
    while ticks() < goal:
        assert descendants(pid), "it has ended"


def test_in_a_terminal_ctrl_c_stops_a_turn_and_then_leaves_all_as_it_was():
    terminal = Terminal("play", MATH, "--seed", "3")
    try:
        terminal.read_until("64 calls left")
        terminal.write("/call python while True: pass\n")
        terminal.read_until("while True: pass")
        wait_until_busy(terminal.process.pid)
        started = descendants(terminal.process.pid)
        os.killpg(terminal.process.pid, signal.SIGINT)
        shown = terminal.read_until("calls left")
        assert "interrupted: the turn was not taken" in shown
        terminal.write("/call python 6 * 7\n")
        assert "42" in terminal.read_until("63 calls left")
        started |= descendants(terminal.process.pid)
        os.killpg(terminal.process.pid, signal.SIGINT)
        terminal.write("\n")  # `input` sees a signal that comes just before it waits at the next key
        assert terminal.process.wait(timeout=60) == 130
        wait_until_gone(started)
        assert termios.tcgetattr(terminal.slave) == terminal.before
    finally:
        terminal.close()
