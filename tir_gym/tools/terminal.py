"""The tools of a terminal: a shell and files, in the episode's own jailed session.

Each command is a new bash in the directory where the one before ended. Variables, functions and background processes
end with the call. Needs an executor whose sessions may start programs (`Executor.runs_programs`).
"""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tir_gym.core.interfaces import Done, RunStatus
from tir_gym.core.requests import CloseSession, RunCode
from tir_gym.core.tool import EnvError, Output, ToolError, Toolkit, ToolRun, tool
from tir_gym.core.transcript import CallErrorType, TextPart
from tir_gym.tools.python import error_of

MAX_COMMAND = 100_000
"""Bytes of a command as UTF-8; the kernel takes 131,071 in one argument."""
MAX_PATH = 1_000
_PIECE = 1 << 20
"""Bytes of the opening files in one submission."""

_BASH = """
def _terminal(command):
    import os, signal, subprocess, sys, threading
    if os.getpid() != 1:
        raise RuntimeError("this session may not start programs")
    def show():
        try:
            with open(said, encoding="utf-8", errors="replace", newline="") as stream:
                while text := stream.read(1 << 14):
                    sys.stdout.write(text)
        except BaseException as error:
            failed.append(error)  # the command finds nobody to write to, and the call ends as this
    failed = []
    said, say = os.pipe()
    told, tell = os.pipe()
    showing, child, status = threading.Thread(target=show), None, 0
    try:
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            showing.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        lead = f"trap 'pwd -P >&{tell} 2>/dev/null' EXIT; "
        child = subprocess.Popen(["bash", "-c", lead + command], stdin=subprocess.DEVNULL, stdout=say,
                                 stderr=subprocess.STDOUT, pass_fds=[tell], process_group=0)
        _, status = os.waitpid(child.pid, 0)
        return os.waitstatus_to_exitcode(status)
    finally:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass
        if child is not None:
            child.returncode = status
        os.close(say)
        os.close(tell)
        if showing.ident:
            showing.join()
        with open(told, "rb") as place:
            lines = place.read().splitlines()
        try:
            os.chdir(lines[-1] if lines else ".")
        except (OSError, ValueError):
            pass
        if failed:
            raise failed[0]
"""
"""For the session, whose interpreter is the first process of its namespace: `kill(-1)` ends all others there.

The kernel lets them kill the first, too, by a signal that one thread of it would take while another blocks it; so the
thread that reads takes none. `Popen.wait` would linger a quarter of a second after an interrupt.
"""
_READ = """
def _terminal(path, first, count):
    import itertools, os
    with open(os.path.join(os.environ["HOME"], path), encoding="utf-8", errors="replace", newline="\\n") as file:
        print(*itertools.islice(file, first - 1, first - 1 + count), sep="", end="")
        return sum(1 for _ in file)
"""
_WRITE = """
def _terminal(files):
    import base64, os
    for path, mode, data in files:
        path = os.path.join(os.environ["HOME"], path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode) as file:
            file.write(base64.b64decode(data))
"""


class TerminalToolkit(Toolkit):
    """A shell, and files by their paths relative to the session's first directory (its HOME).

    `files` (path -> content) are put there before the first call, and again into a session that had to be restarted.
    """

    needs_programs: ClassVar[bool] = True

    def __init__(self, deadline_s: float = 10.0, files: Mapping[str, bytes] | None = None) -> None:
        super().__init__()
        self._deadline_s = deadline_s
        self._files = {inside(path): data for path, data in (files or {}).items()}
        self._placed = not self._files

    @tool(kind="action", effect="write", latency_s=0.1, from_code=False)
    def bash(self, command: str) -> ToolRun:
        """Run a command in bash.
        Each call is a new shell in the directory where the last one ended; files stay, variables and background
        processes do not. Standard output and error come back together. There is no input, network, /proc or /tmp.

        Args:
            command: one or more lines of shell
        """
        text = command.encode("utf-8", "replace")
        if b"\0" in text:
            raise ToolError("a command cannot hold a NUL character; leave it out")
        if len(text) > MAX_COMMAND:
            raise ToolError(f"the command is longer than {MAX_COMMAND} bytes; write it to a file and run `bash FILE`")
        done: Done = yield from self._submit(_BASH, text.decode())
        return self._output(done, _ended(done))

    @tool(kind="evidence", effect="read", latency_s=0.1, from_code=False)
    def read_file(
        self,
        path: str,
        first_line: Annotated[int, Field(ge=1, le=10**9)] = 1,
        lines: Annotated[int, Field(ge=1, le=10**6)] = 200,
    ) -> ToolRun:
        """Read lines of a text file.

        Args:
            path: relative to the directory in which the first shell started
            first_line: where to begin, from 1
            lines: how many at most
        """
        done: Done = yield from self._submit(_READ, inside(path), first_line, lines)
        more = _number(done.value)
        return self._output(done, f"[{more} more lines from {first_line + lines} on]" if more else "")

    @tool(kind="action", effect="write", latency_s=0.1, from_code=False)
    def write_file(self, path: str, content: str) -> ToolRun:
        """Write a text file, in place of what it held; directories on the way are made.

        Args:
            path: relative to the directory in which the first shell started
            content: the whole text
        """
        data = content.encode("utf-8", "replace")
        done: Done = yield from self._submit(_WRITE, [(inside(path), "wb", base64.b64encode(data).decode())])
        return self._output(done, f"wrote {len(data)} bytes to {path}")

    # --- for toolkits made of this one ------------------------------------------------------------------------------
    def fetch(self, path: str) -> ToolRun:
        """The text of a file as far as the session's limit on output goes, `yield from` a tool. Raises `ToolError`."""
        done: Done = yield from self._submit(_READ, inside(path), 1, 10**9)
        if done.status is not RunStatus.OK:
            raise ToolError(f"{path}: {done.error or done.status.value}")
        return done.stdout

    def _submit(self, definition: str, *arguments: Any) -> ToolRun:
        """Run one of the programs above, in a session that has its files."""
        if not self._placed and not (yield from self._place()):
            yield CloseSession()  # whatever ran in it before us stood in the way
            if not (yield from self._place()):
                raise EnvError("the opening files do not fit into the session")
        done: Done = yield RunCode(_program(definition, *arguments), self._deadline_s)
        if done.state_lost:
            self._placed = not self._files
        return done

    def _place(self) -> ToolRun:
        """Put the opening files into the session; returns whether they are there."""
        parts: list[list[tuple[str, str, str]]] = [[]]
        for path, data in self._files.items():
            for at in range(0, max(1, len(data)), _PIECE):
                piece = base64.b64encode(data[at : at + _PIECE]).decode()
                if sum(len(part[2]) for part in parts[-1]) > _PIECE:
                    parts.append([])
                parts[-1].append((path, "ab" if at else "wb", piece))
        for part in parts:
            done: Done = yield RunCode(_program(_WRITE, part), self._deadline_s)
            if done.status is not RunStatus.OK:
                return False
        self._placed = True
        return True

    def _output(self, done: Done, note: str) -> Output:
        """What the policy reads of a program's end; `note` is for one that came to it."""
        pieces = [done.stdout, note]
        if done.status is RunStatus.TIMEOUT:
            pieces = [done.stdout, f"[stopped after {self._deadline_s:g} seconds, with all it had started]"]
        elif done.status is not RunStatus.OK:
            pieces = [done.stdout, f"[{done.error or done.status.value}]"]
        if done.state_lost:
            pieces.append("[the session was restarted: its files are as they were at the beginning]")
        shown = "\n".join(piece.rstrip("\n") for piece in pieces if piece) or "(no output)"
        facts = {"status": done.status.value, "state_lost": done.state_lost}
        return Output((TextPart(shown),), facts=facts, error=error_of(done))


def inside(path: str) -> str:
    """`path` in normal form. Raises `ToolError` unless it names something below the session's first directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or path.endswith("/") or ".." in parts or "\0" in path or len(path) > MAX_PATH:
        raise ToolError(
            f"{path[:80]!r} is no path of a file here; give one relative to the first directory, such as 'data/a.txt'",
            CallErrorType.TYPE_MISMATCH,
        )
    return "/".join(parts)


def _program(definition: str, *arguments: Any) -> str:
    """A fixed text that calls its function with data: JSON in base64, in which nothing can end the literal."""
    data = base64.b64encode(json.dumps(arguments).encode()).decode()
    return f"{definition}\n_terminal(*__import__('json').loads(__import__('base64').b64decode('{data}')))\n"


def _number(text: str) -> int:
    """A whole number that the session said, 0 for anything else."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else 0


def _ended(done: Done) -> str:
    """How a command ended, in words; "" for status 0."""
    status = _number(done.value)
    if status < 0:
        return f"[killed by signal {-status}]"
    return f"[exit status {status}]" if status else ""
