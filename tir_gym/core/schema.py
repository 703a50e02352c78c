"""What is written to disk: episodes as JSON, checked at the border. One `SCHEMA` id names the format."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from tir_gym.core.action import Action, ParseError, ParseErrorType, Part, PartSpan, Repair, ToolCall
from tir_gym.core.episode import Episode
from tir_gym.core.interfaces import Done, HostCall, Measured, RunStatus
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.transcript import CallErrorType, CallRecord, CallStatus, Entry, Source, images_of
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, GroupView, Progress

SCHEMA: Literal["tir_gym/episode/1"] = "tir_gym/episode/1"

Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: None if math.isnan(value) else value, return_type=float | None),
]
"""A float that JSON writes as null where it is nan."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskRef(_Model):
    """Where the task is found again: its set (by name and fingerprint), its id there, seed and index."""

    set: str
    fingerprint: str
    id: str
    seed: int
    index: int
    split: str
    difficulty: int
    family: str


class CallData(_Model):
    """A tool call."""

    name: str
    arguments: dict[str, Any]
    id: str = ""


class ActionData(_Model):
    """An action with its raw text: all that is needed to take the turn again."""

    raw: str
    thought: str = ""
    calls: tuple[CallData, ...] = ()
    answer: str | None = None
    confidence: float | None = None
    message: str | None = None
    finish: str | None = None
    answer_origin: Literal["text", "call"] = "text"
    errors: tuple[tuple[ParseErrorType, str, int, int], ...] = ()
    repairs: tuple[tuple[str, str], ...] = ()
    spans: tuple[tuple[Part, int, int], ...] = ()

    @classmethod
    def of(cls, action: Action) -> "ActionData":
        """The action as data."""
        return cls(
            raw=action.raw,
            thought=action.thought,
            calls=tuple(CallData(name=c.name, arguments=c.arguments, id=c.id) for c in action.calls),
            answer=action.answer,
            confidence=action.confidence,
            message=action.message,
            finish=action.finish,
            answer_origin=action.answer_origin,
            errors=tuple((e.type, e.message, e.start, e.end) for e in action.errors),
            repairs=tuple((r.kind, r.detail) for r in action.repairs),
            spans=tuple((s.part, s.start, s.end) for s in action.spans),
        )

    def action(self) -> Action:
        """The data as an action."""
        return Action(
            raw=self.raw,
            thought=self.thought,
            calls=tuple(ToolCall(c.name, c.arguments, c.id) for c in self.calls),
            answer=self.answer,
            confidence=self.confidence,
            message=self.message,
            finish=self.finish,
            answer_origin=self.answer_origin,
            errors=tuple(ParseError(*error) for error in self.errors),
            repairs=tuple(Repair(kind, detail) for kind, detail in self.repairs),
            spans=tuple(PartSpan(*span) for span in self.spans),
        )


class RecordedCall(_Model):
    """A tool call that code made in a recorded submission."""

    call_id: int
    tool: str
    arguments: dict[str, Any]


class RecordedRun(_Model):
    """A submission whose end depended on the clock or the machine: replayed as recorded, never run again.

    The tool calls that its code made are made again, in their order.
    """

    run: int
    calls: tuple[RecordedCall, ...] = ()
    status: RunStatus
    stdout: str
    stderr: str
    value: str
    error: str
    traceback: str
    state_lost: bool

    @classmethod
    def of(cls, run: int, done: Done, calls: Sequence[HostCall] = ()) -> "RecordedRun":
        """The `run`-th submission of the episode as data, and the calls that its code made."""
        fields = {name: getattr(done, name) for name in cls.model_fields if name not in ("run", "calls")}
        made = (RecordedCall(call_id=call.call_id, tool=call.tool, arguments=call.arguments) for call in calls)
        return cls(run=run, calls=tuple(made), **fields)

    def done(self) -> Done:
        """The data as the end of a submission."""
        return Done(-1, self.status, self.stdout, self.stderr, self.value, self.error, self.traceback, self.state_lost)


class EpisodeState(_Model):
    """An episode as data: restored by replay on any machine, and verified by its digest."""

    schema_id: Literal["tir_gym/episode/1"] = SCHEMA
    env_id: str
    task: TaskRef
    seed: int
    actions: tuple[ActionData, ...]
    recorded: tuple[RecordedRun, ...] = ()
    cut: int = 0
    """The turn (from 1) with which the driver ended the episode at a deadline; 0 where it did not."""
    digest: str


class SpanData(_Model):
    """Characters [start, end) of an entry and their role."""

    part: Part
    start: int
    end: int
    visible_to: tuple[str, ...]


class EntryData(_Model):
    """A transcript entry; images by id only."""

    id: str
    turn: int
    source: Source
    actor: str
    text: str
    images: tuple[str, ...]
    spans: tuple[SpanData, ...]
    visible_to: tuple[str, ...]
    call: int
    message: str

    @classmethod
    def of(cls, entry: Entry) -> "EntryData":
        """The entry as data."""
        return cls(
            id=entry.id,
            turn=entry.turn,
            source=entry.source,
            actor=entry.actor,
            text=entry.text,
            images=tuple(image.id for image in images_of(entry.content)),
            spans=tuple(SpanData(part=s.part, start=s.start, end=s.end, visible_to=s.visible_to) for s in entry.spans),
            visible_to=entry.visible_to,
            call=entry.call,
            message=entry.message,
        )


class MeasuredData(_Model):
    """Readings of the real machine; the same episode has others elsewhere."""

    wall_s: float
    cpu_s: float
    memory_mb: float

    @classmethod
    def of(cls, measured: Measured) -> "MeasuredData":
        """The readings as data."""
        return cls(wall_s=measured.wall_s, cpu_s=measured.cpu_s, memory_mb=measured.memory_mb)


class CallRecordData(_Model):
    """A line of the call log."""

    index: int
    turn: int
    actor: str
    tool: str
    arguments: dict[str, Any]
    key: str
    kind: str
    status: CallStatus
    error: CallErrorType
    parent: int
    issued_at: float
    latency_s: float
    price: float
    facts: dict[str, Any]
    measured: MeasuredData

    @classmethod
    def of(cls, record: CallRecord) -> "CallRecordData":
        """The call as data."""
        return cls(
            index=record.index,
            turn=record.turn,
            actor=record.actor,
            tool=record.tool,
            arguments=dict(record.arguments),
            key=record.key,
            kind=record.kind,
            status=record.status,
            error=record.error,
            parent=record.parent,
            issued_at=record.issued_at,
            latency_s=record.latency_s,
            price=record.price,
            facts=dict(record.facts),
            measured=MeasuredData.of(record.measured),
        )


class Verdict(_Model):
    """What the verifier said, with its reasons."""

    value: Number
    valid: bool
    reason: str
    evidence: dict[str, Any]

    @model_validator(mode="after")
    def _is_a_score(self) -> Self:
        if self.valid and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a verdict is a number from 0 to 1, not {self.value!r}")
        return self


class EpisodeRecord(_Model):
    """One finished (or cut off) episode, a line of a trajectory file: enough to rescore, and to replay."""

    schema_id: Literal["tir_gym/episode/1"] = SCHEMA
    version: str
    """Version of the package that wrote it."""
    key: str
    """What makes the rollout unique within a file."""
    policy: str
    options: dict[str, Any]
    protocol: str
    state: EpisodeState
    transcript: tuple[EntryData, ...]
    calls: tuple[CallRecordData, ...]
    answer: str
    confidence: Number
    outcome: str
    valid: bool
    ended_by: str
    failure: str
    turns: Annotated[int, Field(ge=0)]
    verdict: Verdict
    world_diff: dict[str, Any]
    """What the episode changed in the world."""
    rewards: dict[str, Number]
    total: Number
    reward_faults: dict[str, str] = {}
    """The error of each channel that could not be computed, which is nan."""
    reward_channels: tuple[str, ...]
    reward_program: dict[str, Any] = {}
    """The program as data; {} where it cannot be written down."""
    group: GroupView = NO_GROUP
    """The statistics of other rollouts that the rewards were computed from, with their snapshot's id."""
    progress: Progress = NO_PROGRESS
    """How far the trainer was."""
    judgements: dict[str, bool] = {}
    """Verdicts of a judge on checklist items, by the item's id; given after the episode."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if sum(entry.source is Source.POLICY for entry in self.transcript) != len(self.state.actions):
            raise ValueError("the transcript has other turns than there are actions")
        if not all(-1 <= entry.call < len(self.calls) for entry in self.transcript):
            raise ValueError("the transcript shows calls that are not in the call log")
        return self


def task_ref(tasks: TaskSet, task: Task) -> TaskRef:
    """Where a task of this set is found again."""
    return TaskRef(
        set=tasks.name,
        fingerprint=tasks.fingerprint,
        id=task.id,
        seed=task.seed,
        index=task.index,
        split=task.split,
        difficulty=task.difficulty,
        family=task.family,
    )


def verdict_of(episode: Episode) -> Verdict:
    """What the verifier said; invalid with the reason where it could not."""
    score = episode.score
    if score is None:
        return Verdict(value=math.nan, valid=False, reason=episode.failure or "not judged", evidence={})
    return Verdict(value=score.value, valid=True, reason=score.reason, evidence=dict(score.evidence))
