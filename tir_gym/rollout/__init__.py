"""Policies, collecting episodes, and trajectory files."""

from tir_gym.rollout.collect import collect
from tir_gym.rollout.policies import POLICIES, GoldPolicy, Policy, oracle
from tir_gym.rollout.record import episode_key, record_of
from tir_gym.rollout.trajectories import TrajectoryFile, read_records

__all__ = [
    "POLICIES",
    "GoldPolicy",
    "Policy",
    "TrajectoryFile",
    "collect",
    "episode_key",
    "oracle",
    "read_records",
    "record_of",
]
