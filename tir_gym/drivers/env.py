"""`ToolEnv`: one episode at a time, blocking, a Gymnasium environment."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tir_gym.core.action import Action, ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.episode import Episode
from tir_gym.core.interfaces import Executor
from tir_gym.core.messages import Message, whole_history
from tir_gym.core.schema import EpisodeState
from tir_gym.core.seeding import episode_seed
from tir_gym.core.spaces import Unicode
from tir_gym.core.task import Task
from tir_gym.core.transcript import Transcript
from tir_gym.core.view import EpisodeView, Groups, GroupView, Progress, Rewards, require_groups
from tir_gym.drivers.intake import ActionInput, to_action
from tir_gym.drivers.loop import Loop, perform
from tir_gym.drivers.render import render_ansi, render_human
from tir_gym.drivers.slot import Slot, StepResult

Observation = str | dict[str, Any]
MAX_OBSERVATION_CHARS = 10_000_000


def observation_space(setting: Setting) -> spaces.Space[Any]:
    """Unicode text, or Dict(text, images) with uint8 images of the domain's shape."""
    text = Unicode(MAX_OBSERVATION_CHARS)
    shape = setting.domain.image_shape
    if shape is None:
        return text
    return spaces.Dict({"text": text, "images": spaces.Sequence(spaces.Box(0, 255, shape, np.uint8))})


def choose_task(setting: Setting, seed: int, options: Mapping[str, Any] | None) -> Task:
    """The task that `options["task_id"]` names, or the one that the seed draws. Raises `ValueError`, `KeyError`."""
    options = options or {}
    if unknown := set(options) - {"task_id"}:
        raise ValueError(f"unknown reset options {sorted(unknown)}; there is only 'task_id'")
    task_id = options.get("task_id")
    return setting.tasks.draw(seed) if task_id is None else setting.tasks.find(task_id)


class Checkpoint:
    """A live copy of an episode on this host, to be restored any number of times; close it, or use it with `with`."""

    def __init__(self, slot: Slot) -> None:
        self._slot: Slot | None = slot

    @property
    def slot(self) -> Slot:
        """The frozen episode. Raises `RuntimeError` once closed."""
        if self._slot is None:
            raise RuntimeError("the checkpoint is closed")
        return self._slot

    def close(self) -> None:
        """Let the copy go; idempotent."""
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ToolEnv(gym.Env[Observation, ActionInput]):
    """A text environment in which a policy thinks, calls tools and answers.

    Observations are what the policy reads: everything at `reset`, only the news after a `step`. Actions are raw
    completions (or chat messages, tool calls, actions). The reward is 0.0 until the end, where the verifier's score
    comes; it is nan, with `info["valid"]` False, for an episode that could not be run or judged.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}

    def __init__(self, setting: Setting, executor: Executor | None, render_mode: str | None = None) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is not one of {self.metadata['render_modes']} or None")
        self.setting = setting
        self.render_mode = render_mode
        self.observation_space = observation_space(setting)
        self.action_space = Unicode(setting.max_chars)
        self._executor = executor
        self._slot = Slot(setting, executor)
        self._loop = Loop()
        self._base_seed: int | None = None
        self._episodes = 0
        self._shown = 0

    # --- Gymnasium -------------------------------------------------------------------------------------------------
    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Its seed is a hash of the last seed given and the number of episodes since; it draws the task (unless
        `options={"task_id": ...}` names one) and all randomness of world, tools and users.
        Raises `KeyError` for an unknown task id, `ExecutorUnavailable` where code cannot run jailed here.
        """
        super().reset(seed=seed)
        if seed is not None or self._base_seed is None:
            self._base_seed = int(self.np_random.integers(2**62)) if seed is None else seed
            self._episodes = 0
        episode = episode_seed(self._base_seed, 0, self._episodes)
        self._episodes += 1
        self._slot.begin_reset(choose_task(self.setting, episode, options), episode)
        self._shown = 0
        result = self._finish()
        return result.observation, result.info

    def step(self, action: ActionInput) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one turn. No text raises; a call after the end of the episode changes nothing."""
        self._slot.begin_step(to_action(self.setting, action))
        result = self._finish()
        return result.observation, result.reward, result.terminated, result.truncated, result.info

    def render(self) -> str | None:
        """The transcript, coloured by who wrote what: returned as text ("ansi"), or printed as it grows ("human")."""
        if self.render_mode == "ansi":
            return render_ansi(self.episode)
        if self.render_mode == "human":
            self._shown = render_human(self.episode, self._shown)
        return None

    def close(self) -> None:
        """End everything the episode started; idempotent."""
        self._slot.close()
        self._loop.close()

    def replay_start(self) -> tuple[Observation, dict[str, Any]]:
        """Start the current episode's task again, under the same seed."""
        self._slot.begin_reset(self.episode.task, self.episode.seed)
        self._shown = 0
        result = self._finish()
        return result.observation, result.info

    # --- tools without text ----------------------------------------------------------------------------------------
    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take a turn that is one tool call, for trainers that parse calls themselves."""
        return self.step([ToolCall(name, dict(arguments))])

    def finish(self, reason: str = "finished") -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take a turn that ends the episode without an answer."""
        return self.step(Action(finish=reason))

    # --- looking in ------------------------------------------------------------------------------------------------
    @property
    def episode(self) -> Episode:
        """The episode being played. Raises `RuntimeError` before the first `reset`."""
        if self._slot.episode is None:
            raise RuntimeError("no episode is being played: call reset first")
        return self._slot.episode

    @property
    def transcript(self) -> Transcript:
        """Everything said so far."""
        return self.episode.transcript

    @property
    def messages(self) -> list[Message]:
        """Everything the actor to move has said and seen, as chat messages."""
        return whole_history(self.episode, self.episode.to_move)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Where an engine should stop generating; it may keep or strip them."""
        return self.setting.protocol.stop_strings

    @property
    def tools(self) -> list[dict[str, Any]]:
        """OpenAI function schemas of the tools on offer to the actor to move."""
        return self._slot.tools

    @property
    def rewards(self) -> tuple[dict[str, float], float]:
        """Each reward channel so far, and their combination."""
        return self._slot.rewards

    @property
    def reward_space(self) -> spaces.Box:
        """Where the vector of reward channels lies, float64 of shape (channels,), as `RewardChannels` returns it.

        Libraries for several objectives (MO-Gymnasium) look here; the environment's own reward is their combination.
        """
        return spaces.Box(-np.inf, np.inf, (len(self.setting.rewards.channels),), np.float64)

    @property
    def reward_dim(self) -> int:
        """Number of reward channels."""
        return len(self.setting.rewards.channels)

    @property
    def reward_faults(self) -> dict[str, str]:
        """The error of each channel that could not be computed."""
        return dict(self._slot.reward_faults)

    @property
    def view(self) -> EpisodeView:
        """What the rewards are computed from now."""
        return self.episode.view(*self._slot.began_with)

    @property
    def began_with(self) -> tuple[GroupView, Progress]:
        """The statistics of other rollouts and the trainer's progress that the episode's rewards are computed from."""
        return self._slot.began_with

    # --- what a trainer says -----------------------------------------------------------------------------------------
    def set_progress(self, step: int, total: int = 0) -> None:
        """Say how far training is, which drives schedules; episodes keep what was said before their `reset`."""
        self._slot.progress = Progress(step, total)

    def set_groups(self, groups: Groups | None) -> None:
        """Give statistics of other rollouts (a frozen `GroupStore`); they hold from the next `reset` on.

        Raises `TypeError` for what is none, such as a store that is not frozen.
        """
        require_groups(groups)
        self._slot.groups = groups

    def set_rewards(self, rewards: Rewards) -> None:
        """Play with another reward program. Raises `RuntimeError` in the middle of an episode."""
        self.setting = self._slot.use_rewards(rewards)

    # --- copies ----------------------------------------------------------------------------------------------------
    def checkpoint(self) -> Checkpoint:
        """A live copy of the episode as it is now. Raises `ForkError` where an interpreter cannot be copied.

        The episode goes on as the copy, what it was is kept: a copy cannot reach what it was copied from.
        """
        copy = self._slot.fork()
        kept, self._slot = self._slot, copy
        return Checkpoint(kept)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint of an environment with the same setting; the checkpoint can be used again."""
        if checkpoint.slot.setting != self.setting:
            raise ValueError("the checkpoint is of an environment with another setting")
        self._slot.adopt(checkpoint.slot)

    def fork(self) -> "ToolEnv":
        """An independent environment in the same state; `tir_gym.fork` copies wrappers too."""
        twin = ToolEnv(self.setting, self._executor, self.render_mode)
        twin.spec = self.spec
        twin._slot.adopt(self._slot)
        twin._base_seed, twin._episodes, twin._shown = self._base_seed, self._episodes, self._shown
        return twin

    def get_state(self) -> EpisodeState:
        """The episode as data that can move to another machine."""
        return self._slot.state()

    def set_state(self, state: EpisodeState) -> None:
        """Replay an episode from data. Raises `ReplayMismatch` if it does not come out as recorded."""
        self._slot.begin_replay(state)
        self._finish()
        for action in state.actions:
            self._slot.begin_step(action.action())
            self._finish()
        self._slot.end_replay(state)

    def _finish(self) -> StepResult:
        while self._slot.shared:
            perform([self._slot])
        if self._slot.busy:
            self._loop.add(0, self._slot)
            self._loop.run()
        result = self._slot.result()
        if self.render_mode == "human":
            self.render()
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled environment is a new one of the same setting."""
        return ToolEnv, (self.setting, self._executor, self.render_mode)
