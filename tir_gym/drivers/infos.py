"""Infos of many episodes as one, in Gymnasium's form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def stack_infos(infos: Sequence[Mapping[str, Any]], slots: Sequence[int], num_envs: int) -> dict[str, Any]:
    """Infos of the same keys as one info of arrays, each with the mask of its slots under `_key`, as Gymnasium does."""
    rows = list(slots)
    present = np.zeros(num_envs, np.bool_)
    present[rows] = True
    stacked: dict[str, Any] = {}
    for key, first in infos[0].items():
        column = [info[key] for info in infos]
        kind = type(first)
        if kind is dict and key != "final_obs":
            stacked[key] = stack_infos(column, rows, num_envs)
        elif kind in (int, float, bool):
            array = np.zeros(num_envs, kind)
            array[rows] = column
            stacked[key] = array
        else:
            objects = np.full(num_envs, None, object)
            for row, value in zip(rows, column, strict=True):
                objects[row] = value
            stacked[key] = objects
        stacked[f"_{key}"] = present.copy()
    return stacked
