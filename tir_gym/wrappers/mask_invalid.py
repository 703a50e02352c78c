"""`MaskInvalid`: for libraries that cannot mask episodes themselves."""

import math
from typing import Any, Literal, SupportsFloat

import gymnasium as gym


class MaskInvalid(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Keep the nan reward of an episode that could not be run or judged away from a library that would learn from it.

    With `on_invalid="mask"` the reward is `value`; `info["valid"]` still says False. The nan of a reward that has no
    valid value in an episode that is valid (it waits for its group, say) becomes `value` in any case. With "restart"
    the same task is started again under the same seed and its first observation is returned with reward 0.0, so the
    policy plays it anew; after `max_restarts` of one episode it is masked. `info["restarts"]` counts them.

    Example:
        >>> import gymnasium as gym, tir_gym
        >>> from tir_gym.wrappers import MaskInvalid
        >>> env = MaskInvalid(gym.make("tir/MathCode-v0"), value=0.0)
        >>> env.close()
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        value: float = 0.0,
        on_invalid: Literal["mask", "restart"] = "mask",
        max_restarts: int = 3,
    ) -> None:
        if on_invalid not in ("mask", "restart"):
            raise ValueError(f"on_invalid={on_invalid!r} must be 'mask' or 'restart'")
        gym.utils.RecordConstructorArgs.__init__(self, value=value, on_invalid=on_invalid, max_restarts=max_restarts)
        gym.Wrapper.__init__(self, env)
        self.value = value
        self.on_invalid = on_invalid
        self.max_restarts = max_restarts
        self._restarts = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        self._restarts = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "restarts": 0}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one turn; an invalid end is masked or played again."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not info["valid"]:
            reward = self.value
            if self.on_invalid == "restart" and self._restarts < self.max_restarts:
                self._restarts += 1
                observation, info = self.env.unwrapped.replay_start()  # type: ignore[attr-defined]
                reward, terminated, truncated = 0.0, False, False
        elif math.isnan(float(reward)):
            reward = self.value
        return observation, reward, terminated, truncated, {**info, "restarts": self._restarts}
