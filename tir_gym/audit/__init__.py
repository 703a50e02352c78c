"""The audit: what policies that do not do the task can earn, held against what a reward says that they can."""

from tir_gym.audit.cheats import CHEATS, Scene, cheat
from tir_gym.audit.report import Finding, Report, audit

__all__ = ["CHEATS", "Finding", "Report", "Scene", "audit", "cheat"]
