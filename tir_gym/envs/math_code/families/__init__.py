"""The generated problem families of MathCode: one module a topic, all listed in `FAMILIES`.

A family draws a `Problem` from a random generator and a level. Its gold answer comes from another algorithm than the
program that an agent would write (inclusion-exclusion against enumeration, Pick's formula against testing points).
"""

from __future__ import annotations

from tir_gym.envs.math_code.families import (
    algebra,
    arithmetic,
    calculus,
    counting,
    data,
    geometry,
    graphs,
    linear_algebra,
    number_theory,
    optimisation,
    probability,
    sequences,
    simulation,
)
from tir_gym.envs.math_code.families.base import Family, Problem

__all__ = ["FAMILIES", "Family", "Problem"]

FAMILIES: tuple[Family, ...] = (
    *arithmetic.FAMILIES,
    *number_theory.FAMILIES,
    *counting.FAMILIES,
    *probability.FAMILIES,
    *algebra.FAMILIES,
    *sequences.FAMILIES,
    *linear_algebra.FAMILIES,
    *calculus.FAMILIES,
    *geometry.FAMILIES,
    *optimisation.FAMILIES,
    *graphs.FAMILIES,
    *simulation.FAMILIES,
    *data.FAMILIES,
)
"""Every family, in the order that task indices use."""
