"""`ToolVectorEnv`: many episodes in one event loop, as a Gymnasium vector environment, or sent and received."""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor
from tir_gym.core.seeding import episode_seed
from tir_gym.core.spaces import Unicode
from tir_gym.core.view import Groups, Progress
from tir_gym.drivers.env import choose_task, observation_space
from tir_gym.drivers.infos import stack_infos
from tir_gym.drivers.intake import ActionInput, to_action
from tir_gym.drivers.loop import Loop, wait_async
from tir_gym.drivers.slot import Slot, StepResult

Batch = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class Straggler(StrEnum):
    """What becomes of a turn that takes longer than `step_deadline_s`."""

    WAIT = "wait"
    """Nothing: it is waited for (each call has its own limit anyway)."""
    TIMEOUT = "timeout"
    """The code it runs is stopped, and the policy reads so: a typed observation."""
    TRUNCATE = "truncate"
    """The same, and the episode ends with the turn: truncated, with the outcome `timeout`, and judged."""


@dataclass(slots=True)
class _Seat:
    """A slot's place in the environment: which episode it plays, and what of it was not told yet."""

    slot: Slot
    base: int = 0
    place: int = 0
    episodes: int = 0
    observation: Any = None
    ended: bool = False
    resetting: bool = False
    end: StepResult | None = None
    """The end of an episode whose successor is being reset."""
    began: float = 0.0
    expired: bool = False
    ready: StepResult | None = None
    queued: Action | None = field(default=None, repr=False)


class ToolVectorEnv(VectorEnv[Any, Sequence[ActionInput], Any]):
    """N episodes stepped together: the sandboxes of a batch run at once, the results are those of N single envs.

    A finished episode is followed by the next one in the same step; what it ended with is whole in
    `infos["final_obs"]` and `infos["final_info"]`. With `autoreset_mode` NEXT_STEP the next action of that slot is
    not used and its result is the next reset's, with DISABLED the episode stays over until `reset` with a
    `reset_mask`. Episode k of slot i has the seed hash(base, i, k), whatever the order in which episodes end.

    Without a barrier: `send` gives actions to some slots, `recv` returns as soon as `min_ready` of them are done.
    At most `max_running` turns (None: all) run at once, the others wait their turn; `step_deadline_s` seconds after it
    has begun a turn is a straggler, with which is done what `straggler` says.

    `settings` is one for all slots or one for each; their spaces and their reward channels must be the same.
    """

    def __init__(
        self,
        settings: Setting | Sequence[Setting],
        executor: Executor | None,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        step_deadline_s: float = math.inf,
        straggler: Straggler | str = Straggler.TIMEOUT,
        max_running: int | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        if max_running is not None and max_running < 1:
            raise ValueError(f"max_running={max_running} must be at least 1")
        if not step_deadline_s > 0:
            raise ValueError(f"step_deadline_s={step_deadline_s} must be above 0")
        each = [settings] * num_envs if isinstance(settings, Setting) else list(settings)
        _check_settings(each, num_envs)
        self.setting = each[0]
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        self.straggler = Straggler(straggler)
        self.step_deadline_s = step_deadline_s
        self.max_running = num_envs if max_running is None else max_running
        self.single_observation_space = observation_space(self.setting)
        self.single_action_space = Unicode(self.setting.max_chars)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.slots = [Slot(setting, executor if setting.runs_code else None) for setting in each]
        self._seats = [_Seat(slot) for slot in self.slots]
        self._loop = Loop()
        self._waiting: deque[int] = deque()
        self._ready: list[int] = []
        self._seeded = False

    # --- Gymnasium -------------------------------------------------------------------------------------------------
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every slot.

        An int seed is the base for all slots; a list has a base for each, and slot i then plays as a single
        environment reset with `seed[i]` would. `options={"task_id": ...}` gives every slot that task (a list: each its
        own); `options={"reset_mask": mask}`, a bool array of shape (num_envs,), leaves the slots alone where it is
        False. Turns in flight are broken off. Raises `ValueError` for a list or mask of another length.
        """
        wanted = dict(options or {})
        mask = self._mask(wanted.pop("reset_mask", None))
        seats = [i for i in range(self.num_envs) if mask[i]]
        self._seed(seed, seats)
        task_ids = wanted.pop("task_id", None)
        if task_ids is None or isinstance(task_ids, str):
            task_ids = [task_ids] * self.num_envs
        self._check_length("task_id", task_ids)
        for i in seats:
            self._forget(i)
            self._begin_episode(i, {**wanted, "task_id": task_ids[i]})
        self._gather(seats)
        results = [self._take(i) for i in seats]
        infos = stack_infos([result.info for result in results], seats, self.num_envs)
        return self._batch([seat.observation for seat in self._seats]), infos

    def step(self, actions: Sequence[ActionInput]) -> Batch:
        """Take one turn in every slot."""
        self._check_length("actions", actions)
        self.send(actions)
        self._gather(range(self.num_envs))
        return self._deliver(list(range(self.num_envs)))

    def close_extras(self, **kwargs: Any) -> None:
        """End everything the episodes started."""
        self._loop.close()
        self._waiting.clear()
        self._ready.clear()
        for slot in self.slots:
            slot.close()

    # --- without a barrier -------------------------------------------------------------------------------------------
    def send(self, actions: Sequence[ActionInput], env_ids: Sequence[int] | None = None) -> None:
        """Begin a turn in these slots (all of them). Returns at once; `recv` has the results.

        Raises `ValueError` for slots that are still at a turn, or whose last result was not received.
        """
        chosen = range(self.num_envs) if env_ids is None else [int(i) for i in env_ids]
        if len(chosen) != len(actions) or len(set(chosen)) != len(chosen):
            raise ValueError(f"{len(actions)} actions for {len(chosen)} slots; give one for each, and no slot twice")
        for i in chosen:
            if not 0 <= i < self.num_envs:
                raise ValueError(f"there is no slot {i}; there are {self.num_envs}")
            seat = self._seats[i]
            if seat.slot.episode is None:
                raise RuntimeError("no episode is being played: call reset first")
            if self._at_work(i):
                raise ValueError(f"slot {i} is at a turn already: receive its result first")
        parsed = [to_action(self.slots[i].setting, action) for i, action in zip(chosen, actions, strict=True)]
        for i, action in zip(chosen, parsed, strict=True):
            self._seats[i].queued = action
            self._waiting.append(i)
        self._admit()

    def recv(self, min_ready: int = 1, timeout: float = math.inf) -> Batch:
        """Results of at least `min_ready` slots (or of all that are at a turn, if fewer), as they became ready.

        As `step` returns them, but for m slots, in ascending order; `infos["env_id"]` says which. Fewer, or none, come
        after `timeout` seconds. Raises `ValueError` for a `min_ready` under 1.
        """
        if min_ready < 1:
            raise ValueError(f"min_ready={min_ready} must be at least 1")
        until = time.monotonic() + timeout
        while len(self._ready) < min_ready and self._in_flight and self._advance(until - time.monotonic()):
            continue
        return self._deliver(sorted(self._ready), told=True)

    async def arecv(self, min_ready: int = 1) -> Batch:
        """`recv` for asyncio: other tasks run while nothing is ready."""
        while len(self._ready) < min_ready and self._in_flight:
            await wait_async(self._loop, min(self._loop.wakeup(), self._next_deadline()))
            self._advance(0.0)
        return self._deliver(sorted(self._ready), told=True)

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Results as they become ready, until nothing is in flight: `async for batch in envs`."""
        while self._in_flight or self._ready:
            yield await self.arecv()

    @property
    def in_flight(self) -> int:
        """Slots that were sent an action whose result was not received yet."""
        return self._in_flight + len(self._ready)

    def cancel(self, env_ids: Sequence[int]) -> None:
        """Break off the turns of these slots: their episodes end invalid (`env_error`), as `recv` tells."""
        for i in map(int, env_ids):
            seat = self._seats[i]
            if i in self._waiting:
                self._waiting.remove(i)
                self._start(i)
            if seat.slot.busy:
                self._loop.remove(i)
                seat.slot.cancel("the turn was cancelled")
                self._turned(i)

    # --- groups and copies -------------------------------------------------------------------------------------------
    def reset_groups(self, task_ids: Sequence[str], group_size: int, seed: int) -> tuple[Any, dict[str, Any]]:
        """Start groups as GRPO compares them: `group_size` slots in a row with one task and one seed each.

        Raises `ValueError` where that is not `num_envs` slots.
        """
        if len(task_ids) * group_size != self.num_envs:
            raise ValueError(f"{len(task_ids)} tasks times {group_size} are not the {self.num_envs} slots")
        seeds = [episode_seed(seed, group, 0) for group in range(len(task_ids)) for _ in range(group_size)]
        each = [task_id for task_id in task_ids for _ in range(group_size)]
        return self.reset(seed=seeds, options={"task_id": each})

    def fork_env(self, source: int, targets: Sequence[int]) -> None:
        """Make the slots `targets` live copies of the slot `source`, between turns; what they played is gone.

        Their next episodes are those they would have had. Raises `ValueError` for slots at a turn, `ForkError` where an
        interpreter cannot be copied.
        """
        for i in (source, *targets):
            if self._at_work(i):
                raise ValueError(f"slot {i} is at a turn: receive its result first")
        for target in targets:
            if target != source:
                seat, origin = self._seats[target], self._seats[source]
                seat.slot.adopt(origin.slot)
                seat.observation, seat.ended = origin.observation, origin.ended

    def set_progress(self, step: int, total: int = 0) -> None:
        """Say how far training is, as `ToolEnv.set_progress`, to every slot."""
        for slot in self.slots:
            slot.progress = Progress(step, total)

    def set_groups(self, groups: Groups | None) -> None:
        """Give statistics of other rollouts, as `ToolEnv.set_groups`, to every slot."""
        for slot in self.slots:
            slot.groups = groups

    # --- turns in flight ---------------------------------------------------------------------------------------------
    @property
    def _in_flight(self) -> int:
        return len(self._loop.busy) + len(self._waiting)

    def _at_work(self, i: int) -> bool:
        return self._seats[i].queued is not None or i in self._loop.busy or self._seats[i].ready is not None

    def _admit(self) -> None:
        """Begin the turns that wait, as far as there is room."""
        while self._waiting and len(self._loop.busy) < self.max_running:
            self._start(self._waiting.popleft())

    def _start(self, i: int) -> None:
        seat = self._seats[i]
        action, seat.queued = seat.queued, None
        assert action is not None
        seat.began, seat.expired = time.monotonic(), False
        if seat.ended and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin_episode(i, None)
            return
        seat.resetting = False
        seat.slot.begin_step(action)
        self._watch(i)

    def _begin_episode(self, i: int, options: Mapping[str, Any] | None) -> None:
        seat = self._seats[i]
        seed = episode_seed(seat.base, seat.place, seat.episodes)
        seat.episodes += 1
        seat.resetting, seat.ended = True, False
        seat.slot.begin_reset(choose_task(seat.slot.setting, seed, options), seed)
        self._watch(i)

    def _watch(self, i: int) -> None:
        slot = self._seats[i].slot
        if slot.busy:
            self._loop.add(i, slot)
        else:
            self._turned(i)

    def _turned(self, i: int) -> None:
        """A slot's turn is finished: it is ready, or goes on with the reset of its next episode."""
        seat = self._seats[i]
        result = seat.slot.result()
        if not seat.resetting and (result.terminated or result.truncated):
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                seat.end = result
                self._begin_episode(i, None)
                return
            seat.ended = True
        seat.ready = result
        self._ready.append(i)

    def _advance(self, timeout: float) -> bool:
        """Wait once for something to happen; False where the time is over."""
        until = time.monotonic() + timeout
        due = self._next_deadline()
        for i in self._loop.run(max(0.0, min(timeout, due - time.monotonic()))):
            self._turned(i)
        if time.monotonic() >= due:
            self._expire()
        self._admit()
        return time.monotonic() < until

    def _next_deadline(self) -> float:
        if self.step_deadline_s == math.inf or self.straggler is Straggler.WAIT:
            return math.inf
        began = (seat.began for i in self._loop.busy if not (seat := self._seats[i]).expired)
        return min(began, default=math.inf) + self.step_deadline_s

    def _expire(self) -> None:
        now = time.monotonic()
        for i in list(self._loop.busy):
            seat = self._seats[i]
            if not seat.expired and now >= seat.began + self.step_deadline_s:
                seat.expired = True
                self._loop.remove(i)
                seat.slot.expire(end=self.straggler is Straggler.TRUNCATE)
                self._watch(i)

    def _gather(self, seats: Sequence[int]) -> None:
        """Wait until all of these are ready."""
        while any(self._seats[i].ready is None for i in seats):
            self._advance(math.inf)

    def _forget(self, i: int) -> None:
        """Whatever a slot was at, it is not any more."""
        seat = self._seats[i]
        self._loop.remove(i)
        if i in self._waiting:
            self._waiting.remove(i)
        if i in self._ready:
            self._ready.remove(i)
        seat.ready = seat.end = seat.queued = None

    # --- results -----------------------------------------------------------------------------------------------------
    def _take(self, i: int) -> StepResult:
        """A slot's result, which is told now."""
        seat = self._seats[i]
        assert seat.ready is not None
        result, seat.ready = seat.ready, None
        self._ready.remove(i)
        seat.observation = result.observation
        return result

    def _deliver(self, chosen: list[int], *, told: bool = False) -> Batch:
        """Results of these slots as Gymnasium has them: arrays over all slots, or (`told`) over these alone."""
        rows = list(range(len(chosen)))
        ends: dict[int, StepResult] = {}
        for row, i in zip(rows, chosen, strict=True):
            end = self._seats[i].end
            if end is not None:
                ends[row], self._seats[i].end = end, None
        news = [self._take(i) for i in chosen]
        infos: dict[str, Any] = {}
        if ends:
            final = [{"final_obs": end.observation, "final_info": end.info} for end in ends.values()]
            infos = stack_infos(final, list(ends), len(rows))
        if rows:
            infos |= stack_infos([result.info for result in news], rows, len(rows))
        if told:
            infos |= {"env_id": np.array(chosen, np.int64), "_env_id": np.ones(len(chosen), np.bool_)}
        results = [ends.get(row, result) for row, result in zip(rows, news, strict=True)]
        rewards = np.array([result.reward for result in results], dtype=np.float64)
        terminations = np.array([result.terminated for result in results], dtype=np.bool_)
        truncations = np.array([result.truncated for result in results], dtype=np.bool_)
        return self._batch([result.observation for result in news]), rewards, terminations, truncations, infos

    def _batch(self, observations: list[Any]) -> Any:
        if self.setting.domain.image_shape is None:
            return tuple(observations)
        return {key: tuple(observation[key] for observation in observations) for key in ("text", "images")}

    # --- seeds and checks --------------------------------------------------------------------------------------------
    def _seed(self, seed: int | Sequence[int | None] | None, seats: Sequence[int]) -> None:
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            if seed is None and self._seeded:
                return
            base = int(self.np_random.integers(2**62)) if seed is None else int(seed)
            bases = [(base, i) for i in range(self.num_envs)]
        else:
            self._check_length("seed", seed)
            fresh = self.np_random.integers(2**62, size=self.num_envs)
            bases = [(int(fresh[i]) if s is None else _seed(s), 0) for i, s in enumerate(seed)]
        self._seeded = True
        for i in seats:
            self._seats[i].base, self._seats[i].place = bases[i]
            self._seats[i].episodes = 0

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), not {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask has no slot to reset")
        never = [i for i, seat in enumerate(self._seats) if seat.slot.episode is None and not mask[i]]
        if never:
            raise ValueError(f"slots {never} have never been reset; reset them first")
        return mask

    def _check_length(self, what: str, values: Sequence[Any]) -> None:
        if isinstance(values, str) or len(values) != self.num_envs:
            given = "one string" if isinstance(values, str) else f"{len(values)}"
            raise ValueError(f"{what}: expected {self.num_envs}, one for each environment, but got {given}")


def _check_settings(settings: Sequence[Setting], num_envs: int) -> None:
    if len(settings) != num_envs:
        raise ValueError(f"{len(settings)} settings for {num_envs} slots; give one for all, or one for each")
    first = settings[0]
    for setting in settings:
        if observation_space(setting) != observation_space(first) or setting.max_chars != first.max_chars:
            raise ValueError(f"{setting.env_id} and {first.env_id} have different spaces and cannot be in one batch")
        if setting.rewards.channels != first.rewards.channels:
            raise ValueError(f"{setting.env_id} and {first.env_id} have different reward channels in one batch")


def _seed(value: Any) -> int:
    """A seed as a single environment takes it. Raises `ValueError`."""
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"seed {value!r} is not a whole number of at least 0")
    return int(value)
