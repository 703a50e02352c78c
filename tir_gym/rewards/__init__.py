"""Rewards as pure functions of an episode: components with named channels, combined outside."""

from tir_gym.rewards.combine import Clip, Combine, Gate, Lexicographic, Product, Staged, WeightedSum
from tir_gym.rewards.program import INVALID, Base, RewardComponent, RewardProgram, Term

__all__ = [
    "INVALID",
    "Base",
    "Clip",
    "Combine",
    "Gate",
    "Lexicographic",
    "Product",
    "RewardComponent",
    "RewardProgram",
    "Staged",
    "Term",
    "WeightedSum",
]
