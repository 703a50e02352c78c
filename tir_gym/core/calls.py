"""The calls of an episode: starting them, waiting for them, logging them, on the virtual clock."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tir_gym.core.action import ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import NOT_MEASURED, Done, Measured
from tir_gym.core.requests import AnswerCall, CloseSession, HostTool, OpenSession, Request, RunCode
from tir_gym.core.seeding import derive
from tir_gym.core.tool import (
    MAX_ARGUMENT_CHARS,
    EnvError,
    Finish,
    Output,
    Submit,
    Tool,
    ToolError,
    Toolkit,
    ToolRun,
    as_output,
    call_key,
    cut,
)
from tir_gym.core.transcript import (
    CallErrorType,
    CallRecord,
    CallStatus,
    Content,
    TextPart,
    images_of,
    text_of,
)
from tir_gym.core.verify import Answer

UNLOGGED = 100
"""Calls beyond the budget are refused; after this many refusals they are not even logged."""


class Mailbox:
    """Requests on their way to the driver, and who waits for which result."""

    def __init__(self) -> None:
        self._next = 0
        self._out: list[Request] = []
        self.waiting: dict[int, Running | None] = {}

    def ask(self, request: Request, owner: "Running | None") -> None:
        """Send a request whose result `owner` waits for (None: the episode itself)."""
        request.id = self._next
        self._next += 1
        self._out.append(request)
        self.waiting[request.id] = owner

    def tell(self, request: Request) -> None:
        """Send a request that has no result."""
        self._out.append(request)

    def take(self) -> tuple[Request, ...]:
        """The requests not handed out yet."""
        out, self._out = tuple(self._out), []
        return out

    def clear(self) -> None:
        """Forget everything in flight."""
        self._out.clear()
        self.waiting.clear()


@dataclass(slots=True)
class Running:
    """A call in flight. `shown_as` is its position among the action's calls, -1 where code made it."""

    index: int
    name: str
    arguments: Mapping[str, Any]
    issued_at: float
    shown_as: int = -1
    label: str = ""
    parent: int = -1
    host_call: int = -1
    """The id under which the guest waits for the result."""
    key: str = ""
    tool: Tool | None = None
    run: ToolRun | None = None
    awaits_code: bool = False
    measured: Measured = NOT_MEASURED


@dataclass(slots=True)
class Shown:
    """What a call brought: its index in the log, its position in the action (-1: made by code), and what is shown."""

    index: int
    position: int
    content: tuple[Content, ...]


@dataclass(slots=True)
class Tally:
    """Counts of one episode so far."""

    turns: int = 0
    calls: int = 0
    ok: int = 0
    failed: int = 0
    duplicate: int = 0
    this_turn: int = 0
    format_errors: int = 0
    repairs: int = 0
    void: int = 0


@dataclass(slots=True)
class CallDesk:
    """Runs the calls of one action after the other: in call order, overlapping only where all may.

    `clock` is the virtual time in seconds; a call takes its tool's declared latency. What ended the episode from
    within a call stands in `answer` and `ended_by`, what broke it in `failure`.
    """

    setting: Setting
    toolkits: dict[str, Toolkit]
    seed: int
    mailbox: Mailbox
    tally: Tally = field(default_factory=Tally)
    log: list[CallRecord] = field(default_factory=list)
    clock: float = 0.0
    answer: Answer | None = None
    ended_by: str = ""
    failure: str = ""
    _actor: str = ""
    _used: dict[str, int] = field(default_factory=dict)
    _failures: dict[int, str] = field(default_factory=dict)
    _calls: Sequence[ToolCall] = ()
    _started: int = 0
    """How many of the action's calls have been started."""
    _group_end: float = 0.0
    _records: dict[int, CallRecord] = field(default_factory=dict)
    _shown: dict[int, Shown] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _sessions: set[str] = field(default_factory=set)
    _runs_code: bool = False

    def calls_left(self, actor: str) -> int:
        """Calls that an actor may still make."""
        return max(0, self.setting.budget.calls - self._used.get(actor, 0))

    def fork(self, toolkits: dict[str, Toolkit], mailbox: Mailbox) -> "CallDesk":
        """An independent copy between turns, over copied toolkits."""
        return replace(
            self,
            toolkits=toolkits,
            mailbox=mailbox,
            tally=replace(self.tally),
            log=list(self.log),
            _calls=(),
            _started=0,
            _used=dict(self._used),
            _failures={},
            _records={},
            _shown={},
            _keys=set(self._keys),
            _sessions=set(self._sessions),
        )

    # --- one action's calls ----------------------------------------------------------------------------------------
    def take_on(self, actor: str, calls: Sequence[ToolCall]) -> None:
        """The calls of an actor's action; `launch` starts them."""
        self._actor = actor
        self.toolkits[actor].begin_turn(self.tally.turns)
        self._calls = calls[: self.calls_left(actor) + UNLOGGED]
        self._started = 0
        self._group_end = self.clock

    def launch(self) -> bool:
        """Start the next call, and with it those after it for as long as all may overlap; False where none is left."""
        self.clock = start = max(self.clock, self._group_end)
        if self._started == len(self._calls) or self.ended_by or self._failures:
            return False
        overlapping = self._overlaps()
        while True:
            call, position = self._calls[self._started], self._started
            self._started += 1
            self.clock = start
            self._start(Running(self.tally.calls, call.name, call.arguments, start, position, call.id))
            if not (overlapping and self._overlaps()):
                return True

    def _overlaps(self) -> bool:
        """Whether there is a next call, and it may overlap with others."""
        if self._started == len(self._calls):
            return False
        return self.toolkits[self._actor].may_overlap(self._calls[self._started].name)

    def call_from_code(self, parent: Running, call_id: int, name: str, arguments: dict[str, Any]) -> None:
        """A call made by code that runs for another call."""
        if self._used.get(self._actor, 0) >= self.setting.budget.calls + UNLOGGED:
            self.mailbox.tell(
                AnswerCall(self._actor, call_id, None, f"{CallErrorType.BUDGET.value}: no calls are left")
            )
            return
        self._start(Running(self.tally.calls, name, arguments, self.clock, parent=parent.index, host_call=call_id))

    def resolve(self, running: Running, result: Any) -> None:
        """The result of what a call waited for."""
        if running.run is None:
            self._finish(running, result)
        else:
            self._resume(running, result)

    def abandon(self) -> None:
        """Forget what is in flight."""
        self._calls, self._started = (), 0
        self._records.clear()
        self._shown.clear()
        self._failures.clear()

    def settle(self) -> list[tuple[CallRecord, Shown]]:
        """Enter the finished calls into the log; returns them and what they brought, in call order."""
        settled = [(self._records[index], self._shown[index]) for index in sorted(self._records)]
        if self._failures:
            self.failure = self._failures[min(self._failures)]
        self.abandon()
        for record, _ in settled:
            failed = record.status is CallStatus.ERROR
            self.tally.failed += failed
            self.tally.ok += not failed
            self.tally.duplicate += record.key in self._keys
            self._keys.add(record.key)
            self.log.append(record)
        return settled

    # --- one call --------------------------------------------------------------------------------------------------
    def _start(self, running: Running) -> None:
        toolkit = self.toolkits[self._actor]
        running.key = call_key(running.name, running.arguments)
        oversize = len(running.key) > MAX_ARGUMENT_CHARS
        if oversize:
            running.arguments = {"characters": len(running.key)}
            running.key = hashlib.blake2b(running.key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        out_of_calls = self.calls_left(self._actor) == 0
        self._used[self._actor] = self._used.get(self._actor, 0) + 1
        self.tally.calls += 1
        self.tally.this_turn += 1
        try:
            if out_of_calls:
                budget = self.setting.budget.calls
                raise ToolError(
                    f"the budget of {budget} calls is spent; answer with what you know", CallErrorType.BUDGET
                )
            tool = toolkit.find(running.name)
            if running.host_call >= 0 and not tool.from_code:
                raise ToolError(f"{tool.name} is not for code to call; call it in a turn", CallErrorType.UNKNOWN_TOOL)
            if oversize:
                reason = f"the arguments are longer than {MAX_ARGUMENT_CHARS} characters; send less"
                raise ToolError(reason, CallErrorType.OVERSIZE)
            valid = tool.validate(running.arguments)
            if tool.waits:
                running.run = toolkit.run(tool, valid)
        except Exception as error:
            self._finish(running, error)
            return
        running.tool = tool
        self._group_end = max(self._group_end, self.clock + tool.latency_s)
        if running.host_call >= 0:
            self.clock += tool.latency_s
        if running.run is None:
            self.mailbox.ask(HostTool(toolkit, tool, valid), running)
        else:
            self._resume(running, None)

    def _resume(self, running: Running, result: Any) -> None:
        """Run a waiting tool up to its next request or its end."""
        assert running.run is not None
        if running.awaits_code:
            running.awaits_code = self._runs_code = False
        if isinstance(result, Done):
            running.measured = result.measured
            if result.state_lost:
                self._sessions.discard(self._actor)
        try:
            step = running.run.throw if isinstance(result, BaseException) else running.run.send
            request = step(result)
        except StopIteration as stop:
            self._finish(running, stop.value)
        except Exception as error:
            self._finish(running, error)
        else:
            self._send(request, running)

    def _send(self, request: Any, running: Running) -> None:
        """Ask for what a tool waits for: fill in its actor, and open the session before its first code."""
        if not isinstance(request, Request):
            self._finish(running, EnvError(f"it yielded {type(request).__name__}, which is no request"))
            return
        if isinstance(request, CloseSession):
            request.actor = self._actor
            self._sessions.discard(self._actor)
        elif isinstance(request, RunCode):
            if self._runs_code:
                self._finish(running, EnvError("it runs code while another call does; it cannot be parallel_safe"))
                return
            self._runs_code = running.awaits_code = True
            request.actor = self._actor
            if self._actor not in self._sessions:
                self._sessions.add(self._actor)
                seed = derive("session", self._actor, self.seed)
                tools = tuple(tool for tool in self.toolkits[self._actor].tools if tool.from_code)
                self.mailbox.tell(OpenSession(self._actor, self.setting.domain.limits(), seed, tools))
        self.mailbox.ask(request, running)

    def _finish(self, running: Running, result: Any) -> None:
        """Record a call and pass its result on: to the turn, or to the code that made it."""
        error, output = self._interpret(running, result)
        tool = running.tool
        latency_s = (tool.latency_s if tool else 0.0) + output.latency_s
        self._group_end = max(self._group_end, running.issued_at + latency_s)
        if running.host_call >= 0:
            self.clock += output.latency_s
        self._records[running.index] = CallRecord(
            index=running.index,
            turn=self.tally.turns,
            actor=self._actor,
            tool=running.name,
            arguments=running.arguments,
            key=running.key,
            kind=tool.kind.value if tool else "",
            status=CallStatus.ERROR if error else CallStatus.OK,
            error=error,
            parent=running.parent,
            issued_at=running.issued_at,
            latency_s=latency_s,
            price=tool.price if tool else 0.0,
            facts=output.facts,
            label=running.label,
            measured=running.measured,
        )
        text = cut(text_of(output.content), tool.max_chars if tool else 2_000)
        shown = Shown(running.index, running.shown_as, (TextPart(text), *images_of(output.content)))
        self._shown[running.index] = shown
        if running.host_call >= 0:
            reason = f"{error.value}: {text}" if error else ""
            self.mailbox.tell(AnswerCall(self._actor, running.host_call, output.value, reason))

    def _interpret(self, running: Running, result: Any) -> tuple[CallErrorType, Output]:
        """What a result means: an error the policy reads, an end of the episode, a failure of ours, or output."""
        match result:
            case ToolError():
                return result.error, Output((TextPart(str(result)),))
            case TimeoutError():
                return CallErrorType.TIMEOUT, Output((TextPart(f"the tool took too long ({result}); ask for less"),))
            case EnvError():
                self._failures[running.index] = f"tool {running.name!r}: {result}"
                return CallErrorType.EXCEPTION, Output((TextPart("the environment failed"),))
            case BaseException():
                text = f"{type(result).__name__}: {result}"[:500]
                return CallErrorType.EXCEPTION, Output((TextPart(f"the tool raised {text}; try other arguments"),))
            case Submit(answer=text, confidence=confidence):
                self.answer = self.answer or Answer(text, "call", math.nan if confidence is None else confidence)
                self.ended_by = self.ended_by or "answer"
                return CallErrorType.NONE, Output((TextPart("answer submitted"),))
            case Finish(reason=reason):
                self.ended_by = self.ended_by or "finish"
                return CallErrorType.NONE, Output((TextPart(f"finished: {reason}"),))
        try:
            output = as_output(result)
        except (TypeError, ValueError, RecursionError) as error:
            self._failures[running.index] = f"tool {running.name!r} returned what cannot be shown: {error}"
            output = Output((TextPart("the environment failed"),))
        return output.error, output
