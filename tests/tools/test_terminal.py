"""A shell and files in the session: what a policy sees of them, and who may offer them."""

import gymnasium as gym
import pytest

import tir_gym
from tests.play import make, play_oracle
from tests.toys.papers.env import Desk, Papers
from tir_gym.core.domain import Budget, Setting
from tir_gym.core.interfaces import ForkError, Limits
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.vector import ToolVectorEnv
from tir_gym.envs.registration import default_executor, make_setting
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.unsafe import UnsafeExecutorWarning, UnsafeSubprocess
from tir_gym.tools.terminal import MAX_COMMAND

FILES = {"notes.txt": b"one\ntwo\nthree\nfour\n", "deep/down/raw": bytes(range(256)), "empty": b""}


class Hasty(Papers):
    """A second a call, and few processes."""

    def toolkit(self, actor, task, world):
        return Desk(1.0, FILES)

    def limits(self):
        return Limits(grace_s=20.0, memory_mb=128, disk_mb=16, processes=8)


class Sedate(Hasty):
    def toolkit(self, actor, task, world):
        return Desk(60.0, FILES)


def setting(domain=Sedate):
    base = make_setting("toy/Papers-v0")
    return Setting(base.env_id, domain(), base.tasks, base.protocol, base.rewards, Budget(turns=100, calls=100))


def environment(domain):
    env = ToolEnv(setting(domain), default_executor(programs=True))
    env.reset(seed=0)
    return env


@pytest.fixture
def env():
    env = environment(Sedate)
    yield env
    env.close()


def call(env, name, **arguments):
    observation, *_ = env.call(name, arguments)
    return observation.partition(">\n")[2].removesuffix("\n</result>")


def bash(env, command):
    return call(env, "bash", command=command)


def last(env):
    return env.episode.calls[-1]


def test_a_command_shows_its_output_and_errors_in_order_and_its_exit_status(env):
    assert bash(env, "echo one; echo two >&2; echo three; exit 7") == "one\ntwo\nthree\n[exit status 7]"
    assert last(env).status.value == "ok"
    assert bash(env, "true") == "(no output)"
    assert bash(env, "kill -9 $$") == "[killed by signal 9]"
    assert "bash: -c: line 5: syntax error" in bash(env, "cat <<END\nhere\nEND\nif")
    assert bash(env, "cat") == "(no output)"


def test_files_and_the_directory_stay_and_nothing_else(env):
    assert bash(env, "cd deep; word=kept; export word; touch here; sleep 1000 & nohup sleep 1000 &") == "(no output)"
    assert bash(env, "pwd; echo [$word]; ls; jobs; kill -0 -1") == (
        "/box/work/deep\n[]\ndown\nhere\nbash: line 1: kill: (-1) - No such process\n[exit status 1]"
    )
    bash(env, "rm -r ../deep")
    assert "/box/work\n" in bash(env, "cd; pwd; ls")


def test_nothing_in_a_command_ends_the_literal_that_carries_it(env):
    for text in ["'", '"', "\\", "');print(1)#", '"""', "\\x27", "${IFS}", "é", "'\"\\n\n'"]:
        assert bash(env, f"printf %s {shell_quoted(text)}") == text
        call(env, "write_file", path="it", content=text)
        assert call(env, "read_file", path="it") == text


def shell_quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def test_programs_find_each_other_and_an_interpreter_with_the_packages(env):
    assert bash(env, "seq 10 | sort -rn | head -2 | awk '{ s += $1 } END { print s }'") == "19"
    call(env, "write_file", path="a.py", content="import numpy, sys\nprint(numpy.arange(3).sum(), *sys.argv[1:])\n")
    assert bash(env, "python3 a.py x y") == "3 x y"
    call(env, "write_file", path="a.sh", content="echo $((6 * 7))\n")
    assert bash(env, "bash a.sh") == "42"
    assert bash(env, "chmod +x a.sh; ./a.sh") == "bash: line 1: ./a.sh: Permission denied\n[exit status 126]"


def test_a_time_out_ends_all_that_was_started_and_keeps_what_was_said_and_written():
    env = environment(Hasty)
    deaf = "trap '' INT TERM; (trap '' INT TERM; while :; do :; done) & wait; sleep 99"
    seen = bash(env, f"echo begun | tee file; {deaf}")
    assert seen == "begun\n[stopped after 1 seconds, with all it had started]"
    assert last(env).error.value == "timeout"
    assert bash(env, "cat file; kill -0 -1 2>&1 || echo nobody").endswith("nobody")
    env.close()


def test_long_output_shows_its_head_and_tail(env):
    seen = bash(env, "seq 1000000; echo end")
    assert seen.startswith("1\n2\n3\n")
    assert seen.endswith("999999\n1000000\nend")
    assert "characters left out" in seen
    assert len(seen) < 9_000
    assert "No space left on device" in bash(env, "yes > big; rm big")


def test_processes_are_bounded_and_none_is_left(env):
    program = "import os\nfor n in range(100):\n    if os.fork() == 0: os.execlp('sleep', 'sleep', '1000')\n"
    call(env, "write_file", path="a.py", content=program)
    assert "BlockingIOError: [Errno 11] Resource temporarily unavailable" in bash(env, "python3 a.py")
    assert bash(env, "kill -0 -1 2>&1 || echo nobody").endswith("nobody")


def test_lines_of_files_are_read_by_number(env):
    assert call(env, "read_file", path="notes.txt") == "one\ntwo\nthree\nfour"
    assert call(env, "read_file", path="notes.txt", first_line=2, lines=2) == "two\nthree\n[1 more lines from 4 on]"
    assert call(env, "read_file", path="./notes.txt", first_line=9) == "(no output)"
    assert call(env, "read_file", path="empty") == "(no output)"
    assert "\ufffd" in call(env, "read_file", path="deep/down/raw")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "/", "a/", "a\0b", "x" * 2000])
@pytest.mark.parametrize("name", ["read_file", "write_file"])
def test_a_path_elsewhere_is_refused_with_the_mend(env, name, path):
    content = {"content": ""} if name == "write_file" else {}
    assert "give one relative to the first directory" in call(env, name, path=path, **content)
    assert last(env).error.value == "type_mismatch"


def test_mistakes_with_files_are_told(env):
    assert "FileNotFoundError" in call(env, "read_file", path="nowhere")
    assert "IsADirectoryError" in call(env, "read_file", path="deep")
    assert "FileExistsError" in call(env, "write_file", path="empty/x", content="")
    assert "greater than or equal to 1" in call(env, "read_file", path="empty", first_line=0)
    assert not env.episode.outcome


def test_mistakes_in_commands_are_told(env):
    assert "NUL" in bash(env, "echo \0")
    assert f"longer than {MAX_COMMAND} bytes" in bash(env, "é" * (MAX_COMMAND // 2 + 1))
    assert bash(env, "printf %s \ud800") in ("?", "\ufffd")
    assert len(bash(env, "echo " + "x" * (MAX_COMMAND - 2_000))) > 7_000


def test_a_session_that_was_lost_has_its_opening_files_again(monkeypatch):
    env = environment(Sedate)
    bash(env, "rm -r *; echo new > new")
    (session,) = env._slot._sessions.values()
    monkeypatch.setattr(session, "_obstacle", lambda: "it cannot be played again")
    session._real.held.end()
    assert "the session was restarted: its files are as they were at the beginning" in bash(env, "sleep 1000")
    assert last(env).error.value == "state_lost"
    assert bash(env, "ls") == "deep\nempty\nnotes.txt"
    env.close()


def test_a_session_that_was_killed_by_others_has_the_files_it_had():
    env = environment(Sedate)
    bash(env, "rm -r *; echo new > new")
    (session,) = env._slot._sessions.values()
    session._real.held.end()
    assert bash(env, "cat *") == "new"
    env.close()


class Bulky(Sedate):
    def toolkit(self, actor, task, world):
        return Desk(60.0, {"big": bytes(range(256)) * 12_000, "small": b"x"})


class Crammed(Bulky):
    def limits(self):
        return Limits(disk_mb=2)


def test_opening_files_of_many_megabytes_are_there_to_the_byte():
    env = environment(Bulky)
    assert bash(env, "wc -c big small | head -2; tail -c 1 big | od -An -tx1; cksum < big") == (
        "3072000 big\n      1 small\n ff\n3724261618 3072000"
    )
    env.close()


def test_opening_files_that_do_not_fit_are_our_failure():
    env = environment(Crammed)
    *_, info = env.call("bash", {"command": "ls"})
    assert not info["valid"]
    assert "the opening files do not fit" in env.episode.failure
    env.close()


def test_a_batch_runs_commands_at_once_as_single_environments_do():
    vector = ToolVectorEnv(setting(), default_executor(programs=True), 3)
    vector.reset(seed=[1, 2, 3])
    observations, *_ = vector.step(['<call name="bash"><arg name="command">echo $((20 + 22))</arg></call>'] * 3)
    assert all("\n42\n" in text for text in observations)
    vector.close()


def test_such_an_episode_is_copied_by_replay_and_live_copies_are_refused():
    env = make("toy/Papers-v0")
    texts = play_oracle(env, 5)
    env.reset(seed=5)
    for text in texts[:-1]:
        env.step(text)
    with pytest.raises(ForkError, match="replay"):
        tir_gym.fork(env)
    with pytest.raises(ForkError, match="replay"):
        env.checkpoint()
    other = make("toy/Papers-v0")
    other.set_state(env.get_state())
    assert other.step(texts[-1])[1] == env.step(texts[-1])[1] == 1.0
    env.close()
    other.close()


def test_an_executor_whose_sessions_start_no_programs_is_refused_when_the_environment_is_made():
    with pytest.raises(ValueError, match=r"toy/Papers-v0 needs .* ForkServer\(programs=True\)"):
        gym.make("toy/Papers-v0", executor=ForkServer())
    with pytest.warns(UnsafeExecutorWarning):
        unsafe = UnsafeSubprocess()
    with pytest.raises(ValueError, match="programs"):
        tir_gym.make_vec("toy/Papers-v0", 2, executor=unsafe)
    gym.make("toy/Papers-v0", executor=ForkServer(programs=True)).close()


def test_output_without_end_is_stopped_and_told(env):
    assert bash(env, "yes").endswith("[OutputLimitError: more than 10000000 characters of output]")
    assert last(env).facts["status"] == "output_limit"
    assert bash(env, "echo short") == "short"
