"""`ToolVectorEnv`: many episodes in one event loop, a Gymnasium vector environment."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor
from tir_gym.core.seeding import episode_seed
from tir_gym.core.spaces import Unicode
from tir_gym.core.view import Groups, Progress
from tir_gym.drivers.env import choose_task, observation_space
from tir_gym.drivers.intake import ActionInput, to_action
from tir_gym.drivers.slot import Slot, StepResult, wait

Batch = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class ToolVectorEnv(VectorEnv[Any, Sequence[ActionInput], NDArray[Any]]):
    """N episodes stepped together: the sandboxes of a batch run at once, the results are those of N single envs.

    A finished episode is followed by the next one in the same step; what it ended with is whole in
    `infos["final_obs"]` and `infos["final_info"]`. Episode k of slot i has the seed hash(base, i, k).
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, setting: Setting, executor: Executor | None, num_envs: int) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs} must be at least 1")
        self.setting = setting
        self.num_envs = num_envs
        self.single_observation_space = observation_space(setting)
        self.single_action_space = Unicode(setting.max_chars)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.slots = [Slot(setting, executor) for _ in range(num_envs)]
        self._bases: list[tuple[int, int]] = []
        self._episodes = [0] * num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every slot.

        An int seed is the base for all slots; a list has a base for each, and slot i then plays as a single
        environment reset with `seed[i]` would. `options={"task_id": ...}` gives every slot that task (a list: each its
        own). Raises `ValueError` for a list of another length.
        """
        if seed is None or isinstance(seed, int | np.integer):
            seed = None if seed is None else int(seed)
            super().reset(seed=seed)
            if seed is not None or not self._bases:
                base = int(self.np_random.integers(2**62)) if seed is None else seed
                self._bases = [(base, slot) for slot in range(self.num_envs)]
                self._episodes = [0] * self.num_envs
        else:
            self._check_length("seed", seed)
            fresh = self.np_random.integers(2**62, size=self.num_envs)
            self._bases = [(int(fresh[i]) if s is None else _seed(s), 0) for i, s in enumerate(seed)]
            self._episodes = [0] * self.num_envs
        wanted = dict(options or {})
        task_ids = wanted.pop("task_id", None)
        if task_ids is None or isinstance(task_ids, str):
            task_ids = [task_ids] * self.num_envs
        self._check_length("task_id", task_ids)
        for slot, task_id in enumerate(task_ids):
            self._begin_episode(slot, {**wanted, "task_id": task_id})
        results = self._finish(range(self.num_envs))
        infos = stack_infos([result.info for result in results], range(self.num_envs), self.num_envs)
        return self._batch([result.observation for result in results]), infos

    def step(self, actions: Sequence[ActionInput]) -> Batch:
        """Take one turn in every slot."""
        self._check_length("actions", actions)
        parsed = [to_action(self.setting, action) for action in actions]
        for slot, action in zip(self.slots, parsed, strict=True):
            slot.begin_step(action)
        results = self._finish(range(self.num_envs))
        ended = [i for i, result in enumerate(results) if result.terminated or result.truncated]
        observations = [result.observation for result in results]
        news = [result.info for result in results]
        infos: dict[str, Any] = {}
        if ended:
            final = [{"final_obs": observations[i], "final_info": news[i]} for i in ended]
            infos = stack_infos(final, ended, self.num_envs)
        for i in ended:
            self._begin_episode(i, None)
        for i, result in zip(ended, self._finish(ended), strict=True):
            observations[i], news[i] = result.observation, result.info
        infos |= stack_infos(news, range(self.num_envs), self.num_envs)
        rewards = np.array([result.reward for result in results], dtype=np.float64)
        terminations = np.array([result.terminated for result in results], dtype=np.bool_)
        truncations = np.array([result.truncated for result in results], dtype=np.bool_)
        return self._batch(observations), rewards, terminations, truncations, infos

    def set_progress(self, step: int, total: int = 0) -> None:
        """Say how far training is, as `ToolEnv.set_progress`, to every slot."""
        for slot in self.slots:
            slot.progress = Progress(step, total)

    def set_groups(self, groups: Groups | None) -> None:
        """Give statistics of other rollouts, as `ToolEnv.set_groups`, to every slot."""
        for slot in self.slots:
            slot.groups = groups

    def close_extras(self, **kwargs: Any) -> None:
        """End everything the episodes started."""
        for slot in self.slots:
            slot.close()

    def _begin_episode(self, slot: int, options: Mapping[str, Any] | None) -> None:
        base, place = self._bases[slot]
        seed = episode_seed(base, place, self._episodes[slot])
        self._episodes[slot] += 1
        self.slots[slot].begin_reset(choose_task(self.setting, seed, options), seed)

    def _finish(self, indices: Sequence[int] | range) -> list[StepResult]:
        """The finished turns of these slots, waiting for all of them together."""
        slots = [self.slots[i] for i in indices]
        while busy := [slot for slot in slots if slot.busy]:
            wait(busy)
        return [slot.result() for slot in slots]

    def _batch(self, observations: list[Any]) -> Any:
        if self.setting.domain.image_shape is None:
            return tuple(observations)
        return {key: tuple(observation[key] for observation in observations) for key in ("text", "images")}

    def _check_length(self, what: str, values: Sequence[Any]) -> None:
        if isinstance(values, str) or len(values) != self.num_envs:
            given = "one string" if isinstance(values, str) else f"{len(values)}"
            raise ValueError(f"{what}: expected {self.num_envs}, one for each environment, but got {given}")


def _seed(value: Any) -> int:
    """A seed as a single environment takes it. Raises `ValueError`."""
    if not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"seed {value!r} is not a whole number of at least 0")
    return int(value)


def stack_infos(infos: Sequence[Mapping[str, Any]], slots: Sequence[int], num_envs: int) -> dict[str, Any]:
    """Infos of the same keys as one info of arrays, each with the mask of its slots under `_key`, as Gymnasium does."""
    rows = list(slots)
    present = np.zeros(num_envs, np.bool_)
    present[rows] = True
    stacked: dict[str, Any] = {}
    for key, first in infos[0].items():
        column = [info[key] for info in infos]
        kind = type(first)
        if kind is dict and key != "final_obs":
            stacked[key] = stack_infos(column, rows, num_envs)
        elif kind in (int, float, bool):
            array = np.zeros(num_envs, kind)
            array[rows] = column
            stacked[key] = array
        else:
            objects = np.full(num_envs, None, object)
            for row, value in zip(rows, column, strict=True):
                objects[row] = value
            stacked[key] = objects
        stacked[f"_{key}"] = present.copy()
    return stacked
