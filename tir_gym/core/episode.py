"""The episode machine: one set of rules, no I/O, no threads, no clock.

`start`, `act` and `feed` each return `Pending(requests)`, which a driver carries out, or the finished `Turn`.
"""

import copy
import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tir_gym.core.action import Action, Part, PartSpan, ToolCall
from tir_gym.core.calls import CallDesk, Mailbox, Tally
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import HostCall, ShownResult
from tir_gym.core.outcome import Outcome
from tir_gym.core.requests import Request, UserTurn, Verify
from tir_gym.core.seeding import derive
from tir_gym.core.task import Task
from tir_gym.core.transcript import (
    CallRecord,
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
from tir_gym.core.verify import Answer, Evidence, Score
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, EpisodeView, GroupView, Progress

MAX_USER_MOVES = 32
"""A scripted actor that moves this often without a word to the policy is broken."""

TRUNCATING = {"max_turns": Outcome.TRUNCATED, "max_virtual_s": Outcome.TIMEOUT, "deadline": Outcome.TIMEOUT}
"""Ends by a limit: the episode is truncated, whatever the verdict."""


class Pending(NamedTuple):
    """The turn is not finished: new requests to carry out (none, where earlier ones are still running)."""

    requests: tuple[Request, ...]


class Piece(NamedTuple):
    """Entries as an actor reads them in its protocol: the results of a turn together, all else one by one."""

    entries: tuple[Entry, ...]
    text: str


class Turn(NamedTuple):
    """A finished turn: what the actor to move has not seen yet, as it reads it, and whether the episode is over."""

    to_move: str
    observation: str
    images: tuple[ImagePart, ...]
    pieces: tuple[Piece, ...]
    terminated: bool = False
    truncated: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of all pieces, in order."""
        return tuple(entry for piece in self.pieces for entry in piece.entries)


class Episode:
    """One episode of a setting, from `start` to its end. Copy it between turns with `fork`."""

    def __init__(self, setting: Setting, task: Task, seed: int) -> None:
        domain = setting.domain
        self.setting = setting
        self.task = task
        self.seed = seed
        public = task.public
        self.world = domain.world(public, derive("world", seed))
        self.toolkits = {a.name: setting.toolkit(a, public, self.world) for a in domain.actors}
        self.users = {
            a.name: domain.user(a.name, public, derive("user", a.name, seed)) for a in domain.actors if a.scripted
        }
        self.transcript = Transcript()
        self.context_version = 0
        self.to_move = domain.first
        self.actions: list[Action] = []
        self.answer: Answer | None = None
        self.ended_by = ""
        self.outcome = Outcome.RUNNING
        self.score: Score | None = None
        self.failure = ""
        world = self.world
        self._opening = None if world is None else world.snapshot()
        opening = f"{setting.env_id}\0{task.id}\0{seed}\0{'' if world is None else world.digest()}"
        self.digest = _hash(opening.encode("utf-8", "surrogatepass"))
        self._mailbox = Mailbox()
        self._desk = CallDesk(setting, self.toolkits, seed, self._mailbox)
        self._seen = dict.fromkeys(self.toolkits, 0)
        self._policy_turns = dict.fromkeys(self.toolkits, 0)
        self._last_policy = next(actor.name for actor in domain.actors if not actor.scripted)
        self._imposed = ""
        self._user_moves = 0
        self._move: tuple[str, Action] | None = None
        self._turn: Turn | None = None

    # --- what the driver calls -------------------------------------------------------------------------------------
    def start(self) -> Pending | Turn:
        """Brief the policy actors; a scripted first actor moves at once."""
        domain = self.setting.domain
        for actor in domain.actors:
            if actor.scripted:
                continue
            if system := self.setting.system_text(self.toolkits[actor.name].tools):
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
        if self._mailbox.waiting:
            raise RuntimeError("the turn before is not finished: feed the results of its requests first")
        if self._turn is not None and self.outcome:
            return self._turn
        tally = self.tally
        tally.turns += 1
        tally.this_turn = 0
        tally.format_errors += len(action.errors)
        tally.repairs += len(action.repairs)
        tally.void += action.void
        self._last_policy = self.to_move
        self._policy_turns[self.to_move] += 1
        self._user_moves = 0
        self.actions.append(action)
        self._begin(self.to_move, action, Source.POLICY)
        return self._settle()

    def feed(self, request_id: int, result: Any) -> Pending | Turn:
        """The result of a request: a value, an exception to raise where it was made, or a `HostCall` on the way."""
        waiting = self._mailbox.waiting
        if request_id not in waiting:
            raise KeyError(f"no request {request_id} is waiting for a result")
        running = waiting[request_id]
        if isinstance(result, HostCall) and running is not None:
            self._desk.call_from_code(running, result.call_id, result.tool, result.arguments)
            return self._settle()
        del waiting[request_id]
        if running is None:
            self._resolve(result)
        else:
            self._desk.resolve(running, result)
        return self._settle()

    def impose(self, reason: str) -> None:
        """End the episode with the turn that is being taken or comes next, for a reason of the driver's."""
        self._imposed = reason

    def abort(self, reason: str) -> Turn:
        """The environment failed: end the episode as `env_error`, whatever was in flight."""
        self._mailbox.clear()
        self._desk.abandon()
        self._move = None
        self.failure = reason or "the driver gave no reason"
        self._conclude(Outcome.ENV_ERROR)
        assert self._turn is not None
        return self._turn

    def fork(self) -> "Episode":
        """An independent copy. Raises `RuntimeError` in the middle of a turn."""
        if self._mailbox.waiting or self._move is not None:
            raise RuntimeError("an episode can be forked between turns only")
        twin = copy.copy(self)
        twin.toolkits, twin.users, twin.world = copy.deepcopy((self.toolkits, self.users, self.world))
        twin.transcript = self.transcript.copy()
        twin.actions = list(self.actions)
        twin._mailbox = Mailbox()
        twin._desk = self._desk.fork(twin.toolkits, twin._mailbox)
        twin._seen = dict(self._seen)
        twin._policy_turns = dict(self._policy_turns)
        return twin

    # --- what others read ------------------------------------------------------------------------------------------
    @property
    def calls(self) -> list[CallRecord]:
        """The call log."""
        return self._desk.log

    @property
    def tally(self) -> Tally:
        """Counts so far."""
        return self._desk.tally

    @property
    def clock(self) -> float:
        """Virtual time in seconds."""
        return self._desk.clock

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
    def last_action(self) -> Action:
        """The last turn of a policy; an empty one before the first."""
        return self.actions[-1] if self.actions else Action()

    def view(self, group: GroupView = NO_GROUP, progress: Progress = NO_PROGRESS) -> EpisodeView:
        """What rewards are computed from now."""
        return EpisodeView(
            evidence=self.evidence,
            score=self.score,
            outcome=self.outcome,
            actions=tuple(self.actions),
            gold=self.task.gold,
            policies=self.setting.domain.policies,
            group=group,
            progress=progress,
            transcript=tuple(self.transcript),
            checklist=self.setting.domain.checklist,
        )

    @property
    def world_diff(self) -> dict[str, Any]:
        """What the episode changed in the world, as JSON data."""
        return {} if self.world is None else self.world.diff(self._opening)

    @property
    def turns_left(self) -> int:
        """Turns the actor to move may still take."""
        return max(0, self.setting.budget.turns - self._policy_turns[self.to_move])

    @property
    def calls_left(self) -> int:
        """Calls that the actor to move may still make."""
        return self._desk.calls_left(self.to_move)

    def pieces(self, entries: Iterable[Entry]) -> tuple[Piece, ...]:
        """Entries as whoever did not write them reads them."""
        protocol = self.setting.protocol
        found: list[Piece] = []
        results: list[Entry] = []
        for entry in entries:
            if entry.source is Source.TOOL:
                results.append(entry)
                continue
            if results:
                found.append(self._results(results))
                results = []
            feedback = entry.source is Source.ENV and entry.turn > 0
            found.append(Piece((entry,), protocol.render_feedback(entry.text) if feedback else entry.told))
        if results:
            found.append(self._results(results))
        return tuple(found)

    def _results(self, entries: list[Entry]) -> Piece:
        shown = []
        for entry in entries:
            record = self.calls[entry.call]
            call = ToolCall(record.tool, dict(record.arguments), record.label)
            shown.append(ShownResult(call, entry.text, record.error.value))
        return Piece(tuple(entries), self.setting.protocol.render_results(shown))

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
        self._move = actor, action
        self._desk.take_on(actor, action.calls)
        self._digest(actor, raw)

    def _settle(self) -> Pending | Turn:
        """Go on until something has to be waited for or the turn is finished."""
        while not self._mailbox.waiting and self._move is not None:
            if not self._desk.launch():
                self._end_move(*self._move)
        requests = self._mailbox.take()
        if self._mailbox.waiting or requests:
            return Pending(requests)
        assert self._turn is not None
        return self._turn

    def _end_move(self, actor: str, action: Action) -> None:
        """All calls of the move are done: show their results and decide who is next."""
        self._move = None
        self._show(actor, action)
        desk = self._desk
        self.answer, self.ended_by, self.failure = desk.answer, desk.ended_by, desk.failure
        peer = next((name for name in self.toolkits if name != actor), None)
        if self.failure:
            self._conclude(Outcome.ENV_ERROR)
        elif self.ended_by:
            self._verify()
        elif actor in self.users:
            self._after_user(actor, action, peer)
        elif action.answer is not None:
            confidence = math.nan if action.confidence is None else action.confidence
            self.answer = Answer(action.answer, action.answer_origin, confidence)
            self._end("answer")
        elif action.finish is not None:
            self._end("finish")
        elif self._imposed:
            self._end(self._imposed)
        elif action.void and self.setting.void_ends:
            self._end("void")
        elif self._policy_turns[actor] >= self.setting.budget.turns:
            self._end("max_turns")
        elif self.clock >= self.setting.budget.virtual_s:
            self._end("max_virtual_s")
        elif action.message is None or peer is None:
            self._hand_over(actor)
        elif peer in self.users:
            self._ask_user(peer)
        else:
            self._hand_over(peer)

    def _after_user(self, user: str, action: Action, peer: str | None) -> None:
        if action.finish is not None:
            self._end("user")
        elif action.message is not None and peer is not None:
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
        self._mailbox.ask(UserTurn(self.users[name], [entry.told for entry in self._unseen(name)]), None)

    def _end(self, reason: str) -> None:
        self.ended_by = reason
        self._verify()

    def _verify(self) -> None:
        self._mailbox.ask(Verify(self.setting.domain.verifier(), self.evidence, self.task.gold), None)

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
            said = result.reason if isinstance(result, Score) else f"{type(result).__name__}: {result}"
            self.failure = said or "the verifier reached no verdict and gave no reason"
            self._conclude(Outcome.JUDGE_ERROR)
        else:
            self.failure = f"the user {self.to_move!r} failed: {type(result).__name__}: {result}"
            self._conclude(Outcome.ENV_ERROR)

    def _conclude(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._digest(self.ended_by, outcome.value, "" if self.score is None else repr(self.score.value))
        truncated = not outcome.valid or self.ended_by in TRUNCATING
        self._hand_over(self._last_policy, terminated=not truncated, truncated=truncated)

    def _hand_over(self, actor: str, *, terminated: bool = False, truncated: bool = False) -> None:
        """Finish the turn: `actor` moves next and reads what it has not seen."""
        self.to_move = actor
        entries = self._unseen(actor)
        images = tuple(image for entry in entries for image in images_of(entry.content))
        pieces = self.pieces(entries)
        observation = "\n\n".join([piece.text for piece in pieces])
        self._turn = Turn(actor, observation, images, pieces, terminated, truncated)

    # --- bookkeeping -----------------------------------------------------------------------------------------------
    def _show(self, actor: str, action: Action) -> None:
        """Enter the results of the move's calls into the transcript, and what was wrong with its form."""
        own = (actor,)
        for record, shown in self._desk.settle():
            content = shown.content
            self._digest(record.key, record.error.value, text_of(content))
            for image in images_of(content):
                self.digest = _hash(self.digest + image.pixels.tobytes())
            if shown.position >= 0:
                spans = _whole(Source.TOOL, "env", content, own)
                self._append(Source.TOOL, "env", content, spans, own, call=shown.index)
        if self.world is not None and (writes := self.world.take_writes()):
            self.digest = _hash(self.digest + writes)
        alone = len(self.toolkits) == 1
        faulty = action.errors or action.void or (alone and action.message is not None)
        if faulty and actor not in self.users and action.answer is None and not self._desk.ended_by:
            self._say(Source.ENV, "env", _feedback(action), own)

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

    def _digest(self, *parts: str) -> None:
        data = "\0".join(parts).encode("utf-8", "surrogatepass")
        self.digest = _hash(self.digest + data)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _whole(source: Source, actor: str, content: tuple[Content, ...], visible: tuple[str, ...]) -> tuple[Span, ...]:
    return (Span(source, actor, Part.TEXT, 0, len(text_of(content)), visible),)


def _authored(entry: Entry) -> str:
    """What the policy wrote up to its first terminal action."""
    tail = next((span.start for span in entry.spans if span.part is Part.TAIL), None)
    return entry.text[:tail]


def _feedback(action: Action) -> str:
    if not action.errors:
        reason = "Nothing was done" if action.message is None else "There is nobody to send a message to"
        return f"{reason}: call a tool or answer."
    faults = "; ".join(f"{error.type.value}: {error.message}" for error in action.errors[:5])
    return f"Format error: {faults}."
