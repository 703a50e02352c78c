"""The episode machine: one set of rules, no I/O, no threads, no clock.

`start`, `act` and `feed` each return `Pending(requests)`, which a driver carries out, or the finished `Turn`.
"""

import copy
import hashlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tir_gym.core.action import Action, Part, PartSpan, ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import NOT_MEASURED, Done, HostCall, Measured, ShownResult
from tir_gym.core.outcome import Outcome
from tir_gym.core.requests import (
    AnswerCall,
    CloseSession,
    HostTool,
    OpenSession,
    Request,
    RunCode,
    UserTurn,
    Verify,
)
from tir_gym.core.seeding import derive
from tir_gym.core.task import Task
from tir_gym.core.tool import (
    MAX_ARGUMENT_CHARS,
    EnvError,
    Finish,
    Output,
    Submit,
    Tool,
    ToolError,
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
    Entry,
    ImagePart,
    Source,
    Span,
    TextPart,
    Transcript,
    images_of,
    text_of,
)
from tir_gym.core.verify import Answer, EpisodeView, Evidence, Score

MAX_USER_MOVES = 32
"""A scripted actor that moves this often without a word to the policy is broken."""

TRUNCATING = {"max_turns": Outcome.TRUNCATED, "max_virtual_s": Outcome.TIMEOUT}
"""Ends by a limit: the episode is truncated, whatever the verdict."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The turn is not finished: new requests to carry out (none, where earlier ones are still running)."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """A finished turn: what the actor to move has not seen yet, as it reads it, and whether the episode is over."""

    to_move: str
    observation: str
    images: tuple[ImagePart, ...]
    entries: tuple[Entry, ...]
    terminated: bool = False
    truncated: bool = False


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
class _Running:
    """A call in flight."""

    index: int
    name: str
    arguments: dict[str, Any]
    tool: Tool | None
    issued_at: float
    run: ToolRun | None = None
    shown_as: int = -1
    """Position among the turn's shown results, -1 for a call made by code."""
    parent: int = -1
    host_call: int = -1
    """The id under which the guest waits for this call's result."""
    measured: Measured = NOT_MEASURED


@dataclass(slots=True)
class _Move:
    """What happens between one action and the next."""

    actor: str
    action: Action
    queue: deque[tuple[int, ToolCall]]
    results: dict[int, tuple[int, tuple[Content, ...]]] = field(default_factory=dict)
    """Position among the action's calls -> index in the call log, and what is shown."""
    group_end: float = 0.0
    """When, on the virtual clock, the last of the calls that overlap is done."""


class Episode:
    """One episode of a setting, from `start` to its end. Copy it between turns with `fork`."""

    def __init__(self, setting: Setting, task: Task, seed: int) -> None:
        domain = setting.domain
        self.setting = setting
        self.task = task
        self.seed = seed
        public = task.public
        self.world = domain.world(public, derive("world", seed))
        self.toolkits = {a.name: domain.toolkit(a.name, public, self.world) for a in domain.actors}
        self.users = {
            a.name: domain.user(a.name, public, derive("user", a.name, seed)) for a in domain.actors if a.scripted
        }
        self.transcript = Transcript()
        self.calls: list[CallRecord] = []
        self.tally = Tally()
        self.clock = 0.0
        self.context_version = 0
        self.to_move = domain.first
        self.last_action = Action()
        self.answer: Answer | None = None
        self.ended_by = ""
        self.outcome = Outcome.RUNNING
        self.score: Score | None = None
        self.failure = ""
        self.digest = hashlib.blake2b(
            f"{setting.env_id}\0{task.id}\0{seed}".encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        self._seen = dict.fromkeys(self.toolkits, 0)
        self._keys: set[str] = set()
        self._sessions: dict[str, int] = {}
        self._policy_turns: dict[str, int] = dict.fromkeys(self.toolkits, 0)
        self._next_request = 0
        self._requests: list[Request] = []
        self._waiting: dict[int, _Running | None] = {}
        self._turn_records: dict[int, CallRecord] = {}
        self._move: _Move | None = None
        self._user_moves = 0
        self._turn: Turn | None = None

    # --- what the driver calls -------------------------------------------------------------------------------------
    def start(self) -> Pending | Turn:
        """Brief the policy actors; a scripted first actor moves at once."""
        domain, protocol = self.setting.domain, self.setting.protocol
        several = len(domain.actors) > 1
        for actor in domain.actors:
            if actor.scripted:
                continue
            tools = self.toolkits[actor.name].tools
            system = f"{domain.instructions}\n\n{protocol.render_tools(tools, peer=several)}"
            self._say(Source.SYSTEM, "env", system, (actor.name,))
            briefing = domain.briefing(actor.name, self.task.public)
            images = domain.images(actor.name, self.task.public)
            self._say(Source.ENV, "env", briefing, (actor.name,), images=images)
        if self.to_move in self.users:
            self._ask_user(self.to_move)
        else:
            self._hand_over(self.to_move)
        return self._settle()

    def act(self, action: Action) -> Pending | Turn:
        """One turn of the actor to move. After the end, the last turn again and nothing happens."""
        if self._waiting:
            raise RuntimeError("the turn before is not finished: feed the results of its requests first")
        if self._turn is not None and self.outcome:
            return self._turn
        actor = self.to_move
        self.tally.turns += 1
        self.tally.this_turn = 0
        self._policy_turns[actor] += 1
        self._user_moves = 0
        self.last_action = action
        self._count_format(action)
        self._begin(actor, action, Source.POLICY)
        return self._settle()

    def feed(self, request_id: int, result: Any) -> Pending | Turn:
        """The result of a request: a value, an exception to raise where it was made, or a `HostCall` on the way."""
        if request_id not in self._waiting:
            raise KeyError(f"no request {request_id} is waiting for a result")
        running = self._waiting[request_id]
        if isinstance(result, HostCall) and running is not None:
            self._start_call(result.tool, result.arguments, parent=running.index, host_call=result.call_id)
            return self._settle()
        del self._waiting[request_id]
        if running is None:
            self._resolve(result)
        elif running.run is None:
            self._finish_call(running, result)
        else:
            self._resume(running, result)
        return self._settle()

    def abort(self, reason: str) -> Turn:
        """The environment failed: end the episode as `env_error`, whatever was in flight."""
        self._waiting.clear()
        self._requests.clear()
        self._turn_records.clear()
        self._move = None
        self.failure = reason
        self._conclude(Outcome.ENV_ERROR)
        assert self._turn is not None
        return self._turn

    def fork(self) -> "Episode":
        """An independent copy. Raises `RuntimeError` in the middle of a turn."""
        if self._waiting or self._move is not None:
            raise RuntimeError("an episode can be forked between turns only")
        twin = copy.copy(self)
        twin.toolkits, twin.users, twin.world = copy.deepcopy((self.toolkits, self.users, self.world))
        twin.transcript = self.transcript.copy()
        twin.calls = list(self.calls)
        twin.tally = copy.copy(self.tally)
        twin._seen = dict(self._seen)
        twin._keys = set(self._keys)
        twin._sessions = dict(self._sessions)
        twin._policy_turns = dict(self._policy_turns)
        twin._requests = []
        twin._waiting = {}
        twin._turn_records = {}
        return twin

    # --- what others read ------------------------------------------------------------------------------------------
    @property
    def evidence(self) -> Evidence:
        """What a verifier may read now."""
        return Evidence(
            task=self.task.public,
            answer=self.answer,
            calls=tuple(self.calls),
            world=self.world,
            policy_text=tuple(_authored(entry) for entry in self.transcript if entry.source is Source.POLICY),
            ended_by=self.ended_by,
        )

    @property
    def view(self) -> EpisodeView:
        """What rewards are computed from now."""
        return EpisodeView(self.evidence, self.score, self.outcome, self.tally.turns, self.tally.format_errors)

    @property
    def turns_left(self) -> int:
        """Turns the actor to move may still take."""
        return max(0, self.setting.budget.turns - self._policy_turns[self.to_move])

    @property
    def calls_left(self) -> int:
        """Calls that may still be made."""
        return max(0, self.setting.budget.calls - self.tally.calls)

    # --- one move: an action, its calls, and who is next ------------------------------------------------------------
    def _begin(self, actor: str, action: Action, source: Source) -> None:
        message, raw, parts = action.message, action.raw, action.spans
        if not raw and message is not None:
            raw, parts = message, (PartSpan(Part.MESSAGE, 0, len(message)),)
        own = (actor,)
        visible = own if message is None else tuple(self.toolkits)
        spans = tuple(
            Span(source, actor, part, start, end, visible if part is Part.MESSAGE else own)
            for part, start, end in parts
        )
        self._append(source, actor, (TextPart(raw),), spans, visible, message=message or "")
        self._move = _Move(actor, action, deque(enumerate(action.calls)), group_end=self.clock)
        self._digest(actor, raw)

    def _settle(self) -> Pending | Turn:
        """Go on until something has to be waited for or the turn is finished."""
        while not self._waiting and self._move is not None:
            if self._move.queue and not (self.ended_by or self.failure):
                self._launch()
            else:
                self._end_move()
        if self._waiting or self._requests:
            requests, self._requests = tuple(self._requests), []
            return Pending(requests)
        assert self._turn is not None
        return self._turn

    def _launch(self) -> None:
        """Start the next call, and with it those after it for as long as all of them may overlap."""
        move = self._move
        assert move is not None
        self.clock = start = max(self.clock, move.group_end)
        first = True
        while move.queue:
            overlaps = self._overlaps(move.actor, move.queue[0][1].name)
            if not (first or overlaps):
                return
            position, call = move.queue.popleft()
            self.clock = start
            self._start_call(call.name, call.arguments, shown_as=position)
            if not overlaps:
                return
            first = False

    def _overlaps(self, actor: str, name: str) -> bool:
        return any(t.parallel_safe for t in self.toolkits[actor].tools if t.name == name)

    def _end_move(self) -> None:
        """All calls of the move are done: show their results and decide who is next."""
        move = self._move
        assert move is not None
        self._move = None
        self.clock = max(self.clock, move.group_end)
        self._show(move)
        peer = next((name for name in self.toolkits if name != move.actor), None)
        action = move.action
        if move.actor in self.users:
            self._after_user(move.actor, action, peer)
        elif self.failure:
            self._conclude(Outcome.ENV_ERROR)
        elif self.ended_by:
            self._verify()
        elif action.answer is not None:
            confidence = math.nan if action.confidence is None else action.confidence
            self.answer = Answer(action.answer, action.answer_origin, confidence)
            self._end("answer")
        elif action.finish is not None:
            self._end("finish")
        elif action.void and self.setting.void_ends:
            self._end("void")
        elif self._policy_turns[move.actor] >= self.setting.budget.turns:
            self._end("max_turns")
        elif self.clock >= self.setting.budget.virtual_s:
            self._end("max_virtual_s")
        elif action.message is not None and peer is not None:
            if peer in self.users:
                self._ask_user(peer)
            else:
                self._hand_over(peer)
        else:
            self._hand_over(move.actor)

    def _after_user(self, user: str, action: Action, peer: str | None) -> None:
        assert peer is not None
        if self.failure:
            self._conclude(Outcome.ENV_ERROR)
        elif self.ended_by:
            self._verify()
        elif action.finish is not None:
            self._end("user")
        elif action.message is not None:
            self._hand_over(peer)
        else:
            self._ask_user(user)

    def _ask_user(self, name: str) -> None:
        self._user_moves += 1
        if self._user_moves > MAX_USER_MOVES:
            self.failure = f"the user {name!r} moved {MAX_USER_MOVES} times without a word to the policy"
            self._conclude(Outcome.ENV_ERROR)
            return
        self.to_move = name
        self._request(UserTurn(self.users[name], [entry.told for entry in self._unseen(name)]), None)

    def _end(self, reason: str) -> None:
        self.ended_by = reason
        self._verify()

    def _verify(self) -> None:
        self._request(Verify(self.setting.domain.verifier(), self.evidence, self.task.gold), None)

    def _resolve(self, result: Any) -> None:
        """A user's move, or the verdict."""
        if isinstance(result, Action):
            self._begin(self.to_move, result, Source.USER)
        elif isinstance(result, Score) and result.valid:
            self.score = result
            if self.ended_by in TRUNCATING:
                self._conclude(TRUNCATING[self.ended_by])
            elif self.ended_by == "void":
                self._conclude(Outcome.POLICY_ERROR)
            else:
                self._conclude(Outcome.SOLVED if result.value >= 1.0 else Outcome.FAILED)
        elif self.ended_by:
            self.failure = result.reason if isinstance(result, Score) else f"{type(result).__name__}: {result}"
            self._conclude(Outcome.JUDGE_ERROR)
        else:
            self.failure = f"the user {self.to_move!r} failed: {type(result).__name__}: {result}"
            self._conclude(Outcome.ENV_ERROR)

    def _conclude(self, outcome: Outcome) -> None:
        self.outcome = outcome
        policy = next(a.name for a in self.setting.domain.actors if not a.scripted)
        self._digest(self.ended_by, outcome.value, "" if self.score is None else repr(self.score.value))
        truncated = not outcome.valid or self.ended_by in TRUNCATING
        self._hand_over(policy, terminated=not truncated, truncated=truncated)

    def _hand_over(self, actor: str, *, terminated: bool = False, truncated: bool = False) -> None:
        """Finish the turn: `actor` moves next and reads what it has not seen."""
        self.to_move = actor
        entries = self._unseen(actor)
        images = tuple(image for entry in entries for image in images_of(entry.content))
        self._turn = Turn(actor, self._observation(entries), images, entries, terminated, truncated)

    # --- calls -----------------------------------------------------------------------------------------------------
    def _start_call(
        self, name: str, arguments: dict[str, Any], shown_as: int = -1, parent: int = -1, host_call: int = -1
    ) -> None:
        assert self._move is not None
        toolkit = self.toolkits[self._move.actor]
        running = _Running(self.tally.calls, name, arguments, None, self.clock, None, shown_as, parent, host_call)
        out_of_calls = self.calls_left == 0
        self.tally.calls += 1
        self.tally.this_turn += 1
        try:
            if out_of_calls:
                raise ToolError(
                    f"the budget of {self.setting.budget.calls} calls is spent; answer with what you know",
                    CallErrorType.BUDGET,
                )
            running.tool = tool = toolkit.find(name)
            if len(call_key("", arguments)) > MAX_ARGUMENT_CHARS:
                raise ToolError(
                    f"the arguments are longer than {MAX_ARGUMENT_CHARS} characters; send less", CallErrorType.OVERSIZE
                )
            valid = tool.validate(arguments)
        except ToolError as error:
            self._finish_call(running, error)
            return
        self._move.group_end = max(self._move.group_end, self.clock + tool.latency_s)
        if parent >= 0:
            self.clock += tool.latency_s
        if not tool.waits:
            self._request(HostTool(toolkit, tool, valid), running)
            return
        try:
            running.run = toolkit.run(tool, valid)
        except Exception as error:
            self._finish_call(running, error)
        else:
            self._resume(running, None)

    def _resume(self, running: _Running, result: Any) -> None:
        """Run a waiting tool up to its next request or its end."""
        assert running.run is not None
        assert self._move is not None
        if isinstance(result, Done):
            running.measured = result.measured
            if result.state_lost:
                self._sessions.pop(self._move.actor, None)
        try:
            step = running.run.throw if isinstance(result, BaseException) else running.run.send
            request = step(result)
        except StopIteration as stop:
            self._finish_call(running, stop.value)
        except Exception as error:
            self._finish_call(running, error)
        else:
            self._prepare(request)
            self._request(request, running)

    def _prepare(self, request: Request) -> None:
        """Fill in the actor of a session request, and open the session before its first code."""
        assert self._move is not None
        actor = self._move.actor
        if isinstance(request, CloseSession):
            request.actor = actor
            self._sessions.pop(actor, None)
        elif isinstance(request, RunCode):
            request.actor = actor
            if actor not in self._sessions:
                self._sessions[actor] = derive("session", actor, self.seed)
                tools = tuple(t for t in self.toolkits[actor].tools if t.from_code)
                opening = OpenSession(actor, self.setting.domain.limits(), self._sessions[actor], tools)
                self._requests.append(opening)

    def _finish_call(self, running: _Running, result: Any) -> None:
        """Log a call and pass its result on: to the turn's results, or to the code that made it."""
        assert self._move is not None
        error, output = self._interpret(running, result)
        actor = self._move.actor
        key = call_key(running.name, running.arguments)
        tool = running.tool
        record = CallRecord(
            index=running.index,
            turn=self.tally.turns,
            actor=actor,
            tool=running.name,
            arguments=running.arguments,
            key=key,
            kind=tool.kind.value if tool else "",
            status=CallStatus.ERROR if error else CallStatus.OK,
            error=error,
            parent=running.parent,
            issued_at=running.issued_at,
            latency_s=tool.latency_s if tool else 0.0,
            price=tool.price if tool else 0.0,
            facts=output.facts,
            label=self._move.action.calls[running.shown_as].id if running.shown_as >= 0 else "",
            measured=running.measured,
        )
        self._turn_records[running.index] = record
        text = cut(text_of(output.content), tool.max_chars if tool else 2_000)
        if running.host_call >= 0:
            answer = AnswerCall(actor, running.host_call, output.value, f"{error.value}: {text}" if error else "")
            self._requests.append(answer)
        else:
            content: tuple[Content, ...] = (TextPart(text), *images_of(output.content))
            self._move.results[running.shown_as] = (running.index, content)

    def _interpret(self, running: _Running, result: Any) -> tuple[CallErrorType, Output]:
        match result:
            case ToolError():
                return result.error, Output((TextPart(str(result)),))
            case EnvError():
                self.failure = self.failure or f"tool {running.name!r}: {result}"
                return CallErrorType.EXCEPTION, Output((TextPart("the environment failed"),))
            case BaseException():
                text = f"{type(result).__name__}: {result}"
                return CallErrorType.EXCEPTION, Output(
                    (TextPart(f"the tool raised {text[:500]}; try other arguments"),)
                )
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
            self.failure = self.failure or f"tool {running.name!r} returned what cannot be shown: {error}"
            output = Output((TextPart("the environment failed"),))
        return output.error, output

    def _show(self, move: _Move) -> None:
        """Enter the move's calls into the log and their results into the transcript, in call order."""
        for index in sorted(self._turn_records):
            record = self._turn_records[index]
            self.calls.append(record)
            failed = record.status is CallStatus.ERROR
            self.tally.failed += failed
            self.tally.ok += not failed
            self.tally.duplicate += record.key in self._keys
            self._keys.add(record.key)
            self._digest(record.key, record.error.value)
        self._turn_records.clear()
        own = (move.actor,)
        for position in sorted(move.results):
            index, content = move.results[position]
            self._digest(text_of(content))
            self._append(Source.TOOL, "env", content, _whole(Source.TOOL, "env", content, own), own, call=index)
        if self.world is not None and (writes := self.world.take_writes()):
            self.digest = hashlib.blake2b(self.digest + writes, digest_size=16).digest()
        faulty = move.action.errors or move.action.void
        if faulty and move.actor not in self.users and move.action.answer is None and not self.ended_by:
            self._say(Source.ENV, "env", _feedback(move.action), (move.actor,))

    # --- bookkeeping -----------------------------------------------------------------------------------------------
    def _request(self, request: Request, running: _Running | None) -> None:
        request.id = self._next_request
        self._next_request += 1
        self._requests.append(request)
        self._waiting[request.id] = running

    def _count_format(self, action: Action) -> None:
        self.tally.format_errors += len(action.errors)
        self.tally.repairs += len(action.repairs)
        self.tally.void += action.void

    def _say(
        self, source: Source, actor: str, text: str, visible: tuple[str, ...], images: Sequence[ImagePart] = ()
    ) -> None:
        content: tuple[Content, ...] = (TextPart(text), *images)
        self._append(source, actor, content, _whole(source, actor, content, visible), visible)

    def _append(
        self,
        source: Source,
        actor: str,
        content: tuple[Content, ...],
        spans: tuple[Span, ...],
        visible: tuple[str, ...],
        *,
        call: int = -1,
        message: str = "",
    ) -> None:
        name = f"e{len(self.transcript)}"
        self.transcript.append(Entry(name, self.tally.turns, source, actor, content, spans, visible, call, message))

    def _unseen(self, actor: str) -> tuple[Entry, ...]:
        entries = self.transcript.since(self._seen[actor], actor)
        self._seen[actor] = len(self.transcript)
        return entries

    def _observation(self, entries: tuple[Entry, ...]) -> str:
        """The entries as the actor to move reads them, in its protocol."""
        protocol = self.setting.protocol
        pieces: list[str] = []
        results: list[ShownResult] = []
        for entry in entries:
            if entry.source is Source.TOOL:
                results.append(self.shown(entry))
                continue
            if results:
                pieces.append(protocol.render_results(results))
                results = []
            feedback = entry.source is Source.ENV and entry.turn > 0
            pieces.append(protocol.render_feedback(entry.text) if feedback else entry.told)
        if results:
            pieces.append(protocol.render_results(results))
        return "\n\n".join(pieces)

    def shown(self, entry: Entry) -> ShownResult:
        """A tool entry as protocols show it."""
        record = self.calls[entry.call]
        call = ToolCall(record.tool, dict(record.arguments), record.label)
        return ShownResult(call, entry.text, record.error.value)

    def _digest(self, *parts: str) -> None:
        data = "\0".join(parts).encode("utf-8", "surrogatepass")
        self.digest = hashlib.blake2b(self.digest + data, digest_size=16).digest()


def _whole(source: Source, actor: str, content: tuple[Content, ...], visible: tuple[str, ...]) -> tuple[Span, ...]:
    return (Span(source, actor, Part.TEXT, 0, len(text_of(content)), visible),)


def _authored(entry: Entry) -> str:
    """What the policy wrote up to its first terminal action."""
    tail = next((span.start for span in entry.spans if span.part is Part.TAIL), None)
    return entry.text[:tail]


def _feedback(action: Action) -> str:
    if not action.errors:
        return "Nothing was done: call a tool or answer."
    faults = "; ".join(f"{error.type.value}: {error.message}" for error in action.errors[:5])
    return f"Format error: {faults}."
