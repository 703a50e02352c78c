"""A slot carries out one episode's requests and never blocks; every driver is made of slots."""

import contextlib
import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.episode import Episode, Pending, Turn
from tir_gym.core.interfaces import TURN_OVER, Done, Executor, HostCall, RunStatus, Session
from tir_gym.core.requests import AnswerCall, CloseSession, Inline, OpenSession, Request, RunCode, Shared
from tir_gym.core.schema import ActionData, EpisodeState, RecordedRun, task_ref
from tir_gym.core.task import Task
from tir_gym.core.tool import EnvError
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, Groups, Rewards
from tir_gym.drivers.info import build_info

_RECORDED = (RunStatus.TIMEOUT, RunStatus.OUTPUT_LIMIT)
"""Ends that depend on the machine although the interpreter lives; one that died is always recorded."""


class ReplayMismatch(RuntimeError):  # noqa: N818
    """A replayed episode did not come out as recorded; the message says at which point."""


@dataclass(slots=True)
class StepResult:
    """What a turn comes to, as Gymnasium returns it; `observation` is text, or a dict with images."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@dataclass(slots=True)
class _Run:
    """A submission in flight."""

    request: int
    number: int
    calls: list[HostCall] = field(default_factory=list)


@dataclass(slots=True)
class _History:
    """What an `EpisodeState` is made of."""

    recorded: list[RecordedRun] = field(default_factory=list)
    runs: int = 0

    def copy(self) -> "_History":
        return _History(list(self.recorded), self.runs)


class Slot:
    """One episode after another of a setting. `begin_*`, then `poll` while `busy`, then `result`."""

    def __init__(self, setting: Setting, executor: Executor | None) -> None:
        self.setting = setting
        self.episode: Episode | None = None
        self._executor = executor
        self._verifier = setting.domain.verifier()
        self._leased_in = 0
        self._judged_in = 0
        self._closed = False
        self._sessions: dict[str, Session] = {}
        self._runs: dict[str, _Run] = {}
        self.shared: list[Shared] = []
        """Requests that wait for the event loop to answer them, together with those of other slots."""
        self._history = _History()
        self._replaying: dict[int, RecordedRun] = {}
        self._turn: Turn | None = None
        self._fresh = False
        self._expired = False
        self.cut = 0
        """`EpisodeState.cut`."""
        self._total = 0.0
        self._channels: dict[str, float] = {}
        self.reward_faults: dict[str, str] = {}
        """The error of each channel that could not be computed."""
        self.groups: Groups | None = None
        """Statistics of rollouts for the episodes to come; an episode keeps those that it began with."""
        self.progress = NO_PROGRESS
        """How far the trainer is, for the episodes to come."""
        self.began_with = NO_GROUP, NO_PROGRESS
        """The group's statistics and the trainer's progress that the episode's rewards are computed from."""

    def use_rewards(self, rewards: Rewards) -> Setting:
        """Evaluate another program from now on; the setting that has it. Raises `RuntimeError` within an episode."""
        if self.episode is not None and not self.episode.outcome:
            raise RuntimeError("an episode is being played: rewards can change before `reset` or after the end")
        self.setting = replace(self.setting, rewards=rewards)
        self.episode = None
        return self.setting

    # --- one turn --------------------------------------------------------------------------------------------------
    def begin_reset(self, task: Task, seed: int) -> None:
        """Start a new episode. Raises `ExecutorUnavailable` where the domain runs code and it cannot run here.

        What keeps it from beginning leaves the slot as it was.
        """
        self.setting.rewards.check()
        if self.setting.runs_code:
            self._lease()
        if self._judged_in != os.getpid():
            self._verifier.acquire()
            self._judged_in = os.getpid()
        group = NO_GROUP if self.groups is None else self.groups.view(self.setting.env_id, task.id)
        episode = Episode(self.setting, task, seed)
        self._close_sessions()
        self._closed = False
        self._history = _History()
        self._expired, self.cut = False, 0
        self._total = 0.0
        self._channels = dict.fromkeys(self.setting.rewards.channels, 0.0)
        self.reward_faults = {}
        self.began_with = group, self.progress
        self.episode, self._turn = episode, None
        self._fresh = True
        self._drive(self.episode.start())

    def begin_step(self, action: Action) -> None:
        """Start a turn; after the end of the episode nothing happens."""
        episode = self._playing()
        if self._closed:
            raise RuntimeError("the environment is closed: call reset to play again")
        if episode.outcome:
            self._fresh = False
            return
        if self._turn is None:
            raise RuntimeError("the turn before was interrupted: call reset")
        if len(episode.actions) + 1 == self.cut:
            episode.impose("deadline")
        step = episode.act(action)
        self._turn = None
        self._fresh = True
        self._expired = False
        self._drive(step)

    @property
    def busy(self) -> bool:
        """True until the turn is finished."""
        return self._turn is None

    def filenos(self) -> list[int]:
        """Descriptors that are readable when `poll` has something to do."""
        found = (self._sessions[actor].fileno() for actor in self._runs)
        return [descriptor for descriptor in found if descriptor >= 0]

    def wakeup(self) -> float:
        """`time.monotonic()` by which `poll` must be called though no descriptor is readable; inf for never."""
        times = [self._sessions[actor].wakeup() for actor in self._runs]
        return min((t for t in times if t is not None), default=math.inf)

    def expire(self, *, end: bool = False) -> None:
        """The turn takes too long: what runs, and what it would still run, are time-outs (recorded, and replayed so).

        With `end` the episode is over with the turn: truncated, and judged as it stands.
        """
        self._expired = True
        if end:
            self.cut = len(self._playing().actions)
            self._playing().impose("deadline")
        for actor, run in list(self._runs.items()):
            del self._runs[actor]
            self._finish_run(actor, run, Done(0, RunStatus.TIMEOUT, error=TURN_OVER, state_lost=True))

    def cancel(self, reason: str) -> None:
        """Break off the turn and with it the episode, which is invalid then. Between turns nothing happens."""
        if self.busy:
            self.abandon(reason)

    def abandon(self, reason: str) -> None:
        """End the episode as invalid, whatever it is at."""
        self._close_sessions()
        self._fresh = True
        self._turn = None
        self._drive(self._playing().abort(reason))

    def poll(self) -> None:
        """Take in what the sessions have to say."""
        for actor in list(self._runs):
            for event in self._sessions[actor].events():
                run = self._runs.get(actor)
                if run is None:
                    break
                if isinstance(event, HostCall):
                    run.calls.append(event)
                    self._drive(self._playing().feed(run.request, event))
                elif isinstance(event, Done):
                    del self._runs[actor]
                    self._finish_run(actor, run, event)

    def found(self, request: Shared, result: Any) -> None:
        """Take in the result of a shared request, or the exception it ended with."""
        self._drive(self._playing().feed(request.id, result))

    def result(self) -> StepResult:
        """The finished turn; its reward is the increment of the combined value, nan for an invalid end.

        After an invalid end it stays nan: an episode that could not even begin has no other step to say so.
        """
        episode, turn = self._playing(), self._turn
        assert turn is not None, "the turn is not finished"
        reward = 0.0 if episode.outcome.valid else math.nan
        if self._fresh:
            reward = self._evaluate(episode)
            if episode.outcome:
                self._close_sessions()
        tier = self._executor.tier if self._executor is not None and self.setting.runs_code else ""
        info = build_info(episode, turn, self._channels, self._total, fresh=self._fresh, tier=tier)
        if self.reward_faults and not info["failure"]:
            info["failure"] = "; ".join(f"reward {name}: {fault}" for name, fault in self.reward_faults.items())
        observation: Any = turn.observation if self._fresh else ""
        if self.setting.domain.image_shape is not None:
            images = tuple(image.pixels.copy() for image in turn.images) if self._fresh else ()
            observation = {"text": observation, "images": images}
        return StepResult(observation, reward, turn.terminated, turn.truncated, info)

    @property
    def rewards(self) -> tuple[dict[str, float], float]:
        """Each channel so far, and the combined value."""
        return dict(self._channels), self._total

    def _evaluate(self, episode: Episode) -> float:
        if not episode.outcome.valid:
            self._total = math.nan
            self._channels = dict.fromkeys(self._channels, math.nan)
            return math.nan
        rewards = self.setting.rewards
        if not (episode.outcome or rewards.per_step):
            return 0.0
        earned = rewards.earned(episode.view(*self.began_with))
        before, self._total = self._total, earned.total
        self._channels, self.reward_faults = earned.channels, earned.faults
        return self._total - before

    # --- copies ----------------------------------------------------------------------------------------------------
    def fork(self) -> "Slot":
        """A live copy between turns: episode, interpreters, rewards. Raises `ForkError` where a session refuses."""
        twin = Slot(self.setting, self._executor)
        twin.adopt(self)
        return twin

    def adopt(self, other: "Slot") -> None:
        """Become a live copy of another slot of the same setting, which goes on unharmed."""
        episode = None if other.episode is None else other.episode.fork()
        sessions: dict[str, Session] = {}
        try:
            for actor, session in other._sessions.items():
                sessions[actor] = session.fork()
        except BaseException:
            for session in sessions.values():
                session.close()
            raise
        if other._leased_in:
            self._lease()
        self._close_sessions()
        self._sessions = sessions
        self.episode = episode
        self._history = other._history.copy()
        self._turn, self._fresh = other._turn, other._fresh
        self.cut = other.cut
        self._total, self._channels = other._total, dict(other._channels)
        self.reward_faults = dict(other.reward_faults)
        self.groups, self.progress, self.began_with = other.groups, other.progress, other.began_with

    @property
    def tools(self) -> list[dict[str, Any]]:
        """OpenAI function schemas of the tools on offer to the actor to move."""
        episode = self._playing()
        return [tool.schema for tool in episode.toolkits[episode.to_move].tools]

    def state(self) -> EpisodeState:
        """The episode as data, restored by `begin_replay`."""
        episode = self._playing()
        return EpisodeState(
            env_id=self.setting.env_id,
            task=task_ref(self.setting.tasks, episode.task),
            seed=episode.seed,
            actions=tuple(ActionData.of(action) for action in episode.actions),
            recorded=tuple(self._history.recorded),
            cut=self.cut,
            digest=episode.digest.hex(),
        )

    @property
    def recorded(self) -> Sequence[RecordedRun]:
        """The episode's submissions whose ends depended on the clock or the machine."""
        return self._history.recorded

    def begin_replay(self, state: EpisodeState) -> None:
        """Start replaying an episode; feed `state.actions` with `begin_step`, then call `end_replay`.

        Raises `ValueError` for a state of another environment or another version of its tasks.
        """
        if state.env_id != self.setting.env_id:
            raise ValueError(f"the state is of {state.env_id!r}, this environment is {self.setting.env_id!r}")
        tasks = self.setting.tasks
        if state.task.fingerprint != tasks.fingerprint:
            raise ValueError(
                f"the state is of another task set than {tasks.name!r} here; make it with the same options"
            )
        self._replaying = {run.run: run for run in state.recorded}
        self.begin_reset(tasks.find(state.task.id), state.seed)
        self.cut = state.cut

    def end_replay(self, state: EpisodeState) -> None:
        """Check that the replay came out as recorded. Raises `ReplayMismatch`."""
        self._replaying = {}
        if (digest := self._playing().digest.hex()) != state.digest:
            timeouts = sum(run.status is RunStatus.TIMEOUT for run in state.recorded)
            hint = f"; {timeouts} of its submissions timed out half-way, which cannot be done again" if timeouts else ""
            raise ReplayMismatch(f"replay of {state.task.id} ends in digest {digest}, recorded is {state.digest}{hint}")

    # --- carrying out requests ---------------------------------------------------------------------------------------
    def _drive(self, step: Pending | Turn) -> None:
        queue: deque[Request] = deque()
        while isinstance(step, Pending):
            queue.extend(step.requests)
            if not queue:
                return
            step = self._perform(queue.popleft())
        self._turn = step

    def _perform(self, request: Request) -> Pending | Turn:
        episode = self._playing()
        try:
            match request:
                case Inline():
                    return episode.feed(request.id, self._attempt(request))
                case OpenSession(actor=actor):
                    self._sessions[actor] = self._lease().open(request.limits, request.seed, request.tools)
                case RunCode():
                    return self._start_run(episode, request)
                case Shared():
                    self.shared.append(request)
                case AnswerCall(actor=actor):
                    self._sessions[actor].answer(request.call_id, request.value, request.error)
                case CloseSession(actor=actor):
                    if actor in self._sessions:
                        self._sessions.pop(actor).close()
                    return episode.feed(request.id, None)
                case _:
                    raise TypeError(f"no driver for {type(request).__name__}")
        except Exception as error:
            self._close_sessions()
            return episode.abort(f"{type(error).__name__}: {error}")
        return Pending(())

    def _attempt(self, request: Inline) -> Any:
        try:
            return request.perform()
        except Exception as error:
            return error

    def _start_run(self, episode: Episode, request: RunCode) -> Pending | Turn:
        number = self._history.runs
        self._history.runs += 1
        if recorded := self._replaying.get(number):
            self._history.recorded.append(recorded)
            done = recorded.done()
            for call in recorded.calls:
                self._drive(episode.feed(request.id, HostCall(-1, call.call_id, call.tool, dict(call.arguments))))
            if done.state_lost:
                self._sessions.pop(request.actor).close()
            return episode.feed(request.id, done)
        if self._expired:
            done = Done(0, RunStatus.TIMEOUT, error=TURN_OVER)
            self._history.recorded.append(RecordedRun.of(number, done, []))
            return episode.feed(request.id, done)
        self._sessions[request.actor].submit(request.code, request.deadline_s)
        self._runs[request.actor] = _Run(request.id, number)
        return Pending(())

    def _finish_run(self, actor: str, run: _Run, done: Done) -> None:
        if done.state_lost or done.status in _RECORDED:
            self._history.recorded.append(RecordedRun.of(run.number, done, run.calls))
        if done.state_lost:
            self._sessions.pop(actor).close()
        failed = done.status is RunStatus.EXECUTOR_ERROR
        self._drive(self._playing().feed(run.request, EnvError(done.error) if failed else done))

    def _playing(self) -> Episode:
        if self.episode is None:
            raise RuntimeError("no episode is being played: call reset first")
        return self.episode

    def _lease(self) -> Executor:
        if self._executor is None:
            raise RuntimeError(f"{self.setting.env_id} was made without an executor, and a tool wants to run code")
        if self._leased_in != os.getpid():
            self._executor.acquire()
            self._leased_in = os.getpid()
        return self._executor

    def _close_sessions(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._runs.clear()
        self.shared.clear()

    def close(self) -> None:
        """End every session and give the executor back; idempotent."""
        self._closed = True
        self._close_sessions()
        if self._leased_in == os.getpid() and self._executor is not None:
            self._executor.release()
        if self._judged_in == os.getpid():
            self._verifier.release()
        self._leased_in = self._judged_in = 0

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
