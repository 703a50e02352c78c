"""Reward wrappers: each adds to the reward program that the driver evaluates, so where they stand has no effect."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, SupportsFloat, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from tir_gym.drivers.env import ToolEnv
from tir_gym.rewards import kinds
from tir_gym.rewards.combine import Combine
from tir_gym.rewards.program import RewardComponent, RewardProgram, Term
from tir_gym.rewards.schedules import Schedule


class _ProgramWrapper(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Changes the reward program of the environment under it, and nothing else."""

    only_rewards: ClassVar[bool] = True

    def _program(self) -> RewardProgram:
        program = _tool_env(self.env).setting.rewards
        if not isinstance(program, RewardProgram):
            raise TypeError(f"{type(self).__name__} extends a RewardProgram, and the rewards here are {program!r}")
        return program

    def _use(self, program: RewardProgram) -> None:
        _tool_env(self.env).set_rewards(program)


def _tool_env(env: gym.Env[Any, Any]) -> ToolEnv:
    inner = env.unwrapped
    if not isinstance(inner, ToolEnv):
        raise TypeError(f"reward wrappers go around environments of tir_gym, not {type(inner).__name__}")
    return inner


class _ComponentWrapper(_ProgramWrapper):
    """Adds one component, chosen by the name of its kind (with the component's own options) or given as it is."""

    kinds: ClassVar[Mapping[str, type[RewardComponent]]]
    default: ClassVar[str]

    def __init__(
        self,
        env: gym.Env[Any, Any],
        kind: str | RewardComponent = "",
        *,
        weight: float = 1.0,
        only_if_correct: bool = False,
        low: float = -math.inf,
        high: float = math.inf,
        schedule: Schedule | None = None,
        **options: Any,
    ) -> None:
        place = {"weight": weight, "only_if_correct": only_if_correct, "low": low, "high": high, "schedule": schedule}
        given: dict[str, Any] = {"kind": kind, **place, **options}
        gym.utils.RecordConstructorArgs.__init__(self, **given)
        gym.Wrapper.__init__(self, env)
        component = self._component(kind or self.default, options)
        self._use(self._program().with_term(Term(component, weight, only_if_correct, low, high, schedule)))

    def _component(self, kind: str | RewardComponent, options: dict[str, Any]) -> RewardComponent:
        name = type(self).__name__
        if isinstance(kind, RewardComponent):
            if options:
                raise TypeError(f"{name}: {sorted(options)} belong to the component that was given; set them there")
            return kind
        if kind not in self.kinds:
            raise ValueError(f"{name} has no kind {kind!r}; there are {', '.join(sorted(self.kinds))}")
        try:
            return self.kinds[kind](**options)
        except TypeError as error:
            raise TypeError(f"{name} kind {kind!r}: {error}") from None


class FormatReward(_ComponentWrapper):
    """Add a reward for the form of the policy's turns; `kind` is a key of `FormatReward.kinds`.

    Example:
        >>> import gymnasium as gym, tir_gym
        >>> from tir_gym.wrappers import FormatReward
        >>> env = FormatReward(gym.make("tir/MathCode-v0"), "turns", weight=0.1)
        >>> env.close()
    """

    kinds = kinds.FORMAT
    default = "turns"


class CorrectnessReward(_ComponentWrapper):
    """Put another measure of the answer in place of the verifier's score, in the channel `base`."""

    kinds = kinds.CORRECTNESS
    default = "exact_match"


class ToolEfficiencyReward(_ComponentWrapper):
    """Add a reward for calling tools rightly, sparingly or cheaply; counts come from the call log."""

    kinds = kinds.EFFICIENCY
    default = "otc"


class CalibrationReward(_ComponentWrapper):
    """Add a reward for stating how sure the answer is (`<confidence>`); without a statement there is no credit."""

    kinds = kinds.CALIBRATION
    default = "margin"


class ChecklistReward(_ComponentWrapper):
    """Add a reward for the process, item by item: rubrics and checklists."""

    kinds = kinds.CHECKLIST
    default = "checklist"


class CombineRewards(_ProgramWrapper):
    """Combine the channels in another way than by their weighted sum; one for an environment.

    It may stand under the wrappers whose channels it names; `reset` raises `ValueError` if one of them is missing.
    """

    def __init__(self, env: gym.Env[Any, Any], combine: Combine) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, combine=combine)
        gym.Wrapper.__init__(self, env)
        self._use(self._program().with_combine(combine))


class UseRewards(_ProgramWrapper):
    """Play with this reward program; the environment must still have the default one, whatever stands around it."""

    def __init__(self, env: gym.Env[Any, Any], program: RewardProgram) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, program=program)
        gym.Wrapper.__init__(self, env)
        if self._program() != RewardProgram():
            raise ValueError("the environment has rewards of its own already; put reward wrappers around a recipe")
        self._use(program)


class RewardChannels(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Return the channels unsummed: the reward is a vector, float64 of shape (channels,), as MO-Gymnasium has it.

    Each entry is the channel's increment in this step, nan where it has no valid value. The order is that of
    `reward_names`; `env.unwrapped.reward_space` is a Box of that shape, which is where MO-Gymnasium's wrappers
    (`LinearReward`, `MORecordEpisodeStatistics`, `MOSyncVectorEnv`) look. `wrappers.vector` has one for `make_vec`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        _tool_env(env)
        self._before: tuple[float, ...] = ()

    @property
    def reward_names(self) -> tuple[str, ...]:
        """The channels, in the order of the vector."""
        return _tool_env(self.env).setting.rewards.channels

    @property
    def reward_space(self) -> spaces.Box:
        """Where the vector lies."""
        return _tool_env(self.env).reward_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = self._channels(info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one turn."""
        observation, _, terminated, truncated, info = self.env.step(action)
        now = self._channels(info)
        reward: NDArray[np.float64] = np.array(now) - np.array(self._before)
        self._before = now
        return observation, cast(SupportsFloat, reward), terminated, truncated, info

    def _channels(self, info: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple(info["rewards"][name] for name in self.reward_names)
