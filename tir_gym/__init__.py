"""Gymnasium environments for tool-integrated reasoning. Importing this registers the ids."""

import importlib
from typing import Any

from tir_gym.envs import list_envs, make_vec, register
from tir_gym.version import __version__

_LAZY = {
    "Completion": "tir_gym.core.action",
    "ToolCall": "tir_gym.core.action",
    "Action": "tir_gym.core.action",
    "Fields": "tir_gym.core.task",
    "JsonlTasks": "tir_gym.core.task",
    "fork": "tir_gym.wrappers",
}
"""Public names whose modules take time to import."""

__all__ = [
    "Action",
    "Completion",
    "Fields",
    "JsonlTasks",
    "ToolCall",
    "__version__",
    "fork",
    "list_envs",
    "make_vec",
    "recipes",
    "register",
]


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return importlib.import_module("tir_gym.recipes")
    if name not in _LAZY:
        raise AttributeError(f"module 'tir_gym' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
