"""Episodes in their slots, one after another, with turns in flight: what a vector environment is made of."""

import math
import resource
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from gymnasium.vector import AutoresetMode

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor
from tir_gym.core.schema import EpisodeState
from tir_gym.core.seeding import episode_seed
from tir_gym.core.view import Groups, GroupView, Progress
from tir_gym.drivers.env import choose_task
from tir_gym.drivers.loop import Loop
from tir_gym.drivers.past import Past
from tir_gym.drivers.slot import ReplayMismatch, Slot, StepResult


class Straggler(StrEnum):
    """What becomes of a turn that takes longer than `step_deadline_s`."""

    WAIT = "wait"
    """Nothing: it is waited for (each call has its own limit anyway)."""
    TIMEOUT = "timeout"
    """The code it runs is stopped, and the policy reads so: a typed observation."""
    TRUNCATE = "truncate"
    """The same, and the episode ends with the turn: truncated, with the outcome `timeout`, and judged."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a slot has come to: the result of its turn or reset and, in front of it, the end of an episode before."""

    place: int
    news: StepResult
    end: StepResult | None = None


@dataclass(slots=True)
class _Seat:
    slot: Slot
    base: int = 0
    place: int = 0
    episodes: int = 0
    ended: bool = False
    resetting: bool = False
    end: StepResult | None = None
    """The end of an episode whose successor is being reset."""
    began: float = 0.0
    expired: bool = False
    queued: Action | None = field(default=None, repr=False)
    replay: "_Replay | None" = None


@dataclass(slots=True)
class _Replay:
    """An episode that is being played again, in a slot that takes the place of the present one at the end."""

    slot: Slot
    past: Past
    state: EpisodeState
    left: deque[Action]
    whatever: bool


_DESCRIPTORS = 512
"""What a process has open beside its sandboxes, at most (definition by this project)."""


def make_room(sandboxes: int) -> None:
    """Allow this process as many open files as so many sandboxes take, two at most each, where the system lets it.

    Many systems allow 1,024 unless a process asks for more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * sandboxes + _DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if sandboxes and soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Seats:
    """The slots of a vector environment in this process, and the turns in flight.

    `settings` is one for each slot. See `ToolVectorEnv` for the options.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        executor: Executor | None,
        *,
        autoreset_mode: AutoresetMode,
        step_deadline_s: float,
        straggler: Straggler,
        max_running: int,
    ) -> None:
        make_room(sum(setting.runs_code for setting in settings))
        self.slots = [Slot(setting, executor if setting.runs_code else None) for setting in settings]
        self.loop = Loop()
        self.ready: list[Ready] = []
        """Results that nobody has taken yet, in the order in which they came."""
        self.failed: list[tuple[int, Exception]] = []
        """Slots that will not be ready, and what went wrong; -1 where it did not keep one from being so."""
        self.replayed: list[tuple[int, str]] = []
        """Slots whose replays are over, and why they failed ("": they did not)."""
        self._executor = executor
        self._seats = [_Seat(slot) for slot in self.slots]
        self._waiting: deque[int] = deque()
        self._autoreset = autoreset_mode
        self._deadline_s = math.inf if straggler is Straggler.WAIT else step_deadline_s
        self._straggler = straggler
        self._max_running = max_running

    def seed(self, i: int, base: int, place: int, episodes: int = 0) -> None:
        """From the next reset on, episode k = `episodes`, ... of slot i has the seed hash(base, place, k)."""
        seat = self._seats[i]
        seat.base, seat.place, seat.episodes = base, place, episodes

    def reset(self, i: int, options: Mapping[str, Any]) -> None:
        """Begin the next episode of a slot, whatever it was at."""
        self.loop.remove(i)
        if i in self._waiting:
            self._waiting.remove(i)
        self.ready = [ready for ready in self.ready if ready.place != i]
        self.failed = [failure for failure in self.failed if failure[0] != i]
        seat = self._seats[i]
        seat.end = seat.queued = None
        if seat.replay is not None:
            seat.replay.slot.close()
            seat.replay = None
        self._begin_episode(i, options)
        self._admit()

    def send(self, i: int, action: Action) -> None:
        """Have a slot take a turn as soon as there is room."""
        self._seats[i].queued = action
        self._waiting.append(i)
        self._admit()

    def advance(self, timeout: float) -> None:
        """Wait once, up to `timeout` seconds, for something to happen."""
        due = self._next_deadline()
        for i in self.loop.run(max(0.0, min(timeout, due - time.monotonic()))):
            self._turned(i)
        if time.monotonic() >= due:
            self._expire()
        self._admit()

    def wakeup(self) -> float:
        """`time.monotonic()` at which to `advance` though no session says anything; inf for never."""
        return min(self.loop.wakeup(), self._next_deadline())

    def take(self) -> list[Ready]:
        """Everything that is ready."""
        taken, self.ready = self.ready, []
        return taken

    def take_failed(self) -> list[tuple[int, Exception]]:
        """Slots that will not be ready, with the reason; all they can do is be reset."""
        taken, self.failed = self.failed, []
        return taken

    def cancel(self, i: int) -> None:
        """Break off the turn of a slot: its episode ends invalid."""
        slot = self.slots[i]
        if i in self._waiting:
            self._waiting.remove(i)
            self._start(i)
        if slot.busy and i in self.loop.busy:
            self.loop.remove(i)
            slot.cancel("the turn was cancelled")
            self._turned(i)
        self._admit()

    def fork(self, source: int, target: int) -> None:
        """Make a slot a live copy of another, both between turns; its own next episode comes after it all the same."""
        self.slots[target].adopt(self.slots[source])
        self._seats[target].ended = self._seats[source].ended

    def replay(self, i: int, past: Past, *, whatever: bool) -> None:
        """Begin to play an episode again; `replayed` tells of the end, when the slot has it and is between turns.

        Where it does not come out as it was, the slot stays as it is; with `whatever` it has it all the same, invalid.
        """
        seat, old = self._seats[i], self.slots[i]
        slot = Slot(old.setting, self._executor if old.setting.runs_code else None)
        slot.groups, slot.progress = old.groups, old.progress
        state = past.state(old.setting)
        slot.begin_replay(state)
        slot.began_with = past.began_with
        left = past.actions[:-1] if past.failure else past.actions
        seat.replay = _Replay(slot, past, state, deque(left), whatever)
        seat.expired = True
        self._go_on(i, seat.replay)

    def fail(self, i: int, reason: str) -> None:
        """End the episode of a slot between turns as invalid, as if in a turn."""
        self._seats[i].resetting = False
        self.slots[i].abandon(reason)
        self._turned(i)

    def episodes(self, i: int) -> int:
        """How many episodes a slot has begun since its seed was set."""
        return self._seats[i].episodes

    def flush(self) -> None:
        """Nothing: turns begin when they are sent."""

    def get_state(self, i: int) -> EpisodeState:
        """`Slot.state`."""
        return self.slots[i].state()

    def began_with(self, i: int) -> tuple[GroupView, Progress]:
        """`Slot.began_with`."""
        return self.slots[i].began_with

    def tools(self, i: int) -> list[dict[str, Any]]:
        """`Slot.tools`."""
        return self.slots[i].tools

    def set_progress(self, progress: Progress) -> None:
        """Say how far training is, to every slot."""
        for slot in self.slots:
            slot.progress = progress

    def set_groups(self, groups: Groups | None) -> None:
        """Give statistics of other rollouts to every slot."""
        for slot in self.slots:
            slot.groups = groups

    def close(self) -> None:
        """End everything the episodes started; idempotent."""
        self.loop.close()
        self._waiting.clear()
        self.ready.clear()
        self.failed.clear()
        for seat in self._seats:
            seat.slot.close()
            if seat.replay is not None:
                seat.replay.slot.close()

    def _admit(self) -> None:
        """Begin the turns that wait, as far as there is room."""
        while self._waiting and len(self.loop.busy) < self._max_running:
            self._start(self._waiting.popleft())

    def _start(self, i: int) -> None:
        seat = self._seats[i]
        action, seat.queued = seat.queued, None
        assert action is not None
        try:
            if seat.ended and self._autoreset is not AutoresetMode.DISABLED:
                self._begin_next(i)
                return
            seat.began, seat.expired, seat.resetting = time.monotonic(), False, False
            seat.slot.begin_step(action)
        except Exception as error:
            self.failed.append((i, error))
            return
        self._watch(i)

    def _begin_episode(self, i: int, options: Mapping[str, Any]) -> None:
        seat = self._seats[i]
        seed = episode_seed(seat.base, seat.place, seat.episodes)
        seat.episodes += 1
        seat.resetting, seat.ended = True, False
        seat.began, seat.expired = time.monotonic(), True
        seat.slot.begin_reset(choose_task(seat.slot.setting, seed, options), seed)
        self._watch(i)

    def _begin_next(self, i: int) -> None:
        """Autoreset. Where it fails, the slot stays at the end of its last episode; its next turn begins the one after.

        Such a turn that fails again has no reward (nan), for nothing is played in it.
        """
        seat = self._seats[i]
        try:
            self._begin_episode(i, {})
        except Exception as error:
            self.failed.append((-1, error))
            end, seat.end = seat.end, None
            seat.resetting, seat.ended = False, True
            nothing = replace(seat.slot.result(), reward=math.nan, terminated=False, truncated=False)
            self.ready.append(Ready(i, end or nothing))

    def _watch(self, i: int) -> None:
        slot = self.slots[i]
        if slot.busy:
            self.loop.add(i, slot)
        else:
            self._turned(i)

    def _turned(self, i: int) -> None:
        """A slot's turn is finished: it is ready, or goes on with the reset of its next episode."""
        seat = self._seats[i]
        if seat.replay is not None:
            self._go_on(i, seat.replay)
            return
        try:
            result = seat.slot.result()
            if not seat.resetting and (result.terminated or result.truncated):
                if self._autoreset is AutoresetMode.SAME_STEP:
                    seat.end = result
                    self._begin_next(i)
                    return
                seat.ended = True
        except Exception as error:
            self.failed.append((i, error))
            return
        end, seat.end = seat.end, None
        self.ready.append(Ready(i, result, end))

    def _go_on(self, i: int, replay: _Replay) -> None:
        """Take the turns of a replay until one has to be waited for."""
        slot = replay.slot
        while not slot.busy:
            slot.result()
            if not replay.left:
                self._replayed(i, replay)
                return
            slot.begin_step(replay.left.popleft())
        self.loop.add(i, slot)

    def _replayed(self, i: int, replay: _Replay) -> None:
        seat, slot, failure = self._seats[i], replay.slot, ""
        seat.replay = None
        try:
            slot.end_replay(replay.state)
        except ReplayMismatch as error:
            failure = str(error)
        if replay.past.failure:
            failure = ""
            slot.abandon(replay.past.failure)
            slot.result()
        if failure and not replay.whatever:
            slot.close()
        else:
            seat.slot.close()
            self.slots[i] = seat.slot = slot
            seat.ended = replay.past.over
        self.replayed.append((i, failure))

    def _next_deadline(self) -> float:
        if self._deadline_s == math.inf:
            return math.inf
        began = (seat.began for i in self.loop.busy if not (seat := self._seats[i]).expired)
        return min(began, default=math.inf) + self._deadline_s

    def _expire(self) -> None:
        now = time.monotonic()
        for i in list(self.loop.busy):
            seat = self._seats[i]
            if not seat.expired and now >= seat.began + self._deadline_s:
                seat.expired = True
                self.loop.remove(i)
                seat.slot.expire(end=self._straggler is Straggler.TRUNCATE)
                self._watch(i)
