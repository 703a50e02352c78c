"""Sessions that outlive their interpreters: what was asked of one is kept, and done again in a fresh one when needed.

A session begins from its limits, seed and tools, and what follows from there is the same each time, as far as
docs/security.md claims determinism. So an idle interpreter can be given up (`DurableSession.evict`) or lost with its
fork server, and the state comes back by replay. Replayed code is compared with what it said the first time, and its
tool calls are answered from the log: a state that silently differs is never gone on with.
"""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tir_gym.core.interfaces import (
    Done,
    ExecutorUnavailable,
    ForkError,
    HostCall,
    Limits,
    RunStatus,
    Session,
)
from tir_gym.executors.forked import ForkedSession
from tir_gym.executors.frames import FILE, relative_path
from tir_gym.executors.process import START_S, wait_readable
from tir_gym.executors.roster import LOOK_S, Roster
from tir_gym.executors.session import pieces

LOG_SIZE = 1 << 18
"""Characters of code and tool answers and bytes of files that a log may hold; beyond, it is given up."""
PATIENCE = 3.0
"""Times its first deadline that replayed code has: the machine may be busier now."""
_OVERHEAD = 200
_CLOCKS = "time|timeit|datetime|threading|concurrent|asyncio|uuid|sqlite3|ssl"
_UNSTEADY = re.compile(rf"\b(?:import|from) {{1,4}}(?:{_CLOCKS})\b|\b(?:{_CLOCKS})\.[a-z]|__import__|/dev/")
"""Code that may well say something else the next time."""
_PATHS = re.compile(r"cwd|abspath|realpath|resolve|absolute|environ|getenv|expand|home|HOME|tempfile|TMPDIR|/box")
"""Code by which a program learns or names the absolute path of its working directory."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where an object without a `repr` of its own lies, which differs with what else the fork server has done."""


class _Call(NamedTuple):
    """A tool call of the log: a hash of what was asked, and the answer as JSON."""

    asked: int
    value: str
    error: str


@dataclass(slots=True, eq=False, repr=False)
class _Run:
    """A submission of the log. Entries point back to the one before, so that copies share what they have in common."""

    before: "_Entry | None"
    size: int
    code: str
    deadline: float
    calls: tuple[_Call, ...]
    status: RunStatus
    said: int


@dataclass(slots=True, eq=False, repr=False)
class _Put:
    """A file put into the working directory."""

    before: "_Entry | None"
    size: int
    path: str
    data: bytes
    failed: bool


@dataclass(slots=True, eq=False, repr=False)
class _Seed:
    """The new seed of a copy's random generators."""

    before: "_Entry | None"
    size: int
    seed: int


_Entry = _Run | _Put | _Seed
Events = list[HostCall | Done]


class DurableSession(Session):
    """A session that comes back by replay: after `evict`, and where its process was killed or its fork server died,
    unless that happened to a submission that had called a tool or is taken up again.

    Its interpreter may be another one than before, so ask `fileno` anew after each `submit` and `events`; it is -1,
    too, while there is no interpreter. Replay happens in the next `submit` (and the `events` that follow), `put` or
    `get`; a submission then still has its whole deadline. If replayed code does not end as it had, or says or asks for
    something else, the session is over with an `EXECUTOR_ERROR` that names the submission.

    Not replayed, and thus never evicted and lost with its server, is a session with a submission that ended other than
    `OK` or `EXCEPTION`, one with a log longer than `LOG_SIZE`, and one whose working directory had another path than a
    fresh session's (a live copy, or no namespaces) and whose code names absolute paths. One whose code names the clock,
    threads or devices is not evicted either, but restored if its server dies.
    """

    def __init__(
        self,
        fresh: Callable[[], ForkedSession],
        limits: Limits,
        roster: Roster,
        register: Callable[["DurableSession"], None],
    ) -> None:
        """A session without an interpreter yet: `fresh` starts one. `register` is told of it and of its copies."""
        self._fresh, self._limits, self._roster, self._register = fresh, limits, roster, register
        self.reference = roster.enter(self)
        self._real: ForkedSession | None = None
        self._ready: ForkedSession | None = None
        """The same, where no replay is going on."""
        self._log: _Entry | None = None
        self._unique = ""
        self.stays = False
        """True once the session is known never to be evicted: it does not count for the bound."""
        self._turn = 0
        self._running = self._interrupted = self._again = False
        self._code, self._deadline = "", 0.0
        self._calls: list[_Call] = []
        self._call: tuple[int, int] | None = None
        self._events: Events = []
        self._steps: deque[_Entry] | None = None
        self._pieces: Iterator[dict[str, Any]] = iter(())
        self._since: float | None = None
        self._until = 0.0
        self._lost, self._told = "", True
        register(self)

    @property
    def longest(self) -> float:
        """Seconds that a submission may take."""
        return self._limits.wall_s + self._limits.grace_s

    def start(self) -> "DurableSession":
        """Have an interpreter started, if there is room for one. Raises `ExecutorUnavailable`."""
        if self._roster.room() and self._roster.place(self, 0.0):
            try:
                self._real = self._ready = self._fresh()
            except BaseException:
                self._roster.leave(self)
                raise
            self._rest()
        return self

    # --- running -------------------------------------------------------------------------------------------------
    def submit(self, code: str, deadline: float) -> int:
        """Start running `code`, after the replay where one is due. See `Session.submit`."""
        if self._lost and not self._told:
            self._turn += 1
            self._told = True
            self._events.append(Done(self._turn, RunStatus.EXECUTOR_ERROR, error=self._lost, state_lost=True))
            return self._turn
        if self._lost or self._running or self._roster.bound:
            self._take_up()
        if self._ready is not None:
            self._ready.submit(code, deadline)
        self._code, self._deadline, self._calls = code, deadline, []
        self._running, self._interrupted, self._again, self._call = True, False, False, None
        self._turn += 1
        if self._ready is None:
            self._since = time.monotonic()
            self._restore()
        return self._turn

    def _take_up(self) -> None:
        if self._lost:
            raise RuntimeError(f"the session is over: {self._lost}; open a new one")
        if self._running:
            raise RuntimeError(f"submission {self._turn} is still running; wait for its Done")
        if self._roster.bound:
            self._roster.take_up(self.reference)

    def _rest(self) -> None:
        if self._roster.bound and not self.stays:
            self._roster.rest(self.reference)

    def events(self) -> Events:
        """What has happened since the last call; of a replay, nothing. See `Session.events`."""
        real = self._ready
        if real is None:
            if self._running:
                self._restore()
            found, self._events = self._events, []
            return found
        found = real.events()
        for event in found:
            if type(event) is Done:
                return self._done(found, event, real)
            if type(event) is HostCall:
                self._call = event.call_id, _asked(event)
        return found

    def _done(self, found: Events, done: Done, real: ForkedSession) -> Events:
        if done.state_lost:
            return self._died(found, done, real)
        self._running, self._call = False, None
        if done.status is not RunStatus.OK and done.status is not RunStatus.EXCEPTION:
            self._give_up_log(f"submission {done.submission} ended as {done.status}")
        elif not self._unique:
            size = len(self._code) + _OVERHEAD
            if self._calls:
                size += sum(len(call.value) + len(call.error) + _OVERHEAD for call in self._calls)
            calls = tuple(self._calls)
            self._keep(_Run(self._log, size, self._code, self._deadline, calls, done.status, _said(done)))
        if self._roster.bound:
            self._rest()
        return found

    def _died(self, found: Events, done: Done, real: ForkedSession) -> Events:
        began = bool(self._calls or self._call or self._interrupted or self._again)
        if not real.spared or began:
            self._over(done.error, told=True)
            return found
        if why := self._obstacle():
            self._over(f"{done.error}; no replay: {why}", told=True)
            return [replace(done, error=self._lost)]
        self._again = True
        self._real = self._ready = None
        return self.events()

    def _over(self, why: str, told: bool) -> None:
        self._lost, self._told = why, told
        if self._real is not None:
            self._real.close()
        self._real = self._ready = self._steps = self._log = None
        self._running = False
        self._roster.leave(self)

    def wakeup(self) -> float | None:
        """When `events` must be called though nothing arrives. See `Session.wakeup`."""
        real = self._real
        if real is not None and real is self._ready:
            return real.wakeup()
        if self._events:
            return time.monotonic()
        if real is None:
            return self._roster.look_at() if self._running else None
        wakeup = real.wakeup()
        if self._steps and isinstance(self._steps[0], _Put):
            return self._until if wakeup is None else min(wakeup, self._until)
        return wakeup

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running code, as soon as it runs. See `Session.interrupt`."""
        if self._running:
            self._interrupted = True
            if self._ready is not None:
                self._ready.interrupt()

    def answer(self, call_id: int, value: Any = None, error: str = "") -> None:
        """Answer the tool call that waits. See `Session.answer`."""
        if self._call is None or self._call[0] != call_id or self._ready is None:
            return
        self._ready.answer(call_id, value, error)
        self._calls.append(_Call(self._call[1], json.dumps(value), error))
        self._call = None

    # --- the log -------------------------------------------------------------------------------------------------
    def _keep(self, entry: _Entry) -> None:
        if entry.before is not None:
            entry.size += entry.before.size
        self._log = entry
        if entry.size > LOG_SIZE:
            self._give_up_log(f"its log is longer than {LOG_SIZE} bytes")

    def _give_up_log(self, why: str) -> None:
        self._unique, self._log, self.stays = self._unique or why, None, True
        self._roster.leave(self)

    def _history(self) -> Iterator[_Entry]:
        """The log, the latest first."""
        entry = self._log
        while entry is not None:
            yield entry
            entry = entry.before

    def _names(self, what: re.Pattern[str]) -> bool:
        return any(isinstance(entry, _Run) and what.search(entry.code) for entry in self._history())

    def _obstacle(self) -> str:
        """Why the log cannot be replayed, "" if it can."""
        if not self._unique and self._real is not None and not self._real.at_home and self._names(_PATHS):
            return "its working directory was elsewhere and its code names absolute paths"
        return self._unique

    def evict(self) -> bool:
        """Give up the interpreter of an idle session until it is needed; False where it has none or must keep it."""
        with self._roster.lock:
            if self._lost or self._running or self._real is None:
                return False
            self.stays = self.stays or bool(self._obstacle()) or self._names(_UNSTEADY)
            self._real.events()
            if self.stays or (self._real.fileno() < 0 and not self._real.spared):
                self._roster.leave(self)
                return False  # one that ended by itself is not restored, for the policy is to know
            self._real.close()
            self._real = self._ready = None
            self._roster.leave(self)
            return True

    # --- replay --------------------------------------------------------------------------------------------------
    def _restore(self) -> None:
        """Bring the interpreter back, as far as that goes without waiting; then start what is to run."""
        if self._real is None and not self._roster.place(self, self._since):
            return
        try:
            if self._real is None:
                self._real = self._fresh()
                self._steps = deque()
                self._steps.extendleft(self._history())
                self._next_step(self._real)
            while self._steps is not None and self._step(self._real):
                pass
        except (ExecutorUnavailable, OSError, RuntimeError) as error:
            why = f"its state could not be restored: {error}"
            if self._running:
                self._events.append(Done(self._turn, RunStatus.EXECUTOR_ERROR, error=why, state_lost=True))
            self._over(why, told=self._running)

    def _next_step(self, real: ForkedSession) -> None:
        """Hand the interpreter what comes next: an entry of the log or, after the last, the submission."""
        while self._steps and isinstance(first := self._steps[0], _Seed):
            real.tell({"t": "begin", "seed": first.seed, "tools": []})
            self._steps.popleft()
        step = self._steps[0] if self._steps else None
        if isinstance(step, _Run):
            real.submit(step.code, PATIENCE * step.deadline)
            self._calls = list(step.calls)
        elif isinstance(step, _Put):
            self._until = time.monotonic() + PATIENCE * self._limits.wall_s + START_S
            self._pieces = pieces(step.path, step.data)
            real.request(next(self._pieces))
        else:
            self._steps, self._calls, self._ready = None, [], real
            if self._running:
                real.submit(self._code, self._deadline)
                if self._interrupted:
                    real.interrupt()

    def _step(self, real: ForkedSession) -> bool:
        """Go on with the replay; False if there is nothing to do but wait. Raises `RuntimeError` where it differs."""
        assert self._steps is not None
        found, step = real.events(), self._steps[0]
        if isinstance(step, _Put):
            ended = self._step_put(real, step)
        else:
            assert isinstance(step, _Run)
            ended = any(self._step_run(real, step, event) for event in found)
        if ended:
            self._steps.popleft()
            self._next_step(real)
        return ended and self._steps is not None

    def _step_run(self, real: ForkedSession, step: _Run, event: HostCall | Done) -> bool:
        """Take in what a replayed submission says; True at its end."""
        number = self._turn - self._running - sum(isinstance(entry, _Run) for entry in self._steps or ()) + 1
        if isinstance(event, HostCall):
            call = self._calls.pop(0) if self._calls else None
            if call is None or call.asked != _asked(event):
                raise RuntimeError(f"submission {number}, replayed, called {event.tool}() as it did not the first time")
            real.answer(event.call_id, json.loads(call.value), call.error)
        elif isinstance(event, Done):
            if event.status is not step.status:
                how = f"ended as {event.status} ({event.error}), the first time as {step.status}"
                raise RuntimeError(f"submission {number}, replayed, {how}")
            if self._calls or _said(event) != step.said:
                raise RuntimeError(f"submission {number}, replayed, did not say what it said the first time")
            return True
        return False

    def _step_put(self, real: ForkedSession, step: _Put) -> bool:
        """Go on with putting a file; True at its end."""
        reply = real.reply(FILE)
        if reply is None:
            if time.monotonic() >= self._until:
                raise RuntimeError(f"putting {step.path!r} took too long")
            return False
        piece = None if reply["error"] else next(self._pieces, None)
        if piece is not None:
            real.request(piece)
            return False
        if bool(reply["error"]) is not step.failed:
            raise RuntimeError(f"putting {step.path!r} went otherwise than the first time: {reply['error']}")
        return True

    def _bring_up(self) -> ForkedSession:
        """The interpreter, once it is there and idle. Raises `RuntimeError`."""
        self._take_up()
        if self._real is not None:
            self._real.events()
            if self._real.spared and not self._obstacle():
                self._real = self._ready = None
        self._since = None
        if self._real is None:
            self._restore()
            while self._steps is not None:
                wait_readable(self.fileno(), self.wakeup() or time.monotonic() + LOOK_S)
                self._restore()
            if self._real is None:
                raise RuntimeError(f"the session is over: {self._lost}")
        return self._real

    # --- files and copies ----------------------------------------------------------------------------------------
    def put(self, path: str, data: bytes) -> None:
        """Write a file of the working directory, after the replay where one is due. See `Session.put`."""
        path, data, failed = relative_path(path), bytes(memoryview(data)), True
        real = self._bring_up()
        try:
            real.put(path, data)
            failed = False
        finally:
            if not self._unique and real.fileno() >= 0:
                self._keep(_Put(self._log, len(data) + _OVERHEAD, path, data, failed))
            self._rest()

    def get(self, path: str) -> bytes:
        """Read a file of the working directory, after the replay where one is due. See `Session.get`."""
        path = relative_path(path)
        real = self._bring_up()
        try:
            return real.get(path)
        finally:
            self._rest()

    def fork(self, seed: int | None = None) -> "DurableSession":
        """A copy that goes on independently: a live one, or one by replay where there is no interpreter to copy.

        So it is, too, where the executor has no room for one more. Raises `ForkError`. See `Session.fork`.
        """
        try:
            self._take_up()
        except RuntimeError as error:
            raise ForkError(str(error)) from None
        try:
            copied = self._copied(seed)
        finally:
            self._rest()
        twin = DurableSession(self._fresh, self._limits, self._roster, self._register)
        twin._log, twin._unique, twin._turn = self._log, self._unique, self._turn
        if seed is not None and not twin._unique:
            twin._keep(_Seed(twin._log, _OVERHEAD, seed))
        if copied is not None:
            self._roster.place(twin, None)
            twin._real = twin._ready = copied
            twin._rest()
        return twin

    def _copied(self, seed: int | None) -> ForkedSession | None:
        """A live copy of the interpreter, None where a replay is to take its place. Raises `ForkError`."""
        if self._real is None:
            return None
        self._real.events()
        replayable = not self._obstacle()
        if replayable and (self._real.spared or not (self._roster.room() or self._names(_UNSTEADY))):
            return None
        try:
            return self._real.fork(seed)
        except ForkError:
            if replayable and self._real.spared:
                return None
            raise

    # --- ends ----------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """End the session; idempotent, never raises."""
        if not self._lost:
            self._over("it was closed", told=True)
        self._told = True
        self._events.clear()

    def forget(self) -> None:
        """In a process forked from the owner: let go of the session without ending it."""
        self._lost = "it belongs to the process this one was forked from"
        self._real = self._ready = self._steps = self._log = None
        self._running = False

    def fileno(self) -> int:
        """Readable when there is something to tell; -1 while there is no interpreter, and once the session is over."""
        real = self._real
        return -1 if real is None else real.fileno()


def _said(done: Done) -> int:
    return _digest("\0".join((done.stdout, done.stderr, done.value, done.error)))


def _asked(call: HostCall) -> int:
    return _digest(f"{call.tool}{call.arguments}")


def _digest(text: str) -> int:
    return hash(_ADDRESS.sub("", text) if " at 0x" in text else text)
