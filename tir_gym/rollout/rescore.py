"""Verdicts and rewards anew: from the record of an episode alone, or by replaying it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, Self, cast

from tir_gym.core.calls import Tally
from tir_gym.core.domain import Domain, Setting
from tir_gym.core.episode import TRUNCATING
from tir_gym.core.interfaces import World
from tir_gym.core.outcome import Outcome
from tir_gym.core.schema import CallRecordData, EntryData, EpisodeRecord, Verdict
from tir_gym.core.task import Gold, Task
from tir_gym.core.transcript import CallRecord, CallStatus, Source
from tir_gym.core.verify import Answer, Evidence, Score, Verifier
from tir_gym.core.view import EpisodeView, GroupView, Rewards
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.slot import ReplayMismatch
from tir_gym.envs.registration import default_executor
from tir_gym.rewards.program import RewardProgram
from tir_gym.rollout.record import RecordedGroup, record_of, setting_of
from tir_gym.version import __version__


class RescoreError(ValueError):
    """A record cannot be scored again here; the message says why, and what would help."""


class NeedsReplay(RescoreError):  # noqa: N818
    """The verdict looks at the world, which is not in the file: replay the episode (`reverify=True`)."""


def rescore(record: EpisodeRecord, *, reverify: bool = False, setting: Setting | None = None) -> EpisodeRecord:
    """The record with the verdict, outcome and reward that this installation gives it; nothing else is changed.

    The task is found again by its id in the setting's task set, whose fingerprint must be the recorded one. The
    verifier sees the recorded answer, call log and policy text. With `reverify` the episode is replayed instead, which
    must bring the recorded transcript, calls and changes of the world. An episode that the environment broke, or that
    was cut off before its end, has no verdict and is returned as it is.

    `setting` stands in for the one made from the record's options, for what a record cannot hold (a component of one's
    own, or a task set given as an object). Raises `RescoreError`; `NeedsReplay` where the verifier looks at the world.
    """
    with Rescorer(setting_of if setting is None else lambda _: setting) as again:
        return again(record, reverify=reverify)


def same_verdict(one: EpisodeRecord, other: EpisodeRecord) -> bool:
    """Whether two records of an episode agree on score, validity, outcome and every reward; nan equals nan."""
    return _verdict_key(one) == _verdict_key(other)


def reward(
    record: EpisodeRecord,
    *,
    rewards: RewardProgram | None = None,
    group: GroupView | None = None,
    setting: Setting | None = None,
) -> EpisodeRecord:
    """The record with the rewards that its own verdict earns; nothing is judged again.

    `rewards` is another program than the recorded one, `group` other statistics of its task's rollouts. An episode
    without a verdict is returned as it is. Raises `RescoreError`; `NeedsReplay` where a component looks at the world.
    """
    with Rescorer(setting_of if setting is None else lambda _: setting) as again:
        return again.reward(record, rewards=rewards, group=group)


class Rescorer:
    """`rescore` for many records: settings, verifiers and replaying environments are kept until it is closed."""

    def __init__(self, setting_for: Callable[[EpisodeRecord], Setting] = setting_of) -> None:
        self._setting_for = setting_for
        self._benches: dict[str, _Bench] = {}
        self._last: tuple[Any, _Bench] | None = None

    def __call__(self, record: EpisodeRecord, *, reverify: bool = False) -> EpisodeRecord:
        """As `rescore`."""
        if record.outcome in (Outcome.RUNNING, Outcome.ENV_ERROR):
            return record
        bench = self._bench(record)
        return bench.replay(record) if reverify else bench.judge(record)

    def reward(
        self, record: EpisodeRecord, *, rewards: RewardProgram | None = None, group: GroupView | None = None
    ) -> EpisodeRecord:
        """As `reward`."""
        if not record.valid or not record.outcome:
            return record
        looks: list[str] = []
        program, view = self._rewarding(record, rewards, group, looks)
        found = _rewards_of(program, view)
        _refuse(looks)
        written = program.data() if rewards is not None else self._bench(record).program_data
        update = {**found, "reward_channels": program.channels, "reward_program": written, "group": view.group}
        return record.model_copy(update=update)

    def rewards_by_turn(self, record: EpisodeRecord, *, rewards: RewardProgram | None = None) -> list[dict[str, float]]:
        """Each channel's value after each turn, as the live episode had them (nan all over where it was invalid)."""
        looks: list[str] = []
        program, view = self._rewarding(record, rewards, None, looks)
        turns = program.by_turn(view)
        _refuse(looks)
        return turns if record.valid else [*turns[:-1], dict.fromkeys(program.channels, math.nan)]

    def view(self, record: EpisodeRecord) -> EpisodeView:
        """What the record's rewards are computed from, with its own verdict."""
        return self._rewarding(record, None, None, [])[1]

    def _rewarding(
        self, record: EpisodeRecord, rewards: RewardProgram | None, group: GroupView | None, looks: list[str]
    ) -> tuple[RewardProgram, EpisodeView]:
        """The program, and what it is evaluated on; looks at the world are noted."""
        bench = self._bench(record)
        program = rewards or cast(RewardProgram, bench.setting.rewards)
        view = bench.view(record, bench.task(record, channels=rewards is None), looks)
        return program, view if group is None else replace(view, group=group)

    def close(self) -> None:
        """Release everything; idempotent."""
        for bench in self._benches.values():
            bench.close()
        self._benches.clear()
        self._last = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _bench(self, record: EpisodeRecord) -> "_Bench":
        made_of = record.state.env_id, record.options, record.reward_program
        if self._last is not None and self._last[0] == made_of:
            return self._last[1]
        key = json.dumps([made_of[0], sorted(record.options.items()), record.reward_program], default=str)
        if key not in self._benches:
            try:
                self._benches[key] = _Bench(self._setting_for(record))
            except ValueError as error:
                raise RescoreError(str(error)) from error
        self._last = made_of, self._benches[key]
        return self._benches[key]


class _Bench:
    """One setting with its verifier, and an environment once something is replayed."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._verifier: Verifier | None = None
        self._env: ToolEnv | None = None

    def judge(self, record: EpisodeRecord) -> EpisodeRecord:
        """The verdict from the file."""
        task = self.task(record)
        if self._verifier is None:
            self._verifier = self.setting.domain.verifier()
            self._verifier.acquire()
        looks: list[str] = []
        view = self.view(record, task, looks)
        has_world = view.evidence.world is not None
        score, failure = _judge(self._verifier, view.evidence, task.gold)
        outcome = _outcome(record.ended_by, score)
        nothing = dict.fromkeys(record.reward_channels, math.nan)
        rewards: dict[str, Any] = {"rewards": nothing, "total": math.nan, "reward_faults": {}}
        if outcome.valid:
            rewards = _rewards_of(self.setting.rewards, replace(view, score=score, outcome=outcome))
        if looks or (has_world and score is None):
            why = f" ({failure})" if failure and not looks else ""
            raise NeedsReplay(f"the verdict of {record.state.env_id} looks at the world{why}: replay with --reverify")
        return record.model_copy(
            update={
                "verdict": _verdict(score, failure),
                "outcome": outcome.value,
                "valid": outcome.valid,
                "failure": failure,
                "version": __version__,
                "reward_program": self.program_data,
                **rewards,
            }
        )

    def replay(self, record: EpisodeRecord) -> EpisodeRecord:
        """The verdict of the episode played again."""
        self.task(record)
        if self._env is None:
            self._env = ToolEnv(
                self.setting, default_executor(self.setting.runs_programs) if self.setting.runs_code else None
            )
        self._env.set_progress(record.progress.step, record.progress.total)
        self._env.set_groups(RecordedGroup(record.group))
        mismatch: ReplayMismatch | None = None
        try:
            self._env.set_state(record.state)
        except ReplayMismatch as error:  # the digest covers the verdict too: what came before it decides
            mismatch = error
        again = record_of(self._env, key=record.key, policy=record.policy)
        if mismatch and _course(again) != _course(record):
            raise RescoreError(str(mismatch)) from mismatch
        taken = ("state", "outcome", "valid", "failure", "verdict", "rewards", "total", "reward_faults", "version")
        return record.model_copy(update={name: getattr(again, name) for name in taken})

    @cached_property
    def program_data(self) -> dict[str, Any]:
        """The setting's reward program, as records hold it."""
        return self.setting.rewards.data()

    def close(self) -> None:
        if self._verifier is not None:
            self._verifier.release()
            self._verifier = None
        if self._env is not None:
            self._env.close()
            self._env = None

    def view(self, record: EpisodeRecord, task: Task, looks: list[str]) -> EpisodeView:
        """What the record's rewards are computed from; who looks at the world is refused, and noted in `looks`."""
        has_world = type(self.setting.domain).world is not Domain.world
        world = cast(World, _Absent(looks)) if has_world else None
        verdict = record.verdict
        score = Score(verdict.value, reason=verdict.reason, evidence=verdict.evidence) if verdict.valid else None
        return EpisodeView(
            evidence=evidence_of(record, task, world),
            score=score,
            outcome=_outcome(record.ended_by, score),
            actions=tuple(data.action() for data in record.state.actions),
            gold=task.gold,
            policies=self.setting.domain.policies,
            group=record.group,
            progress=record.progress,
            transcript=record.transcript,
            checklist=self.setting.domain.checklist,
            judgements=record.judgements,
        )

    def task(self, record: EpisodeRecord, *, channels: bool = True) -> Task:
        """The record's task, once everything is found to be the same here as where it was played."""
        here, there = self.setting.tasks, record.state.task
        try:
            fingerprint = here.fingerprint
            task = here.find(there.id) if fingerprint == there.fingerprint else None
        except (LookupError, OSError, ValueError) as error:
            raise RescoreError(f"the task of {record.key!r} cannot be found: {error}") from error
        if task is None:
            raise RescoreError(
                f"task set {there.set!r} has the fingerprint {there.fingerprint} in the record and {fingerprint} here: "
                f"these are other tasks (written by version {record.version}, this is {__version__})"
            )
        if channels and record.reward_channels != self.setting.rewards.channels:
            raise RescoreError(
                f"the record was rewarded in the channels {list(record.reward_channels)}, the program here has "
                f"{list(self.setting.rewards.channels)}: give rescore() a setting with the program it was played with"
            )
        return task


class _Absent:
    """Stands where a world was: whoever looks at it is refused, and noted."""

    __slots__ = ("_looks",)

    def __init__(self, looks: list[str]) -> None:
        self._looks = looks

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "_looks").append(name)
        raise NeedsReplay("the world is not in the file")


def _refuse(looks: list[str]) -> None:
    """Raise for a component that looked at the world."""
    if looks:
        raise NeedsReplay("a reward component looks at the world, which is not in the file: replay the episode")


def _rewards_of(program: Rewards, view: EpisodeView) -> dict[str, Any]:
    """A record's fields about rewards."""
    earned = program.earned(view)
    return {
        "rewards": earned.channels,
        "total": earned.total,
        "reward_faults": earned.faults,
    }


def evidence_of(record: EpisodeRecord, task: Task, world: World | None = None) -> Evidence:
    """What a verifier may read of a recorded episode; gold is taken off the task."""
    answer = None
    if record.ended_by == "answer" or record.answer:
        last = record.state.actions[-1:]
        origin = last[0].answer_origin if last and last[0].answer is not None else "call"
        answer = Answer(record.answer, origin, record.confidence)
    return Evidence(
        task=task.public,
        answer=answer,
        calls=tuple(map(call_of, record.calls)),
        world=world,
        policy_text=policy_text(record),
        ended_by=record.ended_by,
    )


_CALL_FIELDS = tuple(name for name in CallRecordData.model_fields if name != "measured")


def call_of(data: CallRecordData) -> CallRecord:
    """A line of the recorded call log as the call log holds it."""
    return CallRecord(**{name: getattr(data, name) for name in _CALL_FIELDS})


def tally_of(record: EpisodeRecord) -> Tally:
    """The episode's counts, from its actions and its call log."""
    tally = Tally(turns=record.turns, calls=len(record.calls))
    keys: set[str] = set()
    for call in record.calls:
        tally.ok += call.status == CallStatus.OK
        tally.failed += call.status != CallStatus.OK
        tally.duplicate += call.key in keys
        keys.add(call.key)
    for data in record.state.actions:
        tally.format_errors += len(data.errors)
        tally.repairs += len(data.repairs)
        tally.void += data.action().void
    return tally


def policy_text(record: EpisodeRecord) -> tuple[str, ...]:
    """What the policies wrote, turn by turn, up to each turn's first terminal action."""
    return tuple(_authored(entry) for entry in record.transcript if entry.source == Source.POLICY)


def _authored(entry: EntryData) -> str:
    tail = next((span.start for span in entry.spans if span.part == "tail"), None)
    return entry.text[:tail]


def _judge(verifier: Verifier, evidence: Evidence, gold: Gold) -> tuple[Score | None, str]:
    """The score, or None and why there is none."""
    try:
        score = verifier.score(evidence, gold)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    if score.valid:
        return score, ""
    return None, score.reason or "the verifier reached no verdict and gave no reason"


def _outcome(ended_by: str, score: Score | None) -> Outcome:
    """How an episode that came to its end ended, as `Episode` concludes it."""
    if score is None:
        return Outcome.JUDGE_ERROR
    if ended_by in TRUNCATING:
        return TRUNCATING[ended_by]
    if ended_by == "void":
        return Outcome.POLICY_ERROR
    return Outcome.SOLVED if score.value >= 1.0 else Outcome.FAILED


def _verdict(score: Score | None, failure: str) -> Verdict:
    if score is None:
        return Verdict(value=math.nan, valid=False, reason=failure, evidence={})
    return Verdict(value=score.value, valid=True, reason=score.reason, evidence=dict(score.evidence))


def _verdict_key(record: EpisodeRecord) -> str:
    return repr((record.verdict.value, record.outcome, sorted(record.rewards.items()), record.total))


def _course(record: EpisodeRecord) -> Any:
    """All that happened before the verdict, as JSON data without readings of the machine."""
    happened = {"transcript", "calls", "world_diff", "ended_by", "answer"}
    data = record.model_dump(mode="json", include=happened)
    for call in data["calls"]:
        del call["measured"]
    return data
