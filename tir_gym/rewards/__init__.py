"""Rewards as pure functions of an episode: components with named channels, combined outside."""

from tir_gym.rewards.program import Base, RewardComponent, RewardProgram

__all__ = ["Base", "RewardComponent", "RewardProgram"]
