"""Play episodes and keep them."""

from collections.abc import Iterable, Iterator

from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.rollout.policies import POLICIES, PolicyMaker
from tir_gym.rollout.record import episode_key, record_of
from tir_gym.rollout.trajectories import TrajectoryFile


def collect(
    env: ToolEnv,
    policy: str | PolicyMaker,
    seeds: Iterable[int],
    file: TrajectoryFile | None = None,
    *,
    name: str = "",
) -> Iterator[EpisodeRecord]:
    """Play one episode for each seed and yield its record, written to `file` first if there is one.

    Seeds whose episode the file holds already are skipped, so a rollout that was cut off goes on where it stopped.
    `policy` is a name from `POLICIES` or a maker of policies with a `name` for the record. Raises `KeyError` for an
    unknown name.
    """
    label = name or (policy if isinstance(policy, str) else getattr(policy, "__name__", "policy"))
    make = POLICIES[policy] if isinstance(policy, str) else policy
    for seed in seeds:
        key = episode_key(env.setting, label, seed)
        if file is not None and key in file.keys:
            continue
        play(env, make, seed)
        record = record_of(env, key=key, policy=label)
        if file is not None:
            file.append(record)
        yield record


def play(env: ToolEnv, make: PolicyMaker, seed: int) -> None:
    """Play the episode of one seed to its end."""
    observation, info = env.reset(seed=seed)
    player = make(env.setting, env.setting.tasks.find(info["task"]["id"]))
    ended = False
    while not ended:
        text = observation if isinstance(observation, str) else observation["text"]
        observation, _, terminated, truncated, info = env.step(player.act(text, info))
        ended = terminated or truncated
