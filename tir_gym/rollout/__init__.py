"""Policies, model endpoints, collecting episodes, trajectory files, and what is made of them."""

from tir_gym.rollout.batch import to_csr, to_packed, to_padded
from tir_gym.rollout.codec import ChatCodec
from tir_gym.rollout.collect import EpisodesLeftOut, collect
from tir_gym.rollout.endpoint import Endpoint, EndpointError, EndpointPolicy
from tir_gym.rollout.export import export
from tir_gym.rollout.feed import feed
from tir_gym.rollout.groups import finalize_group
from tir_gym.rollout.partial import PartialEpisode
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
from tir_gym.rollout.recorder import TokenRecorder
from tir_gym.rollout.rescore import NeedsReplay, RescoreError, Rescorer, rescore, reward
from tir_gym.rollout.stats import Summary, summarise
from tir_gym.rollout.stream import StreamStats, TokenStream
from tir_gym.rollout.tokenizer import HuggingFaceTokenizer
from tir_gym.rollout.tokens import TokenRollout, TokenRow
from tir_gym.rollout.trajectories import TrajectoryFile, read_records

__all__ = [
    "POLICIES",
    "ChatCodec",
    "Endpoint",
    "EndpointError",
    "EndpointPolicy",
    "EpisodesLeftOut",
    "GoldPolicy",
    "HuggingFaceTokenizer",
    "NeedsReplay",
    "PartialEpisode",
    "Policy",
    "PolicyUnavailable",
    "RescoreError",
    "Rescorer",
    "ScriptedPolicy",
    "StreamStats",
    "Summary",
    "TokenRecorder",
    "TokenRollout",
    "TokenRow",
    "TokenStream",
    "TrajectoryFile",
    "collect",
    "episode_key",
    "export",
    "feed",
    "finalize_group",
    "oracle",
    "read_records",
    "record_of",
    "rescore",
    "reward",
    "scripted",
    "setting_of",
    "summarise",
    "to_csr",
    "to_packed",
    "to_padded",
]
