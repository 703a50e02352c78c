"""What a user puts around an environment."""

from tir_gym.wrappers.fork import ForkRefused, fork
from tir_gym.wrappers.mask_invalid import MaskInvalid
from tir_gym.wrappers.rewards import (
    CalibrationReward,
    ChecklistReward,
    CombineRewards,
    CorrectnessReward,
    FormatReward,
    RewardChannels,
    ToolEfficiencyReward,
    UseRewards,
)

__all__ = [
    "CalibrationReward",
    "ChecklistReward",
    "CombineRewards",
    "CorrectnessReward",
    "ForkRefused",
    "FormatReward",
    "MaskInvalid",
    "RewardChannels",
    "ToolEfficiencyReward",
    "UseRewards",
    "fork",
]
