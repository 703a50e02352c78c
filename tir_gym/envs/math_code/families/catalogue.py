"""The table of families that `tir-gym describe` prints."""

from __future__ import annotations

import json
from importlib import resources

from tir_gym.envs.math_code.families import FAMILIES

__all__ = ["catalogue"]


def catalogue() -> list[dict[str, object]]:
    """One row a family: what it is, why its levels 6 to 10 need the tool, what its gold rests on, and measured figures.

    `prompts` are the distinct normalised prompts of 1,000 draws, `work 1` to `work 10` the median work of its programs
    at these levels (statements executed and elements taken by comprehensions), `commonest` the share of the most
    frequent answer. The figures are read from `assets/math_families.json`; a test measures all of them again.
    """
    asset = resources.files("tir_gym.assets").joinpath("math_families.json")
    figures = json.loads(asset.read_text("utf-8"))
    rows: list[dict[str, object]] = []
    for family in FAMILIES:
        measured = figures[family.name]
        row: dict[str, object] = {"family": family.name, "topic": family.topic, "needs the tool": family.needs_tool}
        row |= {"gold by": family.gold_by, "prompts": measured["distinct_prompts"]}
        row |= {f"work {level}": measured["work"][level - 1] for level in (1, 4, 7, 10)}
        rows.append(row | {"commonest": f"{measured['commonest_answer']:.1%}"})
    return rows
