"""What a user puts around a vector environment, beside Gymnasium's own vector wrappers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorWrapper
from numpy.typing import NDArray

from tir_gym.drivers.intake import ActionInput
from tir_gym.drivers.vector import ToolVectorEnv


class RewardChannels(VectorWrapper):
    """Return the channels unsummed: rewards are vectors, float64 of shape (num_envs, channels), as MO-Gymnasium's are.

    Row i is what `wrappers.RewardChannels` around slot i alone would return: the increments of its channels in this
    step, of the episode that acted in it, nan where a channel has no valid value. `send` and `recv` go past it.

    Example:
        >>> import tir_gym
        >>> from tir_gym.wrappers.vector import RewardChannels
        >>> envs = RewardChannels(tir_gym.make_vec("tir/MathCode-v0", 2))
        >>> envs.close()
    """

    def __init__(self, env: ToolVectorEnv) -> None:
        inner = env.unwrapped
        if not isinstance(inner, ToolVectorEnv):
            raise TypeError(f"RewardChannels goes around vector environments of tir_gym, not {type(inner).__name__}")
        super().__init__(env)
        self.reward_names: tuple[str, ...] = inner.setting.rewards.channels
        """The channels, in the order of the vectors."""
        self.reward_space = spaces.Box(-np.inf, np.inf, (len(self.reward_names),), np.float64)
        """Where each row lies."""
        self._autoreset = inner.autoreset_mode
        self._before = np.zeros((env.num_envs, len(self.reward_names)))
        self._over = np.zeros(env.num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """`ToolVectorEnv.reset`."""
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        begun = infos["_rewards"]
        self._before[begun] = self._channels(infos)[begun]
        self._over[begun] = False
        return observations, infos

    def step(self, actions: Sequence[ActionInput]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """`ToolVectorEnv.step`."""
        observations, _, terminations, truncations, infos = self.env.step(actions)
        now = self._channels(infos)
        told = now.copy()
        if "final_info" in infos:
            ended = infos["_final_info"]
            told[ended] = self._channels(infos["final_info"])[ended]
        if self._autoreset is AutoresetMode.NEXT_STEP:  # of those that were over this was the reset
            self._before[self._over] = now[self._over]
        rewards = told - self._before
        self._before, self._over = now, terminations | truncations
        return observations, rewards, terminations, truncations, infos

    def _channels(self, infos: Mapping[str, Any]) -> NDArray[np.float64]:
        return np.stack([infos["rewards"][name] for name in self.reward_names], axis=1)
