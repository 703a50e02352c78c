"""The audit: what policies that do not do the task can earn, held against what a reward says that they can."""

from tir_gym.audit import cheats, cheats_search, cheats_sql, cheats_tables  # noqa: F401  they put themselves into the battery
from tir_gym.audit.report import Finding, Report, audit
from tir_gym.audit.scene import CHEATS, Cheat, Scene, battery, cheat

__all__ = ["CHEATS", "Cheat", "Finding", "Report", "Scene", "audit", "battery", "cheat"]
