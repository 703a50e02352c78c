"""Policies, model endpoints, collecting episodes, trajectory files, and what is made of them."""

from tir_gym.rollout.collect import EpisodesLeftOut, collect
from tir_gym.rollout.endpoint import Endpoint, EndpointError, EndpointPolicy
from tir_gym.rollout.export import export
from tir_gym.rollout.groups import finalize_group
from tir_gym.rollout.policies import (
    POLICIES,
    GoldPolicy,
    Policy,
    PolicyUnavailable,
    ScriptedPolicy,
    oracle,
    scripted,
)
from tir_gym.rollout.record import episode_key, record_of, setting_of
from tir_gym.rollout.rescore import NeedsReplay, RescoreError, Rescorer, rescore, reward
from tir_gym.rollout.stats import Summary, summarise
from tir_gym.rollout.trajectories import TrajectoryFile, read_records

__all__ = [
    "POLICIES",
    "Endpoint",
    "EndpointError",
    "EndpointPolicy",
    "EpisodesLeftOut",
    "GoldPolicy",
    "NeedsReplay",
    "Policy",
    "PolicyUnavailable",
    "RescoreError",
    "Rescorer",
    "ScriptedPolicy",
    "Summary",
    "TrajectoryFile",
    "collect",
    "episode_key",
    "export",
    "finalize_group",
    "oracle",
    "read_records",
    "record_of",
    "rescore",
    "reward",
    "scripted",
    "setting_of",
    "summarise",
]
