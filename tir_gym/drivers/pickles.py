"""Pickling with errors that name what does not pickle."""

import pickle
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def dumps(value: Any, name: str) -> bytes:
    """The value pickled. Raises `TypeError` that names the part which does not pickle."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise TypeError(
            f"{_culprit(value, name)} does not pickle, as backends other than 'inline' need: {error}"
        ) from error


def _culprit(value: Any, name: str) -> str:
    """The innermost part of a value that does not pickle."""
    if isinstance(value, Mapping):
        parts = [(f"{name}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{name}[{i}]", part) for i, part in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(f"{name}.{item.name}", getattr(value, item.name)) for item in fields(value)]
    else:
        parts = [(f"{name}.{key}", part) for key, part in getattr(value, "__dict__", {}).items()]
    for path, part in parts:
        try:
            pickle.dumps(part)
        except Exception:
            return _culprit(part, path)
    return f"{name} ({type(value).__name__})"
