"""Playing episodes in tests: one way for every environment and driver."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from tests.toys import TOYS
from tir_gym import list_envs
from tir_gym.core.transcript import CallRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES

ALL_IDS = list_envs()
SHIPPED_IDS = [env_id for env_id in ALL_IDS if env_id not in TOYS]
SLOW_IDS = ("tir/SQL-v0", "tir/SQLWrite-v0", "tir/TableQA-v0")
"""Their episodes take ten times as long as others', most of it verdicts on nine databases; they count a tenth."""


def full(count: int, env_id: str) -> int:
    """How many episodes of an environment a soak plays where it plays `count` of others."""
    return count // 10 if env_id in SLOW_IDS else count


def make(env_id: str, **options: Any) -> ToolEnv:
    env = gym.make(env_id, **options).unwrapped
    assert isinstance(env, ToolEnv)
    return env


def text_of(observation: Any) -> str:
    return observation if isinstance(observation, str) else observation["text"]


def plain(value: Any) -> Any:
    """A value as comparable, printable data; nan equals nan."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and np.isnan(value):
        return "nan"
    return value


def as_bytes(turns: Iterable[Any]) -> bytes:
    return json.dumps(plain(list(turns)), sort_keys=True).encode()


def run(env: ToolEnv, code: str) -> tuple[Any, CallRecord]:
    """What one call of `python` brings: the observation and the line of the call log."""
    observation, _, terminated, truncated, info = env.call("python", {"code": code})
    assert not terminated, info["failure"]
    assert not truncated, info["failure"]
    return observation, env.episode.calls[-1]


def play_oracle(env: ToolEnv, seed: int) -> list[str]:
    """Play an episode with the oracle; returns the raw texts of its turns."""
    play(env, POLICIES["oracle"], seed)
    return [action.raw for action in env.get_state().actions]


def replay(env: ToolEnv, seed: int, texts: Iterable[str]) -> list[Any]:
    """Everything that reset and step return for a seed and a list of completions."""
    turns: list[Any] = [env.reset(seed=seed)]
    turns += [env.step(text) for text in texts]
    return turns
