"""`ToolVectorEnv`: many episodes in one event loop, as a Gymnasium vector environment, or sent and received."""

import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from copy import deepcopy
from operator import index
from typing import Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor
from tir_gym.core.schema import EpisodeState
from tir_gym.core.seeding import episode_seed
from tir_gym.core.spaces import Unicode
from tir_gym.core.view import Groups, GroupView, Progress, require_groups
from tir_gym.drivers.env import observation_space
from tir_gym.drivers.infos import stack_infos
from tir_gym.drivers.intake import ActionInput, to_action
from tir_gym.drivers.loop import Waiters
from tir_gym.drivers.seats import Ready, Seats, Straggler
from tir_gym.drivers.slot import Slot
from tir_gym.drivers.workers import Backend, Workers

Batch = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ToolVectorEnv(VectorEnv[Any, Sequence[ActionInput], Any]):
    """N episodes stepped together: the sandboxes of a batch run at once, the results are those of N single envs.

    A finished episode is followed by the next one in the same step; what it ended with is whole in
    `infos["final_obs"]` and `infos["final_info"]`. With `autoreset_mode` NEXT_STEP the next action of that slot is
    not used and its result is the next reset's, with DISABLED the episode stays over until `reset` with a
    `reset_mask`. Episode k of slot i has the seed hash(base, i, k), whatever the order in which episodes end.

    Without a barrier: `send` gives actions to some slots, `recv` returns as soon as `min_ready` of them are done.
    Where the next episode of a slot cannot begin (its world cannot be made, say), that is raised, once: the next `recv`
    still has every result, that slot's without a next episode; its next action begins another.

    At most `max_running` turns (None: all) run at once, the others wait their turn; `step_deadline_s` seconds after it
    has begun a turn is a straggler, with which is done what `straggler` says.

    `settings` is one for all slots or one for each; their spaces and their reward channels must be the same.

    `backend`: "inline" plays in this process, in one event loop; "process" in `workers` processes (None: one for each
    core), "ray" in as many Ray actors with `worker_options` (those of `ray.remote`: `num_cpus`, `resources`, ...), each
    with a share of the slots, in one event loop, with sandboxes and retrievers of its own. The bytes are the same;
    settings, executor and groups must pickle, and `max_running` is split between the workers. A worker that dies is
    replaced: its episodes are played again and checked, the turns in flight taken again, and an episode that cannot be
    played again ends invalid (`env_error`) with its next turn.
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
        backend: Backend | str = Backend.INLINE,
        workers: int | None = None,
        worker_options: Mapping[str, Any] | None = None,
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
        self.settings = each
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": []}
        driving: dict[str, Any] = {
            "autoreset_mode": self.autoreset_mode,
            "step_deadline_s": step_deadline_s,
            "straggler": Straggler(straggler),
            "max_running": num_envs if max_running is None else max_running,
        }
        backend = Backend(backend)
        if backend is Backend.INLINE and not (workers is None and worker_options is None):
            raise ValueError("workers and worker_options are for the backends 'process' and 'ray'")
        self._seats: Seats | Workers
        if backend is Backend.INLINE:
            self._seats = Seats(each, executor, **driving)
        else:
            self._seats = Workers(each, executor, backend, workers, worker_options, **driving)
        self.single_observation_space = observation_space(self.setting)
        self.single_action_space = Unicode(self.setting.max_chars)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._told: list[Any] = [None] * num_envs
        """What each slot was last told; None where it has to be reset."""
        self._ready: dict[int, Ready] = {}
        self._out: set[int] = set()
        self._waiters = Waiters()
        self._seeded = False

    @property
    def slots(self) -> list[Slot]:
        """The episodes, for looking at. Raises `RuntimeError` where they are in workers."""
        return self._seats.slots

    # --- Gymnasium -------------------------------------------------------------------------------------------------
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every slot.

        An int seed is the base for all slots; a list has a base for each, and slot i then plays as a single
        environment reset with `seed[i]` would (None: it goes on). `options={"task_id": ...}` gives every slot that task
        (a list: each its own); `options={"reset_mask": mask}`, a bool array of shape (num_envs,), leaves the slots
        alone where it is False. Turns in flight are broken off. Raises `ValueError` for a list or mask of another
        length, and what a single environment's reset raises: then all these slots have to be reset again.
        """
        self._check_open()
        wanted = dict(options or {})
        mask = self._mask(wanted.pop("reset_mask", None))
        chosen = [i for i in range(self.num_envs) if mask[i]]
        task_ids = wanted.pop("task_id", None)
        if task_ids is None or isinstance(task_ids, str):
            task_ids = [task_ids] * self.num_envs
        self._check_length("task_id", task_ids)
        self._seed(seed, chosen)
        self._forget(chosen)
        try:
            for i in chosen:
                self._out.add(i)
                self._seats.reset(i, {**wanted, "task_id": task_ids[i]})
            self._gather(chosen)
        except BaseException:
            self._forget(chosen)
            raise
        news = [self._take(i).news for i in chosen]
        infos = stack_infos([result.info for result in news], chosen, self.num_envs)
        return self._batch([deepcopy(observation) for observation in self._told]), infos

    def step(self, actions: Sequence[ActionInput]) -> Batch:
        """Take one turn in every slot."""
        self._check_length("actions", actions)
        self.send(actions)
        self._gather(range(self.num_envs))
        return self._deliver(list(range(self.num_envs)))

    def close_extras(self, **kwargs: Any) -> None:
        """End everything the episodes started; who waits in `arecv` is told."""
        self._seats.close()
        self._waiters.ring()

    def get_state(self, i: int) -> EpisodeState:
        """The episode of slot i as data, as `ToolEnv.get_state`. Raises `ValueError` in mid-turn."""
        return self._seats.get_state(self._between_turns(i))

    def began_with(self, i: int) -> tuple[GroupView, Progress]:
        """What the trainer had said when the episode of slot i began: other rollouts and how far training was."""
        return self._seats.began_with(self._playing(i))

    def tools(self, i: int) -> list[dict[str, Any]]:
        """OpenAI function schemas of the tools on offer in slot i, as `ToolEnv.tools`, for chat templates."""
        return self._seats.tools(self._playing(i))

    # --- without a barrier -------------------------------------------------------------------------------------------
    def send(self, actions: Sequence[ActionInput], env_ids: Sequence[int] | None = None) -> None:
        """Begin a turn in these slots (all of them). Returns at once; `recv` has the results.

        Raises `ValueError` for slots that are still at a turn, or whose last result was not received.
        """
        self._check_open()
        chosen = list(range(self.num_envs) if env_ids is None else map(index, env_ids))
        if isinstance(actions, str):
            raise ValueError("one string is not a list of actions; give a list of one")
        if len(chosen) != len(actions) or len(set(chosen)) != len(chosen):
            raise ValueError(f"{len(actions)} actions for {len(chosen)} slots; give one for each, and no slot twice")
        for i in chosen:
            self._between_turns(i)
        parsed = [to_action(self.settings[i], action) for i, action in zip(chosen, actions, strict=True)]
        for i, action in zip(chosen, parsed, strict=True):
            self._seats.send(i, action)
            self._out.add(i)
        self._seats.flush()
        self._waiters.ring()

    def recv(self, min_ready: int = 1, timeout: float = math.inf) -> Batch:
        """Results of at least `min_ready` slots (or of all that are at a turn, if fewer), as they became ready.

        As `step` returns them, but for m slots, in ascending order; `infos["env_id"]` says which. Fewer, or none, come
        after `timeout` seconds. Raises `ValueError` for a `min_ready` under 1, and what kept a slot's next episode from
        beginning, once.
        """
        if min_ready < 1:
            raise ValueError(f"min_ready={min_ready} must be at least 1")
        until = time.monotonic() + timeout
        while self._short(min_ready):
            left = until - time.monotonic()
            self._seats.advance(left)
            if left <= 0:
                break
        self._collect()
        return self._deliver(sorted(self._ready), told=True)

    async def arecv(self, min_ready: int = 1) -> Batch:
        """`recv` for asyncio: other tasks run while nothing is ready."""
        while self._short(min_ready):
            await self._waiters.wait(self._seats.loop, self._seats.wakeup())
            self._check_open()
            self._seats.advance(0.0)
        return self._deliver(sorted(self._ready), told=True)

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Results as they become ready, until nothing is in flight: `async for batch in envs`."""
        while self._out:
            yield await self.arecv()

    @property
    def in_flight(self) -> int:
        """Slots that were sent an action whose result was not received yet."""
        return len(self._out)

    def cancel(self, env_ids: Sequence[int]) -> None:
        """Break off the turns of these slots: their episodes end invalid (`env_error`), as `recv` tells."""
        self._check_open()
        for i in [self._slot(i) for i in env_ids]:
            self._seats.cancel(i)
        self._waiters.ring()

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

        Their next episodes are those they would have had. From one worker to another an episode is played again
        instead. Raises `ValueError` for slots at a turn or of different settings, `ForkError` where an interpreter
        cannot be copied.
        """
        self._check_open()
        for i in (source, *targets):
            if self.settings[self._between_turns(i)] != self.settings[source]:
                raise ValueError(f"slots {source} and {i} play different environments; neither can become the other")
        for target in targets:
            if target != source:
                self._seats.fork(source, target)
                self._told[target] = self._told[source]

    def set_progress(self, step: int, total: int = 0) -> None:
        """Say how far training is, as `ToolEnv.set_progress`, to every slot."""
        self._seats.set_progress(Progress(step, total))

    def set_groups(self, groups: Groups | None) -> None:
        """Give statistics of other rollouts, as `ToolEnv.set_groups`, to every slot."""
        require_groups(groups)
        self._seats.set_groups(groups)

    # --- results -----------------------------------------------------------------------------------------------------
    def _collect(self) -> None:
        for ready in self._seats.take():
            if ready.place in self._out:
                self._ready[ready.place] = ready
        if failed := [(i, error) for i, error in self._seats.take_failed() if i in self._out or i < 0]:
            self._forget([i for i, _ in failed if i >= 0])
            raise failed[0][1]

    def _forget(self, slots: Iterable[int]) -> None:
        """What these slots were at is nobody's business any more: they are to be reset."""
        for i in slots:
            self._out.discard(i)
            self._ready.pop(i, None)
            self._told[i] = None

    def _short(self, count: int) -> bool:
        """Whether fewer are ready than wanted, and more may come."""
        self._check_open()
        self._collect()
        return len(self._ready) < min(count, len(self._out))

    def _gather(self, chosen: Sequence[int]) -> None:
        """Wait until all of these are ready."""
        self._collect()
        while any(i not in self._ready for i in chosen):
            self._seats.advance(math.inf)
            self._collect()

    def _take(self, i: int) -> Ready:
        """What a slot has come to, which is told now."""
        ready = self._ready.pop(i)
        self._out.discard(i)
        self._told[i] = deepcopy(ready.news.observation)  # what is returned is whose it is returned to
        return ready

    def _deliver(self, chosen: list[int], *, told: bool = False) -> Batch:
        """Results of these slots as Gymnasium has them: arrays over all slots, or (`told`) over these alone."""
        rows = list(range(len(chosen)))
        taken = [self._take(i) for i in chosen]
        self._waiters.ring()
        news = [ready.news for ready in taken]
        ends = {row: ready.end for row, ready in zip(rows, taken, strict=True) if ready.end is not None}
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
    def _seed(self, seed: int | Sequence[int | None] | None, chosen: Sequence[int]) -> None:
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            if seed is None and self._seeded:
                return
            base = int(self.np_random.integers(2**62)) if seed is None else int(seed)
            bases = {i: (base, i) for i in chosen}
        else:
            self._check_length("seed", seed)
            given = [None if s is None else _seed(s) for s in seed]
            if not self._seeded:
                given = [int(self.np_random.integers(2**62)) if s is None else s for s in given]
            bases = {i: (s, 0) for i in chosen if (s := given[i]) is not None}
        self._seeded = True
        for i, (base, place) in bases.items():
            self._seats.seed(i, base, place)

    def _mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), not {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask has no slot to reset")
        if never := [i for i, told in enumerate(self._told) if told is None and not mask[i]]:
            raise ValueError(f"slots {never} have never been reset, or in vain; reset them, too")
        return mask

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the vector environment is closed")

    def _slot(self, i: int) -> int:
        """The number of a slot. Raises `ValueError` where there is none."""
        if not 0 <= index(i) < self.num_envs:
            raise ValueError(f"there is no slot {i}; there are {self.num_envs}")
        return index(i)

    def _playing(self, i: int) -> int:
        """The number of a slot with an episode. Raises `RuntimeError` before its first reset."""
        if self._told[number := self._slot(i)] is None:
            raise RuntimeError(f"no episode is being played in slot {number}: call reset first")
        return number

    def _between_turns(self, i: int) -> int:
        """The number of a slot that waits for an action. Raises `ValueError` in mid-turn."""
        if (number := self._playing(i)) in self._out:
            raise ValueError(f"slot {number} is at a turn already: receive its result first")
        return number

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
