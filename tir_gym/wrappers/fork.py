"""`fork`: copies of a live environment, wrappers included."""

import copy
from typing import Any, Protocol, TypeVar, runtime_checkable

import gymnasium as gym
from gymnasium.wrappers import PassiveEnvChecker

from tir_gym.drivers.env import ToolEnv

E = TypeVar("E", bound="gym.Env[Any, Any]")

_PLAIN = (bool, int, float, str, bytes, type(None))


class ForkRefused(TypeError):  # noqa: N818
    """A wrapper holds state that nobody but itself can copy; the message names it and what holds the state."""


@runtime_checkable
class Forkable(Protocol):
    """A wrapper that copies itself around a copied environment."""

    def fork_around(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """The copy."""


def fork(env: E, n: int = 1) -> list[E]:
    """`n` independent copies of a live environment with its wrappers; the original goes on unharmed.

    Interpreters are forked live. A wrapper whose own attributes are plain values (or tuples of them) is copied as it
    is; one with other state must have a method `fork_around(env)`, else `ForkRefused` names it. Raises `ForkError`
    where an interpreter cannot be copied. Nothing is left behind on failure.
    """
    copies: list[E] = []
    try:
        while len(copies) < n:
            copies.append(_fork_one(env))
    except BaseException:
        for twin in copies:
            twin.close()
        raise
    return copies


def _fork_one(env: Any) -> Any:
    if isinstance(env, ToolEnv):
        return env.fork()
    if not isinstance(env, gym.Wrapper):
        raise ForkRefused(f"{type(env).__name__} is not a tir_gym environment, so there is no way to copy it")
    if isinstance(env, PassiveEnvChecker):
        return PassiveEnvChecker(_fork_one(env.env))
    if not isinstance(env, Forkable) and (held := _state_of(env)):
        raise ForkRefused(
            f"wrapper {type(env).__name__} holds state in {', '.join(held)}; give it a method fork_around(env) that "
            f"returns its copy around a copied environment, or fork the environment under it"
        )
    inner = _fork_one(env.env)
    if isinstance(env, Forkable):
        return env.fork_around(inner)
    twin = copy.copy(env)
    twin.env = inner
    return twin


def _state_of(wrapper: gym.Wrapper[Any, Any, Any, Any]) -> list[str]:
    """Names of the wrapper's own attributes that a shallow copy would share."""
    shared = set(vars(gym.Wrapper(wrapper.env))) | {"_saved_kwargs", "_cached_spec"}
    return [name for name, value in vars(wrapper).items() if name not in shared and not _plain(value)]


def _plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_plain, value)))
