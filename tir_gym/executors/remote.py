"""`SandboxFusion`: code runs on a server that speaks SandboxFusion's HTTP interface (POST /run_code).

Such a server runs one program and forgets it. So a session here is good for one submission: its `Done` always has
`state_lost`, after which a new session is opened, and the policy reads that its variables are gone. Earlier code is
never run again behind its back. Files put before the submission are sent along; files it writes stay on the server.
"""

import base64
import contextlib
import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tir_gym.core.interfaces import (
    Done,
    Executor,
    ExecutorUnavailable,
    ForkError,
    HostCall,
    Limits,
    Measured,
    RunStatus,
    Session,
    ToolSignature,
)
from tir_gym.executors.frames import clean, relative_path
from tir_gym.executors.sink import clip

_PROGRAM = """import ast, json, linecache, random, sys, traceback
random.seed({seed})
try:
    import numpy
    numpy.random.seed({seed} % (1 << 32))
except ImportError:
    pass
code, mark, name = {code}, {mark}, "<call 1>"
said = dict(status="ok", value="", error="", traceback="")
space = dict(__name__="__main__", __builtins__=__builtins__)
linecache.cache[name] = (len(code), None, code.splitlines(True), name)
try:
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec", dont_inherit=True), space)
    if last is not None:
        last = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), space)
        if last is not None:
            said["value"] = repr(last)[:{chars}]
except BaseException as caught:
    said["status"] = "memory" if isinstance(caught, MemoryError) else "exception"
    said["error"] = (type(caught).__name__ + ": " + str(caught)).rstrip(": ")[:{chars}]
    told = traceback.TracebackException.from_exception(caught, limit=200)
    told.stack = traceback.StackSummary.from_list([at for at in told.stack[1:] if at.filename == name])
    said["traceback"] = "".join(told.format())[:{chars}]
sys.stdout.flush()
sys.stdout.write(mark + json.dumps(said))
sys.stdout.flush()
"""
"""What is sent: the submission as a literal, run so that its last value and exception come back after a mark."""
_ROOM_S = 30.0
"""For the way there and back and the server's own queue, on top of a submission's limit."""
_MAX_REPLY = 64 << 20
_RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class SandboxFusion(Executor):
    """Sessions of one submission each on the server at `url`; how they are isolated is the server's affair.

    `retries`: how often a request that got no answer is sent again, within the submission's limit and half a minute.
    A submission may therefore run twice on a server that lost its first answer. `headers`: sent along, for access.
    Tools cannot be called from the code: the server has no way back.

    >>> executor = SandboxFusion("http://localhost:8080")
    """

    url: str
    retries: int = 3
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url={self.url!r} must begin with http:// or https://")

    def acquire(self) -> Self:
        """Run an empty program as a trial. Raises `ExecutorUnavailable` where that does not succeed."""
        asked = {"code": "", "language": "python", "run_timeout": 10.0}
        try:
            said = self.post(asked, time.monotonic() + 10.0 + _ROOM_S)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ExecutorUnavailable(f"no SandboxFusion server answers at {self.url}: {error}") from None
        if said.get("status") != "Success":
            text = clean(str(said.get("message")), 300)
            raise ExecutorUnavailable(f"the server at {self.url} cannot run Python: {text}")
        return self

    def release(self) -> None:
        """Nothing is held here."""

    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> "RemoteSession":
        """Have a session; nothing is sent before `submit`. Raises `ExecutorUnavailable` if it is to have tools."""
        if tools:
            names = ", ".join(tool.name for tool in tools)
            raise ExecutorUnavailable(f"code on a SandboxFusion server cannot call tools ({names}); use ForkServer")
        return RemoteSession(self, limits, seed)

    def report(self) -> dict[str, str]:
        """One line: nothing can be observed of a server, so its tier is "unsafe"."""
        return {"tier": "unsafe", "all": f"missing: not observed; code runs on {self.url}, which isolates it as it may"}

    def post(self, asked: dict[str, Any], until: float) -> dict[str, Any]:
        """The server's answer. Raises `OSError`, `ValueError` or `HTTPException` after the last attempt."""
        headers = {"Content-Type": "application/json", **dict(self.headers)}
        body = json.dumps(asked).encode()
        for attempt in range(self.retries + 1):
            request = urllib.request.Request(f"{self.url.rstrip('/')}/run_code", body, headers)  # noqa: S310 - checked
            try:
                left = max(0.1, until - time.monotonic())
                with urllib.request.urlopen(request, timeout=left) as response:  # noqa: S310
                    data = response.read(_MAX_REPLY + 1)
                said = json.loads(data) if len(data) <= _MAX_REPLY else None
                if not isinstance(said, dict):
                    raise ValueError("the answer is no JSON object, or too large")
                return said
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _RETRIED or self._too_late(attempt, until):
                    raise
            except (OSError, http.client.HTTPException):
                if self._too_late(attempt, until):
                    raise
            time.sleep(min(0.1 * 2**attempt, max(0.0, until - time.monotonic())))
        raise AssertionError

    def _too_late(self, attempt: int, until: float) -> bool:
        return attempt >= self.retries or time.monotonic() >= until


class RemoteSession(Session):
    """One submission on a server. Its request runs in a thread that ends with the answer or its deadline."""

    def __init__(self, executor: SandboxFusion, limits: Limits, seed: int) -> None:
        self._executor, self._limits, self._seed = executor, limits, seed
        self._files: dict[str, bytes] = {}
        self._ours, self._theirs = socket.socketpair()
        self._answers: deque[Done] = deque()
        self._turn = 0
        self._until = 0.0
        self._interrupted = False
        self._over = ""

    def submit(self, code: str, deadline: float) -> int:
        """Send `code`; the server's clock counts. See `Session.submit`."""
        if self._over:
            raise RuntimeError(f"the session is over: {self._over}; open a new one")
        if self._turn:
            raise RuntimeError("submission 1 is still running; wait for its Done")
        self._turn = 1
        now = time.monotonic()
        self._until = now + deadline + _ROOM_S
        mark = f"\n{os.urandom(16).hex()}\n"
        literals = {"seed": int(self._seed), "code": repr(code), "mark": repr(mark), "chars": self._limits.output_chars}
        asked = {
            "code": _PROGRAM.format(**literals),
            "language": "python",
            "run_timeout": deadline,
            "memory_limit_MB": self._limits.memory_mb,
            "files": {path: base64.b64encode(data).decode() for path, data in self._files.items()},
        }
        judge = _Judge(mark, self._limits.output_chars, now)
        work = (self._executor, asked, self._until, judge, self._answers, self._theirs.dup())
        threading.Thread(target=_fetch, args=work, name="tir_gym-remote", daemon=True).start()
        return self._turn

    def events(self) -> list[HostCall | Done]:
        """The end of the submission, once it is there."""
        if self._over or not self._turn:
            return []
        if self._interrupted and not self._answers:
            error = "it was interrupted; the server goes on until its own limit"
            return self._end(Done(1, RunStatus.TIMEOUT, error=error, state_lost=True))
        if self._answers:
            return self._end(self._answers[0])
        if time.monotonic() >= self._until:
            error = f"the server at {self._executor.url} did not answer in time"
            return self._end(Done(1, RunStatus.EXECUTOR_ERROR, error=error, state_lost=True))
        return []

    def _end(self, done: Done) -> list[HostCall | Done]:
        self.close()
        self._over = "a server's session is good for one submission"
        return [done]

    def wakeup(self) -> float | None:
        """When the answer is overdue."""
        if self._over or not self._turn:
            return None
        return time.monotonic() if self._interrupted else self._until

    def answer(self, call_id: int, value: Any = None, error: str = "") -> None:
        """Nothing: there are no calls."""

    def interrupt(self) -> None:
        """Wait for the answer no longer; it ends as a time-out."""
        self._interrupted = bool(self._turn)

    def put(self, path: str, data: bytes) -> None:
        """Have a file sent with the submission. Raises `ValueError` for a path outside, `OSError` if it is too much."""
        self._must_be_new()
        path = relative_path(path)
        size = sum(len(kept) for name, kept in self._files.items() if name != path) + len(data)
        if size > self._limits.disk_mb << 20:
            raise OSError(f"{path}: {size} bytes of files are more than disk_mb={self._limits.disk_mb}")
        self._files[path] = bytes(data)

    def get(self, path: str) -> bytes:
        """A file that was put. Raises `FileNotFoundError` for any other: what code writes stays on the server."""
        self._must_be_new()
        path = relative_path(path)
        if path not in self._files:
            raise FileNotFoundError(f"{path} was not put; what code writes stays on the server")
        return self._files[path]

    def _must_be_new(self) -> None:
        if self._over or self._turn:
            raise RuntimeError(f"the session is over or runs: {self._over}; open a new one")

    def fork(self, seed: int | None = None) -> Session:
        """Raise `ForkError`: there is no live state."""
        raise ForkError("a SandboxFusion server keeps no state that could be copied; use ForkServer")

    def close(self) -> None:
        """Want no answer any more."""
        self._over = self._over or "it was closed"
        self._ours.close()
        self._theirs.close()

    def __del__(self) -> None:
        if not getattr(self, "_over", "unborn"):
            self.close()

    def fileno(self) -> int:
        """Readable when the answer is there; -1 once the session is closed or over."""
        return -1 if self._over else self._ours.fileno()


class _Judge:
    """Reads a server's answer."""

    def __init__(self, mark: str, chars: int, began: float) -> None:
        self._mark, self._chars, self._began = mark, chars, began

    def done(self, said: dict[str, Any]) -> Done:
        """The end that `said` describes; nothing in it is believed to be well-formed."""
        result = said.get("run_result")
        measured = Measured(time.monotonic() - self._began)
        if said.get("status") == "SandboxError" or not isinstance(result, dict):
            error = f"the server failed: {clean(str(said.get('message')), 300)}"
            return Done(1, RunStatus.EXECUTOR_ERROR, error=error, state_lost=True, measured=measured)
        out, err = (result.get(name) for name in ("stdout", "stderr"))
        out, mark, rest = (out if isinstance(out, str) else "").rpartition(self._mark)
        if not mark:
            out, rest = rest, ""
        stdout, stderr = (self._short(text) for text in (out, err if isinstance(err, str) else ""))
        value, error, trace, status = "", "", "", RunStatus.KILLED
        if result.get("status") == "TimeLimitExceeded":
            status, error = RunStatus.TIMEOUT, "time limit; the code was killed"
        elif told := _outcome(rest):
            status = {"ok": RunStatus.OK, "memory": RunStatus.MEMORY}.get(told["status"], RunStatus.EXCEPTION)
            value, error, trace = (self._short(told[name]) for name in ("value", "error", "traceback"))
        else:
            error = f"the process ended with exit status {clean(str(result.get('return_code')), 20)}"
        return Done(1, status, stdout, stderr, value, error, trace, state_lost=True, measured=measured)

    def _short(self, text: str) -> str:
        return clean(clip(text, self._chars), self._chars)


def _outcome(text: str) -> dict[str, str]:
    """What the program said of itself after the mark, {} unless it is whole."""
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(text)
        names = ("status", "value", "error", "traceback")
        if isinstance(told, dict) and all(isinstance(told.get(name), str) for name in names):
            return told
    return {}


def _fetch(
    executor: SandboxFusion,
    asked: dict[str, Any],
    until: float,
    judge: _Judge,
    answers: "deque[Done]",
    bell: socket.socket,
) -> None:
    """Get the answer, put it into `answers`, ring; holds nothing of the session, which may be gone."""
    tell: Callable[[str], Done] = lambda why: Done(1, RunStatus.EXECUTOR_ERROR, error=why, state_lost=True)  # noqa: E731
    with bell:
        try:
            answers.append(judge.done(executor.post(asked, until)))
        except Exception as error:
            answers.append(tell(f"no answer from {executor.url}: {clean(str(error), 300)}"))
        with contextlib.suppress(OSError):
            bell.send(b"!")
