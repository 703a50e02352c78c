"""The generated problem families of MathCode: one module a topic, all listed in `FAMILIES`.

A family draws a `Problem` from a random generator and a level. Its gold answer comes from another algorithm than the
program that an agent would write (inclusion-exclusion against enumeration, Pick's formula against testing points).
"""

from __future__ import annotations

from tir_gym.envs.math_code.families import (
    algebra,
    counting,
    geometry,
    graphs,
    number_theory,
    optimisation,
    probability,
    records,
    sequences,
    simulation,
)
from tir_gym.envs.math_code.families.base import Family, Problem

__all__ = ["FAMILIES", "Family", "Problem"]

FAMILIES: tuple[Family, ...] = (
    *number_theory.FAMILIES,
    *counting.FAMILIES,
    *probability.FAMILIES,
    *algebra.FAMILIES,
    *sequences.FAMILIES,
    *geometry.FAMILIES,
    *optimisation.FAMILIES,
    *graphs.FAMILIES,
    *simulation.FAMILIES,
    *records.FAMILIES,
)
"""Every family, in the order that task indices use."""
